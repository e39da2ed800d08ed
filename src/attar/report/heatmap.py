"""A matrix of accuracies as a picture: darker is better, the number stands in each field."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from attar.evaluation.matrix import Matrix

_CELL_INCHES = (1.5, 0.32)
_LABEL_INCHES = 3.6


def heatmap(found: Matrix) -> bytes:
    """A PNG of `found`: a line a method, a column a backbone; fields whose backbone distilled the set are framed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    values = np.array([[row.accuracy if row else np.nan for row in line.rows] for line in found.lines])
    lines, columns = values.shape
    size = (_LABEL_INCHES + _CELL_INCHES[0] * columns, 1.4 + _CELL_INCHES[1] * lines)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", aspect="auto", vmin=0, vmax=100)
    for place, line in enumerate(found.lines):
        for column, row in enumerate(line.rows):
            if row is None:
                continue
            colour = "white" if row.accuracy > 60 else "black"
            axes.text(column, place, f"{row.accuracy:.1f}", ha="center", va="center", color=colour, fontsize=8)
            if row.own:
                frame = Rectangle((column - 0.48, place - 0.46), 0.96, 0.92, fill=False, edgecolor="tab:orange", lw=1.5)
                axes.add_patch(frame)
    axes.set_yticks(range(lines), [_plain(line.label) for line in found.lines], fontsize=8)
    axes.set_xticks(range(columns), [_plain(name) for name in found.backbones], fontsize=8)
    axes.xaxis.tick_top()
    figure.suptitle(
        f"{found.protocol}: % of test images right\n(framed: the backbone that distilled the set)", fontsize=9
    )
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    return picture.getvalue()


def _plain(text: str) -> str:
    """Names as they are: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")
