"""What `attar bn-report` measures of a BatchNorm layer: functions of its channels' means and variances (scdd.md 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import entr

from attar.backbones.squeezed import Squeezed
from attar.compression.batch_norm import norm_layers
from attar.compression.first_loss import FirstLoss, Gaps, norm_inputs
from attar.features import read_squares
from attar.images.source import ImageSource

_BINS = 256
_AT_ONCE = 128  # images


@dataclass(frozen=True)
class Layer:
    """A layer of one network, a value a channel; the bins are those of the pooled range of both networks."""

    mean: Float[np.ndarray, " channels"]
    var: Float[np.ndarray, " channels"]
    mean_bins: Int[np.ndarray, " channels"]
    var_bins: Int[np.ndarray, " channels"]
    gaps: Gaps

    @property
    def alive(self) -> Bool[np.ndarray, " channels"]:
        """Channels that vary at all: dead ones have no logarithm."""
        return self.var > 0


Weights = Float[np.ndarray, "draws channels"]
"""How much each channel counts; rows sum to 1."""


def _spread(values: Float[np.ndarray, " channels"], weights: Weights) -> Float[np.ndarray, " draws"]:
    """Variance over channels."""
    centred = values - values.mean()
    return np.maximum(weights @ centred**2 - (weights @ centred) ** 2, 0)


def _entropy(values: Float[np.ndarray, " channels"], weights: Weights) -> Float[np.ndarray, " draws"]:
    """Of a Gaussian with the channels' variance, in nats; finite also where all channels are alike."""
    return 0.5 * np.log(2 * np.pi * np.e * np.maximum(_spread(values, weights), np.finfo(float).tiny))


def _plug_in(bins: Int[np.ndarray, " channels"], weights: Weights) -> Float[np.ndarray, " draws"]:
    """Entropy of the channels' histogram, in nats."""
    return entr(weights @ (bins[:, None] == np.arange(_BINS))).sum(1)


def _alive_spread(values: Float[np.ndarray, " alive"], layer: Layer, weights: Weights) -> Float[np.ndarray, " draws"]:
    if not layer.alive.any():
        return np.full(len(weights), np.nan)
    alive = weights[:, layer.alive]
    with np.errstate(invalid="ignore"):
        return _spread(values, alive / alive.sum(1, keepdims=True))


def _scale_free_mean(layer: Layer, weights: Weights) -> Float[np.ndarray, " draws"]:
    return _alive_spread(layer.mean[layer.alive] / np.sqrt(layer.var[layer.alive]), layer, weights)


def _scale_free_var(layer: Layer, weights: Weights) -> Float[np.ndarray, " draws"]:
    return _alive_spread(np.log(layer.var[layer.alive]), layer, weights)


def _mismatch(layer: Layer, weights: Weights) -> Float[np.ndarray, " draws"]:
    """R, mean over the seeds of the noise."""
    channels = weights.shape[1]
    return sum(np.sqrt(channels * weights @ gaps.T).mean(1) for gaps in (layer.gaps.mean, layer.gaps.var))


@dataclass(frozen=True)
class Item:
    """A figure of a layer: a function of its channels and of how much each counts."""

    name: str
    symbol: str
    title: str
    of: Callable[[Layer, Weights], Float[np.ndarray, " draws"]]


ITEMS = (
    Item("spread_mean", "D(m)", "variance of the means", lambda layer, weights: _spread(layer.mean, weights)),
    Item("spread_var", "D(v)", "variance of the variances", lambda layer, weights: _spread(layer.var, weights)),
    Item("entropy_mean", "H(m)", "Gaussian entropy of the means", lambda layer, weights: _entropy(layer.mean, weights)),
    Item(
        "entropy_var", "H(v)", "Gaussian entropy of the variances", lambda layer, weights: _entropy(layer.var, weights)
    ),
    Item(
        "plug_in_mean",
        "bins H(m)",
        "plug-in entropy of the means",
        lambda layer, weights: _plug_in(layer.mean_bins, weights),
    ),
    Item(
        "plug_in_var",
        "bins H(v)",
        "plug-in entropy of the variances",
        lambda layer, weights: _plug_in(layer.var_bins, weights),
    ),
    Item("scale_free_mean", "D(m/√v)", "variance of m/√v, scale-free", _scale_free_mean),
    Item("scale_free_var", "D(ln v)", "variance of ln v, scale-free", _scale_free_var),
    Item("mismatch", "R", "R on noise", _mismatch),
)


def layer_pairs(
    first: Squeezed, second: Squeezed, losses: tuple[FirstLoss, FirstLoss], source: ImageSource | None
) -> list[tuple[Layer, Layer]]:
    """Each BatchNorm layer in both networks, with the statistics of training, or of the images in `source`."""
    known = [_known(each) if source is None else _measured(each, source) for each in (first, second)]
    pairs = []
    for place, both in enumerate(zip(*known, strict=True)):
        means, variances = zip(*both, strict=True)
        bins = zip(_common_bins(means), _common_bins(variances), strict=True)
        gaps = (loss.layers[place] for loss in losses)
        one, other = map(Layer, means, variances, *zip(*bins, strict=True), gaps)
        pairs.append((one, other))
    return pairs


_Moments = tuple[Float[np.ndarray, " channels"], Float[np.ndarray, " channels"]]


def _known(network: Squeezed) -> list[_Moments]:
    return [
        (layer.mean.cpu().double().numpy(), layer.var.cpu().double().numpy()) for layer in norm_layers(network.network)
    ]


@torch.no_grad()
def _measured(network: Squeezed, source: ImageSource) -> list[_Moments]:
    """Means and variances of what enters each layer, over all images at once, the network in eval mode."""
    layers = norm_layers(network.network)
    sums = [np.zeros((3, len(layer.mean))) for layer in layers]  # how many, of x - m, of its square; m from training
    for start in range(0, len(source), _AT_ONCE):
        chunk = read_squares(source, network.record.side, range(start, min(start + _AT_ONCE, len(source))))
        images = torch.from_numpy(chunk).to(network.network.head.weight) / 255
        entered = norm_inputs(network.network, layers, network.normalised(images))
        for total, layer, inputs in zip(sums, layers, entered, strict=True):
            values = inputs.transpose(0, 1).flatten(1).double() - layer.mean.double()[:, None]
            total += torch.stack([torch.ones_like(values), values, values**2]).sum(2).cpu().numpy()
    return [
        (layer.mean.cpu().double().numpy() + value / count, square / count - (value / count) ** 2)
        for layer, (count, value, square) in zip(layers, sums, strict=True)
    ]


def _common_bins(values: Sequence[Float[np.ndarray, " channels"]]) -> list[Int[np.ndarray, " channels"]]:
    pooled = np.concatenate(values)
    edges = np.linspace(pooled.min(), pooled.max(), _BINS + 1)[1:-1]
    return [np.searchsorted(edges, each, side="right") for each in values]
