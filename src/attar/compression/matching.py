"""How far what passes through a frozen network is from what it was trained on, layer by layer, and the gradient of it.

Autograd would keep and make several tensors of the size of each layer's input. The gradient of R (scdd.md 3.1) is
known, slope · input + offset with two numbers a channel, so each layer adds it to the gradient that comes from above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from attar.compression.batch_norm import NormLayer, norm_layers


class _Mismatch(torch.autograd.Function):
    """(inputs, R): the inputs as they are, and how far their statistics are from the known ones."""

    @staticmethod
    def forward(ctx, inputs: Tensor, mean: Tensor, var: Tensor):
        values = inputs if inputs.dtype == torch.float64 else inputs.float()
        axes, column = [0, *range(2, inputs.ndim)], (-1, *[1] * (inputs.ndim - 2))
        count = inputs.numel() // inputs.shape[1]
        found = values.mean(axes)
        # torch.var_mean gives the same in one pass, and takes over ten times as long on a CPU (torch 2.15).
        spread = (values - found.view(column)).square_().mean(axes)
        off_mean, off_var = found - mean, spread - var
        far_mean, far_var = torch.linalg.vector_norm(off_mean), torch.linalg.vector_norm(off_var)
        slope = 2 * off_var / (count * _or_one(far_var))
        offset = off_mean / (count * _or_one(far_mean)) - slope * found
        ctx.save_for_backward(inputs, slope.view(column), offset.view(column))
        return inputs, far_mean + far_var

    @staticmethod
    @once_differentiable
    def backward(ctx, above: Tensor, scale: Tensor):
        inputs, slope, offset = ctx.saved_tensors
        return torch.addcmul(scale * offset, inputs, scale * slope).add_(above).to(inputs.dtype), None, None


def _or_one(norm: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Where it is zero, so is all that is to be divided by it: torch's gradient of a norm at zero is zero too."""
    return norm.where(norm > 0, 1)


@dataclass(frozen=True)
class Passed:
    """What a frozen network says of images, and how they passed through it."""

    logits: Float[Tensor, "n classes"]
    mismatches: Float[Tensor, " layers"]
    """R of each BatchNorm layer, in the order of registration: the stem's is the first."""


@final
class MatchedNetwork:
    """A frozen network whose BatchNorm layers measure what enters them, as long as the `with` block lasts.

    `known` are the layers whose statistics are to be matched: those of the network itself, or of the same network in
    full precision, because statistics and R are in fp32 (in fp64 where the network is) whatever it computes in.
    """

    def __init__(self, network: nn.Module, known: Sequence[NormLayer] | None = None):
        self.network, self.places = network, dict[str, int]()
        own = norm_layers(network)
        weight = next(network.parameters())
        self.dtype, self._outside = weight.dtype, torch.float64 if weight.dtype == torch.float64 else torch.float32
        known = own if known is None else known
        self._mismatches: dict[str, Tensor] = {}
        self._known = [
            (layer, wanted.mean.to(weight.device, self._outside), wanted.var.to(weight.device, self._outside))
            for layer, wanted in zip(own, known, strict=True)
        ]

    @property
    def layers(self) -> list[str]:
        """Names of the BatchNorm layers, in the order of `Passed.mismatches`."""
        return [layer.name for layer, _, _ in self._known]

    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Passed:
        """Logits of normalised images, and R of each layer, differentiable; both in fp32, or fp64."""
        self._mismatches.clear()
        logits = self.network(images.to(self.dtype)).to(self._outside)
        return Passed(logits, torch.stack([self._mismatches[layer.name] for layer, _, _ in self._known]))

    def __enter__(self) -> MatchedNetwork:
        self._hooks = [
            layer.module.register_forward_pre_hook(self._measuring(layer.name, mean, var))
            for layer, mean, var in self._known
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _measuring(self, name: str, mean: Tensor, var: Tensor):
        def measure(module: nn.Module, entering: tuple[Tensor]) -> tuple[Tensor]:
            del module
            (inputs,) = entering
            self.places[name] = inputs.numel() // (inputs.shape[0] * inputs.shape[1])
            inputs, self._mismatches[name] = _Mismatch.apply(inputs, mean, var)
            return (inputs,)

        return measure
