"""Features of real images through frozen backbones, their cache and their statistics."""

from attar.features.extract import Features, extract, read_squares, stream
from attar.features.real import RealFeatures
from attar.features.statistics import ClassStatistics

__all__ = ["ClassStatistics", "Features", "RealFeatures", "extract", "read_squares", "stream"]
