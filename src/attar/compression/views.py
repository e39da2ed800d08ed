"""Training views of distilled images, and the batches that they come in (scdd.md 6 and 7).

A batch is a pure function of (seed, epoch, number of the batch): soft labels that were made for it in one process fit
the batch that another one rebuilds, and no crop, flip or partner has to be stored.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from attar.compression.jitter import jittered
from attar.compression.mixing import Mix, Mixing, draw_mixing, mixed
from attar.compression.windows import TRIES, Windows, crop_boxes, cut, permuted
from attar.errors import SettingsError
from attar.files import digest
from attar.synthesis.draws import Stream, generator

_VERSION = 1  # of the drawing below: labels made by another one are refused
_PAD = 4
_VIEW, _ORDER, _MIXING = range(3)  # draws of an image, of an epoch, of a batch
Crop = Literal["rrc", "pad4", "none"]


@dataclass(frozen=True)
class Recipe:
    """How a student sees its training images.

    `side` is that of a view in pixels. `crop`: "rrc" is a random resized crop with a share of the area from `scale` and
    ratios of 3/4 to 4/3; "pad4" shifts the image by up to 4 pixels, black outside; "none" takes the whole image.
    `mix` with λ ~ Beta(strength, strength), in a share `mix_probability` of the batches. `shuffle` cuts the image into
    as many strips and permutes them, columns and then rows (RDED). `colour` jitters the colours (Minimax).
    """

    side: int
    crop: Crop = "rrc"
    scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True
    mix: Mix = "none"
    strength: float = 1.0
    mix_probability: float = 1.0
    shuffle: int = 1
    colour: bool = False

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise SettingsError(
                f"crops of scale {low:g} to {high:g} can't be cut",
                "give two shares of the area, the smaller one first, above 0 and up to 1",
            )
        if self.side < 1 or self.shuffle < 1 or self.strength <= 0 or not 0 <= self.mix_probability <= 1:
            raise SettingsError(
                f"no views can be cut by {self}",
                "give a positive side, shuffle and strength, and a mix_probability from 0 to 1",
            )

    @property
    def fingerprint(self) -> str:
        return digest("student views", _VERSION, *astuple(self))

    def cropped_side(self, stored: int) -> int:
        """The side of images of `stored` pixels when they are cropped: a crop's bilinear resize would skip pixels of
        those at least twice as large as the view, so they are averaged down first."""
        return self.side if stored >= 2 * self.side else stored


@dataclass(frozen=True)
class MixedBatch:
    """Views in 0..1 of images `ids`, each mixed with a view of its partner; `share` is its own area or weight."""

    images: Float[Tensor, "n 3 side side"]
    ids: Int[Tensor, " n"]
    partners: Int[Tensor, " n"]
    share: float


@dataclass(frozen=True, eq=False)
class Draws:
    """All that is random in a batch: where its views lie, their colours and how they are mixed."""

    windows: Windows
    brightness: Float[np.ndarray, "n 3"]
    light: Float[np.ndarray, "n 3"]
    mixing: Mixing

    @property
    def fingerprint(self) -> str:
        """Of everything that makes a batch what it is, whatever its images show."""
        mixing = self.mixing
        return digest(*self.windows.values(), mixing.permutation.tolist(), mixing.share, mixing.box)


def epoch_batches(count: int, size: int, seed: int, epoch: int) -> list[Int[Tensor, " batch"]]:
    """All of 0..count-1 once, shuffled, in batches of `size`; the last one may be shorter."""
    order = generator(seed, Stream.STUDENT, step=epoch, view=_ORDER).permutation(count)
    return list(torch.from_numpy(order).split(size))


def make_batch(
    images: UInt8[Tensor, "all 3 s s"], ids: Int[Tensor, " n"], recipe: Recipe, *, seed: int, epoch: int, number: int
) -> MixedBatch:
    """Batch `number` of an epoch: views of images `ids`, mixed, on the device of `images`.

    Images of another side than the recipe's are resized as they are cropped. `colour` may leave 0..1.
    """
    stored = images.shape[-1]
    draws = draw_batch(recipe, stored, ids, seed=seed, epoch=epoch, number=number)
    chosen = images[ids.to(images.device)]
    if recipe.cropped_side(stored) != stored:
        chosen = functional.adaptive_avg_pool2d(chosen.float(), recipe.cropped_side(stored))
    views = cut(chosen, draws.windows, recipe.side)
    if recipe.colour:
        views = jittered(views, torch.from_numpy(draws.brightness), torch.from_numpy(draws.light))
    mixing = draws.mixing
    return MixedBatch(mixed(views, mixing), ids, ids[torch.from_numpy(mixing.permutation)], mixing.share)


def draw_batch(recipe: Recipe, stored: int, ids: Int[Tensor, " n"], *, seed: int, epoch: int, number: int) -> Draws:
    """The draws of a batch of images of `stored` pixels: of each image by its id, of the mixing by the number."""
    uniform = np.empty((len(ids), 2 * TRIES + 6 + 2 * recipe.shuffle))
    light = np.empty((len(ids), 3))
    for row, image in enumerate(ids.tolist()):
        random = generator(seed, Stream.STUDENT, step=epoch, image=image, view=_VIEW)
        uniform[row], light[row] = random.random(uniform.shape[1]), random.standard_normal(3)
    flips, brightness, crops, strips = np.split(uniform, np.cumsum([1, 3, 2 * TRIES + 2]), axis=1)
    random = generator(seed, Stream.STUDENT, step=epoch, image=number, view=_MIXING)
    mixing = draw_mixing(recipe.mix, recipe.strength, recipe.mix_probability, len(ids), recipe.side, random)
    return Draws(_windows(recipe, recipe.cropped_side(stored), flips[:, 0], crops, strips), brightness, light, mixing)


def _windows(recipe: Recipe, stored: int, flips: np.ndarray, crops: np.ndarray, strips: np.ndarray) -> Windows:
    columns, rows = (permuted(part, stored) for part in np.split(strips, 2, axis=1))
    still = np.zeros(len(flips), dtype=np.int64)
    boxes = still, still, still + stored, still + stored
    down, right = still, still
    if recipe.crop == "rrc":
        boxes = crop_boxes(crops, recipe.scale, stored)
    elif recipe.crop == "pad4":
        down, right = ((crops[:, -2:] * (2 * _PAD + 1)).astype(np.int64) - _PAD).T
    return Windows(*boxes, down, right, (flips < 0.5) & recipe.flip, rows, columns)
