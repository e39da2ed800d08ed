"""What the real images say of each distilled image: those that look most like it, and what a probe on all takes it for.

The judge is `probe-v1` fitted on all training images, never on the set, its probabilities cooled to fit a held-out
tenth. It sees the views that `probe-v1` would learn from: the centre crop and 19 random ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from attar.backbones.record import Backbone
from attar.distilled import DistilledSet
from attar.errors import EvaluationError
from attar.evaluation.checks import common_labels
from attar.evaluation.heads import full_head
from attar.evaluation.protocols import PROTOCOLS
from attar.features import extract
from attar.images.source import ImageSource
from attar.progress import SILENT, Progress
from attar.synthesis.draws import Stream
from attar.synthesis.views import CentreView, RandomViews, canvas_side, may_mirror, probe_policy

_NEIGHBOURS = 3
_PROTOCOL = PROTOCOLS["probe-v1"]
_REAL_AT_ONCE, _ROWS_AT_ONCE = 2**13, 2**9  # whose cosines are in memory together: 32 MB


@dataclass(frozen=True)
class Evidence:
    """Of each image of a set, in its order: the nearest training images (positions in the source, most similar first)
    with their cosines, and for each view the classes' probabilities; `accuracy` is the judge's on held-out images."""

    backbone: str
    nearest: Int[np.ndarray, "images few"]
    cosines: Float[np.ndarray, "images few"]
    own: Float[np.ndarray, "images views"]
    answers: Int[np.ndarray, "images views"]
    accuracy: float | None


def gather_evidence(
    distilled: DistilledSet, train: ImageSource, backbone: Backbone, progress: Progress = SILENT
) -> Evidence:
    """The evidence on `distilled` in the feature space of `backbone`. EvaluationError where the classes differ."""
    if set(train.classes) != set(distilled.classes):
        raise EvaluationError(
            f"the training images are not of the classes of {distilled.path}",
            "Give those that it was made from, or choose among them with classes= of attar.open.",
        )
    labels = common_labels(train, distilled.classes)
    flip = may_mirror(train, canvas_side(backbone.image_size))
    policy = probe_policy(backbone.image_size, flip=flip)
    judge = full_head(train, labels, distilled.classes, backbone, policy, _PROTOCOL.id, progress)
    task = f"real images, {backbone.name}"
    real = extract(train, backbone, CentreView(policy), progress=progress, task=task).values[:, 0]
    cut = RandomViews(policy, _PROTOCOL.views, 0, Stream.PROBE, centre_first=True)
    views = extract(distilled.source, backbone, cut, progress=progress, task="views of the set").values
    nearest, cosines = nearest_rows(views[:, 0].numpy(), real.numpy(), min(_NEIGHBOURS, len(train)))
    logits = judge.probe.cooled(judge.temperature).logits(views.flatten(0, 1).numpy())
    own, answers = confidences(logits.reshape(*views.shape[:2], -1), distilled.labels)
    return Evidence(backbone.name, nearest, cosines, own, answers, judge.accuracy)


def nearest_rows(
    rows: Float[np.ndarray, "rows dim"], real: Float[np.ndarray, "real dim"], few: int
) -> tuple[Int[np.ndarray, "rows few"], Float[np.ndarray, "rows few"]]:
    """Of each row the `few` real rows of largest cosine, largest first (ties: the lower index), and the cosines."""
    rows, few = _directions(rows), min(few, len(real))
    indices, cosines = np.zeros((len(rows), few), dtype=np.int64), np.full((len(rows), few), -np.inf)
    for start in range(0, len(real), _REAL_AT_ONCE):
        directions = _directions(real[start : start + _REAL_AT_ONCE])
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            places, found = _largest(rows[part] @ directions.T, few)
            numbers, found = np.hstack([indices[part], start + places]), np.hstack([cosines[part], found])
            best = np.argsort(-found, axis=1, kind="stable")[:, :few]
            indices[part] = np.take_along_axis(numbers, best, axis=1)
            cosines[part] = np.take_along_axis(found, best, axis=1)
    return indices, cosines


def _largest(
    values: Float[np.ndarray, "rows columns"], few: int
) -> tuple[Int[np.ndarray, "rows some"], Float[np.ndarray, "rows some"]]:
    """The places of the `few` largest values of each row (ties: the lower place), or of all where there are fewer,
    and the values; `values` are overwritten."""
    places, found = [], []
    for _ in range(min(few, values.shape[1])):
        places.append(values.argmax(axis=1, keepdims=True))
        found.append(np.take_along_axis(values, places[-1], axis=1))
        np.put_along_axis(values, places[-1], -np.inf, axis=1)
    return np.hstack(places), np.hstack(found)


def confidences(
    logits: Float[np.ndarray, "images views classes"], labels: Int[np.ndarray, " images"]
) -> tuple[Float[np.ndarray, "images views"], Int[np.ndarray, "images views"]]:
    """The probability of each image's own class for each view, and the class that the view is taken for."""
    own = np.take_along_axis(softmax(logits, axis=2), labels[:, None, None], axis=2)[..., 0]
    return own, logits.argmax(axis=2)


def most_frequent_wrong(answers: Int[np.ndarray, " views"], label: int) -> tuple[int, int] | None:
    """(class, number of views) that an image is taken for most often beside its own; None where there is none."""
    wrong = answers[answers != label]
    if not len(wrong):
        return None
    counts = np.bincount(wrong)
    return int(counts.argmax()), int(counts.max())


def _directions(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
