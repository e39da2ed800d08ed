"""An honest accuracy: distilled sets beside real images, class means and the full data, under named protocols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from attar.backbones.record import Backbone
from attar.devices import keep_freed_memory, pick_device, pick_dtype
from attar.distilled import DistilledSet, png_bytes
from attar.errors import EvaluationError
from attar.evaluation.bench import Bench, Material
from attar.evaluation.protocols import Protocol, protocol
from attar.evaluation.rows import Evaluation, Row, make_row
from attar.features import ClassStatistics, read_squares
from attar.features.clusters import sub_clusters
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.selection import centroid_images, kmeans_images, random_images

_RANDOM_DRAWS = 5


def evaluate(
    sets: Sequence[DistilledSet],
    *,
    test: ImageSource,
    train: ImageSource | None,
    backbone: Backbone,
    protocols: Sequence[str] = ("probe-v1", "probe-v1/std"),
    device: str = "auto",
    precision: str = "fp32",
    drop_shared: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Accuracy on `test` of linear probes on `backbone`, trained on each set and on what it must beat.

    Sets that differ in their seed alone make one row: the mean over distillation seeds with its 95 % interval. Rows
    beside them, for which `train` is needed: random real images (5 draws), centroids, k-means reals, the nearest class
    mean (`ncm`), the probe on the true class means, and the probe on all training images.

    EvaluationError where the classes of sets, test and train differ, where a set is given twice, and where test
    images are exact copies of training images, unless `drop_shared` leaves those out.
    """
    keep_freed_memory()
    backbone = backbone.to(device=pick_device(device), dtype=pick_dtype(precision))
    classes = _common_classes(sets, test, train)
    test, remarks = _without_shared(sets, test, train, drop_shared)
    remarks += _mismatches(sets, train, backbone)
    bench = Bench(backbone, test, classes, progress)
    ipcs = sorted({one.manifest.ipc for one in sets} or {1})
    images = sum(len(one) for one in sets) + (0 if train is None else 6 * sum(ipcs) * len(classes))
    chosen = list(dict.fromkeys(bench.settle(protocol(name), images) for name in protocols))
    rows: list[Row] = []
    for one in chosen:
        for group in _groups(sets):
            rows.append(_distilled_row(bench, one, group))
        if train is not None:
            for ipc in ipcs:
                rows += _selection_rows(bench, one, train, ipc)
                rows += _sub_centre_row(bench, one, train, ipc)
            rows += _reference_rows(bench, one, train)
    if train is None:
        remarks.append("n/a: random, centroids, ncm, class-means and full need the training images (--train).")
    elif int(train.counts.min()) < max(ipcs):
        remarks.append(f"n/a: real images at {max(ipcs)} a class; some class has fewer.")
    remarks += _suspicions(rows, len(classes))
    return Evaluation(tuple(rows), bench.test_labels, tuple(remarks))


def _distilled_row(bench: Bench, chosen: Protocol, group: Sequence[DistilledSet]) -> Row:
    """Sets of several seeds, each probed with several seeds."""
    first, seeds = group[0].manifest, range(chosen.restarts)
    materials = [bench.material(one.source, one.weights) for one in group]
    return _row(
        bench,
        chosen,
        [[bench.probe(chosen, material, seed) for seed in seeds] for material in materials],
        method=first.method,
        set=", ".join(one.path.name for one in group),
        distilled_on=tuple(origin.name for origin in first.backbones),
        ipc=first.ipc,
        bytes=group[0].bytes,
        seeds={"distill": [one.manifest.seeds["distill"] for one in group], "probe": list(seeds)},
    )


def _selection_rows(bench: Bench, chosen: Protocol, train: ImageSource, ipc: int) -> Iterator[Row]:
    """Random real images (5 draws), those nearest to the class means, and to k-means centres at several a class."""
    if int(train.counts.min()) < ipc:
        return
    labels, count = bench.labels(train).numpy(), len(bench.classes)
    draws = [random_images(labels, count, ipc, seed=seed) for seed in range(_RANDOM_DRAWS)]
    correct = [[bench.probe(chosen, bench.material(train.subset(indices)), seed)] for seed, indices in enumerate(draws)]
    seeds = {"selection": list(range(_RANDOM_DRAWS)), "probe": list(range(_RANDOM_DRAWS))}
    size = _stored(bench, bench.material(train.subset(draws[0])))
    yield _row(bench, chosen, correct, method="random", ipc=ipc, bytes=size, seeds=seeds)

    features = bench.centre_features(train).numpy()
    selections: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    selections["centroids"] = (centroid_images(features, labels, count, ipc), None)
    if ipc > 1:  # at one image a class the centre is the class mean
        selections["kmeans"] = kmeans_images(features, labels, count, ipc)
    for method, (indices, weights) in selections.items():
        material = bench.material(train.subset(indices), weights)
        correct = [[bench.probe(chosen, material, seed) for seed in range(chosen.restarts)]]
        seeds = {"probe": list(range(chosen.restarts))} | ({"selection": [0]} if method == "kmeans" else {})
        yield _row(bench, chosen, correct, method=method, ipc=ipc, bytes=_stored(bench, material), seeds=seeds)


def _sub_centre_row(bench: Bench, chosen: Protocol, train: ImageSource, ipc: int) -> Iterator[Row]:
    """The probe on the means of `ipc` equal clusters of each class, where that is more than the class means."""
    if ipc == 1 or chosen.probe != "converged" or int(train.counts.min()) < ipc:
        return
    features, labels, count = bench.centre_features(train), bench.labels(train), len(bench.classes)
    clusters = torch.from_numpy(sub_clusters(features.numpy(), labels.numpy(), count, ipc))
    centres = ClassStatistics.of(features, labels * ipc + clusters, count * ipc).means.float()
    correct = bench.converged(chosen, centres[:, None], torch.arange(count).repeat_interleave(ipc))
    yield _row(bench, chosen, [[correct]], method="sub-centres", ipc=ipc, bytes=4 * centres.numel())


def _reference_rows(bench: Bench, chosen: Protocol, train: ImageSource) -> Iterator[Row]:
    """`ncm`, the probe on the true class means, and the probe on all training images."""
    features, labels, count = bench.centre_features(train), bench.labels(train), len(bench.classes)
    means = ClassStatistics.of(features, labels, count).means
    stored = 4 * means.numel()
    yield _row(bench, chosen, [[bench.nearest_mean(means.numpy())]], method="ncm", ipc=1, bytes=stored)
    each = len(train) // count
    if chosen.probe == "converged":
        on_means = bench.converged(chosen, means.float()[:, None], torch.arange(count))
        yield _row(bench, chosen, [[on_means]], method="class-means", ipc=1, bytes=stored)
        on_all = bench.converged(chosen, features[:, None], labels)
        yield _row(bench, chosen, [[on_all]], method="full", ipc=each)
    else:
        seeds = range(chosen.restarts)
        correct = [[bench.full_adam(train, seed) for seed in seeds]]
        about = {"protocol": _protocol_id(bench, "lgm-probe/bank8"), "seeds": {"probe": list(seeds)}}
        yield _row(bench, chosen, correct, method="full", ipc=each, **about)


def _row(bench: Bench, chosen: Protocol, correct, *, method: str, **about) -> Row:
    """A row of `chosen`'s table, with what isn't said in `about` filled in."""
    table = _protocol_id(bench, chosen.id)
    filled: dict[str, object] = {"set": method, "distilled_on": (), "protocol": table, "seeds": {}, "bytes": None}
    return make_row(correct, method=method, table=table, evaluated_on=bench.backbone.name, **(filled | about))


def _protocol_id(bench: Bench, name: str) -> str:
    return name if bench.backbone.normalise == "native" else f"{name}/imagenet"


def _stored(bench: Bench, material: Material) -> int:
    """Bytes of real images as PNG files of the canvas' side, packed as a distilled set's are."""
    squares = read_squares(material.source, bench.policy.canvas, range(len(material.source)))
    return sum(len(png_bytes(image)) for image in squares)


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
                "Classes are matched by name; give images of the same classes, or choose among them with --classes.",
            )
    return reference


def _without_shared(
    sets: Sequence[DistilledSet], test: ImageSource, train: ImageSource | None, drop: bool
) -> tuple[ImageSource, list[str]]:
    """The test images that no set was made from and that `train` lacks, and a remark on those left out."""
    known = {int(value) for one in sets for value in one.train_hashes}
    if train is not None:
        known |= {int.from_bytes(value[:8], "big") for value in train.hashes()}
    shared = np.array([int.from_bytes(value[:8], "big") in known for value in test.hashes()])
    if not shared.any():
        return test, []
    if not drop:
        raise EvaluationError(
            f"{shared.sum()} of {len(test)} test images are exact copies of training images.",
            "Test on images that were not trained on, or leave the copies out with --drop-shared (drop_shared=True).",
        )
    kept = test.subset(np.flatnonzero(~shared))
    if int(kept.counts.min()) == 0:
        raise EvaluationError("Without copies of training images some class has no test image.", "Test on others.")
    return kept, [f"{shared.sum()} test images were left out: exact copies of training images."]


def _mismatches(sets: Sequence[DistilledSet], train: ImageSource | None, backbone: Backbone) -> list[str]:
    """What makes the rows less comparable than they look."""
    remarks = []
    if train is not None and any(one.manifest.data.fingerprint != train.fingerprint for one in sets):
        remarks.append("The training images given are not those that every set was distilled from.")
    for origin in (origin for one in sets for origin in one.manifest.backbones):
        if origin.name == backbone.name and origin.fingerprint != backbone.fingerprint:
            remarks.append(f"{backbone.name} has other weights or preprocessing here than when it distilled.")
    return list(dict.fromkeys(remarks))


def _groups(sets: Sequence[DistilledSet]) -> list[list[DistilledSet]]:
    """Sets that differ in their seed alone, in order of appearance."""
    if len({one.path.resolve() for one in sets}) < len(sets):
        raise EvaluationError("A set is given twice.", "Its copies would count as seeds of their own.")
    groups: dict[tuple[str, str], list[DistilledSet]] = {}
    for one in sets:
        settings = {name: value for name, value in one.manifest.settings.items() if name != "seed"}
        groups.setdefault((one.manifest.method, repr(sorted(settings.items()))), []).append(one)
    return list(groups.values())


def _suspicions(rows: Sequence[Row], classes: int) -> list[str]:
    """A remark where even the full data teach next to nothing: twice chance, or half-way to perfect for few classes."""
    limit = min(200 / classes, 50 + 50 / classes)
    if any(row.method == "full" and row.accuracy < limit for row in rows):
        causes = "mislabelled folders, an untrained backbone or too few images?"
        return [f"The probe on all training images is hardly better than chance: {causes}"]
    return []
