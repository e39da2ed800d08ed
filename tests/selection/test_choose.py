"""Real images chosen to stand for their class."""

from __future__ import annotations

import numpy as np
import pytest

from attar.errors import SettingsError
from attar.selection import centroid_images, kmeans_images, random_images

LABELS = np.array([1, 0, 2, 1, 0, 1, 2, 2, 0, 1, 1])


def test_random_images_are_different_and_of_their_class():
    chosen = random_images(LABELS, 3, 3, seed=0)
    assert LABELS[chosen].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert len(set(chosen.tolist())) == 9


def test_random_images_are_the_same_for_the_same_seed_and_others_for_another():
    labels = np.zeros(1000, dtype=np.int64)
    assert (random_images(labels, 1, 10, seed=3) == random_images(labels, 1, 10, seed=3)).all()
    assert (random_images(labels, 1, 10, seed=3) != random_images(labels, 1, 10, seed=4)).any()


def test_every_image_of_a_class_is_drawn_equally_often():
    labels = np.zeros(7, dtype=np.int64)
    counts = np.bincount(np.concatenate([random_images(labels, 1, 2, seed=seed) for seed in range(3500)]))
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000 * 5 / 7)  # binomial(3500, 2/7), four deviations


def test_centroids_are_nearest_to_their_class_mean():
    features = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
    chosen = centroid_images(features, LABELS, 3, 2)
    for label in range(3):
        members = [index for index in range(11) if LABELS[index] == label]
        mean = sum(features[index].astype(float) for index in members) / len(members)
        ranked = sorted(members, key=lambda index: sum((features[index] - mean) ** 2))
        assert chosen[2 * label : 2 * label + 2].tolist() == ranked[:2]


def test_ties_go_to_the_lower_index():
    features = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert centroid_images(features, np.zeros(4, dtype=np.int64), 1, 3).tolist() == [0, 1, 2]


def test_of_copies_only_the_first_is_taken_as_long_as_there_are_others():
    features = np.array([[1.0], [-1.0], [1.0], [4.0], [-5.0]])
    labels, hashes = np.zeros(5, dtype=np.int64), [b"a", b"b", b"a", b"d", b"e"]
    assert centroid_images(features, labels, 1, 3, hashes=hashes).tolist() == [0, 1, 3]
    assert centroid_images(features, labels, 1, 5, hashes=hashes).tolist() == [0, 1, 3, 4, 2]


def test_a_copy_in_another_class_counts():
    features, labels = np.array([[1.0], [1.0], [1.0]]), np.array([0, 1, 1])
    assert centroid_images(features, labels, 2, 1, hashes=[b"a", b"a", b"b"]).tolist() == [0, 1]


def test_a_mean_of_float32_features_is_taken_in_float64():
    """Around 1e7 float32 has steps of 1: a mean in float32 would choose another image."""
    features = (1e7 + np.array([[0.0], [1.0], [2.0], [5.0]])).astype(np.float32)
    assert centroid_images(features, np.zeros(4, dtype=np.int64), 1, 2).tolist() == [2, 1]


@pytest.mark.parametrize("ipc", [4, 5])
def test_fewer_images_than_asked_for_are_refused(ipc: int):
    with pytest.raises(SettingsError, match=f"Class 0 has 3 images, fewer than the {ipc} asked for"):
        random_images(LABELS, 3, ipc, seed=0)
    with pytest.raises(SettingsError, match="Class 0 has 3 images"):
        centroid_images(np.ones((11, 2)), LABELS, 3, ipc)


def test_a_class_without_images_is_refused():
    with pytest.raises(SettingsError, match="Class 3 has 0 images"):
        random_images(LABELS, 4, 1, seed=0)


def test_k_means_finds_the_clusters_of_a_class_and_weighs_them_by_size():
    random = np.random.default_rng(0)
    features = np.concatenate(
        [random.normal(0, 0.1, (6, 3)), random.normal(5, 0.1, (3, 3)), random.normal(9, 1, (9, 3))]
    )
    labels = np.repeat([0, 1], 9)
    chosen, weights = kmeans_images(features, labels, 2, 2)
    assert labels[chosen].tolist() == [0, 0, 1, 1]
    for image, weight, members in zip(chosen, weights, (range(6), range(6, 9)), strict=False):
        mean = features[list(members)].mean(0)
        assert image == min(members, key=lambda index: np.linalg.norm(features[index] - mean))
        assert weight == pytest.approx(2 * len(members) / 9)
    assert weights[2:].sum() == pytest.approx(2)


def test_k_means_takes_an_image_once_and_all_where_all_are_asked_for():
    features = np.random.default_rng(0).normal(size=(11, 5))
    chosen, weights = kmeans_images(features[LABELS == 0], np.zeros(3, dtype=np.int64), 1, 3)
    assert sorted(chosen.tolist()) == [0, 1, 2] and weights.tolist() == [1, 1, 1]


def test_k_means_is_the_same_every_time():
    features = np.random.default_rng(0).normal(size=(40, 5))
    labels = np.arange(40) % 2
    first, second = (kmeans_images(features, labels, 2, 3)[0] for _ in range(2))
    assert (first == second).all()
