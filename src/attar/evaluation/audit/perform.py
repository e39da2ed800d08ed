"""The audit of a distilled set: is one of its images a copy of a training image, and does the test set leak?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from attar.backbones.record import Backbone
from attar.devices import keep_freed_memory, pick_device
from attar.distilled import DistilledSet, Origin
from attar.errors import EvaluationError, expect, expect_all
from attar.evaluation.audit.calibration import discoveries, fewest_found, p_values, wanted
from attar.evaluation.audit.duplicates import Duplicate, find_duplicates
from attar.evaluation.audit.features import directions, nearest_directions
from attar.evaluation.audit.hashes import nearest_hashes
from attar.evaluation.audit.membership import Membership, membership
from attar.evaluation.audit.pixels import Found, search
from attar.evaluation.audit.record import Audit, Pair, Search
from attar.evaluation.audit.thumbnails import Thumbnails
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress


def audit(
    distilled: DistilledSet,
    *,
    train: ImageSource,
    test: ImageSource | None = None,
    backbones: Backbone | Sequence[Backbone] = (),
    device: str = "auto",
    progress: Progress = SILENT,
) -> Audit:
    """Search all training images for copies of the distilled ones: by pixels, by hash, and by each backbone's features.

    A likeness counts where held-out real images are rarely so near to the training images: p-values against those of
    `test` (of a tenth of `train`, searched against the rest, where no test is given), Benjamini-Hochberg at 5 % over
    the distilled images; near-duplicates by hash count without that. All classes' held-out images make one null
    distribution: one class has too few for small p. With `test` its near-duplicates in `train` are listed, and with
    backbones membership is tested too. EvaluationError for fewer than two training images.

    What the features of a backbone flag that distilled the set is told and is no copy: distillation pulls images
    towards real ones there. Pass one that didn't.
    """
    expect(distilled, DistilledSet, "distilled")
    expect(train, ImageSource, "train")
    if test is not None:
        expect(test, ImageSource, "test")
    given = expect_all(backbones, Backbone, "backbones")
    if len(train) < 2:
        raise EvaluationError(f"{train.location} has {len(train)} image(s) to search", "Give the training images.")
    keep_freed_memory()
    place = pick_device(device)
    networks = [one.to(device=place) for one in given]
    reals = Thumbnails.of(train, progress, "training images")
    ours = Thumbnails.of(distilled.source, progress, "distilled images")
    tests = None if test is None else Thumbnails.of(test, progress, "test images")
    leaks = None if tests is None else find_duplicates(tests, reals)
    held, searched = _held_out(reals, tests, leaks or (), wanted(len(ours)))
    found = search(ours, reals, device=place, progress=progress, task="pixels")
    searches = [
        _by_pixels(found, search(held, searched, device=place, progress=progress, task="pixels of held-out images")),
        _by_hash(ours, reals, held, searched),
    ]
    memberships = []
    for network in networks:
        by_features, member = _by_features(distilled, network, reals, tests, held, searched, progress)
        searches.append(by_features)
        memberships += member
    return Audit(
        set=distilled.path.name,
        method=distilled.manifest.method,
        images=len(ours),
        train_images=len(train),
        searches=tuple(searches),
        pairs=_pairs(searches, found, distilled, train),
        real_images=sum(map(bool, distilled.sources)),
        leaks=leaks,
        test_copies=None if tests is None else find_duplicates(ours, tests),
        memberships=tuple(memberships),
        remarks=tuple(_remarks(searches, len(ours), len(held), test is None)),
    )


def _held_out(
    train: Thumbnails, test: Thumbnails | None, leaks: Sequence[Duplicate], count: int
) -> tuple[Thumbnails, Thumbnails]:
    """(at most `count` real images that are no training images, the training images to search for them)."""
    random = np.random.default_rng(0)
    if test is not None:
        clean = np.setdiff1d(np.arange(len(test)), [leak.index for leak in leaks])
        if len(clean):
            return test.subset(np.sort(random.permutation(clean)[:count])), train
    order = random.permutation(len(train))
    tenth = min(max(len(train) // 10, 1), count)
    held, rest = train.subset(np.sort(order[:tenth])), train.subset(np.sort(order[tenth:]))
    repeated = [each.index for each in find_duplicates(held, rest)]
    clean = np.setdiff1d(np.arange(tenth), repeated)
    return (held.subset(clean) if len(clean) else held), rest


def _by_pixels(found: Found, null: Found) -> Search:
    scores, chance = found.similarity.double().numpy(), null.similarity.double().numpy()
    return _calibrated("pixels", scores, found.index.numpy(), chance)


def _by_hash(ours: Thumbnails, reals: Thumbnails, held: Thumbnails, searched: Thumbnails) -> Search:
    nearest, distances = nearest_hashes(ours.small, reals.small)
    null = nearest_hashes(held.small, searched.small)[1]
    copies = [each.index for each in find_duplicates(ours, reals)]
    return Search("hash", 64.0 - distances, nearest, np.isin(np.arange(len(ours)), copies), 64.0 - null)


def _by_features(
    distilled: DistilledSet,
    backbone: Backbone,
    reals: Thumbnails,
    tests: Thumbnails | None,
    held: Thumbnails,
    searched: Thumbnails,
    progress: Progress,
) -> tuple[Search, list[Membership]]:
    """The search by one backbone's features, and its membership test where there are test images."""
    inside = directions(reals.source, backbone, progress, "training features")
    ours = directions(distilled.source, backbone, progress, "distilled features")
    outside = directions(held.source, backbone, progress, "held-out features")
    rest = inside if searched is reals else directions(searched.source, backbone, progress, "training features")
    nearest, cosines = nearest_directions(ours, inside)
    _, chance = nearest_directions(outside, rest)
    used = any(_may_be(backbone, origin) for origin in distilled.manifest.backbones)
    result = _calibrated(backbone.name, cosines.double().numpy(), nearest.numpy(), chance.double().numpy(), used)
    if tests is None or searched is not reals:
        return result, []
    members, others = (nearest_directions(each, ours)[1].double().numpy() for each in (inside, outside))
    return result, [membership(backbone.name, members, others)]


def _may_be(backbone: Backbone, origin: Origin) -> bool:
    """Whether a backbone can be `origin`: the same network opened another way has another fingerprint."""
    names = (name.rpartition(":")[2].rpartition("/")[2] for name in (backbone.name, origin.name))
    return backbone.fingerprint == origin.fingerprint or len(set(names)) == 1


def _calibrated(
    name: str, scores: np.ndarray, nearest: np.ndarray, null: np.ndarray, distilled_through: bool | None = None
) -> Search:
    p = p_values(scores, null)
    return Search(name, scores, nearest, discoveries(p), null, p, distilled_through)


def _pairs(searches: Sequence[Search], found: Found, distilled: DistilledSet, train: ImageSource) -> tuple[Pair, ...]:
    """Each distilled image with what is nearest to it by pixels and by features, and by hash where that is a copy."""
    together: dict[tuple[int, int], list[Search]] = {}
    for each in searches:
        for image, there in enumerate(each.nearest.tolist()):
            if each.p is not None or each.flagged[image]:
                together.setdefault((image, there), []).append(each)
    pairs = []
    for (image, there), agreeing in together.items():
        seen = any(each.name == "pixels" for each in agreeing)
        its_class = distilled.classes[distilled.labels[image]]
        pairs.append(
            Pair(
                image=image,
                name=distilled.file_names[image],
                train_index=there,
                train_name=train.name(there),
                same_class=its_class == train.classes[train.labels[there]],
                scores={each.name: round(float(each.scores[image]), 6) for each in agreeing},
                p=min(0.0 if each.p is None else float(each.p[image]) for each in agreeing),
                flagged=tuple(each.name for each in agreeing if each.evident and each.flagged[image]),
                window=_rounded(found.window[image]) if seen else None,
            )
        )
    return tuple(sorted(pairs, key=lambda pair: (-len(pair.flagged), pair.p, -pair.scores.get("pixels", 0.0))))


def _rounded(window: torch.Tensor) -> tuple[float, float, float]:
    top, left, side = window.tolist()
    return top, left, side


def _remarks(searches: Sequence[Search], images: int, held_out: int, no_test: bool) -> list[str]:
    remarks = []
    least = fewest_found(images, held_out)
    if least > 1:
        which = f"{least} copies are found together, fewer are not" if least <= images else "none can be found"
        remarks.append(
            f"With {held_out} held-out images p is at least {1 / (1 + held_out):.3g}: among {images} images {which}. "
            f"Look at those beyond the held-out images, or give {wanted(images):,} test images."
        )
    if no_test:
        remarks.append("n/a: leaks of test images need them (--test); a part of the training images was held out.")
    for each in searches:
        if each.flagged.any() and not each.evident:
            remarks.append(
                f"{int(each.flagged.sum())} of {images} are nearer to training images than chance by {each.name}. It "
                "distilled the set, so that is no sign of a copy."
            )
    through = [each.distilled_through for each in searches if each.distilled_through is not None]
    if not through:
        remarks.append("n/a: the search by features needs a --backbone, best one that didn't distil the set.")
    elif all(through):
        remarks.append("Every backbone given distilled the set: give one that didn't, its features are impartial.")
    return remarks
