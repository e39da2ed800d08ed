"""Fresh batches, seen through a backbone that returns the pixels themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from attar.backbones.record import freeze
from attar.images import ArraySource
from attar.synthesis import batches as module
from attar.synthesis.batches import FreshBatches
from attar.synthesis.views import ViewPolicy

SIDE = 7
WHOLE = ViewPolicy(SIDE, SIDE, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)
SIZES = (5, 7, 11)  # images of each class
LABELS = np.random.default_rng(0).permutation(np.repeat(range(3), SIZES))


def marked(height: int = SIDE, width: int = 11) -> ArraySource:
    """Images whose red is their number, whose green is the row and whose blue is the column."""
    images = np.zeros((len(LABELS), height, width, 3), dtype=np.uint8)
    images[..., 0] = np.arange(len(LABELS))[:, None, None]
    images[..., 1], images[..., 2] = np.indices((height, width))
    return ArraySource(images, LABELS, ("ant", "bee", "cow"), location="marked")


def fresh(seed: int = 3, policy: ViewPolicy = WHOLE, source: ArraySource | None = None) -> FreshBatches:
    pixels = freeze(nn.Flatten(), "pixels", image_size=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return FreshBatches(source or marked(), pixels, policy, seed)


def seen(batches: FreshBatches, step: int, size: int, *, balanced: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [size, 3, side, side] in 0..255 and labels of a batch."""
    features, labels = batches(step, size, balanced=balanced)
    return np.rint(255 * features.unflatten(1, (3, SIDE, SIDE)).numpy()).astype(int), labels.numpy()


def numbers(batches: FreshBatches, steps: range, size: int, *, balanced: bool = False) -> list[list[int]]:
    """Of each batch the numbers of its images."""
    return [seen(batches, step, size, balanced=balanced)[0][:, 0, 0, 0].tolist() for step in steps]


def test_one_shuffle_after_the_other_shows_every_image_once():
    stream = np.concatenate(numbers(fresh(), range(14), 5))  # 70 places for 23 images: batches span shuffles
    shuffles = [stream[start : start + 23].tolist() for start in (0, 23, 46)]
    assert [sorted(shuffle) for shuffle in shuffles] == [list(range(23))] * 3
    assert shuffles[0] != shuffles[1] != shuffles[2] and shuffles[0] != list(range(23))


def test_a_batch_may_be_larger_than_the_data():
    assert np.bincount(numbers(fresh(), range(1), 2 * 23 + 1)[0]).tolist().count(2) == 22


def test_labels_are_those_of_the_images():
    for balanced in (False, True):
        pixels, labels = seen(fresh(), 4, 13, balanced=balanced)
        np.testing.assert_array_equal(labels, LABELS[pixels[:, 0, 0, 0]])


@pytest.mark.parametrize(("size", "shares"), [(6, [2, 2, 2]), (8, [3, 3, 2]), (2, [1, 1, 0])])
def test_in_a_balanced_batch_classes_have_the_same_share(size: int, shares: list[int]):
    for step in (0, 5):
        assert np.bincount(seen(fresh(), step, size, balanced=True)[1], minlength=3).tolist() == shares


def test_balanced_each_class_has_shuffles_of_its_own():
    stream = np.concatenate(numbers(fresh(), range(12), 6, balanced=True))
    for label, size in enumerate(SIZES):
        own = [number for number in stream if LABELS[number] == label]
        members = [number for number in range(23) if LABELS[number] == label]
        assert len(own) == 24 and sorted(own[:size]) == sorted(own[size : 2 * size]) == members
        assert own[:size] != own[size : 2 * size]


@pytest.mark.parametrize("balanced", [False, True])
def test_seed_and_step_decide_what_is_drawn(balanced: bool):
    policy = ViewPolicy(SIDE, SIDE, scale=(0.3, 1.0), noise=0.5)
    first = fresh(policy=policy)
    first(0, 9, balanced=balanced)  # what was drawn before doesn't matter
    once, labels = first(4, 9, balanced=balanced)
    again, same_labels = fresh(policy=policy)(4, 9, balanced=balanced)
    assert torch.equal(once, again) and torch.equal(labels, same_labels)
    for other in (fresh(4, policy)(4, 9, balanced=balanced), first(5, 9, balanced=balanced)):
        assert not torch.isclose(once, other[0]).all(1).any()


def test_every_place_of_every_batch_has_a_view_of_its_own():
    policy = ViewPolicy(SIDE, SIDE, scale=(0.3, 1.0))
    views = [view for step in range(2) for view in seen(fresh(policy=policy, source=marked(SIDE, SIDE)), step, 23)[0]]
    assert len({view[1:].tobytes() for view in views}) > 40  # of 46, rows and columns rounded to whole numbers


@pytest.mark.parametrize("at_once", [1, 4, 13])
def test_how_many_are_encoded_at_once_decides_nothing(at_once: int, monkeypatch: pytest.MonkeyPatch):
    policy = ViewPolicy(SIDE, SIDE, scale=(0.3, 1.0), noise=0.5)
    expected, labels = fresh(policy=policy)(2, 13, balanced=False)
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    features, same_labels = fresh(policy=policy)(2, 13, balanced=False)
    torch.testing.assert_close(features, expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(labels, same_labels)


@pytest.mark.parametrize(("height", "width"), [(SIDE, 11), (11, SIDE)])
def test_the_square_lies_anywhere_within_the_image(height: int, width: int):
    batches = fresh(source=marked(height, width))
    rows, columns = np.indices((SIDE, SIDE))
    corners = set()
    for step in range(3):
        for view in seen(batches, step, 23)[0]:
            top, left = view[1, 0, 0], view[2, 0, 0]
            np.testing.assert_array_equal(view[1] - top, rows)
            np.testing.assert_array_equal(view[2] - left, columns)
            corners.add((int(top), int(left)))
    assert corners == {(top, left) for top in range(height - SIDE + 1) for left in range(width - SIDE + 1)}
