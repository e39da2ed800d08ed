"""Many processes on one cache: the work is shared, nothing is torn, nobody waits for ever."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import attar
from attar.features import cache, extract
from attar.files import cache_folder
from attar.images.source import ImageSource
from attar.synthesis.views import CentreView, ViewPolicy
from attar.tensors import read_tensors
from faults import phases
from faults.children import Child
from small import coloured, small_backbone, write_folder

_PROCESSES = 12
_IMAGES = 36


def together(go: Path, *functions: Callable[[], object]) -> list[object]:
    """What the functions return, each in a child of its own, all begun at once."""

    def begin(function: Callable[[], object]) -> object:
        while not go.exists():
            time.sleep(0.002)
        return function()

    children = [Child(lambda function=function: begin(function)) for function in functions]
    go.touch()
    return [child.wait().value for child in children]


@pytest.fixture(params=["arrays", "folder"])
def source(request, tmp_path) -> Callable[[], ImageSource]:
    """Opens 36 images: arrays whose hashes are asked for first, as `distill` does, or files that nobody has read."""
    arrays = coloured(_IMAGES // 3)
    if request.param == "arrays":
        assert arrays.fingerprint
        return lambda: arrays
    write_folder(arrays, tmp_path / "images")
    return lambda: attar.open(tmp_path / "images")


def features(source: Callable[[], ImageSource], pause: float = 0.0) -> tuple[str, int]:
    """(digest of the features of all images, number of images that this process put through the backbone)."""
    phases.SHARDS._SHARD_IMAGES = 4
    backbone, seen = small_backbone(), []

    def count(module, inputs, output) -> None:
        seen.append(len(output))
        time.sleep(pause)

    backbone.module.register_forward_hook(count)
    cut = CentreView(ViewPolicy(canvas=8, crop=8))
    found = extract(source(), backbone, cut, batch=4)
    return hashlib.sha256(found.values.numpy().tobytes()).hexdigest(), sum(seen)


def test_twelve_processes_share_the_work_and_get_the_same_features(tmp_path, source):
    found = together(tmp_path / "go", *[lambda: features(source, 0.01)] * _PROCESSES)
    alone, images = Child(lambda: features(source)).wait().value
    assert {digest for digest, _ in found} == {alone} and images == 0  # all was cached
    assert sum(images for _, images in found) == _IMAGES  # and nothing computed twice
    shards = list(cache_folder().rglob("*.safetensors"))
    assert len(shards) == _IMAGES // 4 and all(read_tensors(shard) for shard in shards)
    assert not list(cache_folder().rglob("*.tmp"))


def test_a_process_killed_at_work_holds_nobody_up(tmp_path, source):
    """Its lock goes with it, and its half of the work stays."""
    slow = Child(lambda: features(source, 0.3))
    deadline = time.monotonic() + 30
    while len(list(cache_folder().rglob("*.safetensors"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    slow.kill()
    assert slow.wait().killed
    found = together(tmp_path / "go", *[lambda: features(source)] * 3)
    assert len({digest for digest, _ in found}) == 1
    assert 0 < sum(images for _, images in found) <= _IMAGES - 8


@pytest.mark.parametrize("shape", [(5, 1, 3), (701, 1, 13)])
def test_a_reader_beside_two_writers_sees_whole_shards_only(tmp_path, shape):
    one, other = torch.zeros(shape), torch.ones(shape)
    rounds = 40

    def write(values: torch.Tensor) -> int:
        return sum(cache.write_cached("job", "key", values) for _ in range(rounds))

    def read() -> list[int]:
        """How often there was nothing, one shard, the other, or anything else."""
        found = [0, 0, 0, 0]
        deadline = time.monotonic() + 30
        while sum(found[1:]) < rounds and time.monotonic() < deadline:
            values = cache.read_cached("job", "key", shape)
            kinds = (
                values is None,
                values is not None and values.equal(one),
                values is not None and values.equal(other),
            )
            found[kinds.index(True) if any(kinds) else 3] += 1
        return found

    written, also, found = together(tmp_path / "go", lambda: write(one), lambda: write(other), read)
    assert (written, also) == (rounds, rounds) and found[3] == 0 and sum(found[1:3]) == rounds
    assert os.environ["ATTAR_CACHE"] and len(list(cache_folder().rglob("*.safetensors"))) == 1
