"""P11: what a step of a recovery (SC-DD, SRe2L, CDA) costs beside the bare passes through the network.

    python benchmarks/recover.py             # cifar_resnet20, 100 images of 32 px; resnet18, 8 of 64 px; fp32

A step is: draw and cut the view, forward with the statistics of each BatchNorm layer, cross-entropy, backward to the
pixels, Adam, clipping. The bare pass is forward and backward to the input on as many images with the same frozen
weights. Both alternate in one process; the ratio is of the medians. Random weights, statistics of noise.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import nn

from attar.backbones.architectures import default_stem, make_classifier
from attar.backbones.squeezed import Squeezed, SqueezeRecord
from attar.compression.block import Block
from attar.compression.matching import MatchedNetwork
from attar.compression.recovery_settings import choose_recovery
from attar.devices import keep_freed_memory
from bars import Bar, arguments, report
from step import alternate

CASES = (("cifar_resnet20", 32, 100), ("resnet18", 64, 8))


def main() -> None:
    given = arguments(__doc__).parse_args()
    rounds = 7 if given.quick else 21
    keep_freed_memory()
    report([bar(*case, rounds) for case in CASES], given.json)


def bar(name: str, side: int, images: int, rounds: int) -> Bar:
    """The ratio of one network at one size."""
    network = squeezed(name, side, images)
    plain = network.to().network  # a copy, without hooks
    with MatchedNetwork(network.network) as matched:
        block = Block(0, torch.arange(images), network, matched, choose_recovery(steps=10**6).for_side(side))
        block.step()  # the first takes the gradients of the terms apart
        times = alternate({"step": block.step, "bare": bare(plain, side, images)}, rounds)
    seconds = {task: statistics.median(values) for task, values in times.items()}
    detail = f"{name}, {images} images of {side} px, fp32, medians of {rounds}: "
    detail += f"{seconds['step'] * 1e3:.0f} ms a step, bare pass {seconds['bare'] * 1e3:.0f} ms"
    return Bar("P11", seconds["step"] / seconds["bare"], 1.2, "x", detail)


def bare(network: nn.Module, side: int, images: int) -> Callable[[], None]:
    """Forward and backward to the input, nothing else."""
    noise = torch.randn(images, 3, side, side)

    def passes() -> None:
        entering = noise.detach().requires_grad_()
        logits = network(entering)
        logits.backward(torch.ones_like(logits))

    return passes


def squeezed(name: str, side: int, classes: int) -> Squeezed:
    """A frozen network with statistics of noise."""
    made = make_classifier(name, classes, side=side)
    with torch.no_grad():
        for _ in range(3):
            made(torch.randn(16, 3, side, side))
    names = tuple(map(str, range(classes)))
    record = SqueezeRecord(
        architecture=name,
        stem=default_stem(name, side),
        side=side,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        classes=names,
        titles=names,
        ssl="none",
        epochs=0,
        data="noise",
        data_fingerprint="",
        head="none",
        held_out_accuracy=None,
        attar_version="",
    )
    return Squeezed(name, made.eval().requires_grad_(False), record, frozenset())


if __name__ == "__main__":
    main()
