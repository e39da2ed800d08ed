"""Are one squeezed network's BatchNorm statistics more spread than another's, or only on a larger scale? (scdd.md 9)"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest

from attar.backbones.squeezed import Squeezed
from attar.compression.batch_norm import norm_layers
from attar.compression.bn_items import ITEMS, Item, Layer, layer_pairs
from attar.compression.first_loss import first_loss
from attar.compression.rescale import check_alike
from attar.images.source import ImageSource

_RESAMPLES = 1000
_SURE = 0.05  # of the sign test

CAVEAT = (
    "Multiplying a convolution by a leaves the function as it is, because BatchNorm divides it out, but multiplies "
    "means by a and variances by a^2: spread, entropy and R change, the scale-free figures don't. Weight decay, "
    "optimiser and epochs set that scale."
)


@dataclass(frozen=True)
class Comparison:
    """An item in every layer of both networks, and the 95 % interval of the difference of its sums over the layers."""

    item: Item
    first: Float[np.ndarray, " layers"]
    second: Float[np.ndarray, " layers"]
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        """First minus second, summed over the layers."""
        return float(np.sum(self.first) - np.sum(self.second))

    @property
    def higher(self) -> int:
        """In how many layers the first is higher."""
        return int((self.first > self.second).sum())

    @property
    def lower(self) -> int:
        """In how many layers the first is lower."""
        return int((self.first < self.second).sum())

    @property
    def p(self) -> float:
        """Of the two-sided sign test; layers that tie count for neither."""
        untied = self.higher + self.lower
        return float(binomtest(self.higher, untied).pvalue) if untied else 1.0

    @property
    def winner(self) -> Literal[0, 1] | None:
        """0 or 1 where the first or the second is higher in more layers than chance would have it."""
        return None if self.p >= _SURE else 0 if self.higher > self.lower else 1


@dataclass(frozen=True)
class Report:
    """Two networks compared."""

    names: tuple[str, str]
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    gradients: tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]
    """|dR/dx| on noise."""
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> Comparison:
        return next(found for found in self.comparisons if found.item.name == name)

    @property
    def verdict(self) -> str:
        """Who has the higher entropy, in how many layers, and whether that is more than scale."""
        first, second = self.names
        told = f"{first} has higher entropy than {second} on {self._count('entropy')}; scale-free: more spread on "
        return f"{told}{self._count('scale_free')}. {self._claim()}"

    def _count(self, kind: str) -> str:
        means, variances = self[f"{kind}_mean"], self[f"{kind}_var"]
        return (
            f"{means.higher} of {len(self.layers)} layers in the means (p = {means.p:.2g}) and "
            f"{variances.higher} of {len(self.layers)} in the variances (p = {variances.p:.2g})"
        )

    def _claim(self) -> str:
        names = ("entropy_mean", "entropy_var", "scale_free_mean", "scale_free_var")
        winners = {self[name].winner for name in names}
        if len(winners) == 1 and (winner := winners.pop()) is not None:
            return f"{self.names[winner]} is more informative by both."
        directions = {np.sign(self[name].higher - self[name].lower) for name in names}
        if len(directions) == 1 and 0 not in directions:
            return "The four point the same way, and some on too few layers to tell them from chance."
        return "The four don't agree, so neither network is shown to be more informative."

    def as_json(self) -> dict[str, object]:
        """All figures as plain values; None for what isn't a finite number."""
        totals = {
            found.item.name: {
                "title": found.item.title,
                "difference": _plain(found.difference),
                "interval": [_plain(end) for end in found.interval],
                "first_higher": found.higher,
                "first_lower": found.lower,
                "p": found.p,
                "first": [_plain(value) for value in found.first],
                "second": [_plain(value) for value in found.second],
            }
            for found in self.comparisons
        }
        return {
            "networks": list(self.names),
            "layers": list(self.layers),
            "channels": list(self.channels),
            "items": totals,
            "gradients": [each.tolist() for each in self.gradients],
            "verdict": self.verdict,
            "caveat": CAVEAT,
            "notes": list(self.notes),
        }


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def bn_report(first: Squeezed, second: Squeezed, source: ImageSource | None = None) -> Report:
    """Compare two squeezed networks of one architecture by their BatchNorm statistics, layer by layer.

    The statistics are those that training left, under its augmentations; with `source`, those that its images give as
    they are. R and its gradient are what recovery meets, always of the former. Intervals come from resampling the
    channels of each layer and each network.

    Raises BackboneError where the architectures differ, or where a network's statistics are missing or impossible.
    """
    check_alike(first, second)
    losses = first_loss(first), first_loss(second)
    pairs = layer_pairs(first, second, losses, source)
    return Report(
        names=_names(first, second),
        layers=tuple(layer.name for layer in norm_layers(first.network)),
        channels=tuple(len(one.mean) for one, _ in pairs),
        comparisons=_compared(pairs),
        gradients=(losses[0].gradients, losses[1].gradients),
        notes=_notes(first, second, pairs),
    )


def _compared(pairs: list[tuple[Layer, Layer]]) -> tuple[Comparison, ...]:
    random = np.random.default_rng(0)
    figures = np.empty((len(ITEMS), 2, len(pairs)))
    drawn = np.zeros((len(ITEMS), _RESAMPLES))  # differences, summed over the layers
    for place, pair in enumerate(pairs):
        for side, (layer, sign) in enumerate(zip(pair, (1, -1), strict=True)):
            evenly = np.full((1, len(layer.mean)), 1 / len(layer.mean))
            resamples = random.multinomial(len(layer.mean), evenly[0], size=_RESAMPLES) / len(layer.mean)
            for number, item in enumerate(ITEMS):
                figures[number, side, place] = item.of(layer, evenly)[0]
                drawn[number] += sign * item.of(layer, resamples)
    return tuple(
        Comparison(item, one, other, _interval(one.sum() - other.sum(), draws))
        for item, (one, other), draws in zip(ITEMS, figures, drawn, strict=True)
    )


def _interval(found: float, drawn: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Of the draws' width, around `found`: resamples repeat channels, which lowers entropies, so they lie off it."""
    low, high = np.quantile(drawn, (0.025, 0.975)) - drawn.mean()
    return float(found + low), float(found + high)


def _names(first: Squeezed, second: Squeezed) -> tuple[str, str]:
    short = Path(first.name).stem, Path(second.name).stem
    return short if short[0] != short[1] else (first.name, second.name)


def _notes(first: Squeezed, second: Squeezed, pairs: list[tuple[Layer, Layer]]) -> tuple[str, ...]:
    notes = []
    if first.record.data_fingerprint != second.record.data_fingerprint:
        notes.append(f"They learned from different images: {first.record.data} and {second.record.data}.")
    for name, layers in zip(_names(first, second), zip(*pairs, strict=True), strict=True):
        if dead := sum(int((~layer.alive).sum()) for layer in layers):
            notes.append(f"The scale-free figures leave out channels of {name} that never vary: {dead}.")
    return tuple(notes)
