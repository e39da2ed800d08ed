"""Where views lie in their images, in whole pixels, and how they are cut out: crops, shifts, flips, permuted strips.

Cutting looks pixels up and blends two at a time, and never sums: a view has the same bits in any company and for any
number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Num
from torch import Tensor

TRIES = 10  # as torchvision's RandomResizedCrop
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Windows:
    """What `n` views show of their images of `stored` pixels.

    A view is the window of `height` x `width` pixels at (`top`, `left`), resized, then moved `down` and to the `right`
    by so many pixels of the view, black where nothing is left, then mirrored where `flipped`. `rows` and `columns` say
    which of the image's rows and columns lie where, once its strips are permuted.
    """

    top: Int[np.ndarray, " n"]
    left: Int[np.ndarray, " n"]
    height: Int[np.ndarray, " n"]
    width: Int[np.ndarray, " n"]
    down: Int[np.ndarray, " n"]
    right: Int[np.ndarray, " n"]
    flipped: Bool[np.ndarray, " n"]
    rows: Int[np.ndarray, "n stored"]
    columns: Int[np.ndarray, "n stored"]

    def values(self) -> tuple[object, ...]:
        """All numbers, plain, for a digest."""
        return tuple(getattr(self, field.name).tolist() for field in fields(self))


def crop_boxes(
    drawn: Float[np.ndarray, "n draws"], scale: tuple[float, float], stored: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(top, left, height, width) of random resized crops from uniform numbers: the sampling of scdd.md 3.3.

    The first of ten areas and ratios whose crop fits, else the whole image; then the corner.
    """
    area = stored**2 * (scale[0] + (scale[1] - scale[0]) * drawn[:, :TRIES])
    low, high = np.log(_RATIO)
    ratio = np.exp(low + (high - low) * drawn[:, TRIES : 2 * TRIES])
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= stored) & (heights > 0) & (heights <= stored)
    first, found = (np.arange(len(drawn)), fits.argmax(axis=1)), fits.any(axis=1)
    width = np.where(found, widths[first], stored).astype(np.int64)
    height = np.where(found, heights[first], stored).astype(np.int64)
    top = (drawn[:, -2] * (stored - height + 1)).astype(np.int64)
    left = (drawn[:, -1] * (stored - width + 1)).astype(np.int64)
    return top, left, height, width


def permuted(drawn: Float[np.ndarray, "n strips"], stored: int) -> Int[np.ndarray, "n {stored}"]:
    """Which row of an image lies where, once its strips stand in the order of the numbers drawn for them."""
    strip = np.arange(stored) * drawn.shape[1] // stored
    return drawn[:, strip].argsort(axis=1, kind="stable")


def cut(images: Num[Tensor, "n 3 stored stored"], windows: Windows, side: int) -> Float32[Tensor, "n 3 {side} {side}"]:
    """The views of images in 0..255, in 0..1: bilinear, half-pixel centres, edges of the window repeated."""
    count, _, stored, _ = images.shape
    down = np.arange(side) - windows.down[:, None]
    right = np.where(windows.flipped[:, None], side - 1 - np.arange(side), np.arange(side)) - windows.right[:, None]
    rows = _taps(down, windows.top, windows.height, windows.rows, images.device)
    columns = _taps(right, windows.left, windows.width, windows.columns, images.device)

    lines = images.reshape(-1, stored)
    first = torch.arange(count * 3, device=images.device).view(count, 3, 1) * stored
    above, below = (
        lines.index_select(0, (first + tap[:, None]).flatten()).view(count, 3, side, stored).float()
        for tap in (rows.low, rows.high)
    )
    strips = _blend(above, below, rows.share[:, None, :, None])
    before, behind = (
        strips.gather(3, tap[:, None, None].expand(count, 3, side, side)) for tap in (columns.low, columns.high)
    )
    views = _blend(before, behind, columns.share[:, None, None])
    if windows.down.any() or windows.right.any():
        views *= rows.inside[:, None, :, None] & columns.inside[:, None, None]
    # By a tensor, because CUDA multiplies by the reciprocal of a plain number: other bits than the CPU's.
    return views.div_(torch.full((), 255.0, device=images.device))


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """first + share (second - first), in the memory of `second`: most of the time goes into moving pixels."""
    return second.sub_(first).mul_(share).add_(first)


@dataclass(frozen=True)
class _Taps:
    """Along one axis: the two pixels that each point of a view lies between, and the share of the second."""

    low: Int[Tensor, "n side"]
    high: Int[Tensor, "n side"]
    share: Float32[Tensor, "n side"]
    inside: Bool[Tensor, "n side"]


def _taps(
    places: Int[np.ndarray, "n side"],
    start: Int[np.ndarray, " n"],
    extent: Int[np.ndarray, " n"],
    order: Int[np.ndarray, "n stored"],
    device: torch.device,
) -> _Taps:
    side = places.shape[1]
    points = (places + 0.5) * (extent / side)[:, None] - 0.5
    points = points.clip(0, extent[:, None] - 1)
    low = np.floor(points).astype(np.int64)
    high = np.minimum(low + 1, extent[:, None] - 1)
    each = np.arange(len(places))[:, None]
    taps = order[each, start[:, None] + low], order[each, start[:, None] + high], (points - low).astype(np.float32)
    inside = (places >= 0) & (places < side)
    return _Taps(*(torch.from_numpy(part).to(device) for part in (*taps, inside)))
