"""What an evaluation left in results.json, as the page shows it: tables, differences, confusions, costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from attar.errors import EvaluationError
from attar.evaluation.result import Evaluation

_MOST_CELLS = 30  # classes a side; beyond, a matrix can't be read
_WORST_PAIRS = 20

Percent = Annotated[float, Field(ge=0, le=100)]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Share = Annotated[Percent | None, BeforeValidator(lambda value: None if value != value else value)]  # NaN: none


class Line(BaseModel):
    """A row of a table; `table` is the protocol that it stands under."""

    method: str
    set: str
    distilled_on: list[str]
    evaluated_on: str
    protocol: str
    table: str
    ipc: Count
    accuracy: Percent
    std: Percent
    ci95: tuple[Finite, Finite] | None
    n_test: Count
    bytes: Count | None
    teacher: str | None
    confusion: list[list[Count]]
    per_class: list[Share]
    gap_closed: Finite | None = None
    gap_ci95: tuple[Finite, Finite] | None = None

    @property
    def name(self) -> str:
        """What a table calls the row."""
        name = self.method if self.protocol in (self.table, self.method) else f"{self.method} ({self.protocol})"
        return f"{name} from {self.teacher}" if self.teacher else name


class Comparison(BaseModel):
    """The paired difference between two rows of a table, in points."""

    set: str
    method: str
    teacher: str | None = None
    evaluated_on: str
    against: str
    against_protocol: str
    protocol: str
    mean: Finite
    ci95: tuple[Finite, Finite]
    verdict: str


class Cost(BaseModel):
    """What making a set took, in seconds."""

    seconds: Annotated[float, Field(ge=0, le=1e12)] | None = None


class Results(BaseModel):
    """results.json, of which what the page doesn't show is left out."""

    rows: list[Line]
    differences: list[Comparison] = []
    verdicts: list[str] = []
    remarks: list[str] = []
    legends: list[str] = []
    classes: list[str] = []
    date: str = ""
    hardware: str = ""
    test: dict[str, Any] = {}
    sets: dict[str, Cost] = {}

    @model_validator(mode="after")
    def _classes_fit(self) -> Results:
        count = len(self.classes)
        for row in self.rows:
            if [len(row.per_class), *map(len, row.confusion)] != [count] * (1 + len(row.confusion)):
                raise ValueError(f"the row of {row.method} is not of {count} classes")
            if len(row.confusion) != count:
                raise ValueError(f"the confusions of {row.method} are not of {count} classes")
        return self

    def seconds(self, row: Line) -> float | None:
        """Seconds that making the row's set took; of several seeds the mean, None where one is unknown."""
        known = [self.sets.get(name, Cost()).seconds for name in row.set.split(", ")]
        numbers = [seconds for seconds in known if seconds is not None]
        return float(np.mean(numbers)) if len(numbers) == len(known) else None


@dataclass(frozen=True)
class Table:
    """Rows under one protocol on one network."""

    protocol: str
    network: str
    rows: tuple[Line, ...]
    differences: tuple[Comparison, ...]


def read_results(source: Evaluation | str | Path) -> Results:
    """An evaluation, or the results.json in the folder that `attar evaluate --out` wrote; EvaluationError where there
    is none or it is damaged."""
    if isinstance(source, Evaluation):
        return Results.model_validate(source.as_json())
    file = Path(source) / "results.json" if Path(source).is_dir() else Path(source)
    try:
        return Results.model_validate(json.loads(file.read_bytes()))
    except FileNotFoundError as error:
        raise EvaluationError(
            f"{source} holds no results.json.", "Give a folder that attar evaluate --out wrote."
        ) from error
    except (ValidationError, ValueError, RecursionError) as error:
        raise EvaluationError(f"{file} is damaged.", "Give the attar evaluate command again.") from error


def tables(results: Results) -> list[Table]:
    """A table for each protocol on each network, in the order of the rows."""
    keys = dict.fromkeys((row.table, row.evaluated_on) for row in results.rows)
    return [
        Table(
            protocol,
            network,
            tuple(row for row in results.rows if (row.table, row.evaluated_on) == (protocol, network)),
            tuple(each for each in results.differences if (each.protocol, each.evaluated_on) == (protocol, network)),
        )
        for protocol, network in keys
    ]


def by_class(results: Results, titles: Sequence[str]) -> list[dict[str, Any]]:
    """For the script: of each row its name, accuracies by class (None where no test image is of it), and confusions: a
    matrix for few classes, else the worst pairs as (true, taken for, percent, answers)."""
    several = len({row.evaluated_on for row in results.rows}) > 1
    return [
        {
            "name": f"{row.name}, {row.set if row.distilled_on else f'{row.ipc} a class'}, {row.table}"
            + (f", {row.evaluated_on}" if several else ""),
            "classes": row.per_class,
            "matrix": row.confusion if len(titles) <= _MOST_CELLS else None,
            "worst": worst_pairs(np.array(row.confusion), titles),
        }
        for row in results.rows
    ]


def worst_pairs(confusion: np.ndarray, titles: Sequence[str]) -> list[tuple[str, str, float, int]]:
    """The 20 pairs of classes with the largest share of a true class taken for another: (true, taken for, percent,
    answers), worst first."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    order = np.argsort(-shares, axis=None, kind="stable")[:_WORST_PAIRS]
    pairs = [(int(place) // len(titles), int(place) % len(titles)) for place in order]
    return [
        (titles[true], titles[taken], round(float(100 * shares[true, taken]), 1), int(confusion[true, taken]))
        for true, taken in pairs
        if shares[true, taken] > 0
    ]
