"""An evaluation's part of the page: tables, plots of accuracy against bytes and seconds, and accuracies by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attar.distilled import DistilledSet
from attar.evaluation.result import Evaluation
from attar.report.charts import BYTES, SECONDS, Plot, Unit, Value, scatter
from attar.report.results import Line, Results, Table, by_class, read_results, tables


@dataclass(frozen=True)
class Chart:
    """Accuracy against what it cost, of the rows of one table for which the cost is known."""

    against: str
    axis: str
    plot: Plot
    rows: tuple[tuple[Line, str], ...]


@dataclass(frozen=True)
class Scores:
    """What the template draws of one evaluation."""

    results: Results
    tables: list[Table]
    charts: list[list[Chart]]
    by_class: list[dict[str, Any]]
    test: str


def read_scores(source: Evaluation | str | Path, sets: Sequence[DistilledSet]) -> Scores:
    """The results with classes called by the titles of `sets` where those know them."""
    results = read_results(source)
    known = {name: title for one in sets for name, title in zip(one.classes, one.titles, strict=True)}
    titles = [known.get(name, name) for name in results.classes]
    found = tables(results)
    rows = [row | {"names": results.classes, "titles": titles} for row in by_class(results, titles)]
    test = str(results.test.get("name", "unnamed test images"))
    return Scores(results, found, [_charts(results, table) for table in found], rows, test)


def _charts(results: Results, table: Table) -> list[Chart]:
    costs: tuple[tuple[str, str, Callable[[Line], float | None], Unit], ...] = (
        ("bytes", "bytes to train on, logarithmic", lambda row: row.bytes, BYTES),
        ("time", "time to make the set, logarithmic", results.seconds, SECONDS),
    )
    charts = []
    for against, axis, cost, unit in costs:
        rows = [(row, float(value)) for row in table.rows if (value := cost(row))]
        if len({value for _, value in rows}) > 1:  # one point, or points above each other, are no plot
            plot = scatter([Value(value, row.accuracy, row.ci95) for row, value in rows], unit)
            charts.append(Chart(against, axis, plot, tuple((row, unit.show(value)) for row, value in rows)))
    return charts
