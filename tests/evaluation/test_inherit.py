"""Heads are put into a distilled set, and the classifier takes them from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attar
from attar.distilled import Head, Origin, add_heads, write
from attar.errors import ArtefactError, EvaluationError
from attar.features import read_squares
from attar.linear import ConvergedProbe, LinearClassifier, Scaling
from small import CLASSES, coloured, manifest, small_backbone

TRAIN, TEST = coloured(20), coloured(30, seed=1)


@pytest.fixture
def teacher():
    return small_backbone(0)


@pytest.fixture
def made(tmp_path, teacher):
    source = coloured(2, seed=50)
    origin = [Origin(name=teacher.name, fingerprint=teacher.fingerprint)]
    record = manifest(CLASSES, image_side=8, settings={}, backbones=origin)
    return write(tmp_path / "x", read_squares(source, 8, range(6)), source.labels, manifest=record)


def accuracy(distilled, backbone) -> float:
    classifier = attar.classifier(distilled, backbone, device="cpu")
    images = torch.from_numpy(read_squares(TEST, backbone.image_size, range(len(TEST)))) / 255
    return 100 * float((classifier(images).argmax(1).numpy() == TEST.labels).mean())


def test_the_own_backbone_gets_the_classifier_of_all_images_and_others_inherit_it(made, teacher):
    student = small_backbone(1)
    with_heads = attar.inherit(made, train=TRAIN, backbones=[student, teacher], device="cpu")
    known = {head.backbone: (head.protocol, head.teacher) for head in with_heads.heads}
    assert known == {"small-0": ("full", None), "small-1": ("inherit-ridge-v1", "small-0")}
    assert attar.classifier(with_heads, student, device="cpu").protocol == "inherit-ridge-v1"
    row = attar.evaluate([made], test=TEST, train=TRAIN, backbone=teacher, device="cpu").row("full", "probe-v1")
    assert accuracy(with_heads, teacher) == pytest.approx(row.accuracy, abs=4)  # another crop of the same images
    assert accuracy(with_heads, student) > 60
    assert with_heads.parts["heads"] > 2 * 4 * 3 * 29 and with_heads.parts["images"] == made.parts["images"]


def test_inheriting_again_replaces_the_head(made, teacher):
    for _ in range(2):
        made = attar.inherit(made, train=TRAIN, backbones=[teacher], device="cpu")
    assert len(made.heads) == 1
    assert attar.load(made.path).heads[0].accuracy == made.heads[0].accuracy is not None


def test_nothing_is_inherited_from_a_backbone_that_did_not_distil(made):
    with pytest.raises(EvaluationError, match="was distilled on small-0, which is not among"):
        attar.inherit(made, train=TRAIN, backbones=[small_backbone(2)], device="cpu")


def test_other_classes_are_refused(made, teacher):
    with pytest.raises(EvaluationError, match="lacks cow"):
        attar.inherit(made, train=coloured(9, classes=("ant", "bee")), backbones=[teacher], device="cpu")


def test_probabilities_of_heads_fit_images_that_they_have_not_seen(made, teacher):
    """The mean largest probability is near the share of right answers."""
    made = attar.inherit(made, train=coloured(90), backbones=[teacher, small_backbone(1)], device="cpu")
    images = torch.from_numpy(read_squares(TEST, 8, range(len(TEST)))) / 255
    for backbone in (teacher, small_backbone(1)):
        sure, answers = attar.classifier(made, backbone, device="cpu")(images).softmax(1).max(1)
        assert float(sure.mean()) == pytest.approx(float((answers.numpy() == TEST.labels).mean()), abs=0.15)


def test_noise_is_no_certain_class(made, teacher):
    made = attar.inherit(made, train=coloured(90), backbones=[teacher], device="cpu")
    noise = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(attar.classifier(made, teacher, device="cpu")(noise).softmax(1).max(1).values.median()) < 0.95


def test_what_the_owner_put_into_the_set_stays_there(made, teacher):
    (made.path / ".git").mkdir()
    (made.path / ".git" / "HEAD").write_text("ref")
    (made.path / "NOTES.md").write_text("mine")
    for _ in range(2):
        made = attar.inherit(made, train=TRAIN, backbones=[teacher], device="cpu")
    assert (made.path / ".git" / "HEAD").read_text() == "ref" and (made.path / "NOTES.md").read_text() == "mine"
    made.verify()


def test_inheriting_again_mends_a_damaged_head(made, teacher):
    made = attar.inherit(made, train=TRAIN, backbones=[teacher], device="cpu")
    (head,) = (made.path / "heads").iterdir()
    head.write_bytes(head.read_bytes()[:-1])
    assert attar.classifier(attar.load(made.path), teacher, protocol="probe-v1", device="cpu").protocol == "probe-v1"
    with pytest.raises(ArtefactError, match=r"Can't read .*_full\.safetensors: it is damaged"):
        attar.classifier(attar.load(made.path), teacher, device="cpu")
    made = attar.inherit(attar.load(made.path), train=TRAIN, backbones=[teacher], device="cpu")
    assert attar.classifier(made, teacher, device="cpu").protocol == "full"


def test_a_head_of_another_width_is_refused(made, teacher):
    narrow = ConvergedProbe(Scaling("l2"), LinearClassifier(np.zeros((3, 5)), np.zeros(3)))
    made = add_heads(made, [Head(teacher.name, teacher.fingerprint, narrow, "full")])
    with pytest.raises(ArtefactError, match="of 5 features instead of 28"):
        attar.classifier(made, teacher, device="cpu")
