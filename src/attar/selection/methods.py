"""The selections by name: how each makes labelled images from what it may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from attar.backbones.record import Backbone
from attar.distilled import DistilledSet
from attar.errors import SettingsError
from attar.features import extract, read_squares
from attar.images.source import ImageSource
from attar.linear import converged_probe
from attar.linear.probe import PENALTY, TRANSFORM
from attar.progress import Progress
from attar.selection.choose import centroid_images, kmeans_images, random_images
from attar.selection.coresets import herding_images, kcenter_images
from attar.selection.crops import rded_images
from attar.selection.neighbours import neighbour_images
from attar.selection.rivals import jpeg_files, noise_images
from attar.synthesis.distillation import data_name
from attar.synthesis.views import CentreView, ViewPolicy, canvas_side

_SMALL = 64  # pixels; RDED's authors tile no smaller images


@dataclass(frozen=True, eq=False)
class Task:
    """What a selection may know: images, a backbone, how many a class, a seed, a distilled set to compare with."""

    source: ImageSource
    backbone: Backbone
    ipc: int
    seed: int
    like: DistilledSet | None
    progress: Progress

    @property
    def classes(self) -> int:
        """How many."""
        return len(self.source.classes)

    @property
    def policy(self) -> ViewPolicy:
        """Canvas and crop of the backbone, as probes cut them."""
        return ViewPolicy(canvas_side(self.backbone.image_size), self.backbone.image_size)

    @property
    def reference(self) -> DistilledSet:
        """The distilled set to compare with; SettingsError where none was given."""
        if self.like is None:
            raise SettingsError("neighbours and jpeg need a distilled set to be like", "give one by --like SET (like=)")
        return self.like

    @cached_property
    def features(self) -> Float[np.ndarray, "n dim"]:
        """Of the centre crops of all images."""
        return self.features_of(self.source, f"real images, {self.backbone.name}")

    def features_of(self, source: ImageSource, task: str) -> Float[np.ndarray, "n dim"]:
        """Of the centre crops of other images, through the same backbone."""
        made = extract(source, self.backbone, CentreView(self.policy), progress=self.progress, task=task)
        return made.values[:, 0].numpy()


@dataclass(frozen=True, eq=False)
class Picked:
    """What a selection made: images of the canvas' side with their labels, and the names of the real ones."""

    images: UInt8[np.ndarray, "n 3 side side"]
    labels: Int[np.ndarray, " n"]
    names: list[str] | None = None
    weights: list[float] | None = None
    figures: dict[str, float] = field(default_factory=dict)


def _random(task: Task) -> Picked:
    return _real(task, random_images(task.source.labels, task.classes, task.ipc, seed=task.seed))


def _centroids(task: Task) -> Picked:
    features, hashes = task.features, task.source.hashes()
    return _real(task, centroid_images(features, task.source.labels, task.classes, task.ipc, hashes=hashes))


def _neighbours(task: Task) -> Picked:
    like = task.reference
    position = np.array([task.source.classes.index(name) for name in like.classes])
    of_set = task.features_of(like.source, f"images of {like.path.name}")
    chosen = neighbour_images(task.features, task.source.labels, task.classes, of_set, position[like.labels])
    return _real(task, chosen)


def _herding(task: Task) -> Picked:
    return _real(task, herding_images(task.features, task.source.labels, task.classes, task.ipc))


def _kcenter(task: Task) -> Picked:
    return _real(task, kcenter_images(task.features, task.source.labels, task.classes, task.ipc))


def _kmeans(task: Task) -> Picked:
    chosen, weights = kmeans_images(task.features, task.source.labels, task.classes, task.ipc, seed=task.seed)
    return _real(task, chosen, weights.tolist())


def _rded(task: Task) -> Picked:
    features, labels = torch.from_numpy(task.features)[:, None], torch.from_numpy(task.source.labels)
    images, held = rded_images(
        task.source,
        task.backbone,
        converged_probe(features, labels, task.classes, transform=TRANSFORM, penalty=PENALTY),
        task.ipc,
        side=task.policy.canvas,
        factor=1 if task.policy.canvas <= _SMALL else 2,
        seed=task.seed,
        progress=task.progress,
    )
    names = ["; ".join(_names(task.source, row)) for row in held]
    return Picked(images, np.arange(task.classes).repeat(task.ipc), names)


def _jpeg(task: Task) -> Picked:
    side = task.policy.canvas
    stored = jpeg_files(task.source, side, task.reference.bytes, seed=task.seed)
    figures = {"jpeg_bytes": stored.size, "jpeg_quality": stored.quality, "jpeg_side": stored.side}
    names = _names(task.source, stored.chosen)
    return Picked(stored.decoded(side), stored.labels, names, figures={k: float(v) for k, v in figures.items()})


def _noise(task: Task) -> Picked:
    images = noise_images(task.classes * task.ipc, task.policy.canvas, task.seed)
    return Picked(images, np.arange(task.classes).repeat(task.ipc))


SELECTIONS: dict[str, Callable[[Task], Picked]] = {
    "random": _random,
    "centroids": _centroids,
    "neighbours": _neighbours,
    "herding": _herding,
    "kcenter": _kcenter,
    "kmeans": _kmeans,
    "rded": _rded,
    "jpeg": _jpeg,
    "noise": _noise,
}

LIKE_A_SET = frozenset({"neighbours", "jpeg"})
"""Those that are made like a distilled set, which says how many images they have."""

DRAWN = frozenset({"random", "kmeans", "rded", "jpeg", "noise"})
"""Those that a seed decides; the others are the same for every seed."""


def _real(task: Task, chosen: Int[np.ndarray, " chosen"], weights: list[float] | None = None) -> Picked:
    """The central squares of real images as they are."""
    images = read_squares(task.source, task.policy.canvas, chosen)
    return Picked(images, task.source.labels[chosen], _names(task.source, chosen), weights)


def _names(source: ImageSource, indices: Int[np.ndarray, " chosen"]) -> list[str]:
    """What identifies images to their owner, without where they lay: joined sources put that first."""
    return [_without_place(source.name(int(index)), source.location) for index in indices]


def _without_place(name: str, location: str) -> str:
    for part in location.split("+"):
        if name.startswith(f"{part}/"):
            return data_name(part) + name[len(part) :]
    return Path(name).name if Path(name).is_absolute() else name
