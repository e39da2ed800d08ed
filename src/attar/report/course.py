"""How a run went: its log as a curve and a table, and all of its images at once, frame by frame."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attar.distilled.journey import Frame, read_journey
from attar.report.charts import Plot, curve
from attar.report.thumbnails import Look, encoded, pick_look
from attar.run import Run

_FIGURES = ("loss", "weighted", "cross_entropy")  # what the loop lowers, by the name that the method logs it under
_LINES, _POINTS = 8, 400
_SHEETS, _BUDGET = (Look(4000, 60), Look(1600, 55), Look(800, 50)), 6_000_000
_A_ROW = 20

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Course:
    """A run's part of the page: its settings, a few lines of the log, a curve, and its frames as sheets."""

    name: str
    finished: bool
    settings: dict[str, object]
    columns: list[str]
    lines: list[list[str]]
    figure: str
    plot: Plot | None
    steps: list[int]
    sheets: list[str]


def read_course(run: Run, *, sheets: bool) -> Course:
    """What the run's folder tells; `sheets` says whether its frames are wanted (a set shows them image by image)."""
    log = _log(run)
    figure = next((name for name in _FIGURES if any(name in line for line in log)), "")
    points = [(line["step"], line[figure]) for line in log if figure in line]
    kept = _spread(log, _LINES)
    columns = [
        name for name in dict.fromkeys(itertools.chain(*kept)) if 2 * sum(name in line for line in kept) > len(kept)
    ]
    frames = read_journey(run.journey) if sheets else ()
    pictures = [_sheet(frame) for frame in frames]
    return Course(
        name=run.folder.name.removesuffix(".run"),
        finished=run.folder.with_suffix("").joinpath("attar.json").is_file(),
        settings=dict(run.settings() or {}),
        columns=columns,
        lines=[[f"{line[name]:.4g}" if name in line else "" for name in columns] for line in kept],
        figure=figure,
        plot=curve(_spread(points, _POINTS)) if len(points) > 1 else None,
        steps=[frame.step for frame in frames],
        sheets=encoded(pictures, pick_look(pictures, _SHEETS, _BUDGET)) if pictures else [],
    )


def _log(run: Run) -> list[dict[str, float]]:
    """The log's lines of finite numbers; a line that a kill has cut is left out."""
    try:
        texts = (run.folder / "log.jsonl").read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            numbers = {
                name: float(value)
                for name, value in line.items()
                if isinstance(value, int | float) and math.isfinite(value)
            }
            if "step" in numbers:
                found.append(numbers)
    return found


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
