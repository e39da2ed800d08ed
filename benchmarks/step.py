"""P1 and P2: what a step of statistical flow matching costs beside the bare passes through the backbone.

    python benchmarks/step.py                # ViT-S/16, 224 px, 10 images, one view, fp32, random weights

A step is: decode the pyramid (all nine levels), cut views, forward, objective, backward to the pyramid, Adam. The bare
pass is forward and backward to the input on the same views with the same frozen weights. Both alternate in one
process; the ratio is of the medians. P2 takes the step in chunks, against the bare pass plus one more bare forward.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import attar
from attar.synthesis.canvas import Pyramid
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.objectives import StatisticalFlowMatching
from attar.synthesis.views import ViewPolicy
from bars import Bar, arguments, report

IMAGES = 10


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    rounds = given.rounds or (7 if given.quick else 21)
    backbone = attar.backbone(given.backbone, weights="random")
    whole, chunked = step(backbone, None), step(backbone, given.chunk)
    views = torch.rand(IMAGES, 3, backbone.image_size, backbone.image_size)

    def bare() -> None:
        pass_through(backbone, views)

    def bare_chunks() -> None:
        for part in views.split(given.chunk):
            with torch.no_grad():
                backbone.module(part)
        for part in views.split(given.chunk):
            pass_through(backbone, part)

    times = alternate({"step": whole, "bare": bare, "chunked": chunked, "bare chunks": bare_chunks}, rounds)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    detail = f"{given.backbone}, {IMAGES} views, fp32, medians of {rounds}: "
    bars = [
        Bar("P1", seconds["step"] / seconds["bare"], 1.10, "x",
            detail + f"{seconds['step']:.2f} s a step, bare pass {seconds['bare']:.2f} s"),
        Bar("P2", seconds["chunked"] / seconds["bare chunks"], 1.10, "x",
            detail + f"chunks of {given.chunk}: {seconds['chunked']:.2f} s a step, "
            f"bare pass and forward {seconds['bare chunks']:.2f} s"),
    ]  # fmt: skip
    report(bars, given.json)


def step(backbone: attar.Backbone, chunk: int | None) -> Callable[[], object]:
    """A function that takes one step of a run whose pyramid is fully grown."""
    canvas = Pyramid(IMAGES, 256, seed=0, start=256)
    objective = StatisticalFlowMatching(torch.randn(IMAGES, backbone.dim).double(), w_mean=0.3)
    policy = ViewPolicy(canvas=256, crop=backbone.image_size)
    schedule = Schedule(steps=10**6, lr=1e-2)
    loop = Matching(canvas, torch.arange(IMAGES), [Term(backbone, objective)], policy, schedule, chunk=chunk)
    numbers = iter(range(10**6))
    return lambda: loop.step(next(numbers))


def pass_through(backbone: attar.Backbone, views: torch.Tensor) -> None:
    """Forward and backward to the input, nothing else."""
    views = views.detach().requires_grad_()
    features = backbone.module(views)
    features.backward(torch.ones_like(features))


def alternate(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall seconds of each task in each round, tasks taking turns; the first round warms up and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if number:
                times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main()
