"""The controls of evaluation.md 11.5, on real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attar
from attar.evaluation.audit import perform
from attar.evaluation.audit.pixels import search
from attar.evaluation.audit.thumbnails import Thumbnails
from attar.features import read_squares

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(assets):
    """Training images of ten breeds of dogs, and images that aren't in them: thumbnails, and how far chance goes."""
    folder = assets / "data" / "imagewoof224"
    train, held = (Thumbnails.of(attar.open(folder / part, limit=n)) for part, n in (("train", 12), ("val", 4)))
    return train, held, search(held, train, device=CPU)


def flagged(images: np.ndarray, photographs, as_source) -> np.ndarray:
    """Which of the images [n, side, side, 3] are called copies, by pixels or by hash."""
    train, held, chance = photographs
    ours = Thumbnails.of(as_source(images, 1))
    by_pixels = perform._by_pixels(search(ours, train, device=CPU), chance)
    return by_pixels.flagged | perform._by_hash(ours, train, held, train).flagged


def some(source, count: int) -> np.ndarray:
    chosen = np.random.default_rng(0).permutation(len(source))[:count]
    return read_squares(source, 224, chosen).transpose(0, 2, 3, 1)


def test_copies_of_photographs_are_flagged(photographs, as_source, spoil):
    copies = spoil(some(photographs[0].source, 10))
    assert flagged(copies, photographs, as_source).mean() >= 0.95


def test_noise_is_not_flagged(photographs, as_source):
    noise = np.random.default_rng(0).integers(0, 256, (7, 224, 224, 3), dtype=np.uint8)
    assert not flagged(noise, photographs, as_source).any()


def test_other_photographs_are_not_flagged(photographs, as_source, assets):
    others = attar.open(assets / "data" / "imagewoof224" / "val", limit=6)
    known = set(photographs[1].source.hashes())
    fresh = others.subset([index for index, sha in enumerate(others.hashes()) if sha not in known])
    assert flagged(some(fresh, 20), photographs, as_source).mean() <= 0.05
