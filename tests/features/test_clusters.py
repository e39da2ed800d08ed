import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from attar.errors import SettingsError
from attar.features.clusters import _assign, _balance, sub_clusters


def drawn(seed: int, images: int = 53, classes: int = 3, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(images, dim)).astype(np.float32), np.arange(images) % classes


def within(features: np.ndarray, clusters: np.ndarray) -> float:
    """Sum of squared distances to the cluster's mean."""
    members = (features[clusters == cluster].astype(np.float64) for cluster in np.unique(clusters))
    return sum(np.sum((rows - rows.mean(0)) ** 2) for rows in members)


def test_the_case_worked_by_hand():
    points = np.array([[9.0], [0.0], [8.0], [1.0], [2.0], [50.0]])
    labels = np.zeros(6, dtype=np.int64)
    assert sub_clusters(points, labels, 1, 2, equal=False).tolist() == [0, 0, 0, 0, 0, 1]
    assert sub_clusters(points, labels, 1, 2).tolist() == [0, 1, 0, 1, 1, 0]


@given(seed=st.integers(0, 1000), count=st.sampled_from([1, 2, 3, 5, 7]), equal=st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_cluster_has_images_and_the_largest_comes_first(seed: int, count: int, equal: bool):
    features, labels = drawn(seed)
    clusters = sub_clusters(features, labels, 3, count, equal=equal)
    for label in range(3):
        own = clusters[labels == label]
        sizes = np.bincount(own, minlength=count)
        assert len(sizes) == count and sizes.min() > 0
        assert not equal or np.ptp(sizes) <= 1
        order = [(-sizes[cluster], int(np.argmax(own == cluster))) for cluster in range(count)]
        assert order == sorted(order)


def test_equal_clusters_are_the_best_split_where_it_is_plain():
    """Three pairs: every balanced split was tried."""
    points = np.array([[0.0, 0], [0, 1], [7, 0], [7, 1], [0, 9], [1, 9]])
    clusters = sub_clusters(points, np.zeros(6, dtype=np.int64), 1, 3)
    best = min(within(points, np.array(split)) for split in set(itertools.permutations([0, 0, 1, 1, 2, 2])))
    assert within(points, clusters) == pytest.approx(best)
    assert clusters.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("seed", range(7))
def test_the_image_that_is_over_goes_to_the_largest_cluster(seed: int):
    """Whatever number k-means gives it, which depends on the seed."""
    points = np.array([[12.0], [11], [10], [1], [0]])
    clusters = sub_clusters(points, np.zeros(5, dtype=np.int64), 1, 2, seed=seed)
    assert clusters.tolist() == [0, 0, 0, 1, 1]


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_no_exchange_of_two_images_brings_equal_clusters_closer_to_their_centres(seed: int):
    features, labels = drawn(seed, images=53, classes=1)
    clusters = sub_clusters(features, labels, 1, 5)
    rows = features.astype(np.float64)
    centres = np.stack([rows[clusters == cluster].mean(0) for cluster in range(5)])
    cost = np.sum((rows[:, None] - centres) ** 2, axis=2)
    kept = cost[np.arange(53), clusters]
    moved = cost[:, clusters]  # image i in the cluster of image j
    assert (moved + moved.T >= kept + kept[:, None] - 1e-9).all()


@given(
    seed=st.integers(0, 10**6),
    images=st.integers(7, 60),
    count=st.integers(2, 7),
    ties=st.booleans(),
    priced=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_a_balanced_assignment_costs_what_scipys_does(seed: int, images: int, count: int, ties: bool, priced: bool):
    """From prices of 0 and from any others; ties, and clusters that no row wants, included."""
    random = np.random.default_rng(seed)
    sizes = random.permutation(np.bincount(np.arange(images) % count))
    cost = random.integers(0, 4, (images, count)).astype(float) if ties else random.random((images, count))
    seats = np.repeat(np.arange(count), sizes)
    best = cost[:, seats][linear_sum_assignment(cost[:, seats])].sum()
    clusters, prices = _assign(cost, sizes, random.normal(size=count) if priced else np.zeros(count))
    rows, net = np.arange(images), cost - prices
    assert np.bincount(clusters, minlength=count).tolist() == sizes.tolist()
    assert cost[rows, clusters].sum() == pytest.approx(best, abs=1e-9)
    assert (net[rows, clusters] <= net.min(1) + 1e-9).all()


def test_balancing_many_images_needs_no_square_of_their_number():
    """5,000 rows without structure: a cost for each pair of them would be 200 MB."""
    random = np.random.default_rng(0)
    rows, clusters = random.normal(size=(5000, 3)), random.integers(0, 10, 5000)
    tracemalloc.start()
    try:
        sizes = np.bincount(_balance(rows, clusters, 10))
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert sizes.tolist() == [500] * 10


@pytest.mark.parametrize("seed", range(7))
def test_restarts_find_clusters_that_one_start_may_miss(seed: int):
    """Forty plain clusters on a grid."""
    random, truth = np.random.default_rng(seed), np.arange(171) % 40
    features = random.uniform(-0.5, 0.5, size=(171, 2)) + 3 * np.stack([truth % 7, truth // 7], axis=1)
    clusters = sub_clusters(features, np.zeros(171, dtype=np.int64), 1, 40, equal=False, seed=seed)
    np.testing.assert_array_equal(clusters, truth)


def test_well_separated_groups_are_found_whatever_their_size():
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [13, 7, 3])
    features = random.normal(size=(23, 5)) + 30 * truth[:, None]
    shuffled = random.permutation(23)
    clusters = sub_clusters(features[shuffled], np.zeros(23, dtype=np.int64), 1, 3, equal=False)
    np.testing.assert_array_equal(clusters, truth[shuffled])


def test_each_class_is_clustered_for_itself():
    features, labels = drawn(5)
    clusters = sub_clusters(features, labels, 3, 3)
    for label in range(3):
        own = labels == label
        alone = sub_clusters(features[own], np.zeros(own.sum(), dtype=np.int64), 1, 3)
        np.testing.assert_array_equal(clusters[own], alone)


@pytest.mark.parametrize("equal", [True, False])
def test_the_same_seed_gives_the_same_clusters_and_input_is_untouched(equal: bool):
    features, labels = drawn(7, images=601, classes=1)
    before = features.copy()
    first, second = (sub_clusters(features, labels, 1, 5, equal=equal) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("distinct", [1, 2])
def test_copies_of_an_image_leave_no_cluster_empty(equal: bool, distinct: int):
    features = np.repeat(np.arange(distinct, dtype=np.float32)[:, None], 7, axis=0)
    clusters = sub_clusters(features, np.zeros(len(features), dtype=np.int64), 1, 5, equal=equal)
    assert np.bincount(clusters, minlength=5).min() > 0


def test_as_many_clusters_as_images_give_each_its_own():
    features, labels = drawn(3, images=7, classes=1)
    assert sub_clusters(features, labels, 1, 7).tolist() == list(range(7))


def test_one_cluster_needs_no_clustering(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("attar.features.clusters._kmeans", None)
    features, labels = drawn(0)
    assert not sub_clusters(features, labels, 3, 1).any()


@pytest.mark.parametrize("count", [1, 3])
def test_a_class_with_too_few_images_is_refused(count: int):
    labels = np.array([0] * 5 + [1] * (count - 1) + [2] * 5)
    with pytest.raises(SettingsError, match=f"Class 1 has {count - 1} images, fewer than its {count}") as refused:
        sub_clusters(np.zeros((len(labels), 2)), labels, 3, count)
    assert "--set method=sfm" in refused.value.hint
