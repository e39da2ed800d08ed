"""The geometry of small plots: where points, ticks and numbers lie in an SVG of 640 x 320, which the template draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 12, 44
_MOST_TICKS = 7
_FLAT, _LEAST = 1e-12, 1e-300  # an extent below, relative to the values or at all, counts as none
_LABEL_PITCH = 15  # pixels between the numbers of two points that lie close together


@dataclass(frozen=True)
class Mark:
    """A point with its 95 % interval (ends at `low` and `high`, None without one) and its number at `label`."""

    number: int
    x: float
    y: float
    low: float | None
    high: float | None
    label: tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """Everything in pixels but the ticks' texts."""

    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...] = ()
    line: str = ""


@dataclass(frozen=True)
class Value:
    """What a mark shows: `y` with its interval at `x`, both in their own units."""

    x: float
    y: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Unit:
    """How numbers on a logarithmic axis are written, and where its ticks may stand, in rising order."""

    show: Callable[[float], str]
    ticks: tuple[float, ...]


def scatter(values: Sequence[Value], unit: Unit) -> Plot:
    """Points numbered from 1 on, x on a logarithmic axis in `unit`."""
    ends = [bound for value in values for bound in (value.y, *(value.interval or ()))]
    x, x_ticks = _logarithmic([value.x for value in values], unit.ticks, unit.show)
    y, y_ticks = _linear(ends)
    places = [(x(value.x), y(value.y)) for value in values]
    labels = _apart(places)
    marks = tuple(
        Mark(
            number,
            *place,
            None if value.interval is None else y(value.interval[0]),
            None if value.interval is None else y(value.interval[1]),
            label,
        )
        for number, (value, place, label) in enumerate(zip(values, places, labels, strict=True), 1)
    )
    return Plot(x_ticks, y_ticks, marks)


def curve(points: Sequence[tuple[float, float]]) -> Plot:
    """A line through (x, y), both axes linear; numbers up to 1e300."""
    x, x_ticks = _linear([point[0] for point in points], across=True)
    y, y_ticks = _linear([point[1] for point in points])
    return Plot(x_ticks, y_ticks, line=" ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points))


_Scale = Callable[[float], float]
_Ticks = tuple[tuple[float, str], ...]


def _linear(values: Sequence[float], *, across: bool = False) -> tuple[_Scale, _Ticks]:
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    extent = high - low
    if extent <= _FLAT * largest or extent < _LEAST:  # differences of rounding are no course
        extent = largest if largest >= _LEAST else 1.0
    step = _round_step(extent)
    first, last = math.floor(low / step), math.ceil(high / step)
    last += first == last
    place = _across(first * step, last * step) if across else _upwards(first * step, last * step)
    return place, tuple(
        (round(place(number * step), 1), _shown(number, step, max(-first, last))) for number in range(first, last + 1)
    )


def _shown(number: int, step: float, most: int) -> str:
    """`number` steps with as many digits as tell a step; with a power of ten where `most` steps, the axis' end, have
    many digits before the point or few behind it."""
    scale, power = math.floor(math.log10(most * step)), math.floor(math.log10(step))
    if -4 <= scale < 6:
        return f"{number * step:.{max(0, -power)}f}"
    return f"{number * step:.{max(0, scale - power)}e}"


def _logarithmic(
    values: Sequence[float], steps: Sequence[float], show: Callable[[float], str]
) -> tuple[_Scale, _Ticks]:
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.05 * (high - low), 0.1)
    place = _across(low - room, high + room)
    inside = [value for value in steps if low - room <= math.log10(value) <= high + room]
    inside = inside[:: -(-len(inside) // _MOST_TICKS) or 1]
    return lambda value: place(math.log10(value)), tuple(
        (round(place(math.log10(value)), 1), show(value)) for value in inside
    )


def _round_step(extent: float) -> float:
    """A fifth of the extent or less, of the form 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(extent / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= extent / 5)


def _across(low: float, high: float) -> _Scale:
    return lambda value: LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _upwards(low: float, high: float) -> _Scale:
    return lambda value: HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _apart(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the numbers of points go: right of them, moved down where two would lie on each other."""
    taken: list[tuple[float, float]] = []
    labels: dict[int, tuple[float, float]] = {}
    for index in sorted(range(len(places)), key=lambda index: places[index][1]):
        x, y = places[index][0] + 8, places[index][1] + 4
        while any(abs(x - a) < 2 * _LABEL_PITCH and abs(y - b) < _LABEL_PITCH for a, b in taken):
            y += 1
        taken.append((x, y))
        labels[index] = (x, y)
    return [labels[index] for index in range(len(places))]


def show_bytes(value: float) -> str:
    """`value` bytes in the unit that fits: '12 kB'."""
    power = min(4, max(0, int(math.log10(max(value, 1)) // 3)))
    return f"{value / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def show_seconds(value: float) -> str:
    """`value` seconds in the unit that fits: '2.5 min'."""
    size, unit = next(((size, unit) for size, unit in ((3600, "h"), (60, "min")) if value >= size), (1, "s"))
    return f"{value / size:.3g} {unit}"


_FACTORS = (1, 1.5, 2, 3, 5, 7)
BYTES = Unit(show_bytes, tuple(factor * 10.0**power for power in range(13) for factor in _FACTORS))
_MINUTE, _HOUR = 60.0, 3600.0
SECONDS = Unit(
    show_seconds,
    (
        *(factor * 10.0**power for power in (-3, -2, -1) for factor in (1, 2, 5)),
        *(1.0, 2.0, 5.0, 10.0, 20.0, 40.0),
        *(_MINUTE * count for count in (1, 2, 5, 10, 20, 40)),
        *(_HOUR * factor * 10**power for power in range(5) for factor in (1, 2, 5)),
    ),
)
