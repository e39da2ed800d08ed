"""The frames of a run: what its images looked like along the way, small, one mosaic a step.

A file journey/000200-40x64.jpg holds 40 images of 64 pixels a side after step 200, row by row in the set's order, at
most 25 in a row. Tiles begin at multiples of 8 pixels, so that no block of the JPEG belongs to two images.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from attar.files import write_bytes

MOST_IMAGES, MOST_PIXELS = 1000, 64
_A_ROW, _BLOCK = 25, 8
_NAME = re.compile(r"(\d{6,})-(\d{1,4})x(\d{1,2})\.jpg")


@dataclass(frozen=True)
class Frame:
    """The images of a run after `step` steps."""

    step: int
    images: UInt8[np.ndarray, "n 3 side side"]


def write_frame(folder: Path, step: int, images: UInt8[np.ndarray, "n 3 side side"]) -> Path:
    """Keep at most 1000 images of at most 64 pixels a side, as they were after `step` steps; returns the file."""
    count, side = len(images), images.shape[-1]
    if count > MOST_IMAGES or side > MOST_PIXELS:
        raise ValueError(f"{count} images of {side} pixels are more than a frame holds")
    pitch = _pitch(side)
    padded = np.pad(images, ((0, 0), (0, 0), (0, pitch - side), (0, pitch - side)), mode="edge")
    mosaic = np.zeros((-(-count // _A_ROW) * pitch, min(count, _A_ROW) * pitch, 3), dtype=np.uint8)
    for place, image in zip(_places(count, pitch), padded, strict=True):
        mosaic[place] = image.transpose(1, 2, 0)
    picture = io.BytesIO()
    Image.fromarray(mosaic).save(picture, "JPEG", quality=90, subsampling=0)
    path = folder / f"{step:06d}-{count}x{side}.jpg"
    write_bytes(path, picture.getvalue())
    return path


def read_journey(folder: Path) -> tuple[Frame, ...]:
    """The frames in `folder`, first step first; none where there is no folder, and damaged files are left out."""
    frames = []
    for path in sorted(folder.glob("*.jpg")):
        told = _NAME.fullmatch(path.name)
        images = None if told is None else _read(path, int(told[2]), int(told[3]))
        if told is not None and images is not None:
            frames.append(Frame(int(told[1]), images))
    return tuple(sorted(frames, key=lambda frame: frame.step))


def _read(path: Path, count: int, side: int) -> UInt8[np.ndarray, "n 3 side side"] | None:
    """The images of a mosaic; None where the file isn't the picture that its name tells of."""
    pitch = _pitch(side)
    size = (min(count, _A_ROW) * pitch, -(-count // _A_ROW) * pitch)
    try:
        with Image.open(path, formats=["JPEG"]) as picture:
            if not count or not 0 < side <= MOST_PIXELS or picture.size != size:
                return None
            mosaic = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None
    tiles = [mosaic[place][:side, :side].transpose(2, 0, 1) for place in _places(count, pitch)]
    return np.stack(tiles)


def _places(count: int, pitch: int) -> Iterator[tuple[slice, slice]]:
    """Where each image lies in a mosaic."""
    for number in range(count):
        top, left = number // _A_ROW * pitch, number % _A_ROW * pitch
        yield slice(top, top + pitch), slice(left, left + pitch)


def _pitch(side: int) -> int:
    return -(-side // _BLOCK) * _BLOCK
