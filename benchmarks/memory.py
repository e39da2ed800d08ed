"""P4: peak memory beside the prediction, and whether it stays flat with more classes and more images a class.

    python benchmarks/memory.py              # three backbones at 224 px, then ViT-S/16 with 10 to 1000 images

Each figure is what two steps add to the resident size of a child process at its peak, less gradient and moments of the
canvas, which the plan counts apart. Before the step the child plans, as `attar distill` does, gives back what the C
library holds of freed memory, and resets the kernel's high-water mark: else the peak of making the network would hide a
part of the step's. The prediction is what `attar distill` prints before it starts, in chunks of 8 views. Linux only.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import torch

import attar
from attar.devices import keep_freed_memory
from attar.synthesis.canvas import Pyramid
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.memory import measure_activations
from attar.synthesis.objectives import StatisticalFlowMatching
from attar.synthesis.plan import canvas_bytes
from attar.synthesis.views import ViewPolicy, canvas_side
from bars import Bar, arguments, report

CHUNK = 8
BACKBONES = ("vit_small_patch16_224", "resnet50", "mobilenetv2_100")


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        print(child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
        return
    parser = arguments(__doc__)
    given = parser.parse_args()
    flat = "vit_tiny_patch16_224" if given.quick else "vit_small_patch16_224"
    shapes = [(10, 1), (200, 1), (10, 20)] if given.quick else [(10, 1), (1000, 1), (10, 50)]
    bars = [predicted(name) for name in BACKBONES]
    sizes = {shape: above_canvas(flat, *shape) for shape in shapes}
    first = sizes[10, 1]
    for (classes, ipc), size in list(sizes.items())[1:]:
        detail = f"{flat}: {mebibytes(size)} against {mebibytes(first)} with 10 x 1"
        bars.append(Bar(f"P4 flat, {classes} classes x {ipc}", abs(size / first - 1), 0.05, "off", detail))
    report(bars, given.json)


def predicted(name: str) -> Bar:
    """How far the prediction is from what 16 images in two chunks take."""
    backbone = attar.backbone(name, weights="random")
    policy = ViewPolicy(canvas=canvas_side(backbone.image_size), crop=backbone.image_size)
    expected, measured = measure_activations(backbone, policy).peak(CHUNK), above_canvas(name, 16, 1)
    detail = f"predicted {mebibytes(expected)}, measured {mebibytes(measured)}, chunks of {CHUNK}"
    return Bar(f"P4 {name}", abs(expected / measured - 1), 0.25, "off", detail)


def above_canvas(name: str, classes: int, ipc: int) -> int:
    """Bytes that steps add, those of the canvas left out."""
    command = [sys.executable, __file__, "child", name, str(classes), str(ipc)]
    added = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return added - 3 * canvas_bytes(classes * ipc, canvas(name, 1).side) // 4


def child(name: str, classes: int, ipc: int) -> int:
    """Take two steps; how far the resident size rose above what it was before, in bytes."""
    keep_freed_memory()
    backbone = attar.backbone(name, weights="random")
    grown = canvas(name, classes * ipc)
    objective = StatisticalFlowMatching(torch.randn(classes, backbone.dim).double(), w_mean=0.1)
    labels = torch.arange(classes).repeat_interleave(ipc)
    policy = ViewPolicy(canvas=grown.side, crop=backbone.image_size)
    loop = Matching(grown, labels, [Term(backbone, objective)], policy, Schedule(9, 1e-2), chunk=CHUNK)
    measure_activations(backbone, policy)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    for step in range(2):  # Adam's moments come at the end of the first
        loop.step(step)
    return resident("VmHWM") - before


def resident(name: str) -> int:
    """A size from /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def canvas(name: str, count: int) -> Pyramid:
    """A fully grown pyramid for the backbone."""
    side = canvas_side(attar.backbone(name, weights="random").image_size)
    return Pyramid(count, side, seed=0, start=side)


def mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"


if __name__ == "__main__":
    main()
