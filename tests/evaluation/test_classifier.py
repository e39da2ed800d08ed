"""A distilled set and a backbone become one module that answers as the probe does."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from attar import classifier
from attar.backbones import Backbone
from attar.distilled import DistilledSet, Head, add_heads, write
from attar.errors import EvaluationError
from attar.evaluation import classifier as module
from attar.evaluation.protocols import protocol
from attar.features import extract, read_squares
from attar.linear import ConvergedProbe, LinearClassifier, Scaling, converged_probe
from attar.progress import Progress
from attar.synthesis.draws import Stream
from attar.synthesis.views import RandomViews, ViewPolicy, probe_policy
from small import CLASSES, coloured, manifest, small_backbone


class Notes(Progress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return small_backbone()


@pytest.fixture
def made(tmp_path) -> DistilledSet:
    source = coloured(2, seed=50)
    record = manifest(CLASSES, titles=("Ant", "Bee", "Cow"), image_side=8, settings={"flip": True})
    weights = [1.0, 2.0, 0.5, 1.0, 0.1, 3.0]
    return write(tmp_path / "x", read_squares(source, 8, range(6)), source.labels, manifest=record, weights=weights)


def head_for(backbone: Backbone, kind: str = "l2", *, protocol: str = "full", seed: int = 0) -> Head:
    random = np.random.default_rng(seed)
    columns = (random.normal(size=28), random.uniform(0.5, 2, size=28)) if kind == "std" else (None, None)
    probe = ConvergedProbe(
        Scaling(kind, *columns), LinearClassifier(random.normal(size=(3, 28)), random.normal(size=3))
    )
    return Head(backbone.name, backbone.fingerprint, probe, protocol, None if protocol == "full" else "teacher")


def photographs(count: int = 5, side: int = 8) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", ["l2", "std", "none"])
@pytest.mark.parametrize("side", [8, 13])
def test_logits_are_those_of_the_probe_on_the_backbones_features(made, backbone, kind, side):
    head = head_for(backbone, kind)
    built = classifier(add_heads(made, [head]), backbone, device="cpu")
    images = photographs(side=side)
    expected = head.probe.logits(backbone(images).double().numpy())
    logits = built(images)
    assert logits.dtype == torch.float32 and built.image_size == 8
    np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["probe-v1", "probe-v1/std"])
def test_without_a_head_it_is_the_probe_of_that_protocol(made, backbone, name):
    built = classifier(made, backbone, protocol=name, device="cpu")
    wanted = protocol(name)
    policy = ViewPolicy(8, 8, scale=(0.5, 1.0), flip=True)
    features = extract(made.source, backbone, RandomViews(policy, 20, 0, Stream.PROBE, centre_first=True)).values
    labels = torch.from_numpy(made.labels)
    oracle = converged_probe(
        features, labels, 3, transform=wanted.transform, penalty=wanted.penalty, weights=made.weights
    )
    expected = oracle.logits(backbone(photographs()).numpy())
    np.testing.assert_allclose(built(photographs()).numpy(), expected, rtol=0, atol=2e-5)
    assert built.protocol == name and built.classes == CLASSES and built.titles == ("Ant", "Bee", "Cow")


@pytest.mark.parametrize(
    ("recorded", "grey", "flip"), [(False, False, False), (True, True, False), (True, False, True)]
)
def test_what_must_not_be_mirrored_is_not(tmp_path, backbone, monkeypatch, recorded, grey, flip):
    source, policies = coloured(1, seed=50, grey=grey), []
    record = manifest(CLASSES, image_side=8, settings={"flip": recorded})
    one = write(tmp_path / "x", read_squares(source, 8, range(3)), source.labels, manifest=record)
    monkeypatch.setattr(
        module, "probe_policy", lambda *given, **named: policies.append(named) or probe_policy(*given, **named)
    )
    classifier(one, backbone, device="cpu")
    assert [policy["flip"] for policy in policies] == [flip]


def test_a_head_of_all_images_is_taken_before_an_inherited_one(made, backbone):
    heads = [head_for(backbone, protocol="inherit-ridge-v1", seed=1), head_for(backbone)]
    grown = add_heads(made, heads)
    for name in ("full", "inherit-ridge-v1"):
        assert classifier(grown, backbone, protocol=name, device="cpu").protocol == name
    assert classifier(grown, backbone, device="cpu").protocol == "full"
    assert classifier(grown, backbone, protocol="probe-v1", device="cpu").protocol == "probe-v1"
    assert classifier(add_heads(made, heads[:1]), backbone, device="cpu").protocol == "inherit-ridge-v1"


def test_a_head_for_other_weights_is_passed_over_with_a_note(made, backbone):
    grown, notes = add_heads(made, [head_for(small_backbone(1))]), Notes()
    assert classifier(grown, backbone, device="cpu", progress=notes).protocol == "probe-v1"
    assert len(notes.told) == 1 and "full on small-1" in notes.told[0] and "small-0" in notes.told[0]


@pytest.mark.parametrize("name", ["full", "lgm-probe", "nonsense"])
def test_a_head_that_is_not_there_is_refused_by_name(made, backbone, name):
    grown = add_heads(made, [head_for(small_backbone(1))])
    with pytest.raises(EvaluationError, match=f"no head '{name}' for small-0") as refused:
        classifier(grown, backbone, protocol=name, device="cpu")
    assert ("full on small-1" in str(refused.value)) is (name == "full")


def test_imagenets_mean_and_std_show_in_the_protocol(made, backbone):
    other = replace(backbone, normalise="imagenet")
    assert classifier(made, other, device="cpu").protocol == "probe-v1/imagenet"


def test_it_is_frozen_and_leaves_the_backbone_alone(made, backbone):
    built = classifier(made, backbone, device="cpu")
    assert not built.training and not any(parameter.requires_grad for parameter in built.parameters())
    assert sum(p.numel() for p in built.network.parameters()) == sum(p.numel() for p in backbone.module.parameters())
    before = backbone(photographs())
    built.double()
    torch.testing.assert_close(backbone(photographs()), before)


def test_a_copy_answers_the_same(made, backbone):
    built = classifier(made, backbone, device="cpu")
    twin = copy.deepcopy(built)
    for parameter in built.parameters():
        parameter.zero_()
    assert not built(photographs()).any() and twin(photographs()).any()


def test_images_can_have_gradients_through_it(made, backbone):
    images = photographs().requires_grad_()
    classifier(made, backbone, device="cpu")(images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
