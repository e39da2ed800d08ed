import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from attar.synthesis.draws import Stream
from attar.synthesis.views import (
    CentreView,
    RandomViews,
    ViewPolicy,
    canvas_side,
    centre_crop,
    cut_views,
    draw_windows,
)

PLAIN = ViewPolicy(canvas=37, crop=29)


def windows(policy: ViewPolicy, count: int = 11, seed: int = 0, step: int = 0):
    return draw_windows(policy, seed, Stream.SYNTHESIS, step, range(count), [0] * count)


def test_a_view_is_what_grid_sample_cuts():
    """The oracle: torch's affine grid and bilinear sampling with zero padding, corners not aligned."""
    images = torch.rand(11, 3, 37, 37, dtype=torch.float64)
    drawn = windows(PLAIN)
    width = drawn.width * (1 - 2 * drawn.flipped)
    theta = torch.zeros(11, 2, 3, dtype=torch.float64)
    theta[:, 0, 0], theta[:, 0, 2] = width, 2 * (drawn.left + drawn.width / 2) - 1
    theta[:, 1, 1], theta[:, 1, 2] = drawn.height, 2 * (drawn.top + drawn.height / 2) - 1
    grid = F.affine_grid(theta, (11, 3, 29, 29), align_corners=False)
    expected = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    assert {0.0, 1.0} == set(drawn.flipped.tolist())
    torch.testing.assert_close(cut_views(images, drawn, PLAIN), expected, rtol=0, atol=1e-12)


def test_the_whole_image_is_a_plain_resize():
    policy = ViewPolicy(canvas=37, crop=29, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)
    images = torch.rand(2, 3, 37, 37, dtype=torch.float64)
    expected = F.interpolate(images, 29, mode="bilinear", align_corners=False)
    torch.testing.assert_close(cut_views(images, windows(policy, 2), policy), expected, rtol=0, atol=1e-12)


def test_the_gradient_is_right_by_finite_differences():
    policy = ViewPolicy(canvas=7, crop=5, noise=1.0, noise_mean=0.5)
    images = torch.rand(2, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cut_views(x, windows(policy, 2), policy), images)


def test_windows_leave_the_image_as_often_as_published():
    drawn = windows(ViewPolicy(256, 224), count=40_000)
    outside = (drawn.width > 1) | (drawn.height > 1)
    assert float(outside.double().mean()) == pytest.approx(0.142, abs=0.006)  # three standard errors
    assert float(drawn.flipped.mean()) == pytest.approx(0.5, abs=0.01)
    areas = drawn.width * drawn.height
    assert float(areas.min()) >= 0.08
    assert float(areas.max()) <= 1


@given(seed=st.integers(0, 2**32), step=st.integers(0, 5000), split=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_draws_do_not_depend_on_the_company(seed: int, step: int, split: int):
    policy = ViewPolicy(16, 16, noise=0.5)
    whole = draw_windows(policy, seed, Stream.SYNTHESIS, step, range(7), [1] * 7)
    part = draw_windows(policy, seed, Stream.SYNTHESIS, step, range(split, 7), [1] * (7 - split))
    assert torch.equal(whole.left[split:], part.left)
    assert whole.noise_seeds[split:] == part.noise_seeds


def test_step_image_view_and_stream_all_change_the_draw():
    def left(**changes):
        place = {"seed": 1, "stream": Stream.SYNTHESIS, "step": 2, "images": [3], "views": [4]} | changes
        return float(draw_windows(PLAIN, **place).left)

    lefts = {left(), left(seed=5), left(stream=Stream.PROBE), left(step=3), left(images=[4]), left(views=[3])}
    assert len(lefts) == 6


def test_noise_has_the_mean_and_deviation_asked_for():
    policy = ViewPolicy(
        64, 64, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False, noise=1.0, noise_mean=0.5, noise_std=0.2
    )
    noise = cut_views(torch.zeros(5, 3, 64, 64), windows(policy, 5), policy)
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(noise.std()) == pytest.approx(0.2, abs=0.005)
    half = ViewPolicy(64, 64, noise=0.5)
    assert np.mean([seed > 0 for seed in windows(half, 2000).noise_seeds]) == pytest.approx(0.5, abs=0.04)


def test_sides_follow_the_published_ones():
    assert [canvas_side(crop) for crop in (224, 518, 64, 32)] == [256, 592, 64, 32]


def test_the_centre_comes_first_where_asked():
    images, ids = torch.rand(3, 3, 37, 37), np.arange(3)
    centre = CentreView(PLAIN)(images, ids)
    assert torch.equal(centre[:, 0], centre_crop(images, 29))
    views = RandomViews(PLAIN, 4, 0, Stream.PROBE, centre_first=True)(images, ids)
    assert torch.equal(views[:, 0], centre[:, 0])
    without = RandomViews(PLAIN, 4, 0, Stream.PROBE)(images, ids)
    assert torch.equal(views[:, 1:], without[:, 1:])


def test_every_setting_is_part_of_the_fingerprint():
    changed = [
        {"canvas": 38}, {"crop": 30}, {"scale": (0.1, 1.0)}, {"ratio": (1.0, 1.0)}, {"flip": False},
        {"noise": 0.1}, {"noise_mean": 0.1}, {"noise_std": 0.1},
    ]  # fmt: skip
    policies = [PLAIN, *(ViewPolicy(**({"canvas": 37, "crop": 29} | change)) for change in changed)]
    assert len({policy.fingerprint for policy in policies}) == len(policies)
