"""Accuracies by group."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from attar.errors import EvaluationError
from attar.evaluation.group_scores import group_table

# Classes landbird, waterbird; attributes land, water (Sagawa et al. 2020).
WATERBIRDS = np.array([[3498, 184], [56, 1057]])
TEST = np.array([[2255, 2255], [642, 642]])


def laid_out(right: list[list[list[int]]], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(correct, labels, attributes) with `right[run][class][attribute]` of `sizes[class, attribute]` images right."""
    cells = [(label, attribute) for label in range(len(sizes)) for attribute in range(sizes.shape[1])]
    labels = np.concatenate([np.full(sizes[cell], cell[0]) for cell in cells])
    attributes = np.concatenate([np.full(sizes[cell], cell[1]) for cell in cells])
    rows = [np.concatenate([np.arange(sizes[cell]) < run[cell[0]][cell[1]] for cell in cells]) for run in right]
    shuffled = np.random.default_rng(0).permutation(len(labels))
    return np.stack(rows).astype(float)[:, shuffled], labels[shuffled], attributes[shuffled]


def test_waterbirds_by_hand():
    correct, labels, attributes = laid_out([[[2200, 1800], [321, 600]]], TEST)
    table = group_table(correct, labels, attributes, WATERBIRDS)
    shares = {(0, 0): 2200 / 2255, (0, 1): 1800 / 2255, (1, 0): 0.5, (1, 1): 600 / 642}
    assert {(each.label, each.attribute): each.accuracy for each in table.scores} == pytest.approx(
        {cell: 100 * share for cell, share in shares.items()}
    )
    assert table.worst.accuracy == pytest.approx(50) and table.worst.ci95 is None
    assert table.group_mean.accuracy == pytest.approx(100 * np.mean(list(shares.values())))
    assert table.average.accuracy == pytest.approx(100 * (2200 + 1800 + 321 + 600) / 5794)
    weighted = 3498 * shares[0, 0] + 184 * shares[0, 1] + 56 * shares[1, 0] + 1057 * shares[1, 1]
    assert table.weighted.accuracy == pytest.approx(100 * weighted / 4795)
    assert table.aligned.accuracy == pytest.approx(50 * (shares[0, 0] + shares[1, 1]))
    assert table.conflicting.accuracy == pytest.approx(50 * (shares[0, 1] + shares[1, 0]))
    assert table.reliance == pytest.approx(table.aligned.accuracy - table.conflicting.accuracy)


def test_each_group_says_how_many_images_and_how_sure():
    correct, labels, attributes = laid_out([[[3, 45], [11, 0]], [[2, 45], [13, 0]]], np.array([[5, 50], [17, 0]]))
    table = group_table(correct, labels, attributes, np.array([[7, 2], [3, 4]]))
    found = [(each.label, each.attribute, each.n_test, each.n_train) for each in table.scores]
    assert found == [(0, 0, 5, 7), (0, 1, 50, 2), (1, 0, 17, 3)]
    oracle = stats.binomtest(45, 50).proportion_ci(method="wilson")
    assert table.scores[1].ci95 == pytest.approx((100 * oracle.low, 100 * oracle.high))
    oracle = stats.binomtest(12, 17).proportion_ci(method="wilson")  # two runs on 17 images are not 34 images
    assert table.scores[2].ci95 == pytest.approx((100 * oracle.low, 100 * oracle.high))


def test_the_worst_group_is_the_mean_of_the_minima_not_the_minimum_of_the_means():
    """Each run fails on another group: on average no group is bad, yet every run has one."""
    correct, labels, attributes = laid_out([[[4, 20]], [[20, 6]], [[20, 20]]], np.array([[20, 20]]))
    table = group_table(correct, labels, attributes, np.array([[9, 1]]))
    assert table.worst.accuracy == pytest.approx((20 + 30 + 100) / 3)
    assert min(each.accuracy for each in table.scores) == pytest.approx(100 * 44 / 60)
    assert table.worst.std == pytest.approx(np.std([20, 30, 100], ddof=1))


@pytest.mark.parametrize(("size", "worst"), [(20, 0), (19, 75)])
def test_a_group_of_fewer_than_20_images_is_not_the_worst(size: int, worst: float):
    correct, labels, attributes = laid_out([[[30, 0]]], np.array([[40, size]]))
    table = group_table(correct, labels, attributes, np.array([[9, 1]]))
    assert table.worst.accuracy == pytest.approx(worst)
    assert table.group_mean.accuracy == pytest.approx(37.5)


def test_what_is_not_defined_is_none():
    correct, labels, attributes = laid_out([[[5, 3]]], np.array([[7, 11]]))
    untrained = group_table(correct, labels, attributes, np.array([[0, 0]]))
    assert untrained.worst is None and untrained.weighted is None
    assert untrained.aligned is None and untrained.conflicting is None and untrained.reliance is None
    balanced = group_table(correct, labels, attributes, np.array([[4, 4]]))
    assert balanced.reliance is None and balanced.weighted is not None


def test_classes_count_the_same_in_reliance_and_those_without_both_kinds_do_not_count():
    sizes = np.array([[10, 1000], [100, 10], [33, 0]])
    correct, labels, attributes = laid_out([[[10, 500], [100, 9], [0, 0]]], sizes)
    table = group_table(correct, labels, attributes, np.array([[9, 1], [9, 1], [9, 1]]))
    assert table.aligned.accuracy == pytest.approx(100) and table.conflicting.accuracy == pytest.approx(70)
    assert table.reliance == pytest.approx(30)


def test_a_class_with_several_conflicting_attributes_pools_their_images():
    correct, labels, attributes = laid_out([[[9, 1, 6]]], np.array([[10, 10, 30]]))
    table = group_table(correct, labels, attributes, np.array([[2, 8, 3]]))
    assert table.aligned.accuracy == pytest.approx(10) and table.conflicting.accuracy == pytest.approx(37.5)


@pytest.mark.parametrize("seed", range(5))
def test_tables_are_those_of_plain_loops(seed: int):
    random = np.random.default_rng(seed)
    runs, tests, classes, width = 3, 211, 5, 3
    correct, labels = random.integers(0, 4, (runs, tests)) / 3, random.integers(0, classes, tests)
    attributes, train = random.integers(0, width, tests), random.integers(0, 50, (classes, width))
    table = group_table(correct, labels, attributes, train)
    worst, means, weighted = [], [], []
    for run in range(runs):
        shares = {}
        for label in range(classes):
            for attribute in range(width):
                mine = [correct[run, i] for i in range(tests) if (labels[i], attributes[i]) == (label, attribute)]
                if mine:
                    shares[label, attribute] = (len(mine), 100 * sum(mine) / len(mine))
        worst.append(min((share for n, share in shares.values() if n >= 20), default=None))
        means.append(sum(share for _, share in shares.values()) / len(shares))
        total = sum(train[cell] for cell in shares)
        weighted.append(sum(train[cell] * share for cell, (_, share) in shares.items()) / total)
    assert table.group_mean.accuracy == pytest.approx(np.mean(means))
    assert table.group_mean.std == pytest.approx(np.std(means, ddof=1))
    assert table.weighted.accuracy == pytest.approx(np.mean(weighted))
    assert table.average.accuracy == pytest.approx(100 * correct.mean())
    assert (table.worst is None) is (None in worst)
    if table.worst is not None:
        assert table.worst.accuracy == pytest.approx(np.mean(worst))


@pytest.mark.parametrize(
    ("what", "labels", "attributes"), [("class 2", [0, 2], [0, 1]), ("attribute -1", [0, 1], [0, -1])]
)
def test_numbers_that_training_does_not_know_are_refused(what: str, labels: list[int], attributes: list[int]):
    with pytest.raises(EvaluationError, match=f"test image has {what}, and training images have 0..1"):
        group_table(np.ones((1, 2)), np.array(labels), np.array(attributes), np.array([[1, 2], [3, 4]]))
