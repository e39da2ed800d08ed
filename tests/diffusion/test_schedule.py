"""Indices, timesteps and noise levels against the printed table, NumPy and diffusers' schedulers."""

from __future__ import annotations

import math

import pytest
import torch

from attar.diffusion.refine_settings import choose_refinement
from attar.diffusion.schedule import Schedule
from attar.errors import SettingsError
from oracles import ddim

DIT = torch.tensor(ddim.ALPHAS)
STABLE = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)


def dit(steps: int = 50) -> Schedule:
    return Schedule(DIT, 1.0, 0, steps)


# diver.md 2: k, timestep, ᾱ, √ᾱ, √(1−ᾱ), σ
TABLE = """
50 980 0.000059 0.0077 1.0000 0.5697
45 880 0.000387 0.0197 0.9998 0.5446
40 780 0.002075 0.0456 0.9990 0.5171
35 680 0.009079 0.0953 0.9955 0.4865
30 580 0.032460 0.1802 0.9836 0.4518
26 500 0.077797 0.2789 0.9603 0.4203
25 480 0.094869 0.3080 0.9514 0.4117
20 380 0.226750 0.4762 0.8793 0.3644
10 180 0.709625 0.8424 0.5389 0.2359
2 20 0.993735 0.9969 0.0791 0.0099
1 0 0.999900 0.9999 0.0100 0.0000
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_the_levels_are_those_of_the_printed_table(line: str):
    k, timestep, *printed = (float(number) for number in line.split())
    schedule, index = dit(), int(k)
    alpha = schedule.alpha(index)
    assert schedule.timestep(index) == timestep
    found = (alpha, math.sqrt(alpha), schedule.marginal(index), schedule.posterior(index))
    assert [round(value, digits) for value, digits in zip(found, (6, 4, 4, 4), strict=True)] == printed


@pytest.mark.parametrize("steps", [1, 7, 50, 999, 1000])
def test_timesteps_are_those_that_diffusers_takes(steps: int):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(beta_schedule="linear", clip_sample=False)
    theirs.set_timesteps(steps)
    schedule = dit(steps)
    assert [schedule.timestep(k) for k in range(steps, 0, -1)] == theirs.timesteps.tolist()


def test_stable_diffusion_ends_at_its_first_level():
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                           set_alpha_to_one=False, clip_sample=False)  # fmt: skip
    theirs.set_timesteps(50)
    schedule = Schedule(STABLE, float(STABLE[0]), 1, 50)
    assert [schedule.timestep(k) for k in range(50, 0, -1)] == theirs.timesteps.tolist()
    for k in range(50, 0, -1):
        now = int(theirs.timesteps[50 - k])
        variance = float(theirs._get_variance(now, now - 20))
        assert schedule.posterior(k) == pytest.approx(math.sqrt(variance), abs=2e-6)
    assert schedule.posterior(1) > 0


@pytest.mark.parametrize("kind", ["posterior", "marginal"])
def test_sigma_is_numpys_at_every_index(kind):
    assert [dit().sigma(kind, k, None) for k in range(1, 51)] == pytest.approx(
        [ddim.sigma(k, kind) for k in range(1, 51)], rel=1e-12
    )


def test_the_learned_sigma_lies_between_posterior_and_beta():
    schedule, ends = dit(), torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    for k in (2, 11, 50):
        beta = math.sqrt(1 - schedule.alpha(k) / schedule.alpha(k - 1))
        lowest, middle, highest = schedule.learned(k, ends).flatten().tolist()
        assert (lowest, highest) == pytest.approx((schedule.posterior(k), beta), rel=1e-12)
        assert middle == pytest.approx(math.sqrt(lowest * highest), rel=1e-12)
    assert float(schedule.learned(1, ends)[0, 0, 0, 0]) == pytest.approx(schedule.posterior(2))
    assert bool(dit(1).learned(1, ends).isfinite().all())


@pytest.mark.parametrize(
    ("kind", "window", "printed"),
    [("posterior", range(26, 41), 0.4846), ("marginal", range(26, 41), 0.2102),
     ("posterior", range(1, 51), 0.1443), ("marginal", range(1, 51), 0.0154)],
)  # fmt: skip
def test_the_pull_shrinks_the_noise_as_documented(kind, window, printed):
    left = math.prod(1 - 0.1 * dit().sigma(kind, k, None) for k in window)
    assert left == pytest.approx(printed, abs=5e-5)


def test_fast_pulls_as_hard_as_paper_over_the_same_timesteps():
    def left_and_ends(name):
        chosen = choose_refinement(name)
        schedule, (high, low) = dit(chosen.steps), chosen.window
        left = math.prod(1 - chosen.gamma * schedule.posterior(k) for k in range(low + 1, high + 1))
        return left, [schedule.timestep(k) for k in (high, low + 1, chosen.t_f)]

    fast, paper = left_and_ends("fast"), left_and_ends("paper")
    assert fast[0] == pytest.approx(paper[0], rel=0.01)
    assert fast[1] == [750, 500, 450] and paper[1] == [780, 500, 480]


@pytest.mark.parametrize(("steps", "offset"), [(0, 0), (1001, 0), (1000, 1)])
def test_more_steps_than_timesteps_are_refused(steps, offset):
    with pytest.raises(SettingsError, match="steps are not between 1 and the 1000 timesteps"):
        Schedule(DIT, 1.0, offset, steps)


def test_a_model_without_variances_has_no_learned_sigma():
    with pytest.raises(SettingsError, match="tells no variances"):
        dit().sigma("learned", 3, None)
