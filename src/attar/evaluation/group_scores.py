"""Accuracies by group, where a class's images differ in an attribute (place, camera) that it must not be known by.

A group is one attribute within one class: "waterbirds on land". What is rare in training and common in the world is
where a shortcut shows, so the worst group counts, not the average (Sagawa et al. 2020; evaluation.md 9).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from attar.errors import EvaluationError
from attar.evaluation.scores import Summary, summarise, wilson

_LEAST = 20  # test images, below which a group may be the worst by chance


@dataclass(frozen=True)
class GroupScore:
    """One attribute within one class: its test and training images, accuracy in percent and the Wilson interval.

    The accuracy is the mean over runs; the interval is that of `n_test` images, as runs see the same ones.
    """

    label: int
    attribute: int
    n_test: int
    n_train: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class GroupTable:
    """Accuracies in percent over test images in groups; every Summary is over runs.

    - `scores`: the groups that have test images, class by class.
    - `worst`: in each run the worst of the groups with 20 test images or more, which need not be the same one: the
      mean of the minima, not the minimum of the means. None where no group has so many.
    - `group_mean`: every group counts the same.
    - `average`: every test image counts the same.
    - `weighted`: every group counts by its training images, as in the tables of Waterbirds, whose test images are
      balanced within a class and whose training images are not. None where no group was trained on.
    - `aligned`, `conflicting`: test images that have the attribute of most of their class's training images, and those
      that have another; every class counts the same. Only classes that have both, and a strict majority, count: None
      where there are none.
    """

    scores: tuple[GroupScore, ...]
    worst: Summary | None
    group_mean: Summary
    average: Summary
    weighted: Summary | None
    aligned: Summary | None
    conflicting: Summary | None

    @property
    def reliance(self) -> float | None:
        """Points that the attribute is worth: aligned minus conflicting accuracy."""
        if self.aligned is None or self.conflicting is None:
            return None
        return self.aligned.accuracy - self.conflicting.accuracy


def group_table(
    correct: Float[np.ndarray, "runs test"],
    labels: Int[np.ndarray, " test"],
    attributes: Int[np.ndarray, " test"],
    train_counts: Int[np.ndarray, "classes attributes"],
) -> GroupTable:
    """Accuracies by group, from the correctness (0..1) of each run on test images with these labels and attributes.

    `train_counts` are the training images of each class with each attribute. EvaluationError where a test image's
    label or attribute is not among them: both sets must number them alike.
    """
    _check_known(labels, attributes, train_counts)
    width = train_counts.shape[1]
    cells, members, sizes = np.unique(labels * width + attributes, return_inverse=True, return_counts=True)
    shares = np.stack([100 * correct[:, members == cell].mean(1) for cell in range(len(cells))], axis=1)
    trained = train_counts.reshape(-1)[cells]
    large = sizes >= _LEAST
    aligned, conflicting = _by_alignment(correct, labels, attributes, train_counts)
    return GroupTable(
        scores=tuple(
            _score(divmod(int(cell), width), int(n_test), int(n_train), float(accuracy))
            for cell, n_test, n_train, accuracy in zip(cells, sizes, trained, shares.mean(0), strict=True)
        ),
        worst=_summary(shares[:, large].min(1)) if large.any() else None,
        group_mean=_summary(shares.mean(1)),
        average=_summary(100 * correct.mean(1)),
        weighted=_summary(shares @ (trained / trained.sum())) if trained.any() else None,
        aligned=aligned,
        conflicting=conflicting,
    )


def _score(cell: tuple[int, int], n_test: int, n_train: int, accuracy: float) -> GroupScore:
    low, high = wilson(accuracy / 100 * n_test, n_test)
    return GroupScore(*cell, n_test, n_train, accuracy, (100 * low, 100 * high))


def _by_alignment(
    correct: Float[np.ndarray, "runs test"],
    labels: Int[np.ndarray, " test"],
    attributes: Int[np.ndarray, " test"],
    train_counts: Int[np.ndarray, "classes attributes"],
) -> tuple[Summary, Summary] | tuple[None, None]:
    """Accuracy with the class's majority attribute, and with others."""
    pairs = []
    for label, counts in enumerate(train_counts):
        if np.count_nonzero(counts == counts.max()) > 1:
            continue
        usual = (labels == label) & (attributes == counts.argmax())
        other = (labels == label) & (attributes != counts.argmax())
        if usual.any() and other.any():
            pairs.append((correct[:, usual].mean(1), correct[:, other].mean(1)))
    if not pairs:
        return None, None
    aligned, conflicting = 100 * np.mean(pairs, axis=0)
    return _summary(aligned), _summary(conflicting)


def _summary(values: Float[np.ndarray, " runs"]) -> Summary:
    return summarise(values.tolist())


def _check_known(labels: np.ndarray, attributes: np.ndarray, train_counts: np.ndarray) -> None:
    for name, given, count in (
        ("class", labels, train_counts.shape[0]),
        ("attribute", attributes, train_counts.shape[1]),
    ):
        outside = given[(given < 0) | (given >= count)]
        if len(outside):
            raise EvaluationError(
                f"a test image has {name} {int(outside[0])}, and training images have 0..{count - 1}",
                "Number classes and groups of both alike.",
            )
