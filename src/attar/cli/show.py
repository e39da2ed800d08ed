"""What the commands show: bars, tables, pictures' paths. Everything but results goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from attar.progress import Progress

if TYPE_CHECKING:
    from attar.evaluation import Evaluation, Row

_FIGURES = ("loss", "cosine", "worst_class")
_QUIET_SECONDS = 5


class Shown(Progress):
    """Live bars on a terminal; elsewhere a line for every tenth of a task, but not many in a row."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._live,
        )
        self._tasks: dict[str, tuple[TaskID, float, int, int]] = {}  # bar, when and where it began, last
        self._printed = time.monotonic()

    def __enter__(self) -> Shown:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def plan(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def picture(self, path: Path) -> None:
        self._console.print(f"picture: {path}", style="dim", highlight=False, markup=False, soft_wrap=True)

    def advance(self, task: str, done: int, total: int, figures: Mapping[str, float] | None = None) -> None:
        shown = " ".join(f"{name} {figures[name]:.3f}" for name in _FIGURES if figures and name in figures)
        if task not in self._tasks or self._tasks[task][3] > done:
            if task in self._tasks:
                self._bars.remove_task(self._tasks[task][0])
            bar = self._bars.add_task(task, total=total, completed=done, rate="", figures=shown)
            self._tasks[task] = (bar, time.monotonic(), done, done)
        bar, started, first, before = self._tasks[task]
        elapsed = time.monotonic() - started
        rate = f"{(done - first) / elapsed:,.1f}/s" if elapsed > 0.5 else ""
        self._bars.update(bar, completed=done, rate=rate, figures=shown)
        tenth = done * 10 // total > before * 10 // total
        if not self._live and tenth and time.monotonic() - self._printed > _QUIET_SECONDS:
            self._printed = time.monotonic()
            self._console.print(f"{task}: {done}/{total} {rate} {shown}".rstrip(), highlight=False, markup=False)
        self._tasks[task] = (bar, started, first, done)


def show_evaluation(evaluation: Evaluation) -> None:
    """The table of accuracies, differences and remarks, on stdout."""
    console = Console()
    for protocol, rows in _tables(evaluation.rows).items():
        table = Table(title=f"{protocol} on {rows[0].evaluated_on}, {rows[0].n_test} test images", title_justify="left")
        for name in ("method", "images a class", "accuracy %", "±", "95 % interval", "bytes"):
            table.add_column(name, justify="left" if name == "method" else "right")
        for row in rows:
            interval = "" if row.ci95 is None else f"{row.ci95[0]:.1f} to {row.ci95[1]:.1f}"
            size = "" if row.bytes is None else f"{row.bytes:,}"
            name = row.method if row.protocol == protocol else f"{row.method} ({row.protocol})"
            bold = "bold" if row.distilled_on else ""
            spread = f"{row.std:.1f}" if row.std else ""
            table.add_row(name, str(row.ipc), f"{row.accuracy:.1f}", spread, interval, size, style=bold)
        console.print(table)
    for row, other, difference in evaluation.differences():
        console.print(
            f"{row.method} against {other.method} ({row.protocol}): {difference.mean:+.1f} points "
            f"({difference.low:+.1f} to {difference.high:+.1f}): {difference.verdict}",
            highlight=False,
            soft_wrap=True,
        )
    for text in (*_verdicts(evaluation), *evaluation.remarks):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _tables(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each protocol; `full` under lgm-probe has few views, and belongs to the rows before it."""
    tables: dict[str, list[Row]] = {}
    protocol = ""
    for row in rows:
        protocol = protocol if "/bank8" in row.protocol else row.protocol
        tables.setdefault(protocol, []).append(row)
    return tables


def _verdicts(evaluation: Evaluation) -> list[str]:
    beaten = [
        (row, other)
        for row, other, difference in evaluation.differences()
        if other.method in ("random", "centroids", "kmeans") and difference.mean < 0
    ]
    return [
        f"Real images beat this set: {other.method} {other.accuracy:.1f} against {row.accuracy:.1f} ({row.protocol})."
        for row, other in beaten
    ]


def print_json(document: Mapping[str, object]) -> None:
    """One JSON document on stdout."""
    import json

    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
