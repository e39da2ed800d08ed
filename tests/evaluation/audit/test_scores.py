"""The audit's numbers against plain transcriptions of their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control
from sklearn.metrics import roc_auc_score

from attar.evaluation.audit.calibration import discoveries, fewest_found, p_values, wanted
from attar.evaluation.audit.correlation import FLAT, correlate, standardised, template_spectra, window_scale
from attar.evaluation.audit.features import nearest_directions
from attar.evaluation.audit.hashes import nearest_hashes, perceptual_hashes
from attar.evaluation.audit.membership import membership
from attar.evaluation.audit.ssim import equalised, ssim
from attar.evaluation.audit.thumbnails import area_resize


@pytest.mark.parametrize(("old", "new"), [(7, 3), (5, 5), (3, 7)])
def test_area_resize_gives_means_over_areas(old, new):
    image = np.random.default_rng(0).random((old, old))
    fine = np.kron(image, np.ones((new, new)))  # each old pixel as new x new points: areas become counts
    means = fine.reshape(new, old, new, old).mean((1, 3))
    np.testing.assert_allclose(area_resize(torch.from_numpy(image), new).numpy(), means, atol=1e-12)


def test_correlations_are_those_of_each_window():
    random = np.random.default_rng(1)
    image, template = random.random((13, 13)), random.random((5, 5))
    image[:6, :7] = 0.5  # flat: some windows hold nothing
    expected = []
    for top in range(9):
        for left in range(9):
            window = image[top : top + 5, left : left + 5]
            flat = window.std() < FLAT
            expected.append(0.0 if flat else np.corrcoef(window.ravel(), template.ravel())[0, 1])
    images = torch.from_numpy(image[None]).float()
    wanted_spectra = template_spectra(standardised(torch.from_numpy(template[None]).float()), 13)
    found = correlate(torch.fft.rfft2(images), wanted_spectra, window_scale(images, 5))
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-5)
    assert expected.count(0.0) >= 3


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for top in range(0, len(x) - 10, 2):
        for left in range(0, len(x) - 10, 2):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append(luminance * (2 * both + 9e-4) / (var_a + var_b + 9e-4))
    return float(np.mean(values))


def test_structural_similarity_is_the_published_formula():
    random = np.random.default_rng(2)
    x, noise = random.random((2, 23, 23)), random.random((2, 23, 23))
    y = 0.7 * x + 0.3 * noise
    found = ssim(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(found, [slow_ssim(a, b) for a, b in zip(x, y, strict=True)], atol=1e-9)
    np.testing.assert_allclose(ssim(torch.from_numpy(x), torch.from_numpy(x)).numpy(), 1, atol=1e-12)


@given(gain=st.floats(0.5, 1.5), shift=st.floats(-0.2, 0.2))
def test_brightness_and_contrast_change_no_equalised_picture(gain, shift):
    picture = torch.rand(1, 11, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(equalised(gain * picture + shift), equalised(picture))


def test_hashes_are_those_of_the_written_out_transform(pictures):
    small = torch.from_numpy(np.ascontiguousarray(pictures(7, seed=3, side=64)[..., 0]))
    grid = np.arange(32)
    cosines = np.cos(np.pi * (2 * grid + 1) * np.arange(8)[:, None] / 64)
    for picture, bits, mirror in zip(
        small.numpy(), perceptual_hashes(small), perceptual_hashes(small, mirrored=True), strict=True
    ):
        for view, found in ((picture, bits), (picture[:, ::-1], mirror)):
            grey = view.astype(np.float64).reshape(32, 2, 32, 2).mean((1, 3))
            lowest = (cosines @ grey @ cosines.T).ravel()
            assert not found[0]
            assert np.array_equal(found[1:], lowest[1:] > np.median(lowest[1:]))
            assert found.sum() == 31


def test_the_nearest_hash_is_the_one_with_fewest_other_bits(pictures):
    one, other = (torch.from_numpy(np.ascontiguousarray(pictures(n, seed=n, side=64)[..., 0])) for n in (5, 11))
    index, distance = nearest_hashes(one, other)
    there = perceptual_hashes(other)
    apart = np.minimum(*((perceptual_hashes(one, mirrored=m)[:, None] ^ there).sum(2) for m in (False, True)))
    assert distance.tolist() == apart.min(1).tolist()
    assert apart[np.arange(5), index].tolist() == distance.tolist()
    assert nearest_hashes(other.flip(-1), other)[0].tolist() == list(range(11))


def test_p_values_count_the_held_out_scores_that_are_as_large():
    assert p_values(np.array([5.0, 3.0, 2.5, 0.0]), np.array([1.0, 3.0, 2.0])).tolist() == [0.25, 0.5, 0.5, 1.0]


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=23))
def test_discoveries_are_those_of_scipy(p):
    adjusted = false_discovery_control(np.array(p))
    sure = np.abs(adjusted - 0.05) > 1e-9
    assert np.array_equal(discoveries(np.array(p))[sure], (adjusted <= 0.05)[sure])


def test_too_small_a_null_is_told_by_the_number_of_copies_it_takes():
    for images, held_out in ((10, 199), (10, 198), (10, 80), (37, 100), (3, 5)):
        floor = np.full(images, 1.0)
        least = fewest_found(images, held_out)
        for copies in range(1, images + 1):
            floor[:copies] = 1 / (1 + held_out)
            assert discoveries(floor).any() == (copies >= least)
    assert fewest_found(10, wanted(10)) == 1 and wanted(3) == 200 and wanted(1000) == 2000


def test_the_nearest_direction_has_the_largest_cosine(monkeypatch):
    monkeypatch.setattr("attar.evaluation.audit.features._BLOCK", 7)
    random = np.random.default_rng(4)
    one, other = random.normal(size=(5, 3)), random.normal(size=(19, 3))
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (one, other))
    index, cosine = nearest_directions(torch.from_numpy(one), torch.from_numpy(other))
    assert index.tolist() == (one @ other.T).argmax(1).tolist()
    np.testing.assert_allclose(cosine.numpy(), (one @ other.T).max(1))


def test_membership_is_the_area_under_the_curve():
    random = np.random.default_rng(5)
    members, others = random.normal(0.5, 1, 211).round(1), random.normal(0, 1, 97).round(1)
    found = membership("net", members, others)
    truth = np.repeat([1, 0], [211, 97])
    assert found.auc == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    assert found.low < found.auc < found.high and 0.08 < found.high - found.low < 0.2
    assert membership("net", others, others).auc == 0.5
