import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.features.groups import balanced_means, group_statistics

CLASSES, GROUPS = 3, 5


def drawn(seed: int, count: int = 47) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows far from the origin, their classes and groups; some cells may be empty."""
    random = np.random.default_rng(seed)
    rows, labels = random.normal(3, 2, size=(count, 7)), random.integers(0, CLASSES, count)
    groups = np.minimum(random.geometric(0.5, count) - 1, GROUPS - 1)
    return torch.from_numpy(rows), torch.from_numpy(labels), torch.from_numpy(groups)


def test_the_case_worked_by_hand():
    """Class 0: {1, 3} in group 0 and {11} in group 1; class 1: {5} in group 1 only."""
    rows = torch.tensor([1.0, 11, 3, 5]).double()[:, None]
    cells = group_statistics(rows, torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 0, 1]), 2, 2)
    assert cells.counts.tolist() == [2, 1, 0, 1]
    assert cells.means[:, 0].tolist() == [2, 11, 0, 5]
    assert balanced_means(cells, 2)[:, 0].tolist() == [6.5, 5]


@given(seed=st.integers(0, 1000), count=st.sampled_from([1, 11, 47]))
@settings(max_examples=30, deadline=None)
def test_cells_are_numpys(seed: int, count: int):
    rows, labels, groups = drawn(seed, count)
    cells = group_statistics(rows, labels, groups, CLASSES, GROUPS)
    for label, group in np.ndindex(CLASSES, GROUPS):
        own = rows.numpy()[((labels == label) & (groups == group)).numpy()]
        assert cells.counts[label * GROUPS + group] == len(own)
        expected = own.mean(0) if len(own) else np.zeros(7)
        np.testing.assert_allclose(cells.means[label * GROUPS + group], expected, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_balanced_means_are_numpys(seed: int):
    rows, labels, groups = drawn(seed)
    means = balanced_means(group_statistics(rows, labels, groups, CLASSES, GROUPS), GROUPS)
    for label in range(CLASSES):
        own = [rows.numpy()[((labels == label) & (groups == group)).numpy()] for group in range(GROUPS)]
        expected = np.mean([part.mean(0) for part in own if len(part)], axis=0)
        np.testing.assert_allclose(means[label], expected, rtol=1e-12)


def test_a_class_without_images_has_balanced_mean_0():
    cells = group_statistics(torch.ones(2, 3), torch.tensor([0, 2]), torch.tensor([1, 0]), 3, 2)
    assert balanced_means(cells, 2)[:, 0].tolist() == [1, 0, 1]


@given(seed=st.integers(0, 1000), copied=st.integers(0, GROUPS - 1))
@settings(max_examples=30, deadline=None)
def test_a_group_shown_thrice_leaves_balanced_means_as_they_are(seed: int, copied: int):
    rows, labels, groups = drawn(seed)
    times = torch.where(groups == copied, 3, 1)
    more = [values.repeat_interleave(times, dim=0) for values in (rows, labels, groups)]
    few, many = (
        balanced_means(group_statistics(*data, CLASSES, GROUPS), GROUPS) for data in ((rows, labels, groups), more)
    )
    torch.testing.assert_close(few, many, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("group", [-1, 2])
def test_a_group_out_of_range_is_refused(group: int):
    with pytest.raises(SettingsError, match=f"There is no group {group}"):
        group_statistics(torch.randn(1, 3), torch.tensor([0]), torch.tensor([group]), 1, 2)
