"""What torchrun starts several of in test_processes.py: `exact FILE`, or `mortal` or `interrupted` with ARGUMENTS."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from attar import processes
from attar.cli.main import run
from attar.features import Features, RealFeatures
from attar.synthesis import steps
from attar.synthesis.batches import FreshBatches
from attar.synthesis.canvas import Pyramid
from attar.synthesis.matching import Matching, Schedule, Term
from attar.synthesis.objectives import LinearGradientMatching, StatisticalFlowMatching
from attar.synthesis.views import ViewPolicy
from attar.tensors import write_tensors
from small import coloured, small_backbone

CLASSES, IPC, VIEWS, STEPS = 3, 5, 2, 4
POLICY = ViewPolicy(canvas=17, crop=8, noise=0.5)


class Narrow(torch.nn.Module):
    """A network that has no memory for the graph of more than `most` images."""

    def __init__(self, module: torch.nn.Module, most: int):
        super().__init__()
        self.module, self.most = module, most

    def forward(self, images):
        if len(images) > self.most and torch.is_grad_enabled():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return self.module(images)


def exact(file: Path) -> None:
    """Statistics of features, a batch, and images after some steps, all in float64, as the first process has them."""
    processes.join(torch.device("cpu"))
    backbone = small_backbone()
    backbone = replace(backbone, module=backbone.module.double())
    real = real_features()
    found = {"means": real.statistics.means, "within": real.within}
    values, labels = FreshBatches(coloured(7), small_backbone(), POLICY, 3)(2, 23, balanced=False)
    found |= {"batch": values, "labels": labels}
    found["tiny"] = FreshBatches(coloured(7), small_backbone(), POLICY, 3)(0, 1, balanced=True)[0]
    found["sample"], found["sampled"] = real.sample(13)
    for name, objective in objectives(real).items():
        loop = matching(objective, backbone)
        if processes.number() == 1:
            lone = replace(backbone, module=Narrow(backbone.module, 3))
            loop.terms, loop.chunk = (replace(loop.terms[0], backbone=lone),), 5
        logs = [loop.step(step) for step in range(STEPS)]
        found[f"{name}.loss"] = torch.tensor([log["loss"] for log in logs], dtype=torch.float64)
        found[f"{name}.gradient"] = torch.tensor([log["gradient"] for log in logs], dtype=torch.float64)
        images = loop.canvas.images(torch.arange(loop.canvas.count)).detach()
        found[f"{name}.images"] = processes.gather_at_first(images)
    if processes.is_first():
        write_tensors(file, found)


def real_features() -> RealFeatures:
    random = torch.Generator().manual_seed(5)
    labels = torch.arange(31) % CLASSES
    values = torch.randn(31, 2, 28, generator=random) + labels[:, None, None]
    return RealFeatures(Features(values, labels), CLASSES)


def objectives(real: RealFeatures) -> dict:
    return {
        "sfm": StatisticalFlowMatching(real.statistics.means, w_mean=0.1),
        "lgm": LinearGradientMatching.build(real, LinearGradientMatching.Options(heads=2), ipc=IPC, seed=0),
    }


def matching(objective, backbone) -> Matching:
    own = processes.share(CLASSES * IPC)
    canvas = Pyramid(len(own), 17, seed=0, grow_every=2, start=8, first=own.start, smooth=0.01, dtype=torch.float64)
    labels = torch.arange(CLASSES).repeat_interleave(IPC)
    return Matching(canvas, labels, [Term(backbone, objective)], POLICY, Schedule(STEPS, lr=1e-2), views=VIEWS)


def command_line(arguments: list[str], fate: Callable[[int], None]) -> None:
    """`attar ARGUMENTS` with a checkpoint after each step; `fate` is called with each step's number before it."""
    step = Matching.step
    Matching.step = lambda self, number: fate(number) or step(self, number)
    steps._CHECKPOINT_SECONDS = -1
    sys.argv = ["attar", *arguments]
    run()


def kill_the_second(number: int) -> None:
    """Before step 7, once."""
    marker = Path(os.environ["MARKER"])
    if number == 7 and processes.number() == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def stop_as_a_queue_does(number: int) -> None:
    """At step 5."""
    if number == 5:
        signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "exact":
        exact(Path(*words))
    else:
        command_line(words, {"mortal": kill_the_second, "interrupted": stop_as_a_queue_does}[what])
