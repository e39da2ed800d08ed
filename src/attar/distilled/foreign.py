"""Distilled sets as other codes publish them: tensors or arrays in one file, read without running anything in it."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from attar.errors import ArtefactError

_FORMATS = (
    'Known: {"data": [[images, labels], ...]} as of DC, DSA and DM; images.pt beside labels.pt as of MTT; data.pth of '
    "LGM; images and labels in a .pt, .pth, .safetensors or .npz file."
)
_RUN_OF_LGM = "Of LGM's code this is the state of a run: give its data.pth, which holds the images."
_BOMB_BYTES, _BOMB_RATIO = 2**28, 200

# The accuracies beside the images in files of DC are NumPy's numbers.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "u1", "i1", "i2", "i4", "i8")),
]


class _Array:
    """What a .pt file holds of a NumPy array, read as plain numbers.

    It stands in for NumPy's own types, which would take a file's bytes for addresses of objects where they are told so.
    """

    content: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        """Called as NumPy's `_reconstruct`, with nothing yet."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], np.dtype, bool, bytes]) -> None:
        _, shape, dtype, by_columns, content = state
        if dtype.kind not in "fiu":
            raise ValueError(f"it holds an array of type {dtype}")
        self.content = np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")


_ARRAYS: list[Any] = [
    (_Array, name)
    for name in ("numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
]

# What NumPy, zipfile, safetensors and torch raise for files that something has altered.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    SafetensorError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(file: Path, labels: Path | None = None, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) as a file holds them; `index` picks one of several sets in a file of DC's family.

    Where the file is a tensor or an array alone, its labels are in the file `labels`, by default the one beside it
    whose name has "labels" for "images". Raises ArtefactError for a file that is missing, damaged, of another layout,
    or would run code.
    """
    content = _content(file)
    if _is_plain(content):
        parts = [content, _content(_beside(file) if labels is None else labels)]
    elif isinstance(content, Mapping) and "data" in content:
        parts = _entry(file, content["data"], index)
    else:
        parts = [content.get(name) for name in ("images", "labels")] if isinstance(content, Mapping) else []
    if len(parts) != 2 or not all(_is_plain(part) for part in parts):
        raise ArtefactError(f"{file} holds no images with labels", _FORMATS)
    images, numbers = (_array(part) for part in parts)
    return images, numbers


def _entry(file: Path, data: Any, index: int) -> Any:
    """One [images, labels] of a list of them: those codes append one for each repetition of the experiment."""
    if not isinstance(data, list | tuple) or not all(isinstance(entry, list | tuple) for entry in data):
        raise ArtefactError(f"{file} holds no images with labels", _FORMATS)
    if not 0 <= index < len(data):
        raise ArtefactError(f"{file} holds {len(data)} sets, and there is no number {index}", "Count from 0.")
    return data[index]


def _beside(file: Path) -> Path:
    name = file.name.replace("images", "labels")
    if name == file.name or not file.with_name(name).is_file():
        raise ArtefactError(f"{file} holds images alone", "Give the file of their labels by --labels.")
    return file.with_name(name)


def _content(file: Path) -> Any:
    """A tensor or an array, or a dictionary of tensors, arrays or lists."""
    readers: dict[str, Callable[[Path], Any]] = {".safetensors": load_file, ".npz": _npz, ".pt": _torch, ".pth": _torch}
    if not file.is_file():
        raise ArtefactError(f"there is no file {file}", "Check the path.")
    if file.suffix not in readers:
        raise ArtefactError(f"can't tell the format of {file}", _FORMATS)
    try:
        return readers[file.suffix](file)
    except pickle.UnpicklingError as error:
        message = f"{file} was refused: it would run code when loaded, or is no file of torch.save"
        mend = (
            _RUN_OF_LGM if file.name == "ckpt.pth" else "Save its tensors alone, as .safetensors, where you trust it."
        )
        raise ArtefactError(message, mend) from error
    except _DAMAGED as error:
        told = "" if isinstance(error, LookupError) else str(error)  # a missing key's text is the key alone
        reason = told.strip().partition("\n")[0].rstrip(".") or "it is damaged"
        raise ArtefactError(f"can't read {file}: {reason}", "Fetch the file again.") from error


def _torch(file: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals([*_NUMBERS, *_ARRAYS]):
        warnings.simplefilter("ignore")  # torch warns of pickles that it didn't write itself, and reads them
        return torch.load(file, map_location="cpu", weights_only=True)


def _npz(file: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > _BOMB_BYTES + _BOMB_RATIO * file.stat().st_size:
            raise ValueError("it is a zip bomb")
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in ("images", "labels") if name in arrays}


def _is_plain(part: Any) -> bool:
    """An array, or a tensor that can be one: not sparse, quantised or without content (on the device "meta")."""
    if isinstance(part, Tensor):
        return part.layout == torch.strided and part.device.type == "cpu" and not part.is_quantized
    return isinstance(part, np.ndarray) or (isinstance(part, _Array) and part.content is not None)


def _array(part: Any) -> np.ndarray:
    """The numbers of what `_is_plain`."""
    if isinstance(part, np.ndarray):
        return part
    if isinstance(part, _Array):
        return np.asarray(part.content)
    return (part.float() if part.is_floating_point() else part).detach().numpy()
