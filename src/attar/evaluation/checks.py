"""What must hold before a number is believed: the same classes, no test image trained on, right labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from attar.backbones.record import Backbone
from attar.distilled import DistilledSet
from attar.errors import EvaluationError
from attar.evaluation.heads import FullHead
from attar.images.source import ImageSource


def common_classes(sets: Sequence[DistilledSet], test: ImageSource, train: ImageSource | None) -> tuple[str, ...]:
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
                f"the classes of {reference_name} and {name} differ: {name} {' and '.join(parts)}",
                "Classes are matched by name; give images of the same classes, or choose among them with --classes.",
            )
    return reference


def without_shared(
    sets: Sequence[DistilledSet],
    test: ImageSource,
    train: ImageSource | None,
    backbones: Sequence[Backbone],
    drop: bool,
) -> tuple[ImageSource, list[str]]:
    """The test images that no set was made from, that no squeezed backbone learned from and that `train` lacks, and a
    remark on those left out."""
    known = {int(value) for one in sets for value in one.train_hashes}
    known |= {int.from_bytes(value, "big") for each in backbones for value in each.train_hashes}
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
        raise EvaluationError("without copies of training images some class has no test image", "Test on others.")
    return kept, [f"{shared.sum()} test images were left out: exact copies of training images."]


def mismatches(sets: Sequence[DistilledSet], train: ImageSource | None, backbone: Backbone) -> list[str]:
    """What makes the rows less comparable than they look."""
    remarks = []
    if train is not None and any(one.manifest.data.fingerprint != train.fingerprint for one in sets):
        remarks.append("The training images given are not those that every set was distilled from.")
    for origin in (origin for one in sets for origin in one.manifest.backbones):
        if origin.name == backbone.name and origin.fingerprint != backbone.fingerprint:
            remarks.append(f"{backbone.name} has other weights or preprocessing here than when it distilled.")
    return list(dict.fromkeys(remarks))


def seed_groups(sets: Sequence[DistilledSet]) -> list[list[DistilledSet]]:
    """Sets that differ in their seed alone, in order of appearance."""
    if len({one.path.resolve() for one in sets}) < len(sets):
        raise EvaluationError("a set is given twice", "Name each set once: copies would count as seeds of their own.")
    groups: dict[tuple[str, str], list[DistilledSet]] = {}
    for one in sets:
        settings = {name: value for name, value in one.manifest.settings.items() if name != "seed"}
        groups.setdefault((one.manifest.method, repr(sorted(settings.items()))), []).append(one)
    return list(groups.values())


def refuse_renamed(
    predictions: Int[np.ndarray, " test"], labels: Int[np.ndarray, " test"], classes: Sequence[str], head: FullHead
) -> None:
    """EvaluationError where the classes of the test images seem to be swapped among each other.

    `predictions` are those of `head`, a classifier of all training images. It knows the training images' classes, does
    less than twice as well as chance on the test images, and does much better there once classes are renamed.
    """
    count = len(classes)
    accuracy = 100 * float(np.mean(predictions == labels))
    if head.accuracy is None or accuracy >= min(200 / count, 50 + 50 / count) or head.accuracy < 2 * accuracy:
        return
    confusion = np.zeros((count, count))
    np.add.at(confusion, (labels, predictions), 1)
    folders, contents = linear_sum_assignment(-confusion)
    if 100 * confusion[folders, contents].sum() / len(labels) < 2 * accuracy:
        return
    found = [
        f"{classes[folder]} looks like {classes[content]}"
        for folder, content in zip(folders, contents, strict=True)
        if folder != content
    ]
    raise EvaluationError(
        f"the test images' classes seem to be mixed up: a probe on all training images is right in "
        f"{head.accuracy:.0f} % of held-out training images and in {accuracy:.0f} % of the test images",
        "Check the names of the test folders: "
        f"{', '.join(found[:5])}{f' and {len(found) - 5} more' if len(found) > 5 else ''}.",
    )


def common_labels(source: ImageSource, classes: Sequence[str]) -> Int[Tensor, " images"]:
    """The source's labels as positions in `classes`."""
    position = {name: number for number, name in enumerate(classes)}
    return torch.from_numpy(np.array([position[name] for name in source.classes])[source.labels])
