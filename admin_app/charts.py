"""Bar charts as geometry: numbers per day become rectangles that a template renders as SVG.

No script and no external assets. Colours are CSS classes, so that light and dark themes choose their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, floor, log10

WIDTH, HEIGHT = 540.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 6.0, 10.0, 26.0
MAX_SERIES = 7
"""People cannot distinguish more colours than this; the other series are added up into one."""

REST = "others"
_LABELS = 7
_RULES = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle. `colour` is the number of its series, `title` its tooltip."""

    x: str
    y: str
    width: str
    height: str
    colour: int
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of the scale or of a day below the axis, and its position."""

    at: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's geometry and the legend of its colours."""

    title: str
    total: str
    bars: list[Bar]
    scale: list[Mark]
    days: list[Mark]
    legend: list[tuple[int, str]]

    width, height, left, right, base = int(WIDTH), int(HEIGHT), LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM


def stacked_chart(
    title: str,
    days: Sequence[date],
    values: Mapping[str, Mapping[date, float]],
    label: Format,
    order: Sequence[str],
    *,
    least_step: float = 0.0,
) -> Chart:
    """Builds a chart with one bar per day, divided by series. The first series in `order` have their own colours.

    `label` formats amounts. `least_step` is the smallest step of the scale, 1 for whole numbers.
    """
    series = _merge_rest(values, order)
    sums = [sum(amounts.get(day, 0.0) for amounts in series.values()) for day in days]
    step, top = _scale(max(sums, default=0.0), least_step)
    ticks = [index * step for index in range(round(top / step) + 1)]
    return Chart(
        title=title,
        total=label(sum(sums)),
        bars=_bars(days, series, top, label),
        scale=[Mark(_number(_height_at(tick, top)), label(tick)) for tick in ticks],
        days=_day_marks(days),
        legend=list(enumerate(series)),
    )


def grouped_chart(
    title: str,
    days: Sequence[date],
    values: Mapping[str, Mapping[date, float]],
    label: Format,
    order: Sequence[str],
    *,
    total: str,
) -> Chart:
    """Builds a chart with one bar per day and series, for amounts that do not add up, such as latencies.

    Series after the first MAX_SERIES are left out. `total` is the summary in the caption.
    """
    ranked = order[:MAX_SERIES]
    series = {name: values.get(name, {}) for name in ranked}
    step, top = _scale(max((amount for amounts in series.values() for amount in amounts.values()), default=0.0), 0.0)
    slot = _slot(days)
    width = slot * 0.8 / max(1, len(ranked))
    bars = [
        Bar(
            _number(LEFT + index * slot + slot * 0.1 + colour * width),
            _number(_height_at(amount, top)),
            _number(max(1.0, min(width, 48.0))),
            _number(_height_at(0, top) - _height_at(amount, top)),
            colour,
            f"{day.isoformat()} · {name}: {label(amount)}",
        )
        for index, day in enumerate(days)
        for colour, (name, amounts) in enumerate(series.items())
        if (amount := amounts.get(day, 0.0)) > 0
    ]
    ticks = [index * step for index in range(round(top / step) + 1)]
    scale = [Mark(_number(_height_at(tick, top)), label(tick)) for tick in ticks]
    return Chart(
        title=title, total=total, bars=bars, scale=scale, days=_day_marks(days), legend=list(enumerate(series))
    )


def _merge_rest(values: Mapping[str, Mapping[date, float]], order: Sequence[str]) -> dict[str, Mapping[date, float]]:
    """Keeps the first series and adds up the others into one."""
    ranked = order if len(order) <= MAX_SERIES else order[: MAX_SERIES - 1]
    series: dict[str, Mapping[date, float]] = {name: values[name] for name in ranked}
    if rest := order[len(ranked) :]:
        days = {day for name in rest for day in values[name]}
        series[f"{len(rest)} {REST}"] = {day: sum(values[name].get(day, 0.0) for name in rest) for day in days}
    return series


def _scale(highest: float, least_step: float) -> tuple[float, float]:
    """Returns a round step and the top of the scale, which is at least the highest bar."""
    if highest <= 0:
        return 1.0, 1.0
    magnitude = 10.0 ** floor(log10(highest / _RULES))
    step = max(least_step, next(unit * magnitude for unit in _STEPS if unit * magnitude * _RULES >= highest))
    return step, step * ceil(highest / step)


def _bars(days: Sequence[date], series: Mapping[str, Mapping[date, float]], top: float, label: Format) -> list[Bar]:
    slot = _slot(days)
    width = max(1.0, min(slot * 0.72, 48.0))
    bars: list[Bar] = []
    for index, day in enumerate(days):
        below = 0.0
        for colour, (name, amounts) in enumerate(series.items()):
            amount = amounts.get(day, 0.0)
            if amount <= 0:
                continue
            upper, lower = _height_at(below + amount, top), _height_at(below, top)
            x = LEFT + index * slot + (slot - width) / 2
            title = f"{day.isoformat()} · {name}: {label(amount)}"
            bars.append(Bar(_number(x), _number(upper), _number(width), _number(lower - upper), colour, title))
            below += amount
    return bars


def _day_marks(days: Sequence[date]) -> list[Mark]:
    every = max(1, -(-len(days) // _LABELS))
    slot = _slot(days)
    return [
        Mark(_number(LEFT + (index + 0.5) * slot), f"{day:%b} {day.day}")
        for index, day in enumerate(days)
        if index % every == 0
    ]


def _slot(days: Sequence[date]) -> float:
    return (WIDTH - LEFT - RIGHT) / max(1, len(days))


def _height_at(amount: float, top: float) -> float:
    return HEIGHT - BOTTOM - amount / top * (HEIGHT - TOP - BOTTOM)


def _number(value: float) -> str:
    return f"{value:.1f}"
