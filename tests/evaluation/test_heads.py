"""Heads of all training images, by every recipe, trained once."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from attar.errors import EvaluationError
from attar.evaluation.bench import Bench
from attar.evaluation.cells import Cells
from attar.evaluation.heads import RECIPES
from attar.files import cache_folder
from attar.linear import converged_probe
from attar.progress import SILENT
from small import CLASSES, coloured, small_backbone

TRAIN, TEST = coloured(23), coloured(31, seed=1)


@pytest.fixture
def bench():
    return Bench(small_backbone(), TEST, CLASSES, Cells(), SILENT)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_learns_the_classes_and_knows_how_well(bench, recipe):
    head = bench.head(TRAIN, recipe)
    right = 100 * np.mean(head.probe.predict(bench.test_features.numpy()) == bench.test_labels)
    assert right > (34 if recipe == "lgm" else 80)  # ten epochs of Adam hardly leave the start
    assert head.accuracy is not None and 0 <= head.accuracy <= 100
    if recipe != "lgm":
        assert head.accuracy > 60


def test_a_head_is_trained_once(bench, monkeypatch):
    module, calls = importlib.import_module("attar.evaluation.heads"), []

    def counting(*given, **named):
        calls.append(1)
        return converged_probe(*given, **named)

    monkeypatch.setattr(module, "converged_probe", counting)
    first, second = bench.head(TRAIN, "probe-v1"), bench.head(TRAIN, "probe-v1")
    assert len(calls) == 2  # on all images, and on nine tenths of them
    assert np.array_equal(first.probe.classifier.weights, second.probe.classifier.weights)
    assert (first.accuracy, first.fingerprint) == (second.accuracy, second.fingerprint)
    (file,) = cache_folder().glob("heads/*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    assert bench.head(TRAIN, "probe-v1").accuracy == first.accuracy and len(calls) == 4


def test_what_decides_a_head_has_a_head_of_its_own(bench):
    prints = {
        bench.head(TRAIN, "probe-v1").fingerprint,
        bench.head(TRAIN, "probe-v1/std").fingerprint,
        bench.head(TRAIN.subset(range(60)), "probe-v1").fingerprint,
        Bench(small_backbone(1), TEST, CLASSES, Cells(), SILENT).head(TRAIN, "probe-v1").fingerprint,
        Bench(small_backbone(), TEST, CLASSES[::-1], Cells(), SILENT).head(TRAIN, "probe-v1").fingerprint,
    }
    assert len(prints) == 5


def test_the_full_row_is_the_probe_on_all_centre_crops(bench):
    features = bench.centre_features(TRAIN)
    probe = converged_probe(features[:, None], torch.from_numpy(TRAIN.labels), 3, transform="l2", penalty=1e-3)
    assert np.array_equal(bench.full("probe-v1", TRAIN), probe.predict(bench.test_features.numpy()))


def test_one_image_a_class_leaves_none_to_hold_out(bench):
    assert bench.head(coloured(1), "probe-v1").accuracy is None


def test_an_unknown_recipe_is_refused(bench):
    with pytest.raises(EvaluationError, match="no recipe 'lgn'"):
        bench.head(TRAIN, "lgn")
