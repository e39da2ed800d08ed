"""The loop through a model whose answer is exact (the Gaussian toy of diver.md 11), and against diffusers' own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attar.diffusion.sampling import Pull, noised, sample
from attar.diffusion.schedule import Schedule
from oracles import ddim

SCHEDULE = Schedule(torch.tensor(ddim.ALPHAS), 1.0, 0, 50)


class Gaussian:
    """The noise in latents of images from N(m, s²), known exactly; condition 1 has a mean, 0 (none) another."""

    def __init__(self, m: float = 1.0, s: float = 0.5, unconditional: float = 0.0):
        self.means, self.s, self.asked = {0: unconditional, 1: m}, s, []

    def predict(self, latents, timestep, conditions, *, guided):
        self.asked.append((timestep, guided))
        free = self._noise(latents, timestep, 0) if guided else None
        return SimpleNamespace(
            conditional=self._noise(latents, timestep, 1), unconditional=free, variance=torch.zeros_like(latents)
        )

    def _noise(self, latents, timestep, condition):
        a = ddim.ALPHAS[timestep]
        return (1 - a) ** 0.5 * (latents - a**0.5 * self.means[condition]) / (a * self.s**2 + 1 - a)


def numbers(value: float, dtype=torch.float64):
    return torch.full((1, 1, 1, 1), value, dtype=dtype)


def loop(*, z0=3.0, m=1.0, s=0.5, n=1.0, gamma=0.1, t_f=25, window=(40, 25), kind="posterior", target="clean",
         first=50, w=1.0, dtype=torch.float64):  # fmt: skip
    """What `oracles.ddim.refined` computes, through the loop."""
    inherited, noise = numbers(z0, dtype), numbers(n, dtype)
    start = noise if t_f is None else noised(inherited, noise, SCHEDULE.alpha(t_f))
    pull = Pull(SCHEDULE, inherited, noise, gamma, *window, sigma=kind, target=target)
    found = sample(Gaussian(m, s), start, [1], SCHEDULE, guidance=w, first=first, steer=pull)
    assert found.dtype == dtype
    return float(found)


NONE, ALL = (0, 0), (50, 0)
CASES = {
    "class-only": ({"t_f": None, "window": NONE}, 1.4688, 1.4688),
    "SI only": ({"window": NONE}, 1.8824, 1.8824),
    "SG only, all steps": ({"t_f": None, "window": ALL}, 2.2739, 2.4273),
    "SI+SG, all steps": ({"window": ALL}, 2.3324, 2.4334),
    "full": ({}, 2.1295, 2.2558),
    "full, γ = 0.02": ({"gamma": 0.02}, 1.9464, 2.0069),
    "full, n = 0": ({"n": 0.0}, 1.9121, 2.1617),
    "full, m = 0, s = 1, z0 = 2": ({"m": 0.0, "s": 1.0, "z0": 2.0}, 1.7270, 1.8422),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loop_gives_the_numbers_of_the_table(case: str):
    options, *printed = CASES[case]
    for kind, expected in zip(("posterior", "marginal"), printed, strict=True):
        assert round(loop(kind=kind, **options), 4) == expected
        assert loop(kind=kind, **options) == pytest.approx(ddim.refined(kind=kind, **options), abs=1e-9)
        assert loop(kind=kind, dtype=torch.float32, **options) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("target", "gamma", "printed"),
    [("clean", 0.02, 1.9464), ("clean", 0.1, 2.1295), ("clean", 0.5, 2.3359),
     ("renoised", 0.02, 1.8453), ("renoised", 0.1, 1.7438), ("renoised", 0.5, 1.6721),
     ("x0hat", 0.02, 1.9021), ("x0hat", 0.1, 1.9809), ("x0hat", 0.5, 2.3693)],
)  # fmt: skip
def test_each_target_pulls_where_it_says(target, gamma, printed):
    assert round(loop(target=target, gamma=gamma), 4) == printed
    assert loop(target=target, gamma=gamma) == pytest.approx(ddim.refined(target=target, gamma=gamma), abs=1e-9)


@pytest.mark.parametrize(
    ("t_f", "printed"),
    [(5, 2.4882), (10, 2.4449), (15, 2.2926), (20, 2.0867), (25, 1.8824), (30, 1.7164), (35, 1.6017), (40, 1.5329),
     (50, 1.4797)],
)  # fmt: skip
def test_the_noisier_the_start_the_less_is_inherited(t_f, printed):
    assert round(loop(t_f=t_f, window=NONE), 4) == printed


@pytest.mark.parametrize(("index", "printed"), [(25, 1.7689), (40, 1.5154)])
def test_a_start_as_noisy_as_its_step_is_sdedit(index, printed):
    assert round(loop(t_f=index, first=index, window=NONE), 4) == printed


def test_guidance_between_two_gaussians_is_the_gaussian_beyond_them():
    assert round(loop(w=4.0), 4) == 5.0134
    assert loop(w=4.0) == pytest.approx(ddim.refined(m=4.0), abs=1e-9)


def test_the_window_holds_its_upper_end_and_not_its_lower():
    assert round(loop(window=(40, 24)), 4) == 2.1375  # what it would be with k = 25
    assert round(loop(window=(39, 25)), 4) == 2.1160  # and without k = 40
    pull = Pull(SCHEDULE, numbers(3.0), numbers(1.0), 0.1, 40, 25)
    acts = [k for k in range(50, 0, -1) if pull(k, numbers(0.5), numbers(0.5), None) is not None]
    assert acts == list(range(40, 25, -1)) and len(acts) == 15


def test_without_guidance_the_model_is_asked_once_a_step():
    model = Gaussian()
    sample(model, numbers(1.0), [1], SCHEDULE, guidance=1.0, first=3)
    assert model.asked == [(40, False), (20, False), (0, False)]
    sample(model, numbers(1.0), [1], SCHEDULE, guidance=0.0, first=1)
    assert model.asked[3:] == [(0, True)]


def test_every_latent_is_seen_and_the_last_one_too():
    seen = {}
    last = sample(Gaussian(), numbers(1.0), [1], SCHEDULE, guidance=1.0, watch=lambda k, z: seen.update({k: float(z)}))
    assert list(seen) == list(range(50, -1, -1)) and seen[50] == 1.0 and seen[0] == float(last)


def test_no_strength_is_no_guidance_bit_for_bit():
    torch.manual_seed(0)
    z0, noise = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 5)
    start = noised(z0, noise, SCHEDULE.alpha(25))
    alone = sample(Gaussian(), start, [1, 1], SCHEDULE, guidance=1.0)
    pulled = sample(Gaussian(), start, [1, 1], SCHEDULE, guidance=1.0, steer=Pull(SCHEDULE, z0, noise, 0.0, 40, 25))
    assert torch.equal(alone, pulled)


@given(gamma=st.floats(0, 1), high=st.integers(2, 50), share=st.floats(0, 0.99), z0=st.floats(-5, 5))
def test_any_window_and_strength_is_the_recursion(gamma, high, share, z0):
    window = (high, int(share * high))
    options = {"gamma": gamma, "window": window, "z0": z0}
    assert loop(**options) == pytest.approx(ddim.refined(**options), abs=1e-9)
