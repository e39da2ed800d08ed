"""Images that are arrays already, in memory or in an .npz file."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from attar.errors import ImageError
from attar.images.checks import as_labels, check_classes, numbered
from attar.images.decode import resize
from attar.images.facts import Fact
from attar.images.source import ImageSource, ahead

_SHAPES = "Give uint8 images of shape [n, h, w, 3], [n, 3, h, w] or [n, h, w] (grey), values 0..255."

_BOMB_BYTES, _BOMB_RATIO = 2**28, 200

# What zipfile and NumPy raise for files that something has altered.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)


class ArraySource(ImageSource):
    """Images in memory: uint8 of shape [n, h, w, 3], [n, 3, h, w], or [n, h, w] and [n, h, w, 1] for grey.

    A shape that fits both colour layouts, [n, 3, h, 3], is read as [n, h, w, 3]. `labels` are integers, positions in
    `classes`, which keep their order and are "0", "1", ... where not given. Raises ImageError for other shapes and
    types, labels out of range, and classes without images.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | Sequence[int],
        classes: Sequence[str] | None = None,
        location: str = "arrays",
    ):
        self._images = _with_channels(images, location)
        numbers = as_labels(labels, len(images), location)
        names = numbered(numbers, location) if classes is None else tuple(str(name) for name in classes)
        check_classes(numbers, names, location)
        super().__init__(names, names, numbers, location)

    def name(self, index: int) -> str:
        """Class and position, e.g. "cat/00412"."""
        return f"{self.classes[self.labels[index]]}/{index:05d}"

    def _recall(self, indices: Sequence[int]) -> list[Fact | ImageError | None]:
        """Nothing is remembered from run to run; examining costs less than what the answer saves."""
        unknown = [index for index in indices if self._facts[index] is None]
        self._keep(dict(zip(unknown, ahead(self._examine, unknown), strict=True)))
        return super()._recall(indices)

    def _decode(self, index: int, shorter_side: int | None) -> UInt8[np.ndarray, "3 h w"]:
        image = self._images[index]
        return resize(np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:]))), shorter_side)


def open_npz(file: str | Path) -> ArraySource:
    """The arrays `images`, `labels` and, where present, `names` of an .npz file; nothing is ever unpickled.

    Raises ImageError for a file that isn't an .npz, lacks an array, holds arrays of Python objects, or is a zip bomb.
    """
    if not zipfile.is_zipfile(file):
        raise ImageError(f"{file} is not an .npz file", "Write it with numpy.savez.")
    try:
        _refuse_bomb(file)
        with np.load(file, allow_pickle=False) as arrays:
            missing = [key for key in ("images", "labels") if key not in arrays]
            if missing:
                raise ImageError(
                    f"{file} has no array {missing[0]!r}, only {', '.join(arrays) or 'none'}",
                    "It needs images and labels, and may have names.",
                )
            images, labels, names = arrays["images"], arrays["labels"], arrays.get("names")
            if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
                raise ImageError(
                    f"names in {file} are {names.dtype} of shape {names.shape}", "Give one string per class."
                )
            classes = None if names is None else names.tolist()
    except _DAMAGED as error:
        raise ImageError(
            f"can't read {file}: {error}", "Write it with numpy.savez; arrays of Python objects are refused."
        ) from error
    return ArraySource(images, labels, classes, location=str(file))


def _refuse_bomb(file: str | Path) -> None:
    """Sizes stand in the zip's directory: no image compresses so well that a few megabytes become gigabytes."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.file_size > max(_BOMB_BYTES, _BOMB_RATIO * member.compress_size):
                raise ImageError(
                    f"{member.filename!a} in {file} has {member.compress_size:,} bytes that unpack to "
                    f"{member.file_size:,}: a zip bomb",
                    "Write it with numpy.savez, without compression, where you trust it.",
                )


def _with_channels(images: np.ndarray, location: str) -> np.ndarray:
    """A view of shape [n, 3 or 1, h, w]."""
    if images.dtype != np.uint8:
        raise ImageError(f"images in {location} are of type {images.dtype}", _SHAPES)
    if images.ndim == 3:
        view = images[:, None]
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        view = images.transpose(0, 3, 1, 2)
    elif images.ndim == 4 and images.shape[1] == 3:
        view = images
    else:
        raise ImageError(f"images in {location} have the shape {images.shape}", _SHAPES)
    if 0 in view.shape:
        raise ImageError(f"images in {location} are empty: their shape is {images.shape}", _SHAPES)
    return view
