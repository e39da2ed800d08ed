"""Accuracies across backbones: a line a method or set, a column a backbone that it was evaluated on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attar.distilled import csv_text
from attar.evaluation.notebook import matrix_html
from attar.evaluation.result import Evaluation
from attar.evaluation.rows import Row


@dataclass(frozen=True)
class Line:
    """What one method reaches on each backbone; `label` is the line's own in its matrix, and `rows` are in the order of
    the matrix' columns, None where missing."""

    label: str
    rows: tuple[Row | None, ...]

    @property
    def first(self) -> Row:
        """Any row of the line: what it says of the set and the method is the same for all."""
        return next(row for row in self.rows if row is not None)

    @property
    def own(self) -> float | None:
        """Mean over the backbones that the set was distilled on."""
        return _mean([row.accuracy for row in self.rows if row and row.own])

    @property
    def others(self) -> float | None:
        """Mean over the other backbones; None for methods that were distilled on none."""
        return _mean([row.accuracy for row in self.rows if row and row.distilled_on and not row.own])

    @property
    def worst(self) -> float:
        """On the backbone where it is lowest."""
        return min(row.accuracy for row in self.rows if row)


@dataclass(frozen=True)
class Matrix:
    """The lines of one protocol."""

    protocol: str
    backbones: tuple[str, ...]
    lines: tuple[Line, ...]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return matrix_html(self)


def matrix(evaluation: Evaluation, protocol: str) -> Matrix:
    """The rows of `protocol`'s tables, one line for what stands in several of them."""
    lines: dict[tuple[object, ...], dict[str, Row]] = {}
    table = [row for row in evaluation.rows if row.table == protocol]
    for row in table:
        key = (row.method, row.set, row.distilled_on, row.ipc, row.teacher)
        lines.setdefault(key, {})[row.evaluated_on] = row
    columns = tuple(dict.fromkeys(row.evaluated_on for row in table))
    firsts = [next(iter(found.values())) for found in lines.values()]
    labels = [_label(row) for row in firsts]
    unique = [
        label if labels.count(label) == 1 else f"{label}: {row.set}" for label, row in zip(labels, firsts, strict=True)
    ]
    rows = [tuple(found.get(name) for name in columns) for found in lines.values()]
    return Matrix(protocol, columns, tuple(map(Line, unique, rows)))


def _label(row: Row) -> str:
    """The set's backbones, or the method."""
    number = f", {row.ipc} a class" if row.ipc > 1 and row.method not in ("full", "lda") else ""
    taught = f" from {row.teacher}" if row.teacher and not row.distilled_on else ""
    return f"{row.method}{' on ' + ' + '.join(row.distilled_on) if row.distilled_on else ''}{taught}{number}"


def as_csv(evaluation: Evaluation) -> str:
    """One line a row, for spreadsheets and data frames."""
    text = io.StringIO()
    names = ("method", "set", "distilled_on", "teacher", "evaluated_on", "table", "protocol", "ipc", "accuracy", "std")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "ci95_low", "ci95_high", "gap_closed", "best", "n_test", "bytes"])
    for row in evaluation.rows:
        low, high = ("", "") if row.ci95 is None else (round(bound, 2) for bound in row.ci95)
        gap = evaluation.gap(row)
        cells = [
            row.method,
            row.set,
            "+".join(row.distilled_on),
            row.teacher or "",
            row.evaluated_on,
            row.table,
            row.protocol,
        ]
        numbers = [row.ipc, round(row.accuracy, 2), round(row.std, 2), low, high, "" if gap is None else round(gap, 3)]
        numbers.append("" if row.best is None else round(row.best, 2))
        writer.writerow([*map(csv_text, cells), *numbers, row.n_test, row.bytes or ""])
    return text.getvalue()


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
