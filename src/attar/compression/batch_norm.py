"""BatchNorm statistics of a network: which layers have them, and whether they can be matched (scdd.md 3, 13)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attar.errors import BackboneError

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True)
class NormLayer:
    """A BatchNorm layer of a frozen network: its name, and what training left in it, a value a channel."""

    name: str
    module: BatchNorm

    @property
    def mean(self) -> Float[Tensor, " channels"]:
        """Running mean."""
        assert self.module.running_mean is not None
        return self.module.running_mean

    @property
    def var(self) -> Float[Tensor, " channels"]:
        """Running variance."""
        assert self.module.running_var is not None
        return self.module.running_var


def norm_layers(network: nn.Module) -> list[NormLayer]:
    """The BatchNorm layers of `network` in the order of registration: the stem's comes first.

    Raises BackboneError where there is none, where one has no statistics or impossible ones, or is in training mode.
    """
    found = norm_modules(network)
    for name, part in found.items():
        _check(name, part)
    return [NormLayer(name, part) for name, part in found.items()]


def norm_modules(network: nn.Module) -> dict[str, BatchNorm]:
    """The BatchNorm modules by name, trained or not; BackboneError where there is none."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    found = {name: part for name, part in network.named_modules() if isinstance(part, kinds)}
    if not found:
        message = "SC-DD needs BatchNorm statistics, and this network has none"
        raise BackboneError(message, "Use a network with BatchNorm, or --method sfm, lgm or rded.")
    return found


def _check(name: str, part: BatchNorm) -> None:
    mean, var = part.running_mean, part.running_var
    if mean is None or var is None or part.num_batches_tracked is None:
        raise BackboneError(f"BatchNorm layer {name} keeps no running statistics", "Train with track_running_stats.")
    if int(part.num_batches_tracked) == 0:
        raise BackboneError(f"BatchNorm layer {name} was never trained", "Squeeze the network on images first.")
    if part.training:
        raise BackboneError(f"BatchNorm layer {name} is in training mode", "Call .eval() on the whole network first.")
    broken = ~(mean.isfinite() & var.isfinite()) | (var < 0)
    if bool(broken.any()):
        channel = int(broken.nonzero()[0])
        told = f"mean {float(mean[channel]):g} and variance {float(var[channel]):g}"
        raise BackboneError(f"channel {channel} of BatchNorm layer {name} has {told}", "Squeeze again.")


def batch_statistics(
    inputs: Float[Tensor, "n channels *places"],
) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Mean and biased variance of a BatchNorm layer's input over images and places, differentiable, in fp32 or fp64."""
    inputs = inputs if inputs.dtype == torch.float64 else inputs.float()
    axes = [0, *range(2, inputs.ndim)]
    var, mean = torch.var_mean(inputs, dim=axes, correction=0)
    return mean, var


def mismatch(
    mean: Float[Tensor, " channels"],
    var: Float[Tensor, " channels"],
    known_mean: Float[Tensor, " channels"],
    known_var: Float[Tensor, " channels"],
) -> Float[Tensor, ""]:
    """R of scdd.md 3.1: |mean - known mean| + |variance - known variance|, Euclidean, not squared."""
    return torch.linalg.vector_norm(mean - known_mean) + torch.linalg.vector_norm(var - known_var)
