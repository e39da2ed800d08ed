"""Photos without labels get the classes that a test image with the same pixels gets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import attar
from attar.distilled import write
from attar.errors import ImageError, SettingsError
from attar.evaluation import predict as module
from attar.evaluation.classifier import Classifier
from attar.evaluation.predict import Prediction, as_lines, predict, write_lines
from attar.features import extract, read_squares
from attar.linear import ConvergedProbe, LinearClassifier, Scaling
from attar.synthesis.views import CentreView, ViewPolicy, canvas_side
from small import CLASSES, coloured, manifest, network, small_backbone, write_folder


@pytest.fixture
def built() -> Classifier:
    random = np.random.default_rng(0)
    linear = LinearClassifier(9 * random.normal(size=(3, 28)), random.normal(size=3))
    titles = ("Ant", "Bee", "Cow")
    return Classifier(
        small_backbone(), ConvergedProbe(Scaling("l2"), linear), classes=CLASSES, titles=titles, protocol="full"
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    write_folder(coloured(3, seed=1), tmp_path / "photos")
    return tmp_path / "photos"


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_every_photo_gets_its_class_and_probability_in_order(built, folder, monkeypatch, batch):
    monkeypatch.setattr(module, "_BATCH", batch)
    images = torch.stack([torch.from_numpy(image) for _, image in attar.open(folder).read(range(9), shorter_side=8)])
    logits = built(images[:, :, :, (images.shape[3] - 8) // 2 :][:, :, :, :8].float() / 255).double().numpy()
    found = list(predict(built, folder))
    assert [str(each.file.relative_to(folder)) for each in found] == [attar.open(folder).name(i) for i in range(9)]
    assert [each.label for each in found] == [CLASSES[label] for label in logits.argmax(1)]
    assert [each.title for each in found] == [CLASSES[label].title() for label in logits.argmax(1)]
    np.testing.assert_allclose([each.probability for each in found], softmax(logits).max(1), atol=1e-6)
    assert len({each.label for each in found}) > 1


def test_photos_are_cut_as_test_images_are(tmp_path, monkeypatch):
    """Sides over 64 pixels are resized to a larger canvas, of which the centre is cut out; some lie on their side."""
    module_of_70 = network()
    module_of_70.image_size = 70
    backbone = attar.backbone(module_of_70, image_size=70)
    random = np.random.default_rng(0)
    for number, orientation in enumerate((1, 6, 8, 3)):
        pixels = random.integers(0, 256, (97 + number, 131, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = tmp_path / "photos" / ("ant", "bee")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((393, 291)).save(file, exif=exif)
    source = attar.open(tmp_path / "photos")
    policy = ViewPolicy(canvas_side(70), 70)
    features = extract(source, backbone, CentreView(policy)).values[:, 0].numpy()
    linear = LinearClassifier(99 * random.normal(size=(3, 28)), np.zeros(3))
    probe = ConvergedProbe(Scaling("l2"), linear)
    built = Classifier(backbone, probe, classes=CLASSES, titles=CLASSES, protocol="full")
    found = list(predict(built, tmp_path / "photos"))
    assert [each.label for each in found] == [CLASSES[label] for label in probe.predict(features)]
    expected = softmax(probe.logits(features)).max(1)
    np.testing.assert_allclose([each.probability for each in found], expected, atol=1e-4)


def test_below_the_threshold_the_class_is_unknown_and_the_probability_stays(built, folder):
    plain = list(predict(built, folder))
    threshold = float(np.median([each.probability for each in plain]))
    cautious = list(predict(built, folder, unknown=threshold))
    assert {each.label for each in cautious} > {"unknown"}
    for before, after in zip(plain, cautious, strict=True):
        assert after.probability == before.probability
        assert after.label == after.title == "unknown" if before.probability < threshold else after == before


def test_a_threshold_that_is_no_probability_is_refused(built, folder):
    for unknown in (-0.1, 1.5, float("nan")):
        with pytest.raises(SettingsError, match="is no probability"):
            predict(built, folder, unknown=unknown)


def damage(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:40])


def test_all_photos_that_can_not_be_read_are_listed_with_the_reason(built, folder, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    damage(folder, "ant/0003.png")
    with pytest.raises(ImageError, match=r"Can't read .*ant/0003.png: "):
        list(predict(built, folder))
    damage(folder, "cow/0008.png")
    with pytest.raises(ImageError) as refused:
        list(predict(built, folder))
    assert "2 of 9 photos can't be read" in str(refused.value) and "--skip-corrupt" in str(refused.value)
    assert "ant/0003.png" in str(refused.value) and "cow/0008.png" in str(refused.value)


def test_photos_that_can_not_be_read_can_be_passed_over(built, folder, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    plain = list(predict(built, folder))
    damage(folder, "ant/0000.png", "ant/0003.png", "cow/0008.png")  # a whole batch, and part of one
    kept = list(predict(built, folder, skip_corrupt=True))
    wrong = [each for each in kept if each.error is not None]
    assert [each.file.name for each in wrong] == ["0000.png", "0003.png", "0008.png"]
    assert all(each.label is each.probability is None for each in wrong)
    assert [each for each in kept if each.error is None] == [
        each for each in plain if each.file.name not in ("0000.png", "0003.png", "0008.png")
    ]


PREDICTIONS = [
    Prediction(Path("a,b.png"), "cow", '=cmd("x")', 0.1234567),
    Prediction(Path("@x.png"), "unknown", "unknown", 0.2),
    Prediction(Path("bad.png"), error="can't read bad.png: it is empty"),
    Prediction(Path("\udcff.png"), "ünï", "-1", 1.0),
]


def test_csv_reads_back_and_runs_nothing_in_a_spreadsheet():
    rows = list(csv.DictReader(io.StringIO("\n".join(as_lines(PREDICTIONS)))))
    assert rows[0] == {
        "file": "a,b.png",
        "class": "cow",
        "title": '\'=cmd("x")',
        "probability": "0.123457",
        "error": "",
    }
    assert rows[1]["file"] == "'@x.png" and rows[1]["class"] == "unknown"
    assert rows[2] == {"file": "bad.png", "class": "", "title": "", "probability": "", "error": PREDICTIONS[2].error}
    assert rows[3]["file"] == "\\udcff.png" and rows[3]["class"] == "ünï" and rows[3]["title"] == "'-1"
    assert list(as_lines([])) == ["file,class,title,probability,error"]


def test_json_lines_read_back():
    rows = [json.loads(line) for line in as_lines(PREDICTIONS, ".jsonl")]
    assert rows[0] == {"file": "a,b.png", "class": "cow", "title": '=cmd("x")', "probability": 0.123457}
    assert rows[2] == {"file": "bad.png", "error": PREDICTIONS[2].error}


def test_a_file_appears_once_it_is_complete_and_an_older_one_stays_until_then(tmp_path):
    out = tmp_path / "new" / "p.csv"
    write_lines(out, ["one", "two"])
    assert out.read_text() == "one\ntwo\n"

    def breaks():
        yield "three"
        assert out.read_text() == "one\ntwo\n"
        (partial,) = (file for file in out.parent.iterdir() if file != out)
        assert partial.read_text() == "three\n"  # it streams
        raise ImageError("stopped")

    with pytest.raises(ImageError):
        write_lines(out, breaks())
    assert [file.name for file in out.parent.iterdir()] == ["p.csv"] and out.read_text() == "one\ntwo\n"


def test_the_accuracy_on_a_test_folder_is_that_of_the_probe(tmp_path):
    source, backbone = coloured(2, seed=50), small_backbone()
    record = manifest(CLASSES, image_side=8, settings={"flip": True})
    made = write(tmp_path / "x", read_squares(source, 8, range(6)), source.labels, manifest=record)
    test = coloured(23, seed=1)
    write_folder(test, tmp_path / "test")
    found = list(predict(attar.classifier(made, backbone, device="cpu"), tmp_path / "test"))
    correct = np.mean([each.label == each.file.parent.name for each in found])
    # `evaluate` averages over three seeds of the views, of which the classifier is the first.
    done = attar.evaluate(
        [made], test=attar.open(tmp_path / "test"), train=None, backbone=backbone, protocols=["probe-v1"], device="cpu"
    )
    shares = np.asarray(done.rows[0].correct).reshape(-1, len(found))[0]
    mine = np.array([each.label == each.file.parent.name for each in found])
    assert 0.5 < correct < 1 and (mine[shares == 1]).all() and not mine[shares == 0].any()
