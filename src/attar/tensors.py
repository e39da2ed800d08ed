"""Named tensors on disk: safetensors files, written whole or not at all, checked when they are read.

The format is written here, because the library's own writer neither syncs nor says which system call failed, and
because a checkpoint as large as half of the memory must not be copied to be written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from attar.errors import FileError
from attar.files import write_atomic

_CHECKSUM = "attar.sha256"
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` (of any device) as a safetensors file with a checksum; FileError where the disk has no room."""
    arrays = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    header: dict[str, object] = {}
    position = 0
    for name, array in arrays.items():
        end = position + array.numel() * array.element_size()
        header[name] = {"dtype": _DTYPES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    known = dict(metadata or {})
    header["__metadata__"] = {**known, _CHECKSUM: _checksum(arrays, known)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomic(path, len(text).to_bytes(8, "little"), text, *map(_bytes_of, arrays.values()))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors on the CPU, metadata) of a file of `write_tensors`.

    Raises FileNotFoundError where there is none, FileError where it is damaged: cut, altered in a single bit, or of
    another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path} is damaged", "Restore it or make it again.") from error
    if metadata.pop(_CHECKSUM, None) != _checksum(tensors, metadata):
        raise FileError(f"{path} is damaged", "Restore it or make it again.")
    return tensors, metadata


def _bytes_of(array: Tensor) -> memoryview:
    if math.prod(array.shape) == 0:
        return memoryview(b"")
    flat = array.as_strided((array.numel(),), (1,))  # a single number may come with any stride, contiguous or not
    return flat.view(torch.uint8).numpy().data


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Over all that is stored: a flipped bit in a name, a shape or a number shows."""
    sha = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in tensors.items():
        sha.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        sha.update(_bytes_of(tensor))
    return sha.hexdigest()
