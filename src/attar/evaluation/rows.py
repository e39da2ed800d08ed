"""The lines of a table of accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from attar.evaluation.scores import summarise

_IMAGENET = "/imagenet"  # ends the name of a protocol under ImageNet's mean and std in place of the backbone's own


@dataclass(frozen=True)
class Row:
    """One method under one protocol.

    `accuracy` is the mean in percent over sets (or draws) of the mean over their probes, `std` the unbiased deviation
    over sets and `ci95` their t-interval: 0 and None for a single set. `correct` holds for each set the share of its
    probes that were right on each test image, `confusion[true, predicted]` counts all answers. Where students learned
    from a single set, each of them counts as a set does in `std`, `ci95` and `correct`: all spread there is is theirs.
    `table` is the protocol under whose table the row stands, `protocol` how its number was made; they differ for rows
    that the protocol doesn't apply to, such as `full` under lgm-probe. `teacher` is the backbone that a classifier was
    inherited from, `own` says that the set was distilled on this backbone, and `beside_ipc` is the number a class of
    the sets that it stands beside, where that is another than its own. `best`, of students, is the mean of the highest
    accuracy in any test of a training: chosen on the test images, so never the result; `students` are the accuracies of
    each, in percent.
    """

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
    teacher: str | None
    own: bool
    beside_ipc: int | None
    table: str = field(repr=False)
    correct: Float[np.ndarray, "sets test"] = field(repr=False)
    confusion: Int[np.ndarray, "classes classes"] = field(repr=False)
    best: float | None = None
    students: tuple[float, ...] = ()

    def beside(self, protocol: str) -> str:
        """The name that `protocol` has where this row's backbone was used with the same preprocessing."""
        return protocol + (_IMAGENET if self.table.endswith(_IMAGENET) else "")

    @property
    def is_check(self) -> bool:
        """Whether it stands in a table that only checks `probe-v1`."""
        return self.table.removesuffix(_IMAGENET).startswith("probe-v1/")

    @property
    def per_class(self) -> list[float]:
        """Percent right of each class' test images, over all sets and probes."""
        return (100 * self.confusion.diagonal() / self.confusion.sum(1)).tolist()

    def as_json(self) -> dict[str, object]:
        """Everything but the single predictions, percentages with two decimals."""
        values = {name: value for name, value in vars(self).items() if name not in ("correct", "best", "students")}
        rounded = {name: round(values[name], 2) for name in ("accuracy", "std")}
        ci95 = None if self.ci95 is None else [round(bound, 2) for bound in self.ci95]
        per_class = [round(share, 2) for share in self.per_class]
        lists = {"distilled_on": list(self.distilled_on), "confusion": self.confusion.tolist(), "per_class": per_class}
        trained = (
            {} if self.best is None else {"best": round(self.best, 2), "students": np.round(self.students, 2).tolist()}
        )
        return values | rounded | {"ci95": ci95} | lists | trained


def make_row(
    predicted: Sequence[Sequence[Int[np.ndarray, " test"]]], labels: Int[np.ndarray, " test"], classes: int, **about
) -> Row:
    """A row from the predictions of each probe of each set; `about` are the row's other fields."""
    correct = [[answers == labels for answers in probes] for probes in predicted]
    summary = summarise([float(100 * np.mean(probes)) for probes in correct])
    shares = np.stack([np.mean(probes, axis=0) for probes in correct])
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for answers in (answers for probes in predicted for answers in probes):
        np.add.at(confusion, (labels, answers), 1)
    return Row(
        accuracy=summary.accuracy,
        std=summary.std,
        ci95=summary.ci95,
        n_test=shares.shape[1],
        correct=shares,
        confusion=confusion,
        **about,
    )
