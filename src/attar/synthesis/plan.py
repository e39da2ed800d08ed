"""What a run will cost, measured on a few views before it starts; and how many views fit into memory at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from attar.backbones.record import Backbone
from attar.devices import is_out_of_memory
from attar.errors import SettingsError
from attar.synthesis.canvas import pyramid_sides
from attar.synthesis.memory import ActivationModel

# Gradient caching adds a second forward: 3.2 in place of 2.2 forwards a view. Views, canvas and Adam add a tenth.
_CACHING, _BESIDE, _BACKWARD = 1.45, 1.1, 2.2
_CANVAS_COPIES = 4  # values, gradient, Adam's two moments


@dataclass(frozen=True)
class Plan:
    """Cost of a run: `views` a step in chunks of `chunk`, what a step takes, and reading the real images before."""

    images: int
    views: int
    chunk: int
    steps: int
    step_seconds: float
    reading_seconds: float
    activation_bytes: int
    canvas_bytes: int
    weight_bytes: int

    def __str__(self) -> str:
        passes = "one chunk" if self.chunk >= self.views else f"chunks of {self.chunk}, two passes"
        parts = {"activations": self.activation_bytes, "canvas and Adam": self.canvas_bytes}
        parts["weights"] = self.weight_bytes
        listed = ", ".join(f"{size / 2**20:,.0f} MB {name}" for name, size in parts.items())
        return (
            f"{self.images} images, {self.views} views a step in {passes}, {self.steps} steps: about "
            f"{duration(self.step_seconds * self.steps)}, after {duration(self.reading_seconds)} for the features of "
            f"the real images where they aren't cached; memory: {listed}"
        )


def make_plan(
    backbones: Sequence[Backbone],
    models: Sequence[ActivationModel],
    *,
    images: int,
    canvas_side: int,
    views: int,
    side: int,
    steps: int,
    real_views: int,
    fresh_views: int = 0,
    budget: int,
    chunk: int | None = None,
    last_chunk: int | None = None,
) -> Plan:
    """Fit the chunk into `budget` bytes, and time a few views of `side` pixels.

    `views` are shown of each of `images` in each of `steps`; `real_views` views of real images go through each of the
    backbones once, forward only, and `fresh_views` of them in each step. Backbones take turns: their times add up,
    their activations don't. `chunk` is what the user wants, `last_chunk` what the run had so far, kept where it fits.
    SettingsError where `chunk` doesn't.
    """
    rows = images * views
    most = min(model.most_views(budget) for model in models)
    if chunk and min(chunk, rows) > most:
        needed = max(model.peak(min(chunk, rows)) for model in models)
        message = f"a chunk of {chunk} takes {needed / 2**20:,.0f} MB, and the budget is {budget / 2**20:,.0f} MB"
        raise SettingsError(message, "choose a smaller --chunk, or a larger --memory")
    wanted = chunk or (last_chunk if last_chunk and last_chunk <= most else None)
    chunk = min(wanted, rows) if wanted else even_chunk(rows, most)
    seconds = sum(_seconds_per_view(backbone, side, min(chunk, 8)) for backbone in backbones)
    return Plan(
        images=images,
        views=rows,
        chunk=chunk,
        steps=steps,
        step_seconds=seconds * (rows * _BESIDE * (_CACHING if chunk < rows else 1) + fresh_views / _BACKWARD),
        reading_seconds=seconds * real_views / _BACKWARD,
        activation_bytes=max(model.peak(chunk) for model in models),
        canvas_bytes=canvas_bytes(images, canvas_side),
        weight_bytes=sum(weight_bytes(backbone) for backbone in backbones),
    )


def canvas_bytes(images: int, side: int) -> int:
    """Bytes of a fully grown pyramid of colour images with its gradient and Adam's moments, in fp32."""
    return 4 * _CANVAS_COPIES * images * 3 * sum(level**2 for level in pyramid_sides(side))


def weight_bytes(backbone: Backbone) -> int:
    """Bytes of a backbone's weights."""
    return sum(tensor.nbytes for tensor in backbone.module.state_dict().values())


def even_chunk(rows: int, most: int) -> int:
    """Chunks of at most `most` of the `rows` views, as few and as equal as possible; at least one view each."""
    chunks = -(-rows // max(1, most))
    return -(-rows // chunks)


def _seconds_per_view(backbone: Backbone, side: int, views: int) -> float:
    try:
        return _seconds(backbone, side, views) / views
    except RuntimeError as error:
        if views == 1 or not is_out_of_memory(error):
            raise
    return _seconds(backbone, side, 1)


def _seconds(backbone: Backbone, side: int, views: int) -> float:
    """What a forward and backward pass takes."""
    device = backbone.device
    elapsed = 0.0
    for _ in range(2):  # the first warms up
        trial = torch.rand(views, 3, side, side, device=device, requires_grad=True)
        started = time.perf_counter()
        backbone(trial).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - started
    return elapsed


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
