"""P9: more classes, more images a class, more processes: seconds and memory of a step beside what they should be.

    python benchmarks/scale.py               # SqueezeNet at 224 px, random weights: 10 to 1000 classes, 1 to 50 images

Each row is a child process that takes steps of statistical flow matching on a grown pyramid, in chunks of 5 views, with
random class means. Seconds, the least of a few steps, should lie on the straight line through the smallest run: so many
images times its seconds an image. Peak memory should be what attar predicts before a run, activations of one chunk and
canvas with Adam. With two processes, under torchrun and one thread each, every one owns half of the images. The pass
over real images, two shards of JPEGs with an empty cache, is timed with one process and with two as well. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import attar
from attar import processes
from attar.devices import keep_freed_memory
from attar.synthesis.canvas import Pyramid
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.memory import measure_activations
from attar.synthesis.objectives import StatisticalFlowMatching
from attar.synthesis.plan import canvas_bytes
from attar.synthesis.views import ViewPolicy, canvas_side, smallest_crop
from bars import Bar, arguments, report
from memory import resident
from statistics_pass import write_photos

CHUNK = 5
PHOTOS = 768  # two shards
COLUMNS = ("classes", "ipc", "processes", "s a step", "line", "x", "MB", "predicted", "x")
SHAPES = [(10, 1), (100, 1), (1000, 1), (10, 10), (10, 50)]
QUICK_SHAPES = [(10, 1), (100, 1), (10, 10)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--backbone", default="torchvision:squeezenet1_1")
    parser.add_argument("--steps", type=int, help="that are timed, after one more")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=int, nargs=2, metavar=("CLASSES", "IPC"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    steps = given.steps or (2 if given.quick else 3)
    if given.read:
        read(given.backbone, given.read, given.json)
        return
    if given.child:
        child(given.backbone, *given.child, steps, given.json)
        return
    shapes = QUICK_SHAPES if given.quick else SHAPES
    rows = [measured(given.backbone, *shape, 1, steps) for shape in shapes]
    rows.append(measured(given.backbone, *shapes[1], 2, steps))
    an_image = rows[0]["seconds"] / rows[0]["images"]
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        row["line"] = an_image * row["images"] / row["processes"]
        cells = [str(row[name]) for name in ("classes", "ipc", "processes")]
        cells += [f"{row['seconds']:.2f}", f"{row['line']:.2f}", f"{row['seconds'] / row['line']:.2f}"]
        cells += [f"{row['peak'] / 2**20:,.0f}", f"{row['predicted'] / 2**20:,.0f}"]
        print("| " + " | ".join([*cells, f"{row['peak'] / row['predicted']:.2f}"]) + " |")
    print()
    report([*bars(rows, given.backbone), pass_bar(given.backbone)], given.json, rows=rows)


def bars(rows: list[dict[str, Any]], name: str) -> list[Bar]:
    """Throughput of two processes; and how far the prediction is off where it is furthest."""
    two = rows[-1]
    one = next(row for row in rows if (row["classes"], row["ipc"]) == (two["classes"], two["ipc"]))
    off, worst = max((abs(row["predicted"] / row["peak"] - 1), place) for place, row in enumerate(rows))
    detail = f"{name}, {two['images']} images: {one['seconds']:.2f} s a step alone, {two['seconds']:.2f} s by two"
    shape = f"{rows[worst]['classes']} classes, {rows[worst]['ipc']} images each, {rows[worst]['processes']} processes"
    return [
        Bar("P9", one["seconds"] / two["seconds"], 1.6, "x", detail, ">="),
        Bar("P4 predicted, worst", off, 0.25, "off", f"{name}, {shape}"),
    ]


def pass_bar(name: str) -> Bar:
    """Throughput of two processes that read real images."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder) / "photos", PHOTOS)
        seconds = []
        for count in (1, 2):
            words = ["--read", str(Path(folder) / "photos"), "--backbone", name]
            seconds.append(told(words, count, ATTAR_CACHE=f"{folder}/cache-{count}")["seconds"])
    one, two = seconds
    detail = f"{name}, {PHOTOS} JPEGs of 500 x 375: {one:.1f} s alone, {two:.1f} s by two"
    return Bar("P9 statistics", one / two, 1.6, "x", detail, ">=")


def measured(name: str, classes: int, ipc: int, count: int, steps: int) -> dict[str, Any]:
    """What a child, or `count` of them, found about a step."""
    found = told(["--child", str(classes), str(ipc), "--steps", str(steps), "--backbone", name], count)
    print(f"{classes} classes, {ipc} images each, {count} processes: {found['seconds']:.2f} s", file=sys.stderr)
    return found


def told(words: list[str], count: int, **environment: str) -> dict[str, Any]:
    """What this script, called with `words` in `count` processes of one thread, writes."""
    launch = [sys.executable] if count == 1 else [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += [] if count == 1 else [f"--nproc-per-node={count}"]
    known = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        subprocess.run([*launch, __file__, *words, "--json", str(file)], check=True, env=known)
        return json.loads(file.read_text())


def read(name: str, photos: Path, file: Path) -> None:
    """Time the pass over the photos, beginning when all processes are there."""
    processes.join(torch.device("cpu"))
    backbone, source = attar.backbone(name, weights="random"), attar.open(photos)
    processes.wait()
    started = time.perf_counter()
    attar.class_statistics(source, backbone, settings=attar.choose_settings("paper", normalise="native"), device="cpu")
    processes.wait()
    if processes.is_first():
        file.write_text(json.dumps({"seconds": time.perf_counter() - started}))


def child(name: str, classes: int, ipc: int, steps: int, file: Path) -> None:
    """Take steps, and let the first process write what they took; memory is that of one process."""
    processes.join(torch.device("cpu"))
    keep_freed_memory()
    backbone = attar.backbone(name, weights="random")
    side, images = canvas_side(backbone.image_size), classes * ipc
    own = processes.share(images)
    policy = ViewPolicy(side, backbone.image_size, scale=(smallest_crop(side), 1.0))
    predicted = measure_activations(backbone, policy).peak(CHUNK) + canvas_bytes(len(own), side)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # else the peak so far would hide the steps'
    before = resident("VmRSS")
    canvas = Pyramid(len(own), side, seed=0, start=side, first=own.start)
    means = torch.randn(classes, backbone.dim, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(classes).repeat_interleave(ipc)
    term = Term(backbone, StatisticalFlowMatching(means, w_mean=0.1))
    loop = Matching(canvas, labels, [term], policy, Schedule(10**6, 1e-2), chunk=CHUNK)
    loop.step(0)  # Adam's moments come at the end of the first
    times = []
    for number in range(1, steps + 1):
        started = time.perf_counter()
        loop.step(number)
        times.append(time.perf_counter() - started)
    if processes.is_first():
        found = {"classes": classes, "ipc": ipc, "images": images, "processes": processes.count()}
        found |= {
            "seconds": min(times),
            "median": statistics.median(times),
            "peak": resident("VmHWM") - before,
            "predicted": predicted,
        }
        file.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
