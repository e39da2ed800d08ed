"""A cache that can't be used costs time, never a run."""

from __future__ import annotations

import errno
import os

import pytest
import torch

import attar.features.cache
from attar.errors import FileError
from attar.features.cache import claimed, read_cached, write_cached
from attar.files import cache_folder

VALUES = torch.arange(15.0).reshape(5, 1, 3)


def test_what_was_written_comes_back_and_other_shapes_count_as_absent():
    assert read_cached("job", "k", (5, 1, 3)) is None
    write_cached("job", "k", VALUES)
    assert torch.equal(read_cached("job", "k", (5, 1, 3)), VALUES) and read_cached("job", "k", (5, 3, 1)) is None


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), FileError("x is damaged")])
def test_a_shard_that_can_not_be_read_counts_as_absent(monkeypatch, error):
    def refuse(path):
        raise error

    write_cached("job", "k", VALUES)
    monkeypatch.setattr(attar.features.cache, "read_tensors", refuse)
    assert read_cached("job", "k", (5, 1, 3)) is None


def test_a_folder_in_place_of_the_file_counts_as_absent():
    write_cached("job", "k", VALUES)
    (shard,) = cache_folder().rglob("*.safetensors")
    shard.unlink()
    shard.mkdir()
    assert read_cached("job", "k", (5, 1, 3)) is None and not write_cached("job", "k", VALUES)
    assert list(shard.parent.iterdir()) == [shard]


def test_a_file_in_place_of_the_folder_is_passed_over():
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "features").write_text("mine")
    assert not write_cached("job", "k", VALUES)
    assert read_cached("job", "k", (5, 1, 3)) is None and (cache_folder() / "features").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_is_passed_over_and_nothing_is_left(monkeypatch, number: int):
    def fail(descriptor, data):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        assert not write_cached("job", "k", VALUES)
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]
    assert write_cached("job", "k", VALUES)


def test_a_claim_is_held_by_one_and_free_afterwards():
    with claimed("work", wait=False) as mine, claimed("work", wait=False) as also:
        assert mine and not also
    with claimed("work", wait=True) as mine:
        assert mine


def test_where_no_lock_can_be_had_everybody_may_work():
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "locks").write_text("mine")
    with claimed("work", wait=False) as mine, claimed("work", wait=True) as also:
        assert mine and also
    with pytest.raises(ZeroDivisionError), claimed("work", wait=True):
        raise ZeroDivisionError
