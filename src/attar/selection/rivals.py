"""The trivial rivals: real images stored as JPEG in a given number of bytes, and noise (baselines.md 7)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from attar.errors import SettingsError
from attar.features import read_squares
from attar.images.decode import decode
from attar.images.source import ImageSource
from attar.selection.members import members

_AT_ONCE = 64  # decoded images that are held to be encoded
_SMALLEST_SIDE = 8  # a block of JPEG


@dataclass(frozen=True)
class JpegFiles:
    """Real images as JPEG files, class by class."""

    files: list[bytes]
    labels: Int[np.ndarray, " n"]
    chosen: Int[np.ndarray, " n"]
    """Indices of the images in the source."""
    side: int
    """Side in pixels of the stored images."""
    quality: int

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return _size(self.files)

    def decoded(self, side: int) -> UInt8[np.ndarray, "n 3 {side} {side}"]:
        """What the files give back, enlarged to `side` pixels where they hold fewer."""
        return np.stack([decode(file, side) for file in self.files])


def jpeg_images(
    source: ImageSource, side: int, budget_bytes: int, *, seed: int, quality: int = 50
) -> tuple[UInt8[np.ndarray, "n 3 {side} {side}"], Int[np.ndarray, " n"], int]:
    """(images, labels, bytes of the files): what `jpeg_files` stored, back in pixels."""
    stored = jpeg_files(source, side, budget_bytes, seed=seed, quality=quality)
    return stored.decoded(side), stored.labels, stored.size


def jpeg_files(source: ImageSource, side: int, budget_bytes: int, *, seed: int, quality: int = 50) -> JpegFiles:
    """As many random real images as fit into `budget_bytes` as JPEG files of `side` x `side` pixels.

    Equally many of each class, at most as many as the smallest class has; a larger budget adds images to those of a
    smaller one. Labels are free. `quality` (1..95) is 50, because more images are worth more than finer ones: a
    photograph of 256 pixels takes 31 % fewer bytes than at 75, Pillow's default, and its features stay where they
    were (MobileNetV2: cosine .978 to the original's, at 75 .989). Where not even one image a class fits, quality is
    halved up to twice, then the side shrinks by quarters. SettingsError where none fits at 8 pixels.
    """
    random = np.random.default_rng(seed)
    groups = members(source.labels, len(source.classes), 1)
    most = min(len(indices) for indices in groups)
    rounds = np.stack([random.permutation(indices)[:most] for indices in groups], axis=1)  # [most, classes]
    first, stored_side, quality = _first_round(source, rounds[0], side, budget_bytes, quality)
    files, used = [first], _size(first)
    for indices in rounds[1:]:
        more = _encoded(source, indices, stored_side, quality)
        used += _size(more)
        if used > budget_bytes:
            break
        files.append(more)
    return JpegFiles(
        files=[file for of_class in zip(*files, strict=True) for file in of_class],
        labels=np.arange(len(groups)).repeat(len(files)),
        chosen=rounds[: len(files)].T.ravel(),
        side=stored_side,
        quality=quality,
    )


def noise_images(count: int, side: int, seed: int) -> UInt8[np.ndarray, "{count} 3 {side} {side}"]:
    """Images of independent uniform pixels: a probe that learns them is at chance, unless labels leak."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def _first_round(
    source: ImageSource, indices: Int[np.ndarray, " classes"], side: int, budget_bytes: int, quality: int
) -> tuple[list[bytes], int, int]:
    """(files of one image a class, side, quality), the finest that fit."""
    for stored_side, coarser in _ever_coarser(side, quality):
        files = _encoded(source, indices, stored_side, coarser)
        if _size(files) <= budget_bytes:
            return files, stored_side, coarser
    raise SettingsError(
        f"{budget_bytes:,} bytes don't hold a JPEG file of each of {len(indices)} classes", "compare with a larger set"
    )


def _ever_coarser(side: int, quality: int) -> Iterator[tuple[int, int]]:
    """(side, quality): lower quality first, then smaller sides."""
    lowest = max(1, quality // 4)
    yield from ((side, each) for each in (quality, max(1, quality // 2), lowest))
    while side > _SMALLEST_SIDE:
        side = max(_SMALLEST_SIDE, side * 3 // 4)
        yield side, lowest


def _encoded(source: ImageSource, indices: Int[np.ndarray, " n"], side: int, quality: int) -> list[bytes]:
    """JPEG files of the central squares."""
    files = []
    for start in range(0, len(indices), _AT_ONCE):
        for square in read_squares(source, side, indices[start : start + _AT_ONCE]):
            buffer = io.BytesIO()
            picture = Image.fromarray(np.ascontiguousarray(square.transpose(1, 2, 0)))
            picture.save(buffer, "JPEG", quality=quality, optimize=True)
            files.append(buffer.getvalue())
    return files


def _size(files: list[bytes]) -> int:
    return sum(map(len, files))
