"""Hostile files: few of each kind (benchmarks/fuzz.py draws many more), and those that once did harm."""

from __future__ import annotations

import json
import mmap
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import attar
from attar.backbones.weights import read_weights
from attar.distilled import load, write
from attar.errors import ArtefactError, BackboneError, ImageError
from attar.images.titles import find_titles, read_titles
from faults import hostile
from faults.hostile import KINDS, NAMES, bounded_memory, survive
from small import CLASSES, manifest


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_files_are_read_or_refused(kind):
    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def holds(random: Random):
        survive(KINDS[kind], random)

    with bounded_memory():
        holds()


# Arrays


def save_npz(path, **members: bytes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }\n",  # MemoryError
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999999,), }\n",  # OverflowError
        "{'descr': '|u1', 'fortran_order': False, 'shape': [2], }\n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': " + "(" * 200 + "\n",  # TokenError
        "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,), }\n",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n",
    ],
)
def test_arrays_whose_headers_lie_are_refused(tmp_path, header: str):
    path = save_npz(tmp_path / "lie.npz", images=npy(header), labels=npy(header))
    with bounded_memory(), pytest.raises(ImageError, match=r"[Cc]an't read .*lie.npz"):
        attar.open(path)


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("attar.images.arrays._BOMB_BYTES", 2**20)
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (10, 1000, 1000), }\n"
    path = save_npz(tmp_path / "bomb.npz", images=npy(header, bytes(10_000_000)), labels=b"")
    with pytest.raises(ImageError, match=r"'images.npy' in .* has 9,\d+ bytes that unpack to 10,000,080: a zip bomb"):
        attar.open(path)


def test_arrays_that_compress_well_are_no_bombs(tmp_path):
    images, labels = np.zeros((1000, 28, 28), np.uint8), np.arange(1000) % 2
    np.savez_compressed(tmp_path / "blank.npz", images=images, labels=labels)
    assert len(attar.open(tmp_path / "blank.npz")) == 1000


# Weights


class Touch:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_the_bomb_of_these_tests_goes_off(tmp_path):
    pickle.loads(pickle.dumps(Touch(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_pickle_runs(tmp_path, protocol: int):
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": Touch(tmp_path / "ran")}, protocol))
    with pytest.raises(BackboneError, match=r"can't read|would execute code|Can't read"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_weights_that_hold_themselves_end(tmp_path):
    content: dict[str, object] = {"weight": torch.ones(3)}
    content["model"] = content
    torch.save(content, tmp_path / "w.pt")
    assert set(read_weights(tmp_path / "w.pt")) == {"weight"}


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2, 3).to_sparse(), torch.ones(2, 3, device="meta"), torch.ones(2, 3, dtype=torch.complex64)],
    ids=["sparse", "without content", "complex"],
)
def test_tensors_that_are_no_plain_arrays_are_refused(tmp_path, tensor):
    torch.save({"weight": tensor}, tmp_path / "w.pt")
    with pytest.raises(BackboneError, match="aren't plain arrays of real numbers, in weight"):
        read_weights(tmp_path / "w.pt")


def test_pickles_of_another_protocol_are_read_without_a_warning(tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "w.pt", pickle_protocol=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(read_weights(tmp_path / "w.pt")) == {"weight", "bias"}


# Distilled sets


@pytest.fixture
def made(tmp_path):
    images = np.zeros((6, 3, 7, 7), np.uint8)
    return write(tmp_path / "x", images, np.arange(3).repeat(2), manifest=manifest(), train_hashes=[bytes(32)])


def change(made, **values):
    file = made.path / "attar.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | values))


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "images/loop/x"], ids=["long", "NUL", "loop"])
def test_names_that_no_file_can_have_are_refused(made, name: str):
    (made.path / "images" / "loop").symlink_to("loop")
    change(made, files=made.manifest.files | {name: "0" * 64})
    with pytest.raises(ArtefactError, match="names an impossible file"):
        load(made.path)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("-1,ant,1.0,", "there is no class -1"),
        ("3,ant,1.0,", "there is no class 3"),
        ("0,ant,nan,", "nan is no weight"),
        ("0,ant,-2.0,", "-2.0 is no weight"),
        ("0,ant,1.0", "a line of it is cut"),
    ],
)
def test_cells_without_a_meaning_are_refused(made, cells: str, told: str):
    table = made.path / "images" / "metadata.csv"
    table.write_text(table.read_text().replace("0,ant,1.0,", cells, 1))
    with pytest.raises(ArtefactError, match=rf"Can't read \S+metadata.csv: {told}\."):
        _ = load(made.path).labels


def test_a_set_without_images_is_refused(made):
    change(made, files={})
    (made.path / "images" / "metadata.csv").write_text("file_name,label,title,weight,source\n")
    with pytest.raises(ArtefactError, match="lists 0 of 0 images"):
        _ = load(made.path).images


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, struct.pack("<Q", 2) + b"{}"])
def test_hashes_that_can_not_be_read_are_told(made, content: bytes):
    (made.path / "provenance" / "train.safetensors").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"Can't read \S+train.safetensors: "):
        _ = load(made.path).train_hashes


def test_a_title_too_few_is_refused(made):
    change(made, titles=["Ant", "Bee"])
    with pytest.raises(ArtefactError, match="2 titles for 3 classes"):
        load(made.path)


@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable() and name])
def test_a_hostile_name_stays_inside(tmp_path, name: str):
    out = tmp_path / "a" / "b" / "x"
    images = np.zeros((3, 3, 7, 7), np.uint8)
    made = write(out, images, np.arange(3), manifest=manifest((name, *CLASSES[:2]), titles=(name, *CLASSES[:2])))
    made.verify()
    assert made.classes[0] == made.titles[0] == name and len(made.images) == 3
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {p for p in out.rglob("*") if p.is_file()}


# Titles


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_titles_nested_beyond_reason_are_refused(tmp_path, opening: str):
    (tmp_path / "classes.json").write_text(opening * 100_000)
    with pytest.raises(ImageError, match="isn't valid JSON"):
        read_titles(tmp_path / "classes.json", CLASSES)
    assert find_titles(tmp_path, CLASSES) == CLASSES


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of its memory")
def test_the_memory_is_watched(monkeypatch):
    monkeypatch.setattr(hostile, "MEMORY", 2**24)
    # Pages of its own: what earlier tests have freed may still be the process', and would be given out again.
    with pytest.raises(AssertionError, match="memory grew by"), bounded_memory(), mmap.mmap(-1, 2**26) as block:
        for _ in range(2**6):
            block.write(b"x" * 2**20)
