"""What a run will cost, measured on a few views before it starts; and how many views fit into memory at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from attar.backbones.record import Backbone
from attar.devices import free_bytes
from attar.synthesis.canvas import Canvas
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
            f"{_duration(self.step_seconds * self.steps)}, after {_duration(self.reading_seconds)} for the features of "
            f"the real images where they aren't cached; memory: {listed}"
        )


def make_plan(
    canvas: Canvas,
    backbones: Sequence[tuple[Backbone, ActivationModel]],
    *,
    views: int,
    side: int,
    steps: int,
    real_views: int,
    memory: int | None = None,
    chunk: int | None = None,
) -> Plan:
    """Fit the chunk into `memory` bytes (default: half of what is free), and time a few views of `side` pixels.

    `views` are shown of each of the canvas' images in each of `steps`; `real_views` views of real images go through
    each of the backbones once, forward only. Backbones take turns: their times add up, their activations don't.
    """
    rows = canvas.count * views
    budget = memory or free_bytes(backbones[0][0].device) // 2
    most = min(model.most_views(budget) for _, model in backbones)
    chunk = min(chunk, rows) if chunk else even_chunk(rows, most)
    seconds = sum(_seconds_per_view(backbone, side, min(chunk, 8)) for backbone, _ in backbones)
    return Plan(
        images=canvas.count,
        views=rows,
        chunk=chunk,
        steps=steps,
        step_seconds=seconds * rows * _BESIDE * (_CACHING if chunk < rows else 1),
        reading_seconds=seconds * real_views / _BACKWARD,
        activation_bytes=max(model.peak(chunk) for _, model in backbones),
        canvas_bytes=canvas_bytes(canvas),
        weight_bytes=sum(weight_bytes(backbone) for backbone, _ in backbones),
    )


def canvas_bytes(canvas: Canvas) -> int:
    """Bytes of a fully grown canvas with its gradient and Adam's moments, in fp32."""
    return 4 * _CANVAS_COPIES * canvas.size


def weight_bytes(backbone: Backbone) -> int:
    """Bytes of a backbone's weights."""
    return sum(tensor.nbytes for tensor in backbone.module.state_dict().values())


def even_chunk(rows: int, most: int) -> int:
    """Chunks of at most `most` of the `rows` views, as few and as equal as possible; at least one view each."""
    chunks = -(-rows // max(1, most))
    return -(-rows // chunks)


def _seconds_per_view(backbone: Backbone, side: int, views: int) -> float:
    device = backbone.device
    elapsed = 0.0
    for _ in range(2):  # the first warms up
        trial = torch.rand(views, 3, side, side, device=device, requires_grad=True)
        started = time.perf_counter()
        backbone(trial).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - started
    return elapsed / views


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
