"""Herding and k-center, against loops over their rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.errors import SettingsError
from attar.selection import herding_images, kcenter_images

BOTH = pytest.mark.parametrize("choose", [herding_images, kcenter_images])
ONE_CLASS = np.zeros(7, dtype=np.int64)


def some(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes of 5, 7 and 11 images, mixed."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat([0, 1, 2], [5, 7, 11]))
    return random.normal(size=(23, 3)) + 5 * labels[:, None], labels


def herded(features: np.ndarray, members: list[int], ipc: int) -> list[int]:
    """The rule of baselines.md 2.1 as it stands there."""
    mean = sum(features[i] for i in members) / len(members)
    total, picks = 0 * mean, []
    for j in range(1, ipc + 1):
        gaps = {i: np.linalg.norm(mean - (total + features[i]) / j) for i in members if i not in picks}
        picks.append(min(gaps, key=gaps.__getitem__))
        total = total + features[picks[-1]]
    return picks


def covering(features: np.ndarray, members: list[int], ipc: int) -> list[int]:
    """The rule of baselines.md 2.2, with all distances anew for every pick."""
    mean = sum(features[i] for i in members) / len(members)
    picks = [min(members, key=lambda i: np.linalg.norm(features[i] - mean))]
    while len(picks) < ipc:
        left = [i for i in members if i not in picks]
        picks.append(max(left, key=lambda i: min(np.linalg.norm(features[i] - features[p]) for p in picks)))
    return picks


def test_the_hand_worked_herding_takes_3_before_0():
    """Mean 4/3: 1 is nearest; then (1 + 3)/2 misses it by .667, (1 + 0)/2 by .833."""
    features = np.array([[0.0], [1.0], [3.0]])
    assert features[herding_images(features, np.zeros(3, dtype=np.int64), 1, 2), 0].tolist() == [1, 3]


@pytest.mark.parametrize(("choose", "rule"), [(herding_images, herded), (kcenter_images, covering)])
@pytest.mark.parametrize("ipc", [1, 2, 5])
def test_every_class_is_chosen_by_the_rule(choose, rule, ipc: int):
    for seed in range(5):
        features, labels = some(seed)
        expected = [i for label in range(3) for i in rule(features, np.flatnonzero(labels == label).tolist(), ipc)]
        assert choose(features, labels, 3, ipc).tolist() == expected


def test_k_center_reaches_every_cluster():
    random = np.random.default_rng(0)
    features = np.concatenate([random.normal(place, 0.1, (5, 2)) for place in (0, 10, 20)])
    chosen = kcenter_images(features, np.zeros(15, dtype=np.int64), 1, 3)
    assert sorted(chosen // 5) == [0, 1, 2]


@BOTH
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-3, 7.0, 1e4]))
def test_scale_origin_and_order_do_not_matter(choose, seed: int, scale: float):
    features, labels = some(seed)
    chosen = choose(features, labels, 3, 3)
    assert choose(scale * features, labels, 3, 3).tolist() == chosen.tolist()
    assert choose(features + 3, labels, 3, 3).tolist() == chosen.tolist()
    order = np.random.default_rng(seed).permutation(23)
    assert order[choose(features[order], labels[order], 3, 3)].tolist() == chosen.tolist()


@BOTH
def test_ties_go_to_the_lower_index_and_no_image_comes_twice(choose):
    assert choose(np.ones((7, 2)), ONE_CLASS, 1, 7).tolist() == list(range(7))


@BOTH
def test_distances_of_float32_features_are_taken_in_float64(choose):
    features = (1e7 + np.array([[0.0], [1.0], [2.0], [5.0]])).astype(np.float32)
    labels = np.zeros(4, dtype=np.int64)
    assert choose(features, labels, 1, 2).tolist() == choose(features.astype(np.float64) - 1e7, labels, 1, 2).tolist()


@BOTH
def test_fewer_images_than_asked_for_are_refused(choose):
    features, labels = some(0)
    with pytest.raises(SettingsError, match="Class 0 has 5 images, fewer than the 6 asked for"):
        choose(features, labels, 3, 6)
