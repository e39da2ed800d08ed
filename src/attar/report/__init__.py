"""What people look at: plots of what was measured."""

from attar.report.heatmap import heatmap

__all__ = ["heatmap"]
