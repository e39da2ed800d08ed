"""Tiny sets, teachers and students."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from attar.backbones.architectures import Classifier, make_classifier
from attar.backbones.squeezed import Squeezed, write_squeezed
from attar.compression.views import Recipe
from attar.distilled import DistilledSet, Origin, write
from attar.evaluation.student_protocols import Schedule
from attar.features import read_squares
from small import CLASSES, coloured, manifest, squeeze_record

SIDE = 8


def a_set(out: Path, *, seed: int = 0, classes=CLASSES, ipc: int = 2, architecture: str = "") -> DistilledSet:
    """Real images written as if distilled, on a network of `architecture`."""
    source = coloured(ipc, seed=50 + seed)
    labels = np.array([classes.index(CLASSES[label]) for label in source.labels])
    record = manifest(
        classes,
        ipc=ipc,
        image_side=SIDE,
        seeds={"distill": seed},
        settings={"seed": seed},
        backbones=[Origin(name="net", fingerprint="f", architecture=architecture)],
    )
    return write(out, read_squares(source, SIDE, range(len(labels))), labels, manifest=record)


def a_teacher(out: Path, *, classes=CLASSES, seed: int = 0, train_hashes=frozenset()) -> Squeezed:
    """A network of random weights, whose answers are spread out; with other `classes` its logits are permuted alike."""
    network = make_classifier("convnet3", len(CLASSES), side=SIDE, seed=seed)
    order = [CLASSES.index(name) for name in classes]
    with torch.no_grad():
        network.head.weight.copy_(30 * network.head.weight[order])
        network.head.bias.copy_(network.head.bias[order])
    record = squeeze_record(classes, side=SIDE)
    return write_squeezed(out, network, record, train_hashes)


def a_student(classes: int = len(CLASSES), seed: int = 0) -> Classifier:
    """A convolution, BatchNorm and a linear head: 28 features."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv2d(3, 7, 3, stride=2), nn.BatchNorm2d(7), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        return Classifier(nn.Sequential(*layers), 28, classes)


def quick(**changes) -> Schedule:
    """A few epochs of flips and CutMix."""
    recipe = Recipe(SIDE, crop="pad4", mix="cutmix")
    return Schedule(**({"epochs": 5, "batch": 4, "recipe": recipe, "lr": 0.01} | changes))
