"""The page of images before and after: which images are on it, where they stand, at what size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.diffusion.before_after import CLASSES, PAIRS, before_after, shown

_CAPTION, _GAP, _TILE = 18, 6, 128  # of the preview


def plain(side: int, shade: int) -> np.ndarray:
    return np.full((3, side, side), shade, dtype=np.uint8)


def test_an_image_stands_left_of_what_became_of_it_in_the_row_of_its_class():
    before = [plain(7, 10), plain(11, 20), plain(13, 30)]
    after = [plain(17, 110), plain(17, 120), plain(17, 130)]
    page = np.asarray(before_after(before, after, [0, 2, 0], ["ant", "bee", "cow"]))
    shades = [
        [page[_GAP + row * (_TILE + _CAPTION + _GAP) + _CAPTION + 64, _GAP + column * (_TILE + _GAP) + 64, 0]
         for column in range(4)]
        for row in range(2)
    ]  # fmt: skip
    assert shades == [[10, 110, 30, 130], [20, 120, 255, 255]]
    assert page.shape[0] == 2 * (_TILE + _CAPTION + _GAP) + _GAP  # no row for the class without images


def test_images_before_are_enlarged_smoothly():
    edge = np.zeros((3, 2, 2), dtype=np.uint8)
    edge[:, :, 1] = 255
    page = np.asarray(before_after([edge], [plain(128, 0)], [0], ["ant"]).convert("L"))
    row = page[_GAP + _CAPTION + 64, _GAP : _GAP + _TILE].astype(int)
    assert row[0] == 0 and row[-1] == 255 and len(set(row.tolist())) > 20


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([1, 0, 1, 1, 1, 1], [1, 0, 2, 3, 4]), ([5], [5 - 5]), (list(range(13)), list(range(CLASSES)))],
)
def test_the_first_classes_and_images_are_shown(labels, expected):
    assert shown(labels) == expected


@given(st.lists(st.integers(0, 20), min_size=1, max_size=99))
def test_a_page_holds_no_more_than_it_has_room_for(labels):
    chosen = shown(labels)
    kinds = [labels[index] for index in chosen]
    assert len(set(kinds)) == min(CLASSES, len(set(labels))) and len(set(chosen)) == len(chosen)
    for kind in set(kinds):
        assert kinds.count(kind) == min(PAIRS, labels.count(kind))
