"""The picture that people look at first."""

from __future__ import annotations

import numpy as np
import pytest

from attar.distilled import preview


def flat(count: int, side: int = 7) -> np.ndarray:
    """Images of one grey each, 10 apart."""
    return np.broadcast_to((10 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, 3, side, side)).copy()


@pytest.mark.parametrize(
    ("classes", "ipc", "size"),
    [
        (7, 1, (5 * 134 + 6, 2 * 152 + 6)),  # five classes a row
        (3, 1, (3 * 134 + 6, 152 + 6)),
        (3, 2, (2 * 134 + 6, 3 * 152 + 6)),  # a row a class
        (2, 11, (10 * 134 + 6, 2 * 152 + 6)),  # ten images shown
        (101, 1, (5 * 134 + 6, 20 * 152 + 6)),  # a hundred classes shown
    ],
)
def test_its_size_follows_classes_and_images(classes: int, ipc: int, size: tuple[int, int]):
    labels = np.arange(classes).repeat(ipc).tolist()
    assert preview(flat(classes * ipc), labels, [str(label) for label in range(classes)]).size == size


def test_each_image_stands_below_the_name_of_its_class():
    page = np.asarray(preview(flat(6), [2, 2, 0, 0, 1, 1], ["a", "", "c"]))
    for line, greys in enumerate([(20, 30), (40, 50), (0, 10)]):
        for place, grey in enumerate(greys):
            tile = page[6 + 152 * line + 18 :][:128, 6 + 134 * place :][:, :128]
            assert (tile == grey).all()
    captions = [page[6 + 152 * line :][:18].min() for line in range(3)]
    assert captions[0] < 100 and captions[1] == 255 and captions[2] < 100


def test_a_long_name_is_cut_to_its_room_and_control_characters_draw_nothing():
    page = np.asarray(preview(flat(2), [0, 1], ["W" * 500, "a\nb\x00\u202e"]))
    caption = page[6:24]
    assert (caption[:, 6 + 128 + 5 : 6 + 134] == 255).all()
    assert page.shape == (152 + 6, 2 * 134 + 6, 3)
    other = np.asarray(preview(flat(2), [0, 1], ["W" * 400, "a b"]))
    np.testing.assert_array_equal(page, other)


def test_small_images_are_enlarged_in_blocks_and_large_ones_smoothly():
    image = np.zeros((1, 3, 2, 2), dtype=np.uint8)
    image[:, :, 0] = 255
    assert set(np.unique(np.asarray(preview(image, [0], [""])))) == {0, 255}
    large = image.repeat(50, 2).repeat(50, 3)
    assert len(np.unique(np.asarray(preview(large, [0], [""])))) > 2
