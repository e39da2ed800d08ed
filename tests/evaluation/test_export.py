"""Exported classifiers give the same logits in other runtimes, and say what they are."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from attar.errors import SettingsError
from attar.evaluation import export as module
from attar.evaluation.classifier import Classifier
from attar.evaluation.export import check_format, export
from attar.linear import ConvergedProbe, LinearClassifier, Scaling
from small import CLASSES, small_backbone

FACTS = {
    "classes": list(CLASSES),
    "titles": ["Ant", "Bee", "Kühe"],
    "image_size": 8,
    "canvas": 8,
    "protocol": "full",
    "backbone": "small-0",
}


@pytest.fixture(scope="module")
def built() -> Classifier:
    random = np.random.default_rng(0)
    scaling = Scaling("std", random.normal(size=28), random.uniform(1, 2, size=28))
    probe = ConvergedProbe(scaling, LinearClassifier(random.normal(size=(3, 28)), random.normal(size=3)))
    return Classifier(small_backbone(), probe, classes=CLASSES, titles=("Ant", "Bee", "Kühe"), protocol="full")


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))


@pytest.mark.filterwarnings("default")  # torch's own
def test_onnx_gives_the_same_logits_for_any_number_of_images(built, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = export(built, tmp_path / "new" / "model.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        (logits,) = session.run(["logits"], {"images": images(count).numpy()})
        np.testing.assert_allclose(logits, built(images(count)).numpy(), atol=1e-5)
    known = session.get_modelmeta().custom_metadata_map
    told = {name: known[name] if isinstance(fact, str) else json.loads(known[name]) for name, fact in FACTS.items()}
    assert told == FACTS and known["fingerprint"] == built.backbone.fingerprint


@pytest.mark.filterwarnings("default")
def test_pt2_gives_the_same_logits_for_any_number_of_images(built, tmp_path):
    path = export(built, tmp_path / "model.pt2")
    inside = {"attar.json": ""}
    program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=inside).module()
    for count in (1, 2, 7):
        torch.testing.assert_close(program(images(count)), built(images(count)))
    told = json.loads(inside["attar.json"])
    assert told == FACTS | {"fingerprint": built.backbone.fingerprint}


def test_other_endings_are_refused(built, tmp_path):
    for name in ("model.pt", "model", "model.onnx.zip"):
        with pytest.raises(SettingsError, match=r"ends in neither \.onnx nor \.pt2"):
            export(built, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_the_packages_the_command_that_installs_them_is_named(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(SettingsError, match=r"pip install 'attar\[onnx\]'"):
        check_format(Path("model.onnx"))
    check_format(Path("model.pt2"))


def test_what_does_not_fit_an_onnx_file_is_refused_before_the_work(built, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ONNX_LIMIT", 100)
    with pytest.raises(SettingsError, match="at most 2 GB"):
        export(built, tmp_path / "model.onnx")
