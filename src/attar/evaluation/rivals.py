"""The rows beside a distilled set: real images chosen in several ways, means, all training images, and controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from attar.distilled import DistilledSet
from attar.errors import SettingsError
from attar.evaluation.bench import Bench, Material
from attar.evaluation.protocols import Protocol
from attar.evaluation.rows import Row, make_row
from attar.features import ClassStatistics
from attar.features.clusters import sub_clusters
from attar.images.arrays import ArraySource
from attar.images.source import ImageSource
from attar.selection import centroid_images, jpeg_images, kmeans_images, noise_images, random_images

_DRAWS = 5
_CONTROL_DRAWS = 3
_JPEG_DRAWS = 2  # of many images each
_LDA_IMAGES = 4  # a class needs two for its scatter, one to choose the shrinkage by, and one held out from both


def distilled_row(bench: Bench, chosen: Protocol, group: Sequence[DistilledSet], train: ImageSource | None) -> Row:
    """Sets of several seeds, each probed with several seeds."""
    seeds = range(chosen.restarts)
    predicted = [
        [bench.probe(chosen, material, seed, train) for seed in seeds] for material in materials_of(bench, group)
    ]
    return row_of(bench, chosen, predicted, **about(bench, group), seeds=seeds_of(group, seeds))


def materials_of(bench: Bench, group: Sequence[DistilledSet]) -> list[Material]:
    """The sets as something to learn from."""
    return [bench.material(one.path.name, one.source, one.weights) for one in group]


def about(bench: Bench, group: Sequence[DistilledSet]) -> dict[str, object]:
    """What a row says of sets that differ in their seed alone."""
    first = group[0].manifest
    return {
        "method": first.method,
        "set": ", ".join(one.path.name for one in group),
        "distilled_on": tuple(origin.name for origin in first.backbones),
        "ipc": first.ipc,
        "bytes": bytes_of(group[0]),
        "own": bench.backbone.fingerprint in {origin.fingerprint for origin in first.backbones},
    }


def bytes_of(distilled: DistilledSet) -> int:
    """What a set's images take; for a selection of JPEG files those files, not the PNG files that they became."""
    return round(distilled.manifest.scores.get("jpeg_bytes", distilled.bytes))


def seeds_of(group: Sequence[DistilledSet], probes: Sequence[int]) -> dict[str, list[int]]:
    """The seeds of a row of sets."""
    return {"distill": [one.manifest.seeds["distill"] for one in group], "probe": list(probes)}


def budgets(groups: Sequence[Sequence[DistilledSet]]) -> dict[int, int]:
    """{images a class: the bytes of the largest set that has as many}, in that order."""
    sizes = [(group[0].manifest.ipc, bytes_of(group[0])) for group in groups]
    return {ipc: max(size for other, size in sizes if other == ipc) for ipc in sorted({ipc for ipc, _ in sizes})}


def random_materials(bench: Bench, train: ImageSource, ipc: int) -> list[Material]:
    """Five draws of `ipc` real images a class."""
    labels, count = bench.labels(train).numpy(), len(bench.classes)
    draws = [random_images(labels, count, ipc, seed=seed) for seed in range(_DRAWS)]
    return [bench.material(f"random {seed}", train.subset(indices)) for seed, indices in enumerate(draws)]


def centroid_material(bench: Bench, train: ImageSource, ipc: int) -> Material:
    """The `ipc` real images of each class nearest to the class mean on this bench's backbone."""
    features, labels = bench.centre_features(train).numpy(), bench.labels(train).numpy()
    indices = centroid_images(features, labels, len(bench.classes), ipc, hashes=train.hashes())
    return bench.material("centroids", train.subset(indices))


def noise_materials(bench: Bench, ipc: int) -> list[Material]:
    """Three draws of `ipc` images of noise a class."""
    count, side = len(bench.classes), bench.policy.canvas
    labels = np.repeat(np.arange(count), ipc)
    drawn = [noise_images(count * ipc, side, seed).transpose(0, 2, 3, 1) for seed in range(_CONTROL_DRAWS)]
    return [
        bench.material(f"noise {seed}", ArraySource(images, labels, bench.classes)) for seed, images in enumerate(drawn)
    ]


def jpeg_materials(bench: Bench, train: ImageSource, budget: int) -> tuple[list[Material], int]:
    """(two draws of as many real images a class as fit into `budget` bytes as JPEG files, the bytes of the first).

    No draws where the bytes don't hold an image a class.
    """
    materials, sizes = [], []
    for seed in range(_JPEG_DRAWS):
        try:
            images, labels, size = jpeg_images(train, bench.policy.canvas, budget, seed=seed)
        except SettingsError:
            return [], 0
        source = ArraySource(images.transpose(0, 2, 3, 1), labels, train.classes)
        materials.append(bench.material(f"jpeg {seed}, {budget} bytes", source))
        sizes.append(size)
    return materials, sizes[0]


def selection_rows(bench: Bench, chosen: Protocol, train: ImageSource, ipc: int) -> Iterator[Row]:
    """Random real images (5 draws), those nearest to the class means, and to k-means centres at several a class."""
    if int(train.counts.min()) < ipc:
        return
    yield drawn_row(bench, chosen, random_materials(bench, train, ipc), train, method="random", ipc=ipc)
    chosen_images = {"centroids": centroid_material(bench, train, ipc)}
    if ipc > 1:  # at one image a class the centre is the class mean
        features, labels = bench.centre_features(train).numpy(), bench.labels(train).numpy()
        indices, weights = kmeans_images(features, labels, len(bench.classes), ipc)
        chosen_images["kmeans"] = bench.material("kmeans", train.subset(indices), weights)
    for method, material in chosen_images.items():
        predicted = [[bench.probe(chosen, material, seed, train) for seed in range(chosen.restarts)]]
        seeds = {"probe": list(range(chosen.restarts))} | ({"selection": [0]} if method == "kmeans" else {})
        yield row_of(bench, chosen, predicted, method=method, ipc=ipc, bytes=bench.stored_bytes(material), seeds=seeds)


def drawn_row(
    bench: Bench,
    chosen: Protocol,
    materials: Sequence[Material],
    train: ImageSource | None,
    **fields: object,
) -> Row:
    """Several draws of a selection, each probed once."""
    draws = list(range(len(materials)))
    predicted = [[bench.probe(chosen, material, seed, train)] for seed, material in zip(draws, materials, strict=True)]
    filled = {"bytes": bench.stored_bytes(materials[0]), "seeds": {"selection": draws, "probe": draws}}
    return row_of(bench, chosen, predicted, **(filled | fields))


def jpeg_rows(bench: Bench, chosen: Protocol, train: ImageSource, ipc: int, budget: int) -> Iterator[Row]:
    """Random real images in `budget` bytes, beside sets of `ipc` images a class."""
    materials, size = jpeg_materials(bench, train, budget)
    if materials:
        number = len(materials[0].labels) // len(bench.classes)
        yield drawn_row(bench, chosen, materials, train, method="jpeg", ipc=number, bytes=size, beside_ipc=ipc)


def control_rows(bench: Bench, chosen: Protocol, group: Sequence[DistilledSet], train: ImageSource | None) -> list[Row]:
    """Images of noise, and the distilled images with each class' label moved on to the next: chance, and below."""
    ipc = group[0].manifest.ipc
    noise = drawn_row(bench, chosen, noise_materials(bench, ipc), train, method="noise", ipc=ipc)
    shuffled = [
        Material(f"{one.name}, shuffled", one.source, (one.labels + 1) % len(bench.classes), one.weights)
        for one in materials_of(bench, group)
    ]
    predicted = [[bench.probe(chosen, material, 0, train)] for material in shuffled]
    seeds = seeds_of(group, [0])
    return [
        noise,
        row_of(bench, chosen, predicted, method="shuffled", ipc=ipc, bytes=bytes_of(group[0]), seeds=seeds),
    ]


def sub_centre_rows(bench: Bench, chosen: Protocol, train: ImageSource, ipc: int) -> Iterator[Row]:
    """The probe on the means of `ipc` equal clusters of each class, where that is more than the class means."""
    if ipc == 1 or chosen.probe != "converged" or int(train.counts.min()) < ipc:
        return
    features, labels, count = bench.centre_features(train), bench.labels(train), len(bench.classes)
    clusters = torch.from_numpy(sub_clusters(features.numpy(), labels.numpy(), count, ipc))
    centres = ClassStatistics.of(features, labels * ipc + clusters, count * ipc).means.float()
    predicted = bench.means(chosen, "sub-centres", centres, torch.arange(count).repeat_interleave(ipc))
    yield row_of(bench, chosen, [[predicted]], method="sub-centres", ipc=ipc, bytes=4 * centres.numel())


def reference_rows(bench: Bench, chosen: Protocol, train: ImageSource) -> Iterator[Row]:
    """`ncm`, the probe on the true class means, LDA, and the probe on all training images."""
    features, labels, count = bench.centre_features(train), bench.labels(train), len(bench.classes)
    means = ClassStatistics.of(features, labels, count).means
    stored, each = 4 * means.numel(), len(train) // count
    yield row_of(
        bench,
        chosen,
        [[bench.nearest_mean(means.numpy())]],
        method="ncm",
        ipc=1,
        bytes=stored,
        protocol=protocol_id(bench, "ncm"),
    )
    if chosen.probe == "adam":
        seeds = range(chosen.restarts)
        predicted = [[bench.full_adam(train, seed) for seed in seeds]]
        about = {"protocol": protocol_id(bench, "lgm-probe/bank8"), "seeds": {"probe": list(seeds)}}
        yield row_of(bench, chosen, predicted, method="full", ipc=each, **about)
        return
    if chosen.probe == "converged":
        on_means = bench.means(chosen, "class-means", means.float(), torch.arange(count))
        yield row_of(bench, chosen, [[on_means]], method="class-means", ipc=1, bytes=stored)
        if int(train.counts.min()) >= _LDA_IMAGES:
            lda = protocol_id(bench, "lda")
            yield row_of(bench, chosen, [[bench.full("lda", train)]], method="lda", ipc=each, protocol=lda)
    closed = "ridge" if int(train.counts.min()) >= _LDA_IMAGES else "probe-v1"
    recipe = {"converged": chosen.id, "tuned": chosen.id, "ridge": closed}.get(chosen.probe, "probe-v1")
    about = {"protocol": protocol_id(bench, recipe)}
    yield row_of(bench, chosen, [[bench.full(recipe, train)]], method="full", ipc=each, **about)


def row_of(bench: Bench, chosen: Protocol, predicted: Sequence[Sequence[np.ndarray]], **fields: object) -> Row:
    """A row of `chosen`'s table, with what isn't said in `fields` filled in."""
    table = protocol_id(bench, chosen.id)
    filled: dict[str, object] = {
        "set": fields["method"],
        "distilled_on": (),
        "protocol": table,
        "seeds": {},
        "bytes": None,
        "teacher": None,
        "own": False,
        "beside_ipc": None,
    }
    evaluated_on, classes = bench.backbone.name, len(bench.classes)
    return make_row(predicted, bench.test_labels, classes, table=table, evaluated_on=evaluated_on, **(filled | fields))


def protocol_id(bench: Bench, name: str) -> str:
    """The protocol's name, with what the backbone's preprocessing adds to it."""
    return name if bench.backbone.normalise == "native" else f"{name}/imagenet"
