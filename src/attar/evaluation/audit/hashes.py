"""Perceptual hashes: 64 bits that copies share although they were compressed, scaled, or made brighter."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy.fft import dctn
from torch import Tensor

from attar.evaluation.audit.thumbnails import area_resize

LIMIT = 8
_SIDE, _KEPT = 32, 8
_BLOCK = 2**16


def perceptual_hashes(small: UInt8[Tensor, "n 64 64"], *, mirrored: bool = False) -> Bool[np.ndarray, "n 64"]:
    """The bits of each grey picture's hash (evaluation.md 11.2), or those of its mirror image.

    32 x 32 pixels, two-dimensional DCT-II, the 8 x 8 lowest frequencies in rows: a bit is set where the coefficient is
    above the median of the 63 others than the first, whose bit is 0.
    """
    grey = area_resize((small.flip(-1) if mirrored else small).float(), _SIDE).numpy()
    lowest = dctn(grey, type=2, axes=(1, 2))[:, :_KEPT, :_KEPT].reshape(len(grey), -1)
    bits = lowest > np.median(lowest[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return bits


def nearest_hashes(
    pictures: UInt8[Tensor, "pictures 64 64"], train: UInt8[Tensor, "images 64 64"]
) -> tuple[Int[np.ndarray, " pictures"], Int[np.ndarray, " pictures"]]:
    """(training image, Hamming distance 0..64) nearest to each picture or its mirror image.

    Bits as ±1 make distances a product of matrices: 10 pictures against a million images take seconds.
    """
    signs = [_signs(perceptual_hashes(pictures, mirrored=mirrored)) for mirrored in (False, True)]
    index = np.zeros(len(pictures), dtype=np.int64)
    distance = np.full(len(pictures), 65, dtype=np.int64)
    for start in range(0, len(train), _BLOCK):
        there = _signs(perceptual_hashes(train[start : start + _BLOCK]))
        agreement = np.maximum(signs[0] @ there.T, signs[1] @ there.T)
        best = agreement.argmax(1)
        nearer = ((64 - agreement[np.arange(len(pictures)), best]) / 2).astype(np.int64)
        index = np.where(nearer < distance, start + best, index)
        distance = np.minimum(nearer, distance)
    return index, distance


def _signs(bits: Bool[np.ndarray, "n 64"]) -> np.ndarray:
    return np.where(bits, np.float32(1), np.float32(-1))
