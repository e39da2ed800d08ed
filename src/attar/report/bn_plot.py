"""The BatchNorm statistics of two networks as a picture: entropies above, scale-free spreads beneath."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attar.compression.bn_report import Report

_PANELS = ("entropy_mean", "entropy_var", "scale_free_mean", "scale_free_var")


def bn_plot(report: Report) -> bytes:
    """A PNG of four panels: a line a network, a point a BatchNorm layer, from the stem on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 6), layout="constrained")
    for name, axes in zip(_PANELS, figure.subplots(2, 2, sharex=True).flat, strict=True):
        found = report[name]
        for values, network, marker in zip((found.first, found.second), report.names, "os", strict=True):
            axes.plot(range(1, len(values) + 1), values, marker=marker, markersize=3, label=network.replace("$", r"\$"))
        axes.set_title(f"{found.item.title}: the first is higher on {found.higher} of {len(found.first)}", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name.startswith("scale_free"):
            axes.set_yscale("log")
            axes.set_xlabel("BatchNorm layer", fontsize=9)
        else:
            axes.set_ylabel("nats", fontsize=9)
    figure.axes[0].legend(fontsize=8)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    return picture.getvalue()
