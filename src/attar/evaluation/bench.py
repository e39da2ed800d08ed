"""A backbone's test features, and the probes that are trained and tested on that backbone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attar.backbones.record import Backbone
from attar.evaluation.probes import adam_probe, bank_views, nearest_mean
from attar.evaluation.protocols import PROTOCOLS, Protocol
from attar.features import extract, read_squares
from attar.images.source import ImageSource
from attar.linear import converged_probe
from attar.progress import Progress
from attar.synthesis.draws import Stream
from attar.synthesis.views import (
    CentreView,
    RandomViews,
    ViewPolicy,
    canvas_side,
    cut_views,
    draw_windows,
    may_mirror,
    smallest_crop,
)

_FRESH_LIMIT_SECONDS = 600
_SEED = 3407  # where the authors' restarts begin
_FULL_VIEWS = 8

Correct = Bool[np.ndarray, " test"]


@dataclass(frozen=True)
class Material:
    """What a probe learns from: images, their labels in the common class order, and how much each image counts."""

    source: ImageSource
    labels: Int[Tensor, " images"]
    weights: Float[np.ndarray, " images"]


class Bench:
    """Runs probes on one backbone; every method returns which test images were classified right."""

    def __init__(self, backbone: Backbone, test: ImageSource, classes: tuple[str, ...], progress: Progress):
        self.backbone, self.classes, self.progress = backbone, classes, progress
        side = canvas_side(backbone.image_size)
        scale = (smallest_crop(side), 1.0)
        self.policy = ViewPolicy(side, backbone.image_size, scale=scale, flip=may_mirror(test, side))
        self.test_labels = self.labels(test).numpy()
        self.test_features = self.centre_features(test, "test images")

    def labels(self, source: ImageSource) -> Int[Tensor, " images"]:
        """The source's labels in the common class order."""
        position = {name: number for number, name in enumerate(self.classes)}
        order = np.array([position[name] for name in source.classes])
        return torch.from_numpy(order[source.labels])

    def material(self, source: ImageSource, weights: Float[np.ndarray, " images"] | None = None) -> Material:
        """`source` as something to learn from; weights are 1 where not given."""
        return Material(source, self.labels(source), np.ones(len(source)) if weights is None else weights)

    def centre_features(self, source: ImageSource, task: str = "real images") -> Float[Tensor, "images dim"]:
        """Features of the centre crops."""
        return extract(source, self.backbone, CentreView(self.policy), progress=self.progress, task=task).values[:, 0]

    def settle(self, wanted: Protocol, images: int) -> Protocol:
        """`lgm-probe` becomes its banked form where fresh views of `images` images would take over ten minutes."""
        if wanted.views:
            return wanted
        trial = torch.rand(8, 3, self.policy.crop, self.policy.crop, device=self.backbone.device)
        with torch.inference_mode():
            self.backbone(trial).cpu()
            started = time.perf_counter()
            self.backbone(trial).cpu()  # the copy waits for the device
            each = (time.perf_counter() - started) / len(trial)
        fresh = each * images * 1000 * wanted.restarts < _FRESH_LIMIT_SECONDS
        return wanted if fresh else PROTOCOLS["lgm-probe/bank64"]

    def probe(self, protocol: Protocol, material: Material, seed: int) -> Correct:
        """The protocol's probe, its views (and start) drawn by `seed`."""
        if protocol.probe == "adam":
            views = self._bank(material.source, protocol.views, seed) if protocol.views else self._fresh(material, seed)
            return self._adam(views, material.labels, seed)
        cut = RandomViews(self.policy, protocol.views, seed, Stream.PROBE, centre_first=True)
        features = extract(material.source, self.backbone, cut, progress=self.progress, task="probe views").values
        return self.converged(protocol, features, material.labels, material.weights)

    def converged(
        self,
        protocol: Protocol,
        features: Float[Tensor, "images views dim"],
        labels: Int[Tensor, " images"],
        weights: Float[np.ndarray, " images"] | None = None,
    ) -> Correct:
        """`probe-v1` on features that are already there."""
        probe = converged_probe(
            features,
            labels,
            len(self.classes),
            transform=protocol.transform,
            penalty=protocol.penalty,
            weights=weights,
        )
        return probe.predict(self.test_features.numpy()) == self.test_labels

    def full_adam(self, train: ImageSource, seed: int) -> Correct:
        """All training images by the authors' recipe, batch 128 and 100 epochs, on 8 cached views an image."""
        return self._adam(self._bank(train, _FULL_VIEWS, seed), self.labels(train), seed, epochs=100, batch=128)

    def nearest_mean(self, means: Float[np.ndarray, "classes dim"]) -> Correct:
        """`ncm`."""
        return nearest_mean(means, self.test_features.double().numpy()) == self.test_labels

    def _adam(self, views: Callable, labels: Int[Tensor, " images"], seed: int, **recipe: int) -> Correct:
        classes, dim = len(self.classes), self.backbone.dim
        classifier = adam_probe(views, labels, classes, dim, seed=_SEED + seed, **recipe)
        return classifier.predict(self.test_features.numpy()) == self.test_labels

    def _bank(self, source: ImageSource, count: int, seed: int) -> Callable[[int, Tensor], Tensor]:
        cut = RandomViews(self.policy, count, 0, Stream.PROBE)
        bank = extract(source, self.backbone, cut, progress=self.progress, task="probe views").values
        return bank_views(bank, _SEED + seed)

    def _fresh(self, material: Material, seed: int) -> Callable[[int, Tensor], Tensor]:
        squares = read_squares(material.source, self.policy.canvas, range(len(material.source)))
        images = torch.from_numpy(squares).to(self.backbone.device).float() / 255

        @torch.no_grad()
        def view(epoch: int, chosen: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
            ids = chosen.tolist()
            windows = draw_windows(self.policy, _SEED + seed, Stream.PROBE, epoch, ids, [0] * len(ids))
            return self.backbone(cut_views(images[chosen.to(images.device)], windows, self.policy)).cpu()

        return view
