"""Feature arrays on disk, one safetensors file a key; a file that can't be read or doesn't fit counts as absent."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attar.files import cache_folder, write_atomic


def read_cached(key: str, shape: tuple[int, ...]) -> Tensor | None:
    """The array stored under `key`, or None."""
    try:
        values = load_file(_path(key))["values"]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
    return values if tuple(values.shape) == shape else None


def write_cached(key: str, values: Tensor) -> None:
    """Store `values` under `key`, whole or not at all."""
    write_atomic(_path(key), lambda path: save_file({"values": values}, path))


def _path(key: str) -> Path:
    return cache_folder() / "features" / f"{key}.safetensors"
