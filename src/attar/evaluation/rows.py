"""The lines of a table of accuracies, and how two of them compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from attar.evaluation.scores import Difference, paired_difference, summarise

_RIVALS = ("random", "centroids", "kmeans", "sub-centres", "class-means", "full")
_PER_IPC = ("random", "centroids", "kmeans", "sub-centres")


@dataclass(frozen=True)
class Row:
    """One method under one protocol.

    `accuracy` is the mean in percent over sets (or draws) of the mean over their probes, `std` the unbiased deviation
    over sets and `ci95` their t-interval: 0 and None for a single set. `correct` holds for each set the share of its
    probes that were right on each test image. `table` is the protocol under whose table the row stands, `protocol`
    how its number was made; they differ only for `full` under lgm-probe.
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
    table: str = field(repr=False)
    correct: Float[np.ndarray, "sets test"] = field(repr=False)

    def as_json(self) -> dict[str, object]:
        """Everything but the single predictions, percentages with two decimals."""
        values = {name: value for name, value in vars(self).items() if name not in ("correct", "table")}
        rounded = {name: round(values[name], 2) for name in ("accuracy", "std")}
        ci95 = None if self.ci95 is None else [round(bound, 2) for bound in self.ci95]
        return values | rounded | {"ci95": ci95, "distilled_on": list(self.distilled_on)}


def make_row(correct: Sequence[Sequence[Bool[np.ndarray, " test"]]], **about) -> Row:
    """A row from the correctness of each probe of each set; `about` are the row's other fields."""
    summary = summarise([float(100 * np.mean(probes)) for probes in correct])
    shares = np.stack([np.mean(probes, axis=0) for probes in correct])
    return Row(
        accuracy=summary.accuracy,
        std=summary.std,
        ci95=summary.ci95,
        n_test=shares.shape[1],
        correct=shares,
        **about,
    )


@dataclass(frozen=True)
class Evaluation:
    """The rows of all protocols in the order of the tables, the test labels, and remarks that belong beneath."""

    rows: tuple[Row, ...]
    test_labels: Int[np.ndarray, " test"]
    remarks: tuple[str, ...]

    def row(self, method: str, protocol: str, ipc: int | None = None) -> Row | None:
        """The first row of `method` in the protocol's table, with that many images a class where `ipc` is given."""
        fitting = (row for row in self.rows if (row.method, row.table) == (method, protocol) and ipc in (None, row.ipc))
        return next(fitting, None)

    def differences(self) -> list[tuple[Row, Row, Difference]]:
        """Each distilled row against real images of the same number, class means and full data: paired bootstrap."""
        result = []
        for row in (row for row in self.rows if row.distilled_on):
            for method in _RIVALS:
                other = self.row(method, row.table, row.ipc if method in _PER_IPC else None)
                if other is not None:
                    difference = paired_difference(row.correct, other.correct, self.test_labels)
                    result.append((row, other, difference))
        return result

    def as_json(self) -> dict[str, list[Any]]:
        """The document that `attar evaluate --json` prints."""
        differences = [
            {
                "set": row.set,
                "method": row.method,
                "ipc": row.ipc,
                "against": other.method,
                "protocol": row.table,
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
