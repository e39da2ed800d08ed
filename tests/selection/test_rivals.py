"""JPEG files in a budget of bytes, and noise."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from attar.errors import SettingsError
from attar.features import read_squares
from attar.images import ArraySource
from attar.selection import jpeg_files, jpeg_images, noise_images
from small import CLASSES, coloured


@pytest.fixture(scope="module")
def smooth():
    """Three classes of 7, 5 and 11 smooth images of 23 x 29 pixels, which JPEG keeps well."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat([0, 1, 2], [7, 5, 11]))
    small = random.integers(40, 216, (23, 3, 4, 3), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(one).resize((29, 23), Image.Resampling.BICUBIC)) for one in small]
    return ArraySource(np.stack(images), labels, CLASSES)


def test_files_fill_the_budget_equally_for_each_class(smooth):
    full = jpeg_files(smooth, 19, 10**6, seed=3)
    sizes = np.array([len(file) for file in full.files]).reshape(3, 5).sum(axis=0).cumsum()  # after each round
    for budget in (sizes[0], sizes[1] - 1, sizes[2], sizes[3] + 1):
        stored = jpeg_files(smooth, 19, int(budget), seed=3)
        each = int((sizes <= budget).sum())
        assert stored.labels.tolist() == [0] * each + [1] * each + [2] * each
        assert (smooth.labels[stored.chosen] == stored.labels).all() and len(set(stored.chosen.tolist())) == 3 * each
        assert stored.size == sum(map(len, stored.files)) == sizes[each - 1]


def test_a_larger_budget_adds_images_to_those_of_a_smaller_one(smooth):
    chosen = [set(jpeg_files(smooth, 19, budget, seed=3).chosen.tolist()) for budget in (1300, 2500, 4000, 5000, 10**6)]
    assert all(less < more for less, more in itertools.pairwise(chosen))


def test_no_class_gives_more_images_than_the_smallest_has(smooth):
    assert len(jpeg_files(smooth, 19, 10**6, seed=3).chosen) == 3 * 5


def test_files_are_jpegs_of_the_central_squares(smooth):
    stored = jpeg_files(smooth, 19, 2500, seed=3, quality=60)
    for file, index in zip(stored.files, stored.chosen, strict=True):
        square = read_squares(smooth, 19, [int(index)])[0].transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(square).save(buffer, "JPEG", quality=60, optimize=True)
        assert file == buffer.getvalue()
    images, labels, size = jpeg_images(smooth, 19, 2500, seed=3, quality=60)
    assert images.shape == (len(stored.files), 3, 19, 19) and labels.tolist() == stored.labels.tolist()
    assert size == stored.size
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1) for file in stored.files])
    assert (images == decoded).all()


def test_a_seed_draws_the_same_images_and_another_seed_others(smooth):
    first, second, other = (jpeg_files(smooth, 19, 2500, seed=seed) for seed in (3, 3, 4))
    assert first.files == second.files and first.chosen.tolist() != other.chosen.tolist()


def test_a_small_budget_lowers_first_the_quality_and_then_the_side():
    source = coloured(3)
    seen = []
    for budget in (2000, 1500, 1200, 1100, 1000):
        stored = jpeg_files(source, 40, budget, seed=0)
        assert stored.size <= budget and len(stored.files) == 3
        seen.append((stored.side, stored.quality))
    assert seen == [(40, 50), (40, 25), (40, 12), (30, 12), (22, 12)]
    assert stored.decoded(40).shape == (3, 3, 40, 40)


def test_a_budget_that_holds_nothing_is_refused():
    with pytest.raises(SettingsError, match="100 bytes don't hold a JPEG file of each of 3 classes"):
        jpeg_files(coloured(3), 40, 100, seed=0)


def test_noise_is_uniform_and_drawn_by_its_seed():
    noise = noise_images(5, 37, 1)
    assert noise.shape == (5, 3, 37, 37) and noise.dtype == np.uint8
    assert chisquare(np.bincount(noise.ravel(), minlength=256)).pvalue > 1e-3
    assert (noise == noise_images(5, 37, 1)).all() and (noise != noise_images(5, 37, 2)).any()
