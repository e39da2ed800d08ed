"""Heads in a distilled set: what was added is read, the rest stays as it was, damage is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import attar.distilled.artefact as artefact
from attar.distilled import DistilledSet, Head, add_heads, load, write
from attar.errors import ArtefactError
from attar.linear import ConvergedProbe, LinearClassifier, Scaling
from attar.tensors import write_tensors
from small import CLASSES, manifest


def a_set(out: Path) -> DistilledSet:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 7, 7), dtype=np.uint8)
    hashes = [bytes([number]) * 32 for number in range(5)]
    return write(out, pixels, np.arange(3).repeat(2), manifest=manifest(CLASSES), train_hashes=hashes)


def a_head(backbone: str = "vit", *, kind: str = "l2", protocol: str = "full", seed: int = 0, classes: int = 3) -> Head:
    random = np.random.default_rng(seed)
    columns = (random.normal(size=11), random.normal(size=11)) if kind == "std" else (None, None)
    linear = LinearClassifier(random.normal(size=(classes, 11)), random.normal(size=classes))
    probe = ConvergedProbe(Scaling(kind, *columns), linear)
    return Head(backbone, backbone[0] * 64, probe, protocol, None if protocol == "full" else "teacher", 87.5)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["l2", "std", "none"])
def test_a_head_comes_back_in_float32(tmp_path, kind):
    head = a_head(kind=kind, protocol="inherit-ridge-v1")
    (back,) = add_heads(a_set(tmp_path / "x"), [head]).heads
    facts = ("backbone", "fingerprint", "protocol", "teacher", "accuracy")
    assert [getattr(back, name) for name in facts] == [getattr(head, name) for name in facts]
    features = np.random.default_rng(1).normal(size=(13, 11))
    np.testing.assert_allclose(back.probe.logits(features), head.probe.logits(features), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(back.probe.classifier.weights, head.probe.classifier.weights.astype(np.float32))


def test_what_a_head_does_not_know_stays_unknown(tmp_path):
    (back,) = add_heads(a_set(tmp_path / "x"), [replace(a_head(), teacher=None, accuracy=None)]).heads
    assert back.teacher is None and back.accuracy is None


def test_everything_else_in_the_set_stays_as_it_was_and_verifies(tmp_path):
    made = a_set(tmp_path / "x")
    before = contents(made.path)
    grown = add_heads(made, [a_head()])
    grown.verify()
    after = contents(grown.path)
    assert after.keys() - before.keys() == {"heads/vit_full.safetensors"}
    assert all(after[name] == data for name, data in before.items() if name != "attar.json")
    old, new = (json.loads(each["attar.json"]) for each in (before, after))
    differing = {name for name in new if new[name] != old[name]}
    assert differing == {"files", "checksum"}
    assert [each.name for each in tmp_path.iterdir()] == ["x"]
    assert grown.bytes == made.bytes and grown.train_hashes.tolist() == made.train_hashes.tolist()


def test_a_head_replaces_the_one_for_the_same_backbone_and_protocol_alone(tmp_path):
    grown = add_heads(a_set(tmp_path / "x"), [a_head(), a_head(protocol="inherit-ridge-v1"), a_head("mobile")])
    again = add_heads(grown, [replace(a_head(seed=1), accuracy=12.5)])
    found = {(head.backbone, head.protocol): head.accuracy for head in again.heads}
    assert found == {("vit", "full"): 12.5, ("vit", "inherit-ridge-v1"): 87.5, ("mobile", "full"): 87.5}
    again.verify()


def test_names_of_backbones_that_collide_or_are_paths_keep_their_heads_apart(tmp_path):
    names = ("timm:a/b", "timm:a:b", "../../out", "TIMM:A/B")
    heads = [replace(a_head(seed=number), backbone=name, fingerprint=name) for number, name in enumerate(names)]
    grown = add_heads(a_set(tmp_path / "x"), heads)
    assert {head.backbone for head in grown.heads} == set(names)
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_an_altered_set_gets_no_heads_and_no_new_seal(tmp_path):
    made = a_set(tmp_path / "x")
    (made.path / "README.md").write_text("altered")
    before = contents(made.path)
    with pytest.raises(ArtefactError, match=r"altered: README\.md"):
        add_heads(made, [a_head()])
    assert contents(made.path) == before


@pytest.mark.parametrize("step", ["write_bytes", "write_heads", "write_text", "replace_folder"])
def test_a_failure_at_any_step_leaves_the_set_as_it_was(tmp_path, monkeypatch, step):
    made = a_set(tmp_path / "x")
    before = contents(tmp_path)

    def fail(*given):
        raise OSError("stopped")

    monkeypatch.setattr(artefact, step, fail)
    with pytest.raises(OSError, match="stopped"):
        add_heads(made, [a_head()])
    assert contents(tmp_path) == before


def test_a_head_of_other_classes_is_refused_when_added(tmp_path):
    made = a_set(tmp_path / "x")
    with pytest.raises(ArtefactError, match="head for vit doesn't fit: weights of shape"):
        add_heads(made, [a_head(classes=2)])
    assert not (made.path / "heads").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": torch.ones(2, 11)}, "don't make 3 classes"),
        ({"weights": torch.full((3, 11), torch.nan)}, "aren't finite"),
        ({"bias": torch.ones(2)}, "don't make 3 classes"),
        ({"shift": torch.ones(10)}, "its shift isn't of 11 features"),
        ({"scale": None}, "lacks 'scale'"),
        ({"scaling": "log"}, "no scaling 'log'"),
        ({"backbone": None}, "lacks 'backbone'"),
        ({"accuracy": "many"}, "could not convert"),
    ],
)
def test_a_head_that_can_not_be_right_is_told(tmp_path, change, sentence):
    made = add_heads(a_set(tmp_path / "x"), [a_head(kind="std")])
    tensors = {"weights": torch.ones(3, 11), "bias": torch.ones(3), "shift": torch.ones(11), "scale": torch.ones(11)}
    facts = {"backbone": "vit", "fingerprint": "v", "protocol": "full", "scaling": "std"}
    for name, value in change.items():
        place = tensors if name in tensors else facts
        place.pop(name, None)
        if value is not None:
            place[name] = value
    write_tensors(made.path / "heads" / "vit_full.safetensors", tensors, facts)
    with pytest.raises(ArtefactError, match=sentence):
        _ = load(made.path).heads


def test_a_cut_head_is_told(tmp_path):
    made = add_heads(a_set(tmp_path / "x"), [a_head()])
    file = made.path / "heads" / "vit_full.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"Can't read .*vit_full\.safetensors: it is damaged"):
        _ = load(made.path).heads


def test_the_parts_are_every_byte_of_the_folder(tmp_path):
    made = add_heads(a_set(tmp_path / "x"), [a_head()])
    files = contents(made.path)
    assert list(made.parts) == ["images", "table", "heads", "provenance", "preview", "card", "configuration"]
    assert sum(made.parts.values()) == sum(map(len, files.values()))
    assert made.parts["images"] == sum(
        len(data) for name, data in files.items() if name.startswith("images/") and name.endswith(".png")
    )
    assert made.parts["images"] + made.parts["table"] == made.bytes
    assert made.parts["heads"] == len(files["heads/vit_full.safetensors"])
    assert made.parts["configuration"] == len(files["attar.json"])
    assert a_set(tmp_path / "y").parts["heads"] == 0
    assert made.raw_bytes == 6 * 3 * 7 * 7
