"""An honest accuracy: distilled sets beside real images, class means and the full data, under named protocols."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from attar.backbones.record import Backbone
from attar.devices import pick_device, pick_dtype
from attar.distilled import DistilledSet
from attar.errors import EvaluationError
from attar.evaluation.probes import adam_probe, bank_views, converged_probe, nearest_mean
from attar.evaluation.protocols import PROTOCOLS, Protocol, protocol
from attar.evaluation.scores import Difference, paired_difference, summarise
from attar.features import ClassStatistics, extract, read_squares
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.selection import centroid_images, kmeans_images, random_images
from attar.synthesis.draws import Stream
from attar.synthesis.views import CentreView, RandomViews, ViewPolicy, canvas_side, cut_views, draw_windows

_FRESH_LIMIT_SECONDS = 600
_RANDOM_DRAWS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table; `correct` holds for each set or draw the share of its probes that were right on
    each test image."""

    method: str
    set: str
    distilled_on: tuple[str, ...]
    evaluated_on: str
    protocol: str
    ipc: int
    accuracy: float
    std: float
    ci95: tuple[float, float] | None
    n_test: int
    seeds: dict[str, list[int]]
    bytes: int | None
    correct: Float[np.ndarray, "runs test"] = field(repr=False)

    def as_json(self) -> dict[str, object]:
        """Everything but the single predictions, percentages with two decimals."""
        values = {name: value for name, value in vars(self).items() if name != "correct"}
        rounded = {name: round(values[name], 2) for name in ("accuracy", "std")}
        ci95 = None if self.ci95 is None else [round(bound, 2) for bound in self.ci95]
        return values | rounded | {"ci95": ci95, "distilled_on": list(self.distilled_on)}


@dataclass(frozen=True)
class Evaluation:
    """The rows of all protocols, in the order of the table, and remarks that belong beneath it."""

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]

    def row(self, method: str, protocol: str) -> Row | None:
        """The first row of `method` under the protocol (its id, or the name it begins with)."""
        return next((row for row in self.rows if row.method == method and row.protocol == protocol), None)

    def differences(self) -> list[tuple[Row, Row, Difference]]:
        """Each distilled row against centroids, random, class means and full, by paired bootstrap."""
        result = []
        for row in self.rows:
            if not row.distilled_on:
                continue
            for method in ("random", "centroids", "kmeans", "class-means", "full"):
                other = self.row(method, row.protocol)
                if other is not None:
                    result.append((row, other, paired_difference(row.correct, other.correct)))
        return result

    def as_json(self) -> dict[str, object]:
        """The document that `attar evaluate --json` prints."""
        differences = [
            {
                "method": row.method,
                "against": other.method,
                "protocol": row.protocol,
                "mean": round(difference.mean, 2),
                "ci95": [round(difference.low, 2), round(difference.high, 2)],
                "verdict": difference.verdict,
            }
            for row, other, difference in self.differences()
        ]
        return {
            "rows": [row.as_json() for row in self.rows],
            "differences": differences,
            "remarks": list(self.remarks),
        }


def evaluate(
    sets: Sequence[DistilledSet],
    *,
    test: ImageSource,
    train: ImageSource | None,
    backbone: Backbone,
    protocols: Sequence[str] = ("probe-v1", "probe-v1/std"),
    device: str = "auto",
    precision: str = "fp32",
    progress: Progress = SILENT,
) -> Evaluation:
    """Accuracy on `test` of linear probes on `backbone`, trained on each set and on what it must beat.

    Sets of one method, ipc and distilling backbone make one row: the mean over distillation seeds with its 95 %
    interval. Rows beside them, for which `train` is needed: random real images (5 draws), centroids, the nearest
    class mean (`ncm`), the probe on the true class means, and the probe on all training images. EvaluationError where
    the classes of sets, test and train differ.
    """
    backbone = backbone.to(device=pick_device(device), dtype=pick_dtype(precision))
    classes = _common_classes(sets, test, train)
    bench = _Bench(backbone, test, classes, progress)
    chosen = list(dict.fromkeys(bench.settle(protocol(name), sets, train) for name in protocols))
    rows: list[Row] = []
    for group in _groups(sets):
        rows += bench.distilled_rows(group, chosen)
    remarks = bench.remarks
    if train is None:
        remarks.append("n/a: random, centroids, ncm, class-means and full need the training images (--train).")
    else:
        for ipc in sorted({one.manifest.ipc for one in sets} or {1}):
            rows += bench.selection_rows(train, ipc, chosen)
        rows += bench.reference_rows(train, chosen)
        remarks += _suspicions(rows, len(classes))
    order = {one.id: number for number, one in enumerate(chosen)}
    adam = next((order[one.id] for one in chosen if one.probe == "adam"), 0)  # where its full row, bank8, belongs
    rows.sort(key=lambda row: order.get(row.protocol.removesuffix("/imagenet"), adam))
    return Evaluation(tuple(rows), tuple(remarks))


def _common_classes(sets: Sequence[DistilledSet], test: ImageSource, train: ImageSource | None) -> tuple[str, ...]:
    """The class names in the order of the first set; the same names everywhere, in any order."""
    named = [(str(one.path), one.classes) for one in sets] + [("the test set", test.classes)]
    if train is not None:
        named.append(("the training set", train.classes))
    reference_name, reference = named[0]
    for name, classes in named[1:]:
        missing, extra = sorted(set(reference) - set(classes)), sorted(set(classes) - set(reference))
        if missing or extra:
            parts = [f"lacks {', '.join(missing[:5])}"] if missing else []
            parts += [f"has {', '.join(extra[:5])} beside them"] if extra else []
            raise EvaluationError(
                f"The classes of {reference_name} and {name} differ: {name} {' and '.join(parts)}.",
                "Classes are matched by name; give folders with the same class names.",
            )
    return reference


def _groups(sets: Sequence[DistilledSet]) -> list[list[DistilledSet]]:
    """Sets that differ in their seed alone, in order of appearance."""
    groups: dict[tuple[str, str], list[DistilledSet]] = {}
    for one in sets:
        settings = {name: value for name, value in one.manifest.settings.items() if name != "seed"}
        groups.setdefault((one.manifest.method, repr(sorted(settings.items()))), []).append(one)
    return list(groups.values())


def _suspicions(rows: Sequence[Row], classes: int) -> list[str]:
    full = [row for row in rows if row.method == "full"]
    if full and full[0].accuracy < 200 / classes:
        return ["The probe on all training images is under twice chance: are folders mislabelled?"]
    return []


@dataclass
class _Run:
    """One training of a probe: on `source` (labels in the common order) with `weights`, its views drawn by `seed`."""

    source: ImageSource
    labels: Int[Tensor, " images"]
    weights: Float[np.ndarray, " images"]
    seed: int


class _Bench:
    """Test features on one backbone, and the probes run against them."""

    def __init__(self, backbone: Backbone, test: ImageSource, classes: tuple[str, ...], progress: Progress):
        self.backbone, self.test, self.classes, self.progress = backbone, test, classes, progress
        side = canvas_side(backbone.image_size)
        low = 0.5 if side <= 64 else 0.08
        self.policy = ViewPolicy(
            side, backbone.image_size, scale=(low, 1.0), flip=not (test.grey and backbone.image_size <= 64)
        )
        self.test_labels = self._labels(test)
        features = extract(test, backbone, CentreView(self.policy), progress=progress, task="test images")
        self.test_features = features.values[:, 0]
        self.remarks: list[str] = []

    def settle(self, wanted: Protocol, sets: Sequence[DistilledSet], train: ImageSource | None) -> Protocol:
        """`lgm-probe` becomes its banked form where fresh views would take over ten minutes."""
        if wanted.views:
            return wanted
        images = sum(len(one) for one in sets)
        if train is not None:
            images += sum((_RANDOM_DRAWS + 1) * one.manifest.ipc for one in sets[:1]) * len(self.classes)
        trial = torch.rand(8, 3, self.policy.crop, self.policy.crop, device=self.backbone.device)
        with torch.inference_mode():
            self.backbone(trial)
            started = time.perf_counter()
            self.backbone(trial)
            each = (time.perf_counter() - started) / 8
        if each * images * 1000 * wanted.restarts < _FRESH_LIMIT_SECONDS:
            return wanted
        return PROTOCOLS["lgm-probe/bank64"]

    def distilled_rows(self, group: Sequence[DistilledSet], protocols: Sequence[Protocol]) -> list[Row]:
        first = group[0].manifest
        rows = []
        for chosen in protocols:
            runs = [
                [_Run(one.source, self._labels(one.source), one.weights, seed) for seed in range(chosen.restarts)]
                for one in group
            ]
            rows.append(
                self._row(
                    chosen,
                    runs,
                    method=first.method,
                    name=", ".join(one.path.name for one in group),
                    distilled_on=tuple(origin.name for origin in first.backbones),
                    ipc=first.ipc,
                    stored=group[0].bytes,
                    seeds={"distill": [one.manifest.seeds["distill"] for one in group]},
                )
            )
        return rows

    def selection_rows(self, train: ImageSource, ipc: int, protocols: Sequence[Protocol]) -> list[Row]:
        """Random real images (5 draws), those nearest to the class means, and to k-means centres at several a class."""
        labels = self._labels(train)
        count = len(self.classes)
        if int(np.bincount(labels.numpy(), minlength=count).min()) < ipc:
            self.remarks.append(f"n/a: random and centroids at {ipc} a class; some class has fewer images.")
            return []
        draws = [random_images(labels.numpy(), count, ipc, seed=seed) for seed in range(_RANDOM_DRAWS)]
        features = self._centre_features(train).numpy()
        centroids = centroid_images(features, labels.numpy(), count, ipc)
        chosen_reals = {"centroids": (centroids, np.ones(len(centroids)))}
        if ipc > 1:  # at one image a class the centre is the class mean
            chosen_reals["kmeans"] = kmeans_images(features, labels.numpy(), count, ipc)
        rows = []
        for chosen in protocols:
            runs = [[self._real_run(train, indices, seed)] for seed, indices in enumerate(draws)]
            stored, seeds = self._png(train, draws[0]), {"selection": list(range(_RANDOM_DRAWS))}
            rows.append(self._row(chosen, runs, method="random", ipc=ipc, stored=stored, seeds=seeds))
            for method, (indices, weights) in chosen_reals.items():
                runs = [[self._real_run(train, indices, seed, weights) for seed in range(chosen.restarts)]]
                rows.append(self._row(chosen, runs, method=method, ipc=ipc, stored=self._png(train, indices)))
        return rows

    def reference_rows(self, train: ImageSource, protocols: Sequence[Protocol]) -> list[Row]:
        """`ncm`, the probe on the true class means, and the probe on all training images."""
        features, labels = self._centre_features(train), self._labels(train)
        count, dim = len(self.classes), features.shape[1]
        means = ClassStatistics.of(features, labels, count).means
        stored = 4 * count * dim
        rows = []
        for chosen in protocols:
            correct = nearest_mean(means.numpy(), self.test_features.double().numpy()) == self.test_labels.numpy()
            rows.append(self._summary(chosen, [[correct]], method="ncm", ipc=1, stored=stored))
            if chosen.probe == "converged":
                for method, values, targets, size in (
                    ("class-means", means.float()[:, None], torch.arange(count), stored),
                    ("full", features[:, None], labels, None),
                ):
                    correct = self._converged(chosen, values, targets, np.ones(len(targets)))
                    ipc = 1 if method == "class-means" else len(train) // count
                    rows.append(self._summary(chosen, [[correct]], method=method, ipc=ipc, stored=size))
            else:
                rows.append(self._full_adam(train, labels, chosen))
        return rows

    def _row(self, chosen: Protocol, runs: Sequence[Sequence[_Run]], **about) -> Row:
        correct = [[self._run(chosen, run) for run in group] for group in runs]
        seeds = about.pop("seeds", {})
        return self._summary(chosen, correct, seeds=seeds | {"probe": [run.seed for run in runs[0]]}, **about)

    def _summary(
        self,
        chosen: Protocol,
        correct: Sequence[Sequence[Bool[np.ndarray, " test"]]],
        *,
        method: str,
        ipc: int,
        stored: int | None,
        name: str = "",
        distilled_on: tuple[str, ...] = (),
        seeds: dict[str, list[int]] | None = None,
        protocol_id: str = "",
    ) -> Row:
        """Mean over groups (sets, draws) of the mean over their probes; the spread is the groups', else the probes'."""
        per_group = [float(100 * np.mean(group)) for group in correct]
        summary = summarise(per_group)
        std = summary.std if len(per_group) > 1 else float(np.std([100 * np.mean(one) for one in correct[0]]))
        suffix = "" if self.backbone.normalise == "native" else "/imagenet"
        return Row(
            method=method,
            set=name or method,
            distilled_on=distilled_on,
            evaluated_on=self.backbone.name,
            protocol=(protocol_id or chosen.id) + suffix,
            ipc=ipc,
            accuracy=summary.accuracy,
            std=std,
            ci95=summary.ci95,
            n_test=len(self.test),
            seeds=seeds or {},
            bytes=stored,
            correct=np.stack([np.mean(group, axis=0) for group in correct]),
        )

    def _run(self, chosen: Protocol, run: _Run) -> Bool[np.ndarray, " test"]:
        if chosen.probe == "adam":
            return self._adam(chosen, run)
        cut = RandomViews(self.policy, chosen.views, run.seed, Stream.PROBE, centre_first=True)
        features = extract(run.source, self.backbone, cut, progress=self.progress, task="probe views")
        return self._converged(chosen, features.values, run.labels, run.weights)

    def _converged(
        self,
        chosen: Protocol,
        features: Float[Tensor, "images views dim"],
        labels: Int[Tensor, " images"],
        weights: Float[np.ndarray, " images"],
    ) -> Bool[np.ndarray, " test"]:
        probe = converged_probe(
            features,
            labels,
            len(self.classes),
            transform=chosen.transform,
            penalty=chosen.penalty,
            weights=weights,
        )
        return probe.predict(self.test_features.numpy()) == self.test_labels.numpy()

    def _adam(self, chosen: Protocol, run: _Run) -> Bool[np.ndarray, " test"]:
        if chosen.views:
            cut = RandomViews(self.policy, chosen.views, 0, Stream.PROBE)
            bank = extract(run.source, self.backbone, cut, progress=self.progress, task="probe views").values
            view = bank_views(bank, 3407 + run.seed)
        else:
            view = self._fresh_views(run)
        return self._adam_correct(view, run.labels, run.seed)

    def _adam_correct(self, view: Callable, labels: Tensor, seed: int, **recipe: int) -> Bool[np.ndarray, " test"]:
        classifier = adam_probe(view, labels, len(self.classes), self.backbone.dim, seed=3407 + seed, **recipe)
        return classifier.predict(self.test_features.numpy()) == self.test_labels.numpy()

    def _fresh_views(self, run: _Run) -> Callable[[int, Tensor], Tensor]:
        squares = read_squares(run.source, self.policy.canvas, np.arange(len(run.source)))
        images = torch.from_numpy(squares).to(self.backbone.device).float() / 255

        @torch.no_grad()
        def view(epoch: int, chosen: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
            windows = draw_windows(
                self.policy, 3407 + run.seed, Stream.PROBE, epoch, chosen.tolist(), [0] * len(chosen)
            )
            return self.backbone(cut_views(images[chosen.to(images.device)], windows, self.policy)).cpu()

        return view

    def _full_adam(self, train: ImageSource, labels: Tensor, chosen: Protocol) -> Row:
        """All training images by the authors' recipe: batch 128, 100 epochs; 8 cached views an image."""
        cut = RandomViews(self.policy, 8, 0, Stream.PROBE)
        bank = extract(train, self.backbone, cut, progress=self.progress, task="probe views").values
        correct = [
            self._adam_correct(bank_views(bank, 3407 + seed), labels, seed, epochs=100, batch=128)
            for seed in range(chosen.restarts)
        ]
        return self._summary(
            chosen,
            [correct],
            method="full",
            ipc=len(train) // len(self.classes),
            stored=None,
            protocol_id="lgm-probe/bank8",
        )

    def _centre_features(self, source: ImageSource) -> Float[Tensor, "images dim"]:
        cut = CentreView(self.policy)
        return extract(source, self.backbone, cut, progress=self.progress, task="real images").values[:, 0]

    def _real_run(self, train: ImageSource, indices: np.ndarray, seed: int, weights: np.ndarray | None = None) -> _Run:
        chosen = train.subset(indices)
        return _Run(chosen, self._labels(chosen), np.ones(len(indices)) if weights is None else weights, seed)

    def _labels(self, source: ImageSource) -> Int[Tensor, " images"]:
        """The source's labels in the common class order."""
        position = {name: number for number, name in enumerate(self.classes)}
        order = np.array([position[name] for name in source.classes])
        return torch.from_numpy(order[source.labels])

    def _png(self, train: ImageSource, indices: np.ndarray) -> int:
        """Bytes of the chosen real images as PNG files of the canvas' side."""
        total = 0
        for image in read_squares(train, self.policy.canvas, indices):
            buffer = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
            total += buffer.tell()
        return total
