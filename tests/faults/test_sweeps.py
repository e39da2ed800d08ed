"""A fault at some of the calls that change the disk, spread over a command; `benchmarks/faults.py` takes every call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from faults.phases import PHASES, Phase
from faults.sweeps import ERRORS, KILL, POWER, Kind, Stage

_POINTS = {"extract": 6, "distill": 5, "restart": 4, "write": 8, "rewrite": 8, "evaluate": 4}


@pytest.fixture(scope="module", params=PHASES, ids=lambda phase: phase.name)
def stage(request, tmp_path_factory) -> Stage:
    phase: Phase = request.param
    return Stage(phase, tmp_path_factory.mktemp(phase.name) / "stage")


def wrong(stage: Stage, kinds: Sequence[Kind]) -> list[str]:
    """What goes wrong where faults of these kinds take turns, from the first call to the last."""
    points, turn = _POINTS[stage.phase.name], 3 * PHASES.index(stage.phase)  # another phase begins with another kind
    found = []
    for point in range(points):
        kind = kinds[(point + turn) % len(kinds)]
        last = len(stage.calls(kind)) - 1
        found += stage.sweep(kind, [1 + round(last * point / (points - 1))])
    return found


def test_a_killed_command_leaves_the_old_or_the_new_and_ends_in_the_same_bytes(stage: Stage):
    assert wrong(stage, [KILL]) == []


def test_so_does_one_that_lost_power(stage: Stage):
    assert wrong(stage, POWER) == []


def test_a_failing_disk_is_one_sentence_or_nothing_and_leaves_nothing_behind(stage: Stage):
    assert wrong(stage, ERRORS) == []
