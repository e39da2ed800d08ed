"""How a run went: its log as a curve and a table, and all of its images at once, frame by frame."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attar.distilled import DistilledSet
from attar.distilled.journey import Frame, read_journey
from attar.distilled.own_run import run_of, set_of
from attar.errors import ArtefactError, SettingsError
from attar.report.charts import Plot, curve
from attar.report.thumbnails import Look, fitted
from attar.run import Run

_FIGURES = ("loss", "weighted", "cross_entropy")  # what the loop lowers, by the name that the method logs it under
_LINES, _POINTS = 8, 400
_LARGEST = 1e300  # beyond, a figure can't be drawn
_SHEETS, _BUDGET = (Look(4000, 60), Look(1600, 55), Look(800, 50), Look(400, 40)), 2_000_000  # for all runs together
_A_ROW = 20

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Course:
    """A run's part of the page: its settings, a few lines of the log, a curve, and its frames as sheets."""

    name: str
    finished: bool
    settings: dict[str, object] | None
    columns: list[str]
    lines: list[list[str]]
    figure: str
    plot: Plot | None
    steps: list[int]
    sheets: list[str]


def read_courses(given: Sequence[Run], sets: Sequence[DistilledSet]) -> list[Course]:
    """The courses of the runs given, each once, and of those beside the sets that made them; one that is damaged, and
    so can't be known as theirs, is there to say it. Frames of a set's run are left to the set, which has them image by
    image."""
    made = {run.folder.resolve() for one in sets if (run := run_of(one)) is not None}
    beside = [run for one in sets if (run := Run.beside(one.path)).folder.resolve() in made or _settings(run) is None]
    runs = {run.folder.resolve(): run for run in [*given, *beside]}
    unseen = len(runs.keys() - made)
    return [_read_course(run, 0 if place in made else _BUDGET // unseen) for place, run in runs.items()]


def _read_course(run: Run, budget: int) -> Course:
    """What the run's folder tells, with its frames in so many characters."""
    log = [line for line in run.logged() if max(map(abs, line.values())) < _LARGEST]
    figure = next((name for name in _FIGURES if any(name in line for line in log)), "")
    points = [(line["step"], line[figure]) for line in log if figure in line]
    kept = _spread(log, _LINES)
    columns = [
        name for name in dict.fromkeys(itertools.chain(*kept)) if 2 * sum(name in line for line in kept) > len(kept)
    ]
    frames = read_journey(run.journey) if budget else ()
    pictures = [_sheet(frame) for frame in frames]
    return Course(
        name=run.folder.name.removesuffix(".run"),
        finished=_is_finished(run),
        settings=_settings(run),
        columns=columns,
        lines=[[f"{line[name]:.4g}" if name in line else "" for name in columns] for line in kept],
        figure=figure,
        plot=curve(_spread(points, _POINTS)) if len(points) > 1 else None,
        steps=[frame.step for frame in frames],
        sheets=fitted(pictures, _SHEETS, budget) if pictures else [],
    )


def _settings(run: Run) -> dict[str, object] | None:
    """The run's settings; None where they are damaged."""
    try:
        return dict(run.settings() or {})
    except SettingsError:
        return None


def _is_finished(run: Run) -> bool:
    """Whether the set that it makes is there."""
    try:
        return set_of(run) is not None
    except ArtefactError:
        return False


def _spread(items: list[_Item], most: int) -> list[_Item]:
    """At most so many of the items, evenly spaced, the first and the last among them."""
    places = np.unique(np.linspace(0, len(items) - 1, min(len(items), most)).round().astype(int))
    return [items[int(place)] for place in places]


def _sheet(frame: Frame) -> np.ndarray:
    """All images of a frame in one, uint8 [3, h, w]: 20 a row, white between them."""
    count, _, side, _ = frame.images.shape
    columns = min(_A_ROW, count)
    rows = -(-count // columns)
    sheet = np.full((3, rows * (side + 2), columns * (side + 2)), 255, dtype=np.uint8)
    for number, image in enumerate(frame.images):
        top, left = number // columns * (side + 2), number % columns * (side + 2)
        sheet[:, top : top + side, left : left + side] = image
    return sheet
