"""A backbone's test features, and the probes that are trained and tested on that backbone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar.backbones.record import Backbone
from attar.distilled import png_bytes
from attar.errors import EvaluationError
from attar.evaluation.cells import Cells, Predictions
from attar.evaluation.checks import common_labels
from attar.evaluation.companions import nearest_neighbour, ridge_probe, tuned_probe
from attar.evaluation.heads import FullHead, full_head, head_fingerprint, hold_out
from attar.evaluation.probes import adam_probe, bank_views, nearest_mean
from attar.evaluation.protocols import PROTOCOLS, Protocol
from attar.features import extract, read_squares
from attar.files import digest
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
    probe_policy,
)

_FRESH_LIMIT_SECONDS = 600
_SEED = 3407  # where the authors' restarts begin
_FULL_VIEWS = 8


@dataclass(frozen=True)
class Material:
    """What a probe learns from: images, their labels in the common class order, and how much each image counts."""

    name: str
    source: ImageSource = field(repr=False)
    labels: Int[Tensor, " images"] = field(repr=False)
    weights: Float[np.ndarray, " images"] = field(repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Of images, labels and weights."""
        return digest(self.source.hashes(), self.labels.tolist(), self.weights.tolist())


class Bench:
    """Runs probes on one backbone; every method returns the predicted classes of the test images."""

    def __init__(
        self, backbone: Backbone, test: ImageSource, classes: tuple[str, ...], cells: Cells, progress: Progress
    ):
        self.backbone, self.classes, self.cells, self.progress = backbone, classes, cells, progress
        self.test = test
        self._stored: dict[str, int] = {}
        self.policy = self.policy_for(backbone.image_size)
        self.test_labels = self.labels(test).numpy()
        self.fingerprint = digest(backbone.fingerprint, backbone.dtype, self.policy.fingerprint, classes, test.hashes())

    def policy_for(self, crop: int) -> ViewPolicy:
        """How views of `crop` pixels are cut from images like the test images."""
        return probe_policy(crop, flip=may_mirror(self.test, canvas_side(crop)))

    @cached_property
    def test_features(self) -> Float[Tensor, "test dim"]:
        """Features of the test images' centre crops."""
        return self.centre_features(self.test, "test images")

    def labels(self, source: ImageSource) -> Int[Tensor, " images"]:
        """The source's labels in the common class order."""
        return common_labels(source, self.classes)

    def material(self, name: str, source: ImageSource, weights: Float[np.ndarray, " images"] | None = None) -> Material:
        """`source` as something to learn from; weights are 1 where not given."""
        return Material(name, source, self.labels(source), np.ones(len(source)) if weights is None else weights)

    def centre_features(self, source: ImageSource, task: str = "real images") -> Float[Tensor, "images dim"]:
        """Features of the centre crops."""
        cut = CentreView(self.policy)
        return extract(source, self.backbone, cut, progress=self.progress, task=self._task(task)).values[:, 0]

    def views(self, material: Material, policy: ViewPolicy, count: int, seed: int) -> Float[Tensor, "images views dim"]:
        """Features of `count` views of each image, the first of which is the centre crop."""
        cut = RandomViews(policy, count, seed, Stream.PROBE, centre_first=True)
        task = self._task("probe views")
        return extract(material.source, self.backbone, cut, progress=self.progress, task=task).values

    def bank(self, source: ImageSource, policy: ViewPolicy, count: int) -> Float[Tensor, "images views dim"]:
        """Features of `count` random views of each image, the same for every seed: for probes of the authors."""
        cut = RandomViews(policy, count, 0, Stream.PROBE)
        return extract(source, self.backbone, cut, progress=self.progress, task=self._task("probe views")).values

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

    def probe(self, protocol: Protocol, material: Material, seed: int, train: ImageSource | None = None) -> Predictions:
        """The protocol's probe, its views (and start) drawn by `seed`; `train` is for those that choose a penalty."""
        compute: dict[str, Callable[[Protocol, Material, int], Predictions]] = {
            "converged": self._converged,
            "tuned": partial(self._tuned, train=train),
            "ridge": self._ridge,
            "knn": self._nearest,
            "adam": self._adam,
        }
        tuned_on = None
        if protocol.probe == "tuned" and train is not None:
            tuned_on = (train.hashes(), self.labels(train).tolist())
        key = (protocol, material.fingerprint, seed, self.fingerprint, tuned_on)
        return self.cells.answer(
            self._about(protocol, material.name, seed), key, lambda: compute[protocol.probe](protocol, material, seed)
        )

    def means(
        self, protocol: Protocol, name: str, features: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]
    ) -> Predictions:
        """`probe-v1` on means of features, each of which counts as an image."""

        def compute() -> Predictions:
            probe = converged_probe(
                features[:, None], labels, len(self.classes), transform=protocol.transform, penalty=protocol.penalty
            )
            return probe.predict(self.test_features.numpy())

        key = (protocol, features.numpy().tobytes(), labels.tolist(), self.fingerprint)
        return self.cells.answer(self._about(protocol, name, 0), key, compute)

    def head(self, train: ImageSource, recipe: str) -> FullHead:
        """The classifier of all training images by `recipe`, trained once (heads.py)."""
        return full_head(train, self.labels(train), self.classes, self.backbone, self.policy, recipe, self.progress)

    def full(self, recipe: str, train: ImageSource) -> Predictions:
        """The head of all training images by `recipe` (heads.py), or with a tuned penalty."""
        given = train, self.labels(train), self.classes, self.backbone, self.policy
        key = ("full", head_fingerprint(*given, recipe), self.fingerprint)
        about = {"protocol": recipe, "backbone": self.backbone.name, "images": "full", "seed": 0}

        def compute() -> Predictions:
            if recipe == "probe-v1/tuned":
                return self._tuned_full(train)
            return self.head(train, recipe).probe.predict(self.test_features.numpy())

        return self.cells.answer(about, key, compute)

    def full_adam(self, train: ImageSource, seed: int) -> Predictions:
        """All training images by the authors' recipe, batch 128 and 100 epochs, on 8 cached views an image."""
        key = ("lgm-probe/bank8", train.hashes(), self.labels(train).tolist(), seed, self.fingerprint)

        def compute() -> Predictions:
            views = bank_views(self.bank(train, self.policy, _FULL_VIEWS), _SEED + seed)
            return self._fit_adam(views, self.labels(train), seed, epochs=100, batch=128)

        return self.cells.answer(self._about(PROTOCOLS["lgm-probe"], "full", seed), key, compute)

    def stored_bytes(self, material: Material) -> int:
        """Bytes of images as PNG files of the canvas' side, packed as a distilled set's are."""
        known = self._stored.get(material.fingerprint)
        if known is None:
            squares = read_squares(material.source, self.policy.canvas, range(len(material.source)))
            known = self._stored[material.fingerprint] = sum(len(png_bytes(image)) for image in squares)
        return known

    def nearest_mean(self, means: Float[np.ndarray, "classes dim"]) -> Predictions:
        """`ncm`."""
        return nearest_mean(means, self.test_features.double().numpy())

    def _converged(self, protocol: Protocol, material: Material, seed: int) -> Predictions:
        probe = converged_probe(
            self.views(material, self.policy, protocol.views, seed),
            material.labels,
            len(self.classes),
            transform=protocol.transform,
            penalty=protocol.penalty,
            weights=material.weights,
        )
        return probe.predict(self.test_features.numpy())

    def _tuned(self, protocol: Protocol, material: Material, seed: int, *, train: ImageSource | None) -> Predictions:
        if train is None:
            raise EvaluationError(f"{protocol.id} chooses its penalty on training images", "give them by --train")
        features = self.views(material, self.policy, protocol.views, seed)
        _, chosen = hold_out(self.labels(train))
        real = self.centre_features(train)[chosen], self.labels(train)[chosen]
        probe = tuned_probe(features, material.labels, len(self.classes), material.weights, *real)
        return probe.predict(self.test_features.numpy())

    def _tuned_full(self, train: ImageSource) -> Predictions:
        """Nine tenths of all training images, the penalty chosen by the tenth that chooses for others too."""
        labels, features = self.labels(train), self.centre_features(train)
        kept, chosen = hold_out(labels)
        ones = np.ones(len(kept))
        real = features[chosen], labels[chosen]
        probe = tuned_probe(features[kept][:, None], labels[kept], len(self.classes), ones, *real)
        return probe.predict(self.test_features.numpy())

    def _ridge(self, protocol: Protocol, material: Material, seed: int) -> Predictions:
        features = self.views(material, self.policy, protocol.views, seed)
        return ridge_probe(features, material.labels, len(self.classes)).predict(self.test_features.numpy())

    def _nearest(self, protocol: Protocol, material: Material, seed: int) -> Predictions:
        features = self.views(material, self.policy, protocol.views, seed)
        return nearest_neighbour(features, material.labels, self.test_features)

    def _adam(self, protocol: Protocol, material: Material, seed: int) -> Predictions:
        if protocol.views:
            views = bank_views(self.bank(material.source, self.policy, protocol.views), _SEED + seed)
        else:
            views = self._fresh(material, seed)
        return self._fit_adam(views, material.labels, seed)

    def _fit_adam(self, views: Callable, labels: Int[Tensor, " images"], seed: int, **recipe: int) -> Predictions:
        classes, dim = len(self.classes), self.backbone.dim
        classifier = adam_probe(views, labels, classes, dim, seed=_SEED + seed, **recipe)
        return classifier.predict(self.test_features.numpy())

    def _fresh(self, material: Material, seed: int) -> Callable[[int, Tensor], Tensor]:
        squares = read_squares(material.source, self.policy.canvas, range(len(material.source)))
        images = torch.from_numpy(squares).to(self.backbone.device).float() / 255

        @torch.no_grad()
        def view(epoch: int, chosen: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
            ids = chosen.tolist()
            windows = draw_windows(self.policy, _SEED + seed, Stream.PROBE, epoch, ids, [0] * len(ids))
            return self.backbone(cut_views(images[chosen.to(images.device)], windows, self.policy)).cpu()

        return view

    def _task(self, task: str) -> str:
        return f"{task}, {self.backbone.name}"

    def _about(self, protocol: Protocol, material: str, seed: int) -> dict[str, object]:
        return {"protocol": protocol.id, "backbone": self.backbone.name, "images": material, "seed": seed}
