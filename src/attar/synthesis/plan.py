"""What a run will cost, measured on a few views before it starts; and how many views fit into memory at once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from attar.backbones.record import Backbone
from attar.synthesis.canvas import Canvas

# Gradient caching adds a second forward: 3.2 in place of 2.2 forwards a view. Views, canvas and Adam add a tenth.
_CACHING, _BESIDE, _BACKWARD = 1.45, 1.1, 2.2


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

    def __str__(self) -> str:
        passes = "one chunk" if self.chunk >= self.views else f"chunks of {self.chunk}, two passes"
        memory = self.activation_bytes + self.canvas_bytes
        return (
            f"{self.images} images, {self.views} views a step in {passes}, {self.steps} steps: about "
            f"{_duration(self.step_seconds * self.steps)}, after {_duration(self.reading_seconds)} for the features of "
            f"the real images where they aren't cached; {memory / 2**20:,.0f} MB on top of the backbone"
        )


def make_plan(
    canvas: Canvas,
    backbone: Backbone,
    *,
    views: int,
    side: int,
    steps: int,
    real_views: int,
    memory: int | None = None,
    chunk: int | None = None,
) -> Plan:
    """Measure one view of `side` pixels, fit the chunk into `memory` bytes (default: half of what is free), time it.

    `views` are shown of each of the canvas' images in each of `steps`; `real_views` views of real images go through
    the backbone once, forward only.
    """
    rows = canvas.count * views
    each = bytes_per_view(backbone, side)
    chunk = min(chunk, rows) if chunk else fitting_chunk(rows, each, memory or free_bytes(backbone.device) // 2)
    seconds = _seconds_per_view(backbone, side, min(chunk, 8))
    return Plan(
        images=canvas.count,
        views=rows,
        chunk=chunk,
        steps=steps,
        step_seconds=seconds * rows * _BESIDE * (_CACHING if chunk < rows else 1),
        reading_seconds=seconds * real_views / _BACKWARD,
        activation_bytes=chunk * each,
        canvas_bytes=4 * 4 * canvas.size,  # fp32 values, gradient, two moments
    )


def bytes_per_view(backbone: Backbone, side: int) -> int:
    """Bytes that one view of `side` pixels keeps for the backward pass through `backbone`, weights not counted."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in backbone.module.state_dict().values()}
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = backbone.device
    view = torch.full((1, 3, side, side), 0.5, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = backbone(view)
    del features  # the graph keeps the storages, and so their addresses, apart until here
    return sum(saved.values())


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on `device`; half of the machine's where the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def fitting_chunk(rows: int, each: int, budget: int) -> int:
    """The largest number of the `rows` views, of `each` bytes, within `budget`; chunks of about equal size."""
    most = max(1, budget // max(1, each))
    chunks = -(-rows // most)
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
