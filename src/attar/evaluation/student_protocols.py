"""Protocols for networks trained from scratch on a set, by name (scdd.md 7, evaluation.md 6 and 7).

    hard-X    cross-entropy with the images' own labels, mixed as the images are
    soft-X    the teacher's answers to every mixed image, at a temperature; stored with the set, or given online

    X           of                             images      students train for
    minimax     Minimax diffusion              224, or 32  300 to 3000 epochs of SGD, by images a class
    fkd         SRe2L, stored labels           224         300 epochs, batches of 1024
    kd-in1k     SRe2L, online labels           224         the same: 512 twice a step is 1024 at once
    cda-in1k    CDA                            224         300 epochs, batches of 128
    scdd-in1k   SC-DD                          224         300 epochs, batches of 64
    sre2l-cifar SRe2L on CIFAR                 32          400 epochs, batches of 128
    scdd-cifar  SC-DD on CIFAR                 32          200 epochs, batches of 64, a rate that ends at 3/4
    tiny        SRe2L and CDA, Tiny-ImageNet   64          100 epochs of SGD, batches of 256
    rded        RDED                           any         300 epochs, small batches, a rate that ends at a half

A suffix `/epochs=N` gives another length, to which the learning rate is stretched or pressed. What the authors' scripts
do by mistake is left out: their teachers answer in training mode, their best epoch is chosen on parts of the test set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from attar.backbones.architectures import Norm
from attar.compression.views import Recipe
from attar.errors import EvaluationError, nearest

_SMALL_SIDE = 64  # images up to here are tested whole
_FULL_SIDE = 224
_CIFAR_SIDE = 32
_CIFAR_100, _TINY = (100, _CIFAR_SIDE), (200, 64)  # (classes, side)


@dataclass(frozen=True)
class Schedule:
    """How a student is trained: every number that decides it, once set and side are known.

    `stretch` is the length of the cosine in trainings: at 2 the rate has fallen to a half when the training ends.
    """

    epochs: int
    batch: int
    recipe: Recipe
    optimiser: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.9
    decay: Literal["matrices", "all"] = "matrices"  # the tensors with weight decay: those of two axes or more, or all
    rate: Literal["cosine", "steps"] = "cosine"
    stretch: int = 1
    warm_up: int = 0
    soft: bool = True
    temperature: float = 20.0
    scaled: bool = False  # the loss times temperature squared
    norm: Norm = "batch"
    test_side: int = _FULL_SIDE  # the shorter side of test images before their centre is cut

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in `epoch`, counted from 0."""
        if self.rate == "steps":
            return 0.2 ** sum(epoch >= step for step in (2 * self.epochs // 3, 5 * self.epochs // 6))
        if epoch < self.warm_up:  # linear from a hundredth
            return 0.01 + 0.99 * epoch / self.warm_up
        length = self.stretch * max(1, self.epochs - self.warm_up)
        return (1 + math.cos(math.pi * (epoch - self.warm_up) / length)) / 2


@dataclass(frozen=True)
class StudentProtocol:
    """A named way to train and test students; `schedule` says what it means for one set."""

    id: str
    soft: bool
    name: str
    epochs: int | None = None

    def schedule(self, ipc: int, classes: int, images: int, side: int, student: str = "resnet18") -> Schedule:
        """For `images` images, `ipc` a class, and a `student` (by name) that takes squares of `side` pixels."""
        plan = _PLANS[self.name]
        if self.name in _RULES:
            plan = _RULES[self.name](plan, ipc, classes, side, student)
        epochs = self.epochs or plan.epochs
        return replace(
            plan,
            epochs=epochs,
            batch=min(plan.batch, images),
            recipe=replace(plan.recipe, side=side),
            warm_up=min(plan.warm_up, epochs - 1),
            soft=self.soft,
            norm="batch" if self.soft else plan.norm,
            test_side=side if side <= _SMALL_SIDE else round(side * plan.test_side / _FULL_SIDE),
        )


def _minimax(plan: Schedule, ipc: int, classes: int, side: int, student: str) -> Schedule:
    """Epochs by images a class; large sets another rate. At 32 pixels DSA's crop, flip and colours (it also scales and
    rotates)."""
    del student
    epochs = next((epochs for most, epochs in _MINIMAX_EPOCHS if ipc <= most), 300)
    epochs = epochs * 2 // 3 // 100 * 100 if classes == 100 else epochs
    if classes > 100:
        plan = replace(plan, lr=0.1, weight_decay=1e-4, batch=128)
    if side > _CIFAR_SIDE:
        return replace(plan, epochs=epochs)
    return replace(plan, epochs=1000, recipe=replace(plan.recipe, crop="pad4", mix_probability=0.5))


def _rded(plan: Schedule, ipc: int, classes: int, side: int, student: str) -> Schedule:
    """Batches by images a class, and the rate by student; Tiny-ImageNet, and ConvNet-3 on CIFAR-100, have their own.
    The images of small sets aren't tiled, so nothing is shuffled or cropped there."""
    batch = 10 if ipc == 1 else 50 if ipc <= 10 else 100
    batch = 2 * batch if classes in (100, 1000) else 100 if (classes, side) == _TINY else batch
    lr = next((lr for start, lr in _RDED_RATES.items() if student.startswith(start)), plan.lr)
    if student == "convnet3" and (classes, side) == _CIFAR_100:
        batch, lr = 25, 2e-3
    tiled = side > _SMALL_SIDE
    recipe = plan.recipe if tiled else replace(plan.recipe, crop="none", shuffle=1)
    return replace(plan, batch=batch, lr=lr, recipe=recipe)


_MINIMAX_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))  # (images a class at most, epochs)
_RDED_RATES = {
    "mobilenetv2": 2.5e-3,
    "efficientnet_b0": 2e-3,
    "vgg11": 5e-4,
    "vit_base_patch16": 1e-4,
    "swinv2_tiny": 1e-4,
}
_RULES: dict[str, Callable[[Schedule, int, int, int, str], Schedule]] = {"minimax": _minimax, "rded": _rded}

_MIXED_CROPS = Recipe(_FULL_SIDE, crop="rrc", scale=(0.08, 1.0), mix="cutmix")
_MIXED_SHIFTS = Recipe(_CIFAR_SIDE, crop="pad4", mix="mixup", strength=0.8)
_CUT = 256  # the shorter side from which the centre 224 are cut in tests

# For images of 224 pixels, but for what _RULES and the side change.
_PLANS = {
    "minimax": Schedule(
        epochs=2000,
        batch=64,
        recipe=Recipe(_FULL_SIDE, crop="rrc", scale=(0.5, 1.0), mix="cutmix", colour=True),
        optimiser="sgd",
        lr=0.01,
        weight_decay=5e-4,
        decay="all",
        rate="steps",
        norm="instance",
    ),
    "fkd": Schedule(epochs=300, batch=1024, recipe=_MIXED_CROPS, test_side=_CUT),
    "kd-in1k": Schedule(epochs=300, batch=1024, recipe=_MIXED_CROPS, test_side=_CUT),
    "cda-in1k": Schedule(epochs=300, batch=128, recipe=_MIXED_CROPS, test_side=_CUT),
    "scdd-in1k": Schedule(epochs=300, batch=64, recipe=_MIXED_CROPS, test_side=_CUT),
    "sre2l-cifar": Schedule(epochs=400, batch=128, recipe=_MIXED_SHIFTS, decay="all", temperature=30.0),
    "scdd-cifar": Schedule(epochs=200, batch=64, recipe=_MIXED_SHIFTS, decay="all", temperature=30.0, stretch=3),
    "tiny": Schedule(
        epochs=100,
        batch=256,
        recipe=replace(_MIXED_CROPS, mix="none"),
        optimiser="sgd",
        lr=0.2,
        weight_decay=1e-4,
        decay="all",
        warm_up=5,
        scaled=True,
    ),
    "rded": Schedule(
        epochs=300, batch=50, recipe=replace(_MIXED_CROPS, scale=(0.5, 1.0), shuffle=2), stretch=2, test_side=_CUT
    ),
}
STUDENT_PROTOCOLS = tuple(f"{labels}-{name}" for name in _PLANS for labels in ("hard", "soft"))


def is_student_protocol(name: str) -> bool:
    """Whether `name` asks for networks trained from scratch."""
    return name.startswith(("hard-", "soft-"))


def student_protocol(name: str) -> StudentProtocol:
    """The protocol called `name`, such as "soft-rded" or "soft-rded/epochs=50"; EvaluationError names the nearest."""
    base, _, suffix = name.partition("/")
    if base not in STUDENT_PROTOCOLS:
        raise EvaluationError(f"there is no protocol {name!r}", nearest(base, STUDENT_PROTOCOLS))
    length = re.fullmatch(r"epochs=([1-9]\d{0,5})", suffix)
    if suffix and length is None:
        raise EvaluationError(f"{suffix!r} doesn't say how long to train", f"Write {base}/epochs=50 for example.")
    labels, _, plan = base.partition("-")
    return StudentProtocol(name, labels == "soft", plan, None if length is None else int(length[1]))
