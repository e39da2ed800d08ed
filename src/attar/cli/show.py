"""What the commands show: bars, tables, pictures' paths. Everything but results goes to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from attar.progress import Progress

if TYPE_CHECKING:
    from attar.evaluation import Evaluation, Row

_FIGURES = ("loss", "cosine", "worst_class", "accuracy")
_QUIET_SECONDS = 5


def speaks() -> bool:
    """Whether this process is the one that speaks, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


class Shown(Progress):
    """Live bars on a terminal; elsewhere a line for every tenth of a task, but not many in a row."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, quiet=not speaks())
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
        self._console.print(text, highlight=False, markup=False, soft_wrap=not self._live)

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=not self._live)

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
    """The tables of accuracies, differences and remarks, on stdout: a matrix where there are several backbones."""
    console = Console()
    several = len(evaluation.backbones) > 1
    for name in evaluation.tables:
        columns = {row.evaluated_on for row in evaluation.rows if row.table == name}
        console.print(_matrix(evaluation, name) if len(columns) > 1 else _table(evaluation, name))
    differences = [(row, other, found) for row, other, found in evaluation.differences() if not row.is_check]
    compared = [
        f"{row.set}{f' on {row.evaluated_on}' if several else ''} against {_named(other)} ({row.table}): "
        f"{difference.mean:+.1f} points ({difference.low:+.1f} to {difference.high:+.1f}): {difference.verdict}"
        for row, other, difference in differences
        if not several or other is _strongest(evaluation, row)
    ]
    if evaluation.groups is not None:
        console.print(_groups(evaluation))
    for text in (*evaluation.legends, *compared, *evaluation.verdicts, *evaluation.remarks):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _named(other: Row) -> str:
    """What a row is compared with: a method, or the same sets under another protocol."""
    return other.method if not other.distilled_on else f"themselves under {other.table}"


def _strongest(evaluation: Evaluation, row: Row) -> Row:
    """The real images that are hardest to beat."""
    from attar.evaluation.result import REAL

    rivals = [evaluation.rival(row, method) for method in REAL]
    return max((rival for rival in rivals if rival is not None), key=lambda rival: rival.accuracy, default=row)


def _table(evaluation: Evaluation, name: str) -> Table:
    rows = [row for row in evaluation.rows if row.table == name]
    title = f"{name} on {rows[0].evaluated_on}, {rows[0].n_test} test images"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    learned = any(row.best is not None for row in rows)
    last = "best %" if learned else "gap closed"
    table.add_column("method", no_wrap=True)
    table.add_column("set", overflow="fold")
    for heading, width in (("ipc", 3), ("accuracy %", 8), ("±", 3), ("95 % interval", 12), (last, 6), ("bytes", 9)):
        table.add_column(heading, justify="right", min_width=width)  # 80 columns hold them and leave some for the set
    for row in rows:
        beside = row.best if learned else evaluation.gap(row) if row.distilled_on else None
        taught = f" from {row.teacher}" if row.teacher else ""
        table.add_row(
            (row.method if row.protocol in (name, row.method) else f"{row.method} ({row.protocol})") + taught,
            escape(row.set) if row.distilled_on else "",
            str(row.ipc),
            f"{row.accuracy:.1f}",
            "" if row.ci95 is None else f"{row.std:.1f}",
            "" if row.ci95 is None else f"{row.ci95[0]:.1f} to {row.ci95[1]:.1f}",
            "" if beside is None else f"{beside:.1f}" if learned else f"{beside:.2f}",
            "" if row.bytes is None else f"{row.bytes:,}",
            style="bold" if row.distilled_on else "",
        )
    return table


def _groups(evaluation: Evaluation) -> Table:
    """What each row reaches on its worst group, beside the average."""
    table = Table(title="Groups: accuracy in %, of groups with 20 test images or more", title_justify="left")
    for heading in (
        "method",
        "set",
        "evaluated on",
        "protocol",
        "average",
        "worst group",
        "mean of groups",
        "reliance",
    ):
        table.add_column(
            heading, justify="left" if heading in ("method", "set", "evaluated on", "protocol") else "right"
        )
    for row in evaluation.rows:
        found = evaluation.group_table(row)
        if found is None:
            continue
        worst = "" if found.worst is None else f"{found.worst.accuracy:.1f}"
        reliance = "" if found.reliance is None else f"{found.reliance:+.1f}"
        names = (row.method, escape(row.set) if row.distilled_on else "", row.evaluated_on, row.table)
        table.add_row(*names, f"{found.average.accuracy:.1f}", worst, f"{found.group_mean.accuracy:.1f}", reliance)
    return table


def _matrix(evaluation: Evaluation, name: str) -> Table:
    from attar.evaluation.matrix import matrix

    found = matrix(evaluation, name)
    title = f"{name}: accuracy in % of {evaluation.rows[0].n_test} test images, by the network it is measured on"
    table = Table(title=title, title_justify="left")
    table.add_column("method", overflow="fold")
    for heading in (*found.backbones, "own", "others", "worst"):
        table.add_column(escape(heading), justify="right", overflow="fold")
    for line in found.lines:
        cells = ["–" if each is None else _with_spread(each) for each in line.rows]
        means = ("" if mean is None else f"{mean:.1f}" for mean in (line.own, line.others))
        style = "bold" if line.first.distilled_on else ""
        table.add_row(escape(line.label), *cells, *means, f"{line.worst:.1f}", style=style)
    return table


def _with_spread(row: Row) -> str:
    """The accuracy, with its spread over sets or draws."""
    return f"{row.accuracy:.1f}" + ("" if row.ci95 is None else f" ± {row.std:.1f}")


def print_json(document: Mapping[str, object]) -> None:
    """One JSON document on stdout."""
    import json

    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
