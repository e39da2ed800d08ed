"""Accuracies across backbones: a line a method or set, a column a backbone that it was evaluated on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attar.evaluation.result import Evaluation
from attar.evaluation.rows import Row


@dataclass(frozen=True)
class Line:
    """What one method reaches on each backbone; `rows` are in the order of the matrix' columns, None where missing."""

    rows: tuple[Row | None, ...]

    @property
    def first(self) -> Row:
        """Any row of the line: what it says of the set and the method is the same for all."""
        return next(row for row in self.rows if row is not None)

    @property
    def label(self) -> str:
        """The set's backbones, or the method."""
        row = self.first
        number = f", {row.ipc} a class" if row.ipc > 1 and row.method not in ("full", "lda") else ""
        taught = f" from {row.teacher}" if row.teacher and not row.distilled_on else ""
        return f"{row.method}{' on ' + ' + '.join(row.distilled_on) if row.distilled_on else ''}{taught}{number}"

    @property
    def own(self) -> float | None:
        """Mean over the backbones that the set was distilled on."""
        return _mean([row.accuracy for row in self.rows if row and row.evaluated_on in row.distilled_on])

    @property
    def others(self) -> float | None:
        """Mean over the other backbones; None for methods that were distilled on none."""
        return _mean(
            [row.accuracy for row in self.rows if row and row.distilled_on and row.evaluated_on not in row.distilled_on]
        )

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


def matrix(evaluation: Evaluation, protocol: str) -> Matrix:
    """The rows of `protocol`'s tables, one line for what stands in several of them."""
    lines: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in (row for row in evaluation.rows if row.table == protocol):
        key = (row.method, row.set, row.distilled_on, row.ipc, row.teacher)
        lines.setdefault(key, {})[row.evaluated_on] = row
    columns = evaluation.backbones
    return Matrix(
        protocol, columns, tuple(Line(tuple(found.get(name) for name in columns)) for found in lines.values())
    )


def as_csv(evaluation: Evaluation) -> str:
    """One line a row, for spreadsheets and data frames."""
    text = io.StringIO()
    names = ("method", "set", "distilled_on", "teacher", "evaluated_on", "protocol", "ipc", "accuracy", "std")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "ci95_low", "ci95_high", "gap_closed", "n_test", "bytes"])
    for row in evaluation.rows:
        low, high = row.ci95 or ("", "")
        gap = evaluation.gap(row)
        cells = [row.method, row.set, "+".join(row.distilled_on), row.teacher or "", row.evaluated_on, row.protocol]
        numbers = [row.ipc, round(row.accuracy, 2), round(row.std, 2), low, high, "" if gap is None else round(gap, 3)]
        writer.writerow([*map(_harmless, cells), *numbers, row.n_test, row.bytes or ""])
    return text.getvalue()


def _harmless(text: str) -> str:
    """Spreadsheets run cells that begin with = + - @: put an apostrophe before them."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
