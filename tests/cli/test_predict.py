"""`attar predict` and `attar export`: what they print, what they write, and their exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from attar.distilled import write
from attar.features import read_squares
from small import CLASSES, coloured, manifest, write_folder

SMALL = ["--backbone", "py:small:network", "--device", "cpu"]


@pytest.fixture
def made(tmp_path) -> Path:
    source = coloured(2, seed=50)
    record = manifest(CLASSES, titles=("Ant", "Bee", "Cow"), image_side=8, settings={"flip": True})
    return write(tmp_path / "x.attar", read_squares(source, 8, range(6)), source.labels, manifest=record).path


@pytest.fixture
def photos(tmp_path) -> Path:
    write_folder(coloured(3, seed=1), tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def _same_weights_each_time(monkeypatch):
    """py:small:network draws its weights anew each time."""
    import small

    fresh = small.network

    def network():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return fresh()

    monkeypatch.setattr(small, "network", network)


def test_csv_goes_to_stdout_and_the_count_to_stderr(attar, made, photos):
    code, out, err = attar("predict", made, photos / "ant", photos / "cow" / "0002.png", *SMALL)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [row["file"] for row in rows] == [
        *(str(photos / "ant" / f"000{number}.png") for number in (0, 3, 6)), str(photos / "cow" / "0002.png"),
    ]  # fmt: skip
    assert all(row["title"] == row["class"].title() and 1 / 3 <= float(row["probability"]) <= 1 for row in rows)
    assert "4 classified; probe-v1 on py:small:network, " in err and "photos a second" in err


def test_both_kinds_of_file_say_the_same(attar, made, photos, tmp_path):
    for name in ("p.csv", "p.jsonl"):
        code, out, err = attar("predict", made, photos, *SMALL, "--out", tmp_path / name)
        assert code == 0 and out == "" and f"9 classified in {tmp_path / name};" in err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [(row["file"], row["class"], float(row["probability"])) for row in rows] == [
        (line["file"], line["class"], line["probability"]) for line in lines
    ]


def test_unknown_and_unreadable_photos_are_counted(attar, made, photos, tmp_path):
    (photos / "bee" / "0001.png").write_bytes(b"")
    command = ["predict", made, photos, *SMALL, "--out", tmp_path / "p.csv", "--unknown", "1"]
    code, _, err = attar(*command)
    assert code == 2 and "0001.png" in err and not (tmp_path / "p.csv").exists()
    code, _, err = attar(*command, "--skip-corrupt")
    assert code == 0 and "8 unknown" in err and "1 unreadable" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "p.txt"], "ends in neither .csv nor .jsonl"),
        (["--unknown", "2"], "is no probability"),
        (["--backbone", "py:small:network"], "2 backbones are given"),
        (["--protocol", "full"], "has no head 'full'"),
    ],
)
def test_what_can_not_be_is_one_sentence(attar, made, photos, arguments, sentence):
    code, out, err = attar("predict", made, photos, *SMALL, *arguments)
    assert code == 2 and out == "" and sentence in err


def test_a_set_or_photos_that_are_not_there_are_told(attar, made, photos, tmp_path):
    assert "is not a distilled set" in attar("predict", tmp_path, photos, *SMALL)[2]
    code, _, err = attar("predict", made, tmp_path / "fotos", *SMALL)
    assert code == 2 and "no photo or folder" in err


@pytest.mark.filterwarnings("default")  # torch's own
def test_an_exported_classifier_predicts_the_same(attar, made, photos, tmp_path):
    code, out, err = attar("export", made, tmp_path / "model.pt2", *SMALL[:2])
    assert code == 0 and out == "" and "3 classes, probe-v1 on py:small:network" in err
    rows = list(csv.DictReader(io.StringIO(attar("predict", made, photos, *SMALL)[1])))
    program = torch.export.load(io.BytesIO((tmp_path / "model.pt2").read_bytes())).module()
    import attar as package

    squares = torch.from_numpy(read_squares(package.open(photos), 8, range(9))).float() / 255
    probabilities = program(squares).softmax(1).detach().numpy()
    assert [row["class"] for row in rows] == [CLASSES[label] for label in probabilities.argmax(1)]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], probabilities.max(1), atol=1e-5)


def test_an_export_to_another_ending_is_refused_before_the_work(attar, made):
    code, _, err = attar("export", made, "model.pth", *SMALL[:2])
    assert code == 2 and "ends in neither .onnx nor .pt2" in err
