"""What a recovery will cost, from two steps of its first block."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from attar import processes
from attar.compression.block import Block
from attar.compression.blocks import Layout
from attar.synthesis.memory import peak_bytes
from attar.synthesis.plan import duration


@dataclass(frozen=True)
class Plan:
    """`blocks` of up to `size` images, `turns` of them one after the other, `steps` each."""

    images: int
    blocks: int
    size: int
    turns: int
    steps: int
    step_seconds: float
    step_bytes: int
    figures: Mapping[str, float]
    """Of the first step."""

    def __str__(self) -> str:
        return (
            f"{self.images} images in {self.blocks} blocks of up to {self.size}, {self.steps} steps each: about "
            f"{duration(self.step_seconds * self.steps * self.turns)}; memory: {self.step_bytes / 2**20:,.0f} MB a step"
        )


def make_plan(block: Block, layout: Layout, steps: int) -> Plan:
    """Try two steps of `block`, which is of no use afterwards: the first shows the memory, the second the time."""
    device = block.canvas.pixels.device
    known = [block.canvas.pixels]
    memory = peak_bytes(block.step, known, device)
    figures = block.figures()
    started = time.perf_counter()
    block.step()
    block.figures()  # waits for the device
    return Plan(
        images=layout.classes * layout.ipc,
        blocks=len(layout),
        size=min(layout.size, layout.classes * layout.ipc),
        turns=-(-len(layout) // processes.count()),
        steps=steps,
        step_seconds=time.perf_counter() - started,
        step_bytes=memory,
        figures=figures,
    )
