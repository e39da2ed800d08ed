"""The real images most similar to distilled ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.selection import neighbour_images

LABELS = np.array([1, 0, 2, 1, 0, 1, 2, 2, 0, 1, 1, 0, 2])
SET_LABELS = np.array([0, 0, 1, 1, 2, 2])


def some(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(13, 5)), random.normal(size=(6, 5))


def greedy(features: np.ndarray, set_features: np.ndarray) -> list[int]:
    """All pairs of a class, the most similar first, as long as both are free."""
    pairs = [
        (-np.dot(d, r) / np.linalg.norm(d) / np.linalg.norm(r), i, j)
        for i, d in enumerate(set_features)
        for j, r in enumerate(features)
        if SET_LABELS[i] == LABELS[j]
    ]
    found: dict[int, int] = {}
    for _, i, j in sorted(pairs):
        if i not in found and j not in found.values():
            found[i] = j
    return [found[i] for i in range(len(set_features))]


def test_the_most_similar_free_image_is_taken():
    for seed in range(20):
        features, set_features = some(seed)
        assert neighbour_images(features, LABELS, 3, set_features, SET_LABELS).tolist() == greedy(
            features, set_features
        )


def test_two_distilled_images_share_no_real_one():
    """Both look like image 0; the second looks more like it, and the first has to take another."""
    features = np.array([[1.0, 0.0], [0.0, 1.0]])
    set_features = np.array([[2.0, 1.0], [9.0, 1.0]])
    assert neighbour_images(features, np.zeros(2, dtype=np.int64), 1, set_features, np.array([0, 0])).tolist() == [1, 0]


def test_real_images_of_other_classes_are_not_looked_at():
    features = np.array([[1.0, 0.0], [0.0, 1.0]])
    chosen = neighbour_images(features, np.array([0, 1]), 2, features[::-1].copy(), np.array([0, 1]))
    assert chosen.tolist() == [0, 1]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_lengths_and_order_do_not_matter(seed: int):
    features, set_features = some(seed)
    chosen = neighbour_images(features, LABELS, 3, set_features, SET_LABELS)
    random = np.random.default_rng(seed)
    lengths = random.uniform(0.1, 9, (13, 1))
    assert neighbour_images(lengths * features, LABELS, 3, 7 * set_features, SET_LABELS).tolist() == chosen.tolist()
    order = random.permutation(13)
    mixed = neighbour_images(features[order], LABELS[order], 3, set_features, SET_LABELS)
    assert order[mixed].tolist() == chosen.tolist()


def test_ties_go_to_the_lower_index_also_for_features_of_zero():
    zeros, labels = np.zeros((3, 2)), np.zeros(3, dtype=np.int64)
    assert neighbour_images(zeros, labels, 1, zeros[:2], labels[:2]).tolist() == [0, 1]


def test_a_class_without_distilled_images_gives_none():
    features, set_features = some(0)
    assert LABELS[neighbour_images(features, LABELS, 3, set_features[:4], SET_LABELS[:4])].tolist() == [0, 0, 1, 1]


def test_more_distilled_than_real_images_are_refused():
    features, set_features = some(0)
    with pytest.raises(SettingsError, match="Class 0 has 4 images, fewer than the 6 distilled"):
        neighbour_images(features, LABELS, 3, set_features, np.zeros(6, dtype=np.int64))
