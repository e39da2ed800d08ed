"""`attar audit`: what it prints and writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attar.distilled import write
from attar.images import ArraySource
from small import CLASSES, coloured, manifest, write_folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Training and test images of noise in one folder a class."""
    for name, seed in (("train", 0), ("val", 1)):
        write_folder(coloured(9, seed=seed), tmp_path / name)
    return tmp_path / "train", tmp_path / "val"


def made(path: Path, images: np.ndarray, sources=None) -> Path:
    record = manifest(CLASSES, image_side=images.shape[-1])
    write(path, images, np.arange(len(images)) % 3, manifest=record, sources=sources)
    return path


def squares(source: ArraySource, count: int) -> np.ndarray:
    return np.stack([image[:, :9, 1:10] for _, image in source.read(range(count))])


def test_copies_are_told_loudly_and_are_no_error(attar, tmp_path, folders):
    train, val = folders
    path = made(tmp_path / "copied", squares(coloured(9), 3), sources=["x.png", "", ""])
    code, shown, err = attar("audit", path, "--train", train, "--test", val, "--backbone", "py:small:network")
    assert code == 0
    assert "COPIES FOUND: 3 of 3" in shown and "COPY by pixels and hash" in shown
    assert "Contains training images: yes, 1 by its own record." in shown
    assert "No test image repeats a training image." in shown and "Membership by py:small:network: AUC" in shown
    assert "(impartial)" in shown and "not a privacy guarantee" in shown
    assert str(tmp_path / "copied.audit" / "sheet.png") in err
    document = json.loads((tmp_path / "copied.audit" / "audit.json").read_text())
    assert document["copies"] == [0, 1, 2]
    with Image.open(tmp_path / "copied.audit" / "sheet.png") as sheet:
        assert sheet.width > 320


def test_a_clean_set_passes_and_leaks_of_the_test_set_are_told(attar, tmp_path, folders):
    train, val = folders
    write_folder(coloured(1), val)  # the first image of each class of the training images, over the first ones there
    path = made(tmp_path / "clean", squares(coloured(9, seed=5), 3))
    code, shown, _ = attar("audit", path, "--train", train, "--test", val)
    assert code == 0 and "No copies found among 3 distilled images." in shown
    assert "LEAK: 3 test images repeat training images, such as ant/0000.png = ant/0000.png." in shown


def test_json_is_one_document_and_goes_where_it_is_told(attar, tmp_path, folders):
    path = made(tmp_path / "set", squares(coloured(9), 3))
    code, shown, _ = attar("audit", path, "--train", folders[0], "--json", "--out", tmp_path / "elsewhere")
    assert code == 0
    assert json.loads(shown) == json.loads((tmp_path / "elsewhere" / "audit.json").read_text())
    assert json.loads(shown)["test_images_in_train"] is None


def test_training_images_are_asked_for_where_nobody_knows_them(attar, tmp_path):
    path = made(tmp_path / "set", squares(coloured(9), 3))
    code, shown, err = attar("audit", path)
    assert code == 2 and shown == "" and "give them with --train" in err.lower()
