"""Statistics by class and group, where the images of a class fall into groups (backgrounds, places, hospitals).

They are ClassStatistics over cells: cell class · group_count + group holds the images of one group of one class.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from attar.errors import SettingsError
from attar.features.statistics import ClassStatistics


def group_statistics(
    features: Float[Tensor, "rows dim"],
    labels: Int[Tensor, " rows"],
    groups: Int[Tensor, " rows"],
    classes: int,
    group_count: int,
) -> ClassStatistics:
    """Statistics of each cell; a cell without images has count 0 and mean 0. Groups are 0..group_count-1."""
    outside = groups[(groups < 0) | (groups >= group_count)]
    if len(outside):
        raise SettingsError(f"there is no group {int(outside[0])}", f"groups are 0..{group_count - 1}")
    cells = labels * group_count + groups
    return ClassStatistics.of(features, cells, classes * group_count)


def balanced_means(cells: ClassStatistics, group_count: int) -> Float[Tensor, "classes dim"]:
    """Class means in which every group counts the same, whatever its size: of the groups that the class has."""
    filled = (cells.counts > 0).double().unflatten(0, (-1, group_count))
    means = cells.means.unflatten(0, (-1, group_count))
    return (filled[:, :, None] * means).sum(1) / filled.sum(1, keepdim=True).clamp(min=1)
