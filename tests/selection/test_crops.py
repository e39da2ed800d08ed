"""Tiles of the crops that a probe finds easiest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attar.errors import SettingsError
from attar.features import read_squares
from attar.images import ArraySource
from attar.linear import converged_probe
from attar.selection import rded_images
from small import CLASSES, coloured, small_backbone


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


def probe_of(source, backbone):
    images = torch.from_numpy(read_squares(source, 8, range(len(source)))).float() / 255
    features, labels = backbone(images)[:, None], torch.from_numpy(source.labels)
    return converged_probe(features, labels, len(source.classes), transform="l2", penalty=1e-3)


def entropies(backbone, probe, images: np.ndarray, label: int) -> np.ndarray:
    logits = probe.logits(backbone(torch.from_numpy(images).float() / 255).numpy())
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return -np.log(odds[:, label] / odds.sum(axis=1))


def tiles_of(images: np.ndarray, factor: int) -> np.ndarray:
    side = images.shape[-1] // factor
    starts = [(row * side, column * side) for row in range(factor) for column in range(factor)]
    return np.stack([one[:, y : y + side, x : x + side] for one in images for y, x in starts])


@pytest.mark.parametrize("factor", [1, 2])
def test_tiles_come_from_images_of_their_class_the_easiest_first(backbone, factor: int):
    source = coloured(17)
    probe = probe_of(source, backbone)
    images, held = rded_images(source, backbone, probe, 3, side=10, factor=factor, seed=5)
    assert images.shape == (9, 3, 10, 10) and held.shape == (9, factor**2)
    assert source.labels[held].tolist() == np.repeat([0, 1, 2], 3 * factor**2).reshape(9, -1).tolist()
    assert len(set(held.ravel().tolist())) == held.size
    for label in range(3):
        easy = entropies(backbone, probe, tiles_of(images[3 * label : 3 * label + 3], factor), label)
        assert (np.diff(easy) >= -1e-6).all()


def test_more_crops_make_easier_tiles_and_more_images_too(backbone):
    source = coloured(17)
    probe = probe_of(source, backbone)

    def hardness(**numbers: int) -> float:
        images, _ = rded_images(source, backbone, probe, 3, side=10, factor=1, seed=5, **numbers)
        return sum(entropies(backbone, probe, images[3 * label : 3 * label + 3], label).sum() for label in range(3))

    assert hardness(crops=11) < hardness(crops=1) and hardness(images=17) < hardness(images=3)


def test_a_tile_is_a_window_of_its_image(backbone):
    """Each image is one colour, in which its number is written."""
    colours = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(15, 1, 1, 3) * 5
    labels = np.tile(np.arange(3), 5)
    source = ArraySource(np.broadcast_to(colours, (15, 13, 11, 3)).copy(), labels, CLASSES)
    probe = probe_of(coloured(5), backbone)
    images, held = rded_images(source, backbone, probe, 1, side=11, factor=2, seed=0)
    assert images.shape == (3, 3, 11, 11)  # an odd side loses a row of the lower tiles
    for image, sources in zip(images, held, strict=True):
        corners = [image[:, 0, 0], image[:, 0, -1], image[:, -1, 0], image[:, -1, -1]]
        assert [corner.tolist() for corner in corners] == [colours[index, 0, 0].tolist() for index in sources]


def test_the_area_of_a_window_lies_between_8_percent_and_all(backbone):
    """In a picture whose red grows to the right by 20 a pixel a window's spread of red tells its width."""
    ramp = np.zeros((12, 12, 12, 3), dtype=np.uint8)
    ramp[..., 0] = 20 * np.arange(12)
    source = ArraySource(ramp, np.arange(12) % 3, CLASSES)
    probe = probe_of(coloured(5), backbone)
    widths = []
    for seed in range(12):
        images, _ = rded_images(source, backbone, probe, 4, side=12, factor=1, crops=1, seed=seed)
        red = images[:, 0, 6, :].astype(float)
        widths += ((red[:, 8] - red[:, 3]) / 5 * 12 / 20).tolist()
    shares = (np.array(widths) / 12) ** 2
    assert shares.min() == pytest.approx(0.08, abs=0.05) and shares.max() == pytest.approx(1, abs=0.08)
    assert shares.mean() == pytest.approx(0.54, abs=0.07)  # uniform


def test_a_seed_cuts_the_same_and_another_seed_other_windows(backbone):
    source = coloured(7)
    probe = probe_of(source, backbone)
    first, second, other = (rded_images(source, backbone, probe, 1, side=10, seed=seed)[0] for seed in (0, 0, 1))
    assert (first == second).all() and (first != other).any()


def test_a_class_with_too_few_images_for_its_tiles_is_refused(backbone):
    source = coloured(7)
    probe = probe_of(source, backbone)
    with pytest.raises(SettingsError, match="Class 0 has 7 images, fewer than the 8 asked for"):
        rded_images(source, backbone, probe, 2, side=10, factor=2, seed=0)
    with pytest.raises(SettingsError, match="Factor 3 is not 1 or 2"):
        rded_images(source, backbone, probe, 1, side=10, factor=3, seed=0)


def test_fewer_images_than_tiles_are_raised_to_the_tiles(backbone):
    source = coloured(7)
    _, held = rded_images(source, backbone, probe_of(source, backbone), 5, side=10, factor=1, images=3, seed=0)
    assert len(set(held.ravel().tolist())) == 15
