"""Grey squares of images, in which copies are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from attar.features.extract import square
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress

SMALL, LARGE = 64, 128
_BATCH = 256
_LUMA = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Thumbnails:
    """Grey squares (0..255) of a source's images: the centre square, as everything else in attar sees them.

    Those of 64 pixels are held, 4 KB an image; those of 128 are read again where they are needed.
    """

    source: ImageSource
    small: UInt8[Tensor, "images 64 64"]

    @classmethod
    def of(cls, source: ImageSource, progress: Progress = SILENT, task: str = "thumbnails") -> Thumbnails:
        """Read all images of `source` once."""
        small = torch.empty(len(source), SMALL, SMALL, dtype=torch.uint8)
        for start in range(0, len(source), _BATCH):
            part = range(start, min(start + _BATCH, len(source)))
            small[part.start : part.stop] = (255 * area_resize(_grey(source, part), SMALL)).round().to(torch.uint8)
            progress.advance(task, part.stop, len(source))
        return cls(source, small)

    def __len__(self) -> int:
        return len(self.small)

    def subset(self, indices: Int[np.ndarray, " kept"]) -> Thumbnails:
        """Those of the images at `indices`."""
        return Thumbnails(self.source.subset(indices), self.small[torch.from_numpy(indices)])

    def large(self, indices: Sequence[int] | np.ndarray) -> Float[Tensor, "read 128 128"]:
        """The images at `indices` in 0..1, 128 pixels a side."""
        return _grey(self.source, indices)


def area_resize(images: Float[Tensor, "*n h w"], side: int) -> Float[Tensor, "*n {side} {side}"]:
    """Images resized to `side` pixels: each new pixel is the mean of the area that it covers."""
    rows, columns = (_shares(old, side).to(images) for old in images.shape[-2:])
    return rows @ images @ columns.T


def _shares(old: int, new: int) -> Float[Tensor, "{new} {old}"]:
    """Which share of each new pixel each old one has."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    pixels = torch.arange(old, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return covered.clamp(min=0) * new / old


def _grey(source: ImageSource, indices: Sequence[int] | np.ndarray) -> Float[Tensor, "read 128 128"]:
    squares = [square(image, LARGE) for _, image in source.read(indices, shorter_side=LARGE)]
    colours = torch.from_numpy(np.stack(squares)).float() / 255
    return torch.einsum("nchw,c->nhw", colours, _LUMA)
