"""What is optimised: images as parameters.

A canvas decodes only the images asked for, so the loop can work in chunks of any size. `Pyramid` is the published
parameterisation (lgm.md 4): a sum of bilinearly enlarged levels 1x1, 2x2, ... that grows while it is optimised.
`Pixels` is the plain one, a single level at full size.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.synthesis.draws import Stream, generator

# Rows: the square root of natural images' colour correlation (lucid), divided by its largest column norm.
_COLOUR = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]) / 0.461952


class Canvas(abc.ABC):
    """`count` square images of `side` pixels, held as named parameters."""

    count: int
    side: int

    @abc.abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """What the optimiser moves, by name; each has `count` rows."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of values once fully grown, of all images together."""

    @abc.abstractmethod
    def images(self, ids: Int[Tensor, " k"]) -> Float[Tensor, "k 3 side side"]:
        """Images `ids` (all different) in 0..1, differentiable: backward adds to the parameters' `.grad` rows."""

    def grow(self, step: int) -> bool:
        """Called before each step; returns whether `parameters()` has new entries (and old ones were rescaled)."""
        del step
        return False

    def penalty(self, ids: Int[Tensor, " k"]) -> Float[Tensor, ""] | None:
        """A prior on images `ids`, added to the loss; None (the default) means none."""
        del ids
        return None

    def after_step(self) -> None:  # noqa: B027 (nothing to do is a fine answer)
        """Called after each step, for constraints such as clipping."""

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state_dict` returned."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to continue: the parameters."""
        return {name: value.detach() for name, value in self.parameters().items()}


class _Rows(torch.autograd.Function):
    """`parameter[ids]` whose backward adds to `parameter.grad[ids]` in place.

    Plain indexing would make a gradient of the whole parameter for every chunk.
    """

    @staticmethod
    def forward(ctx, parameter: Tensor, ids: Tensor) -> Tensor:
        ctx.parameter, ctx.ids = parameter, ids
        return parameter[ids]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        if ctx.parameter.grad is None:
            ctx.parameter.grad = torch.zeros_like(ctx.parameter)
        ctx.parameter.grad[ctx.ids] += gradient
        return None, None


@final
class Pyramid(Canvas):
    """Levels of side 1, 2, 4, ... up to `side`, summed, decorrelated in colour, squashed: sigmoid(2 D Σ up(level)).

    It starts with `start` (a level's side) and everything below, and gains a level after each `grow_every` steps:
    old levels are scaled by L/(L+1) and the new one is noise/(L+1). `grey` makes one channel, shown as three. Images
    come out on `device`; levels, and so Adam's moments, stay at `home`, from where only the rows asked for travel.
    The noise is that of images number `first` on, of a larger canvas of which this is a part. Without `decorrelate`
    the colour map is left out; `smooth` weighs a penalty on differences between neighbours (`roughness`).
    Source: Cazenavette et al. 2025 (arXiv 2511.16674), the authors' code.
    """

    def __init__(
        self,
        count: int,
        side: int,
        *,
        seed: int,
        grow_every: int = 200,
        start: int = 1,
        first: int = 0,
        grey: bool = False,
        decorrelate: bool = True,
        smooth: float = 0.0,
        device: torch.device | str = "cpu",
        home: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        self.count, self.side, self.seed, self.grow_every, self.grey = count, side, seed, grow_every, grey
        self._first, self._decorrelate, self._smooth = first, decorrelate, smooth
        self._device, self._home, self._dtype = torch.device(device), torch.device(home or device), dtype
        sides = [level for level in pyramid_sides(side) if level <= start]
        self._levels = {level: self._noise(level).div_(len(sides)) for level in sides}
        self._require_gradients()

    def parameters(self) -> dict[str, Tensor]:
        return {f"level_{side:03d}": level for side, level in self._levels.items()}

    @property
    def size(self) -> int:
        channels = 1 if self.grey else 3
        return self.count * channels * sum(side**2 for side in pyramid_sides(self.side))

    def grow(self, step: int) -> bool:
        if step <= 1 or (step - 1) % self.grow_every or len(self._levels) == len(pyramid_sides(self.side)):
            return False
        count = len(self._levels)
        with torch.no_grad():
            for level in self._levels.values():
                level *= count / (count + 1)
        new = pyramid_sides(self.side)[count]
        self._levels[new] = self._noise(new).div_(count + 1)
        self._require_gradients()
        return True

    def images(self, ids: Int[Tensor, " k"]) -> Float[Tensor, "k 3 side side"]:
        rows = (_Rows.apply(level, ids).to(self._device) for level in self._levels.values())
        values: Tensor = sum(_enlarge(level, self.side) for level in rows)  # type: ignore[assignment]
        if self.grey:
            return torch.sigmoid(2 * values).expand(-1, 3, -1, -1)
        if self._decorrelate:
            values = torch.einsum("dc,kchw->kdhw", _COLOUR.to(values), values)
        return torch.sigmoid(2 * values)

    def penalty(self, ids: Int[Tensor, " k"]) -> Float[Tensor, ""] | None:
        return self._smooth * roughness(self.images(ids)).sum() if self._smooth else None

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._levels = {
            int(name.removeprefix("level_")): level.detach().clone().to(self._home, self._dtype)
            for name, level in sorted(state.items(), key=lambda item: int(item[0].removeprefix("level_")))
        }
        self._require_gradients()

    def _noise(self, side: int) -> Float[Tensor, "count channels {side} {side}"]:
        channels = 1 if self.grey else 3
        noise = torch.empty(self.count, channels, side, side, dtype=self._dtype)
        for image, values in enumerate(noise):
            random = generator(self.seed, Stream.CANVAS, step=side, image=self._first + image)
            values.copy_(torch.from_numpy(random.standard_normal((channels, side, side))))
        return noise.to(self._home)

    def _require_gradients(self) -> None:
        for level in self._levels.values():
            level.requires_grad_()


@final
class Pixels(Canvas):
    """One level at full size, N(0, 1) noise at first; `options` and all else as in the pyramid."""

    def __init__(
        self,
        count: int,
        side: int,
        *,
        seed: int,
        **options: Any,
    ):
        self.count, self.side = count, side
        self._pyramid = Pyramid(count, side, seed=seed, **options)
        self._pyramid.load_state_dict({f"level_{side:03d}": self._pyramid._noise(side)})

    def parameters(self) -> dict[str, Tensor]:
        return {"pixels": next(iter(self._pyramid.parameters().values()))}

    @property
    def size(self) -> int:
        return next(iter(self._pyramid.parameters().values())).numel()

    def images(self, ids: Int[Tensor, " k"]) -> Float[Tensor, "k 3 side side"]:
        return self._pyramid.images(ids)

    def penalty(self, ids: Int[Tensor, " k"]) -> Float[Tensor, ""] | None:
        return self._pyramid.penalty(ids)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._pyramid.load_state_dict({f"level_{self.side:03d}": state["pixels"]})


def make_canvas(
    kind: Literal["pyramid", "pixels"], count: int, side: int, *, grow_every: int, start: int = 1, **options: Any
) -> Canvas:
    """The canvas named `kind`; `options` as the classes take them."""
    if kind == "pyramid":
        return Pyramid(count, side, grow_every=grow_every, start=start, **options)
    return Pixels(count, side, **options)


def roughness(images: Float[Tensor, "k 3 h w"]) -> Float[Tensor, " k"]:
    """Mean squared difference between neighbouring pixels of each image, down plus across."""
    return images.diff(dim=2).square().mean((1, 2, 3)) + images.diff(dim=3).square().mean((1, 2, 3))


def pyramid_sides(side: int) -> list[int]:
    """Sides of a pyramid's levels: 1, 2, 4, ... and `side` itself."""
    sides = [1]
    while sides[-1] < side:
        sides.append(min(2 * sides[-1], side))
    return sides


def _enlarge(level: Float[Tensor, "k c r r"], side: int) -> Float[Tensor, "k c {side} {side}"]:
    """Bilinear, half-pixel centres, edges repeated, straight to the full side: one matrix for both axes."""
    small = level.shape[-1]
    if small == side:
        return level
    points = ((torch.arange(side) + 0.5) * small / side - 0.5).clamp(0, small - 1)
    weights = (1 - (points[:, None] - torch.arange(small)).abs()).clamp(min=0).to(level)
    return weights @ level @ weights.T
