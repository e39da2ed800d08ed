"""Feature arrays on disk, a safetensors file a shard; a file that is damaged or doesn't fit counts as absent.

Nor does a failed write stop anything: the features are at hand, and the next run computes them again.
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


def is_cached(key: str) -> bool:
    """Whether there is a file for `key`; only reading it shows whether it is whole."""
    try:
        return _path(key).is_file()
    except OSError:
        return False


def read_cached(key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The array stored under `key`, or None."""
    try:
        values = read_tensors(_path(key))[0]["values"]
    except (OSError, FileError, KeyError):
        return None
    return values if tuple(values.shape) == shape else None


def write_cached(key: str, values: Tensor) -> bool:
    """Store `values` under `key`, whole or not at all; returns whether that worked."""
    try:
        write_tensors(_path(key), {"values": values})
    except (OSError, FileError):
        return False
    return True


@contextlib.contextmanager
def claimed(name: str, *, wait: bool) -> Iterator[bool]:
    """Keep other processes from the work called `name`; yields False where one is at it and `wait` isn't set.

    Claims are for saving work, not for safety: without a folder to lock in everybody may work.
    """
    # Names share 256 locks: a process holds one at a time, so sharing costs a wait and never a deadlock.
    file = cache_folder() / "locks" / f"{name[:2]}.lock"
    lock = FileLock(file)
    try:
        make_folder(file.parent)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def _path(key: str) -> Path:
    return cache_folder() / "features" / key[:2] / f"{key}.safetensors"
