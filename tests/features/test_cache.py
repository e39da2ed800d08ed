"""A cache that can't be used costs time, never a run."""

from __future__ import annotations

import errno

import pytest
import torch
from safetensors import SafetensorError

import attar.features.cache
from attar.features.cache import read_cached, write_cached
from attar.files import cache_folder

VALUES = torch.arange(15.0).reshape(5, 1, 3)


def test_what_was_written_comes_back_and_other_shapes_count_as_absent():
    assert read_cached("k", (5, 1, 3)) is None
    write_cached("k", VALUES)
    assert torch.equal(read_cached("k", (5, 1, 3)), VALUES) and read_cached("k", (5, 3, 1)) is None


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "I/O error")])
def test_a_cache_that_can_not_be_opened_counts_as_absent(monkeypatch, error):
    def refuse(path):
        raise error

    write_cached("k", VALUES)
    monkeypatch.setattr(attar.features.cache, "load_file", refuse)
    assert read_cached("k", (5, 1, 3)) is None


def test_a_folder_in_place_of_the_file_counts_as_absent():
    (cache_folder() / "features" / "k.safetensors").mkdir(parents=True)
    assert read_cached("k", (5, 1, 3)) is None


def test_a_file_in_place_of_the_folder_is_passed_over():
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "features").write_text("mine")
    write_cached("k", VALUES)
    assert read_cached("k", (5, 1, 3)) is None and (cache_folder() / "features").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("os error 28")])
def test_a_full_disk_is_passed_over_and_nothing_is_left(monkeypatch, error):
    def fill(tensors, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(attar.features.cache, "save_file", fill)
    write_cached("k", VALUES)
    assert list((cache_folder() / "features").iterdir()) == []
