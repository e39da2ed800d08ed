"""Feature arrays on disk, one safetensors file a key; a file that can't be read or doesn't fit counts as absent.

Nor does a failed write stop anything: the features are at hand, and the next run computes them again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attar.files import cache_folder, write_atomic


def read_cached(key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The array stored under `key`, or None."""
    try:
        values = load_file(_path(key))["values"]
    except (OSError, SafetensorError, KeyError):
        return None
    return values if tuple(values.shape) == shape else None


def write_cached(key: str, values: Tensor) -> None:
    """Store `values` under `key`, whole or not at all; nothing happens where the cache can't be written."""
    with contextlib.suppress(OSError, SafetensorError):  # a full disk is a SafetensorError
        write_atomic(_path(key), lambda path: save_file({"values": values}, path))


def _path(key: str) -> Path:
    return cache_folder() / "features" / f"{key}.safetensors"
