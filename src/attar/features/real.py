"""What an objective may know of the real data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from jaxtyping import Float, Int
from torch import Tensor

from attar.features.extract import Features
from attar.features.statistics import ClassStatistics


@dataclass(frozen=True)
class RealFeatures:
    """Cached features of the real images under one cut, with their class statistics."""

    features: Features
    classes: int
    header: dict[str, str] = field(default_factory=dict)
    """What the features are, see ClassStatistics."""

    @cached_property
    def statistics(self) -> ClassStatistics:
        """Class means over all images and views; no scatter, which no objective reads."""
        values, labels = self.rows()
        return ClassStatistics.of(values, labels, self.classes, scatter="none", header=self.header)

    def rows(self) -> tuple[Float[Tensor, "rows dim"], Int[Tensor, " rows"]]:
        """One row a view, image by image, with its label."""
        views = self.features.values.shape[1]
        return self.features.values.flatten(0, 1), self.features.labels.repeat_interleave(views)
