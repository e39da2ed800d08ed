"""What an objective may know of the real data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attar import processes
from attar.errors import SettingsError
from attar.features.clusters import sub_clusters
from attar.features.extract import CachedFeatures, Features
from attar.features.groups import balanced_means, group_statistics
from attar.features.statistics import ClassStatistics, Scatter


def gathered_statistics(
    features: Features | CachedFeatures,
    classes: int,
    *,
    scatter: Scatter = "none",
) -> ClassStatistics:
    """Statistics of all views of all images, of which each process of the job reads its own share."""
    total = ClassStatistics.empty(classes, features.dim, scatter=scatter)
    for images, values in features.parts():
        labels = features.labels[images.start : images.stop].repeat_interleave(values.shape[1])
        total = total.merge(ClassStatistics.of(values.flatten(0, 1), labels, classes, scatter=scatter))
    return total.of_all_processes()


@runtime_checkable
class Batches(Protocol):
    """Fresh views of real images, encoded when they are asked for."""

    def __call__(self, step: int, size: int, *, balanced: bool) -> tuple[Tensor, Tensor]:
        """Features [size, dim] and labels [size] of the batch of `step`."""
        ...


@dataclass(frozen=True)
class RealFeatures:
    """Cached features of the real images under one cut, with their class statistics."""

    features: Features | CachedFeatures
    classes: int
    groups: Int[Tensor, " images"] | None = None
    """Number of each image's group, from 0 on, where the data has groups."""
    guide: RealFeatures | None = None
    """Whose clusters to share: with several backbones the k-th image of a class must stand for the same real images
    on each."""
    batches: Batches | None = None
    """What encodes fresh views, where the images are at hand."""

    def __post_init__(self) -> None:
        labels = self.features.labels
        if self.groups is not None and len(self.groups) != len(labels):
            raise SettingsError(f"{len(self.groups)} groups for {len(labels)} images", "give each image its group")
        if self.guide is not None and not torch.equal(self.guide.features.labels, labels):
            raise SettingsError("the guide's features are of other images", "extract both from the same source")

    @cached_property
    def statistics(self) -> ClassStatistics:
        """Counts and class means over all images and views; processes of one job share the work."""
        return gathered_statistics(self.features, self.classes)

    @cached_property
    def within(self) -> Float[Tensor, "dim dim"]:
        """Covariance of the features within classes, all images together (float64)."""
        statistics = gathered_statistics(self.features, self.classes, scatter="pooled")
        assert statistics.scatter is not None  # what "pooled" asked for
        return statistics.scatter / statistics.counts.sum()

    @cached_property
    def balanced_means(self) -> Float[Tensor, "classes dim"]:
        """Class means in which every group of a class counts the same (float64). SettingsError without groups."""
        if self.groups is None:
            raise SettingsError("group-balanced means need images with groups", "use --set group_balanced=false")
        group_count = int(self.groups.max()) + 1
        images = self._images()
        cells = group_statistics(images, self.features.labels, self.groups, self.classes, group_count)
        return balanced_means(cells, group_count)

    def rows(self) -> tuple[Float[Tensor, "rows dim"], Int[Tensor, " rows"]]:
        """One row a view, image by image, with its label."""
        views = self.features.values.shape[1]
        return self.features.values.flatten(0, 1), self.features.labels.repeat_interleave(views)

    def sample(self, most: int) -> tuple[Float[Tensor, "rows dim"], Int[Tensor, " rows"]]:
        """At most so many of the rows with their labels, evenly spaced; never more than a shard of others in memory."""
        kept, numbers = [torch.empty(0, self.features.dim)], [torch.empty(0, dtype=torch.int64)]
        for images, values in self.features.parts():
            views = values.shape[1]
            step = -(-len(self.features.labels) * views // most)
            rows = torch.arange(-(images.start * views) % step, len(images) * views, step)
            kept.append(values.flatten(0, 1)[rows])
            numbers.append(images.start + rows // views)
        found = processes.gather(torch.cat(numbers))
        order = found.argsort(stable=True)
        return processes.gather(torch.cat(kept))[order], self.features.labels[found[order]]

    def batch(self, step: int, size: int, *, balanced: bool) -> tuple[Float[Tensor, "size dim"], Int[Tensor, " size"]]:
        """Features and labels of fresh views of `size` images, drawn by (seed, step).

        Images come in the order of one shuffle after the other, so a batch may span two; with `balanced` each class
        has a shuffle of its own and the same share of the batch. SettingsError where the images aren't at hand.
        """
        if self.batches is None:
            raise SettingsError(
                "fresh views need the real images", "give them too, or use --set real=features, which takes cached ones"
            )
        return self.batches(step, size, balanced=balanced)

    def clusters(self, count: int, *, equal: bool = True) -> Int[Tensor, " images"]:
        """For each image its cluster, 0..count-1 within its class (see `sub_clusters`); the guide's where given."""
        if self.guide is not None:
            return self.guide.clusters(count, equal=equal)
        if (count, equal) not in self._clusters:
            images, labels = self._images().numpy(), self.features.labels.numpy()
            found = sub_clusters(images, labels, self.classes, count, equal=equal)
            self._clusters[count, equal] = processes.of_first(torch.from_numpy(found))
        return self._clusters[count, equal]

    def sub_centres(
        self, count: int, *, equal: bool = True
    ) -> tuple[Float[Tensor, "classes count dim"], Float[Tensor, "classes count"]]:
        """Mean feature of each cluster over its images and views, and its share of the class's images (float64)."""
        cells = self.features.labels * count + self.clusters(count, equal=equal)
        statistics = ClassStatistics.of(self._images(), cells, self.classes * count)
        sizes = statistics.counts.double().unflatten(0, (self.classes, count))
        return statistics.means.unflatten(0, (self.classes, count)), sizes / sizes.sum(1, keepdim=True)

    @cached_property
    def _clusters(self) -> dict[tuple[int, bool], Int[Tensor, " images"]]:
        """Clusters found so far, by (count, equal)."""
        return {}

    def _images(self) -> Float[Tensor, "images dim"]:
        """Mean feature of each image over its views, in float64."""
        return self.features.values.mean(1, dtype=torch.float64)
