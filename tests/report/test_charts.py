"""Points, ticks and their numbers lie where they say, for any numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attar.report.charts import SECONDS, Plot, Value, curve, scatter, show_bytes, show_seconds

NUMBERS = st.floats(min_value=-1e300, max_value=1e300)


def drawn(values: Sequence[float]) -> Plot:
    """The curve through the values at 0, 1, 2, ..."""
    return curve([(float(place), float(value)) for place, value in enumerate(values)])


def test_points_lie_where_their_numbers_say_and_their_labels_apart():
    plot = scatter([Value(10.0, 50.0, (40.0, 60.0)), Value(1000.0, 50.0), Value(1000.0, 51.0)], SECONDS)
    first, second, third = plot.marks
    assert first.x < second.x == third.x and third.y < second.y == first.y
    assert first.low - first.y == pytest.approx(first.y - first.high) and second.low is None
    assert abs(second.label[1] - third.label[1]) >= 15
    ticks = {text: place for place, text in plot.x_ticks}
    assert ticks["10 s"] == pytest.approx(first.x, abs=0.1)
    assert 2 <= len(plot.x_ticks) <= 7


def test_numbers_are_written_in_the_unit_that_fits():
    assert [show_bytes(value) for value in (999.0, 12.3e3, 4.56e6, 7e12)] == ["999 B", "12.3 kB", "4.56 MB", "7 TB"]
    assert [show_seconds(value) for value in (0.25, 90.0, 7200.0)] == ["0.25 s", "1.5 min", "2 h"]


@given(st.lists(NUMBERS, min_size=2, max_size=5))
def test_the_numbers_on_an_axis_rise_as_its_ticks_do_whatever_is_drawn(values: list[float]):
    plot = drawn(values)
    for ticks in (plot.x_ticks, plot.y_ticks):
        told = [float(text) for _, text in ticks]
        assert 2 <= len(ticks) <= 8 and told == sorted(set(told))
    assert "nan" not in plot.line


@given(NUMBERS.filter(lambda value: abs(value) > 1e-290), st.integers(0, 3))
def test_a_curve_that_only_rounding_moves_is_flat(value: float, ulps: int):
    values = [value]
    for _ in range(ulps):
        values.append(math.nextafter(values[-1], math.inf))
    heights = {point.split(",")[1] for point in drawn([*values, value]).line.split()}
    assert len(heights) == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.05, 0.05, ["-0.06", "-0.04", "-0.02", "0.00", "0.02", "0.04", "0.06"]),
        (123_456.5, 123_457, ["123456.5", "123456.6", "123456.7", "123456.8", "123456.9", "123457.0"]),
        (0, 3e7, ["0e+00", "1e+07", "2e+07", "3e+07"]),
        (1e-7, 3e-7, ["1.0e-07", "1.5e-07", "2.0e-07", "2.5e-07", "3.0e-07"]),
    ],
)
def test_ticks_have_as_many_digits_as_tell_them_apart(low: float, high: float, expected: list[str]):
    assert [text for _, text in drawn([low, high]).y_ticks] == expected
