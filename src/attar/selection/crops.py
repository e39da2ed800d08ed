"""RDED for a frozen backbone: the crops of real images that a full-data probe finds easiest, tiled (baselines.md 3)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.special import logsumexp

from attar.backbones.record import Backbone
from attar.errors import SettingsError
from attar.features import read_squares
from attar.images.source import ImageSource
from attar.linear import ConvergedProbe
from attar.progress import SILENT, Progress
from attar.selection.members import members

_AT_ONCE = 8  # images whose crops are scored together
_SMALLEST = 0.08  # share of the area, torchvision's default
_IMAGES, _CROPS = 1, 2  # what a draw is for


def rded_images(
    source: ImageSource,
    backbone: Backbone,
    probe: ConvergedProbe,
    ipc: int,
    *,
    side: int,
    factor: int = 2,
    crops: int = 5,
    images: int = 300,
    seed: int,
    progress: Progress = SILENT,
) -> tuple[UInt8[np.ndarray, "chosen 3 {side} {side}"], Int[np.ndarray, "chosen tiles"]]:
    """`ipc` images of each class, tiled from factor² crops each, and which training images the tiles come from.

    From each of `images` random images of a class `crops` square windows are cut, of .08 to 1 of the area of the
    central square, and reduced to the size of a tile, side / `factor` (1 or 2) pixels. The probe, trained on features
    of all data, says how easy a tile is (cross-entropy of its class). Of each image the easiest tile is kept, of the
    class the ipc · factor² easiest; the easiest four share the first image. Source: Sun et al., CVPR 2024, whose
    observer is a trained network that sees tiles padded with black; here the backbone sees them enlarged.

    Memory holds the tiles of one class. SettingsError where a class has fewer than ipc · factor² images.
    """
    if factor not in (1, 2):
        raise SettingsError(f"factor {factor} is not 1 or 2", "a tiled image holds 1 or 4 crops")
    wanted = ipc * factor**2
    groups = members(source.labels, len(source.classes), wanted)
    tile = -(-side // factor)
    made, held = [], []
    for label, indices in enumerate(groups):
        random = np.random.default_rng([seed, label, _IMAGES])
        drawn = np.sort(random.choice(indices, min(len(indices), max(images, wanted)), replace=False))
        tiles, losses = _easiest_crops(
            source, backbone, probe, drawn, label, side=side, tile=tile, crops=crops, seed=seed
        )
        best = np.argsort(losses, kind="stable")[:wanted]
        made.append(_tiled(tiles[best], factor)[:, :, :side, :side])
        held.append(drawn[best].reshape(ipc, factor**2))
        progress.advance("crops", label + 1, len(groups))
    return np.concatenate(made), np.concatenate(held)


def _easiest_crops(
    source: ImageSource,
    backbone: Backbone,
    probe: ConvergedProbe,
    drawn: Int[np.ndarray, " drawn"],
    label: int,
    *,
    side: int,
    tile: int,
    crops: int,
    seed: int,
) -> tuple[UInt8[np.ndarray, "drawn 3 {tile} {tile}"], Float[np.ndarray, " drawn"]]:
    """Of each image the crop with the lowest cross-entropy, and that."""
    tiles = np.empty((len(drawn), 3, tile, tile), dtype=np.uint8)
    losses = np.empty(len(drawn))
    for start in range(0, len(drawn), _AT_ONCE):
        part = drawn[start : start + _AT_ONCE]
        cut = np.stack(
            [
                _cut(square, tile, crops, np.random.default_rng([seed, index, _CROPS]))
                for index, square in zip(part.tolist(), read_squares(source, side, part), strict=True)
            ]
        )
        entropy = _cross_entropy(backbone, probe, cut.reshape(-1, 3, tile, tile), label).reshape(len(part), crops)
        easiest = entropy.argmin(axis=1)
        tiles[start : start + len(part)] = cut[np.arange(len(part)), easiest]
        losses[start : start + len(part)] = entropy.min(axis=1)
    return tiles, losses


def _cut(
    square: UInt8[np.ndarray, "3 side side"], tile: int, crops: int, random: np.random.Generator
) -> UInt8[np.ndarray, "{crops} 3 {tile} {tile}"]:
    """Random square windows of an image, antialiased where they are reduced."""
    side = square.shape[-1]
    picture = Image.fromarray(np.ascontiguousarray(square.transpose(1, 2, 0)))
    extents = side * np.sqrt(random.uniform(_SMALLEST, 1, crops))
    corners = random.uniform(size=(crops, 2)) * (side - extents)[:, None]
    boxes = [(left, top, left + extent, top + extent) for (left, top), extent in zip(corners, extents, strict=True)]
    cut = [picture.resize((tile, tile), Image.Resampling.BILINEAR, box) for box in boxes]
    return np.stack([np.asarray(each).transpose(2, 0, 1) for each in cut])


@torch.inference_mode()
def _cross_entropy(
    backbone: Backbone, probe: ConvergedProbe, tiles: UInt8[np.ndarray, "n 3 tile tile"], label: int
) -> Float[np.ndarray, " n"]:
    features = backbone(torch.from_numpy(tiles).to(backbone.device).float() / 255).cpu().numpy()
    logits = probe.logits(features)
    return logsumexp(logits, axis=1) - logits[:, label]


def _tiled(tiles: UInt8[np.ndarray, "n 3 tile tile"], factor: int) -> UInt8[np.ndarray, "images 3 whole whole"]:
    """Each `factor`² consecutive tiles as one image, row by row."""
    side = tiles.shape[-1]
    grid = tiles.reshape(-1, factor, factor, 3, side, side)
    return grid.transpose(0, 3, 1, 4, 2, 5).reshape(len(grid), 3, factor * side, factor * side)
