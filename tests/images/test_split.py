from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.errors import ImageError, SettingsError
from attar.images import ArraySource, DigitsSource, split


def of(labels: list[int]) -> ArraySource:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None]  # each image is its own number
    return ArraySource(images, labels)


def numbers(source) -> list[int]:
    return [int(image[0, 0, 0]) for _, image in source.read(range(len(source)))]


LABELS = st.lists(st.integers(0, 3), max_size=40).map(lambda more: [0, 1, 2, 3] * 2 + more)


@given(LABELS, st.floats(0.01, 0.99), st.integers(0, 2**40))
def test_each_class_is_divided_and_nothing_is_lost(labels, fraction, seed):
    source = of(labels)
    kept, held_out = split(source, fraction, seed)
    assert sorted(numbers(kept) + numbers(held_out)) == list(range(len(labels)))
    assert numbers(kept) == sorted(numbers(kept)) and numbers(held_out) == sorted(numbers(held_out))
    for count, left, out in zip(source.counts, kept.counts, held_out.counts, strict=True):
        assert left >= 1 and out >= 1 and left + out == count
        assert abs(out - count * fraction) <= 0.5 or out == 1 or left == 1


@given(LABELS, st.integers(0, 99))
def test_the_same_labels_fraction_and_seed_give_the_same_split(labels, seed):
    assert numbers(split(of(labels), 0.3, seed)[1]) == numbers(split(of(labels), 0.3, seed)[1])


def test_another_seed_gives_another_split():
    labels = [0, 1] * 50
    assert len({tuple(numbers(split(of(labels), 0.3, seed)[1])) for seed in range(7)}) == 7


def test_one_class_does_not_change_the_split_of_another():
    first = split(of([0] * 20 + [1] * 10))[1]
    second = split(of([0] * 20 + [1] * 13))[1]
    assert numbers(first)[:2] == numbers(second)[:2]


def test_a_tenth_of_the_digits():
    kept, held_out = split(DigitsSource())
    assert len(held_out) == 130 and kept.classes == held_out.classes and len(kept) == 1297 - 130


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_fractions_out_of_range_are_refused(fraction):
    with pytest.raises(SettingsError, match="between 0 and 1"):
        split(of([0, 0, 1, 1]), fraction)


def test_a_class_with_one_image_can_not_be_split():
    with pytest.raises(ImageError, match=r"Class 1 .* has 1 image"):
        split(of([0, 0, 1]))
