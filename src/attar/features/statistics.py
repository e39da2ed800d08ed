"""Class statistics: counts, means and scatter, in float64, merged exactly however the stream was cut (sfm.md 3)."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar import processes
from attar.errors import FileError, SettingsError
from attar.tensors import read_tensors, write_tensors

Scatter = Literal["none", "pooled", "class"]


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """What is kept of the real features.

    `scatter` is the sum of outer products of deviations from the class mean: over all classes for "pooled", for each
    class for "class", None for "none". `header` says what the features are (backbone, data, views); statistics with
    different headers don't merge. All arrays are float64.
    """

    counts: Int[Tensor, " classes"]
    means: Float[Tensor, "classes dim"]
    scatter: Float[Tensor, "*classes dim dim"] | None = None
    header: dict[str, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, classes: int, dim: int, *, scatter: Scatter = "none", header: dict[str, str] | None = None):
        """Statistics of nothing: the neutral element of `merge`."""
        shapes = {"none": None, "pooled": (dim, dim), "class": (classes, dim, dim)}
        shape = shapes[scatter]
        return cls(
            torch.zeros(classes, dtype=torch.int64),
            torch.zeros(classes, dim, dtype=torch.float64),
            None if shape is None else torch.zeros(shape, dtype=torch.float64),
            header or {},
        )

    @classmethod
    def of(
        cls,
        features: Float[Tensor, "rows dim"],
        labels: Int[Tensor, " rows"],
        classes: int,
        *,
        scatter: Scatter = "none",
        header: dict[str, str] | None = None,
    ):
        """Statistics of rows held in memory."""
        result = cls.empty(classes, features.shape[1], scatter=scatter, header=header)
        counts = torch.bincount(labels, minlength=classes).tolist()
        for label, members in enumerate(labels.argsort(stable=True).split(counts)):
            if not len(members):
                continue
            rows = features[members].double()
            result.counts[label] = len(rows)
            result.means[label] = rows.mean(0)
            deviations = rows - result.means[label]
            if result.scatter is not None:
                target = result.scatter if result.scatter.ndim == 2 else result.scatter[label]
                target += deviations.T @ deviations
        return result

    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """Statistics of both streams together (Chan, Golub and LeVeque's update); exact in real arithmetic."""
        if self.header != other.header:
            raise SettingsError(
                f"statistics of different features can't be merged: {self.header} and {other.header}",
                "Compute both with the same backbone, views and data.",
            )
        if self._shapes() != other._shapes():
            raise SettingsError(
                f"statistics of different shapes can't be merged: {self._shapes()} and {other._shapes()}",
                "Compute both for the same classes, with the same scatter.",
            )
        counts = self.counts + other.counts
        share = (other.counts.double() / counts.clamp(min=1))[:, None]
        gap = other.means - self.means
        scatter = self.scatter
        if scatter is not None and other.scatter is not None:
            weight = (self.counts.double() * share[:, 0])[:, None]
            if scatter.ndim == 2:
                scatter = scatter + other.scatter + (weight * gap).T @ gap
            else:
                scatter = scatter + other.scatter + (weight * gap)[:, :, None] * gap[:, None, :]
        return ClassStatistics(counts, self.means + share * gap, scatter, self.header)

    def of_all_processes(self) -> ClassStatistics:
        """The statistics of all processes of this job merged, in their order; all must call this together."""
        if processes.count() == 1:
            return self

        def each(mine: Tensor) -> Tensor:
            return processes.gather(mine[None], things=processes.count())

        counts, means = each(self.counts), each(self.means)
        scatters = [None] * len(counts) if self.scatter is None else each(self.scatter)
        parts = map(ClassStatistics, counts, means, scatters, [self.header] * len(counts))
        return functools.reduce(ClassStatistics.merge, parts)

    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Of means and scatter."""
        return tuple(self.means.shape), None if self.scatter is None else tuple(self.scatter.shape)

    def save(self, path: Path) -> None:
        """Write to a safetensors file."""
        tensors = {"counts": self.counts, "means": self.means}
        if self.scatter is not None:
            tensors["scatter"] = self.scatter
        metadata = {"header": json.dumps(self.header)}
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path):
        """Read what `save` wrote; FileError where the file is damaged, or holds something else."""
        tensors, metadata = read_tensors(path)
        if not {"counts", "means"} <= tensors.keys() or "header" not in metadata:
            raise FileError(f"{path} holds no class statistics", "Give a file that ClassStatistics.save wrote.")
        header = json.loads(metadata["header"])
        return cls(tensors["counts"], tensors["means"], tensors.get("scatter"), header)
