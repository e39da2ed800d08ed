"""What a run is said to cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from attar.devices import free_bytes
from attar.errors import SettingsError
from attar.synthesis import choose_settings
from attar.synthesis.canvas import Pyramid
from attar.synthesis.memory import ActivationModel, measure_activations
from attar.synthesis.plan import Plan, even_chunk, make_plan
from attar.synthesis.views import ViewPolicy
from small import small_backbone

MODEL = ActivationModel(fixed=500, each=1000)


@given(st.integers(1, 5000), st.integers(0, 6000))
def test_chunks_are_of_about_equal_size_and_as_few_as_possible(rows: int, most: int):
    chunk = even_chunk(rows, most)
    assert 1 <= chunk <= max(1, most)
    count = -(-rows // chunk)
    assert count == -(-rows // max(1, most))
    assert chunk - (rows - (count - 1) * chunk) < count  # the last is hardly smaller


def small_plan(*models: ActivationModel, budget: int = 10**9, **options) -> Plan:
    models = models or (MODEL,)
    backbones = [small_backbone()] * len(models)
    sizes = {"images": 6, "canvas_side": 8, "views": 3, "side": 8, "steps": 100, "real_views": 40}
    return make_plan(backbones, models, budget=budget, **sizes, **options)


def test_the_plan_adds_up():
    plan = small_plan()
    assert (plan.images, plan.views, plan.chunk, plan.steps) == (6, 18, 18, 100)
    assert plan.activation_bytes == 500 + 18 * 1000
    assert plan.canvas_bytes == 4 * 4 * Pyramid(6, 8, seed=0).size
    assert plan.weight_bytes == 4 * (7 * 3 * 9 + 7)
    assert 0 < plan.step_seconds < 1
    assert plan.reading_seconds == pytest.approx(plan.step_seconds / 18 / 1.1 * 40 / 2.2)
    assert "6 images, 18 views a step in one chunk, 100 steps" in str(plan)
    assert "memory: 0 MB activations, 0 MB canvas and Adam, 0 MB weights" in str(plan)


def test_the_budget_bounds_the_chunk():
    assert small_plan(budget=7_500).chunk == 6
    assert small_plan(budget=7_500).activation_bytes == 6_500
    assert "chunks of 6, two passes" in str(small_plan(budget=7_500))


def test_a_chunk_that_was_asked_for_is_kept_or_refused():
    assert small_plan(budget=7_500, chunk=5).chunk == 5
    assert small_plan(chunk=99).chunk == 18
    with pytest.raises(SettingsError, match="A chunk of 8 takes 0 MB, and the budget is 0 MB"):
        small_plan(budget=7_500, chunk=8)


def test_a_run_goes_on_with_its_chunk_where_that_fits():
    assert small_plan(last_chunk=4).chunk == 4
    assert small_plan(last_chunk=4, chunk=5).chunk == 5
    assert small_plan(last_chunk=17, budget=7_500).chunk == 6


class Narrow(nn.Module):
    """Has room for one view."""

    def forward(self, images):
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return images.flatten(1)


def test_a_plan_is_made_also_where_one_view_alone_fits():
    backbone = replace(small_backbone(), module=Narrow())
    model = measure_activations(backbone, ViewPolicy(8, 8))
    assert model.peak(2) == 2 * model.peak(1) > 0
    plan = make_plan(
        [backbone], [model], images=2, canvas_side=8, views=1, side=8, steps=1, real_views=1, budget=10**9, chunk=2
    )
    assert plan.step_seconds > 0


def test_the_hungriest_backbone_decides_and_only_one_is_at_work():
    hungry = ActivationModel(fixed=0, each=3000)
    plan = small_plan(MODEL, hungry, budget=9_000)
    assert plan.chunk == 3
    assert plan.activation_bytes == 9_000
    assert plan.weight_bytes == 2 * small_plan().weight_bytes


def test_free_memory_is_a_part_of_this_machines():
    assert 0 < free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "10 s"), (2.0, "3 minutes"), (90.0, "2.5 hours")])
def test_durations_are_told_as_people_do(seconds: float, text: str):
    assert f"about {text}, after" in str(replace(small_plan(), step_seconds=seconds))


def test_fresh_views_of_real_images_are_in_the_plan():
    lgm, dm = choose_settings("paper", method="lgm"), choose_settings(method="dm-batch", per_class=7)
    assert lgm.options.fresh_views(30, 3) == 30 and dm.options.fresh_views(30, 3) == 21
    assert choose_settings(method="lgm").options.fresh_views(30, 3) == 0  # from statistics
    assert choose_settings().options.fresh_views(30, 3) == 0
