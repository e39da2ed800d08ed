"""What the commands show: bars, tables, pictures' paths. Everything but results goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from attar.progress import Progress

if TYPE_CHECKING:
    from attar.evaluation import Evaluation, Row

_FIGURES = ("loss", "cosine", "worst_class")
_QUIET_SECONDS = 5
_LEGEND = (
    "random, centroids: real images, drawn or nearest to their class mean; ncm: nearest class mean; class-means, "
    "sub-centres: the probe on the true means of classes or of their clusters; full: on all images. Differences in "
    "points with their 95 % interval."
)


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
    """The tables of accuracies, differences and remarks, on stdout."""
    console = Console()
    for name in dict.fromkeys(row.table for row in evaluation.rows):
        console.print(_table(name, [row for row in evaluation.rows if row.table == name]))
    differences = evaluation.differences()
    beaten = [
        f"Real images beat {row.set}: {other.method} {other.accuracy:.1f} against {row.accuracy:.1f} ({row.table})."
        for row, other, difference in differences
        if other.method in ("random", "centroids", "kmeans") and difference.verdict == "below"
    ]
    compared = [
        f"{row.set} against {other.method} ({row.table}): {difference.mean:+.1f} points "
        f"({difference.low:+.1f} to {difference.high:+.1f}): {difference.verdict}"
        for row, other, difference in differences
    ]
    for text in (_LEGEND, *compared, *beaten, *evaluation.remarks):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _table(name: str, rows: Sequence[Row]) -> Table:
    table = Table(title=f"{name} on {rows[0].evaluated_on}, {rows[0].n_test} test images", title_justify="left")
    for heading in ("method", "set", "ipc", "accuracy %", "±", "95 % interval", "bytes"):
        table.add_column(heading, justify="left" if heading in ("method", "set") else "right")
    for row in rows:
        table.add_row(
            row.method if row.protocol == name else f"{row.method} ({row.protocol})",
            escape(row.set) if row.distilled_on else "",
            str(row.ipc),
            f"{row.accuracy:.1f}",
            "" if row.ci95 is None else f"{row.std:.1f}",
            "" if row.ci95 is None else f"{row.ci95[0]:.1f} to {row.ci95[1]:.1f}",
            "" if row.bytes is None else f"{row.bytes:,}",
            style="bold" if row.distilled_on else "",
        )
    return table


def print_json(document: Mapping[str, object]) -> None:
    """One JSON document on stdout."""
    import json

    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
