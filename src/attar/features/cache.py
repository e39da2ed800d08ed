"""Feature arrays on disk, a folder a job and in it a safetensors file a shard.

A file that is damaged or doesn't fit counts as absent. Nor does a failed write stop anything: the features are at hand,
and the next run computes them again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from torch import Tensor

from attar.errors import FileError
from attar.files import cache_folder, make_folder
from attar.tensors import read_tensors, write_tensors

_PATIENCE_SECONDS = 600


def is_cached(job: str, key: str) -> bool:
    """Whether there is a file for `key` of `job`; only reading it shows whether it is whole."""
    try:
        return _path(job, key).is_file()
    except OSError:
        return False


def read_cached(job: str, key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The array stored under `key` of `job`, or None."""
    try:
        values = read_tensors(_path(job, key))[0]["values"]
    except (OSError, FileError, KeyError):
        return None
    return values if tuple(values.shape) == shape else None


def write_cached(job: str, key: str, values: Tensor) -> bool:
    """Store `values` under `key` of `job`, whole or not at all; returns whether that worked."""
    try:
        write_tensors(_path(job, key), {"values": values})
    except (OSError, FileError):
        return False
    return True


@contextlib.contextmanager
def claimed(name: str, *, wait: bool) -> Iterator[bool]:
    """Keep other processes from the work called `name`; yields False where one is at it and `wait` isn't set.

    Claims are for saving work, not for safety: without a folder to lock in everybody may work, and after ten minutes
    nobody waits any longer for a process that may have been stopped.
    """
    # Names share 256 locks: a process holds one at a time, so sharing costs a wait and never a deadlock.
    file = cache_folder() / "locks" / f"{name[:2]}.lock"
    lock = FileLock(file)
    try:
        make_folder(file.parent)
        lock.acquire(timeout=_PATIENCE_SECONDS if wait else 0)
    except Timeout:
        yield wait
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def _path(job: str, key: str) -> Path:
    return cache_folder() / "features" / job / f"{key}.safetensors"
