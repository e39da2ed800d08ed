"""What a run is said to cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attar.backbones.record import freeze
from attar.synthesis.canvas import Pyramid
from attar.synthesis.plan import Plan, bytes_per_view, fitting_chunk, free_bytes, make_plan
from small import small_backbone


@given(st.integers(1, 5000), st.integers(1, 10**9), st.integers(0, 10**12))
def test_chunks_fit_the_budget_are_of_about_equal_size_and_as_few_as_possible(rows: int, each: int, budget: int):
    chunk = fitting_chunk(rows, each, budget)
    assert 1 <= chunk <= rows
    assert chunk == 1 or chunk * each <= budget
    count = -(-rows // chunk)
    most = max(1, budget // each)
    assert count == -(-rows // most)
    assert chunk - (rows - (count - 1) * chunk) < count  # the last is hardly smaller


def test_a_view_that_keeps_nothing_fits_any_number():
    assert fitting_chunk(1000, 0, 1) <= 1000


def frozen(*layers: nn.Module):
    return freeze(nn.Sequential(*layers), "net", image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_bytes_a_view_are_what_a_hand_count_gives():
    """A frozen linear or convolutional layer keeps its input only for its own weights' gradient, which nobody asks."""
    linear = bytes_per_view(frozen(nn.Flatten(), nn.Linear(192, 5)), 8)
    assert linear == 0
    tanh = bytes_per_view(frozen(nn.Flatten(), nn.Linear(192, 50), nn.Tanh(), nn.Linear(50, 5)), 8)
    assert tanh == 4 * 50  # Tanh keeps its result
    conv = bytes_per_view(frozen(nn.Conv2d(3, 7, 3), nn.Tanh(), nn.Conv2d(7, 2, 3), nn.Tanh(), nn.Flatten()), 8)
    kept_inputs = 4 * 3 * 8 * 8  # convolutions keep their input whether or not it is needed; the second's is Tanh's
    assert conv == kept_inputs + 4 * (7 * 6 * 6 + 2 * 4 * 4)


def small_plan(**options) -> Plan:
    canvas = Pyramid(6, 8, seed=0)
    return make_plan(canvas, small_backbone(), views=3, side=8, steps=100, real_views=40, **options)


def test_the_plan_adds_up():
    plan = small_plan()
    each = bytes_per_view(small_backbone(), 8)
    assert (plan.images, plan.views, plan.chunk, plan.steps) == (6, 18, 18, 100)
    assert plan.activation_bytes == 18 * each > 0
    assert plan.canvas_bytes == 4 * 4 * 6 * 3 * (1 + 4 + 16 + 64)
    assert 0 < plan.step_seconds < 1
    assert plan.reading_seconds == pytest.approx(plan.step_seconds / 18 / 1.1 * 40 / 2.2)
    assert "6 images, 18 views a step in one chunk, 100 steps" in str(plan)


def test_memory_bounds_the_chunk_and_chunk_wins():
    each = bytes_per_view(small_backbone(), 8)
    assert small_plan(memory=7 * each).chunk == 6
    assert small_plan(memory=7 * each, chunk=5).chunk == 5
    assert small_plan(chunk=99).chunk == 18
    assert "chunks of 6, two passes" in str(small_plan(memory=7 * each))


def test_free_memory_is_a_part_of_this_machines():
    assert 0 < free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "10 s"), (2.0, "3 minutes"), (90.0, "2.5 hours")])
def test_durations_are_told_as_people_do(seconds: float, text: str):
    assert f"about {text}, after" in str(replace(small_plan(), step_seconds=seconds))
