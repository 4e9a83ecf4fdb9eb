"""Bar charts as geometry: numbers per day become rectangles that a template writes as SVG.

No script and no outside assets; colours are classes, so that the page decides them for light and for dark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, floor, log10

WIDTH, HEIGHT = 540.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 6.0, 10.0, 26.0
MAX_SERIES = 7
"""More than this many colours cannot be told apart; the rest is one series."""

REST = "others"
_LABELS = 7
_RULES = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; `colour` is the number of its series, `title` what a pointer over it shows."""

    x: str
    y: str
    width: str
    height: str
    colour: int
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of the scale or a day under the axis."""

    at: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart and the legend of its colours."""

    title: str
    total: str
    bars: list[Bar]
    scale: list[Mark]
    days: list[Mark]
    legend: list[tuple[int, str]]

    width, height, left, right, base = int(WIDTH), int(HEIGHT), LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM


def stacked(
    title: str,
    days: Sequence[date],
    values: Mapping[str, Mapping[date, float]],
    shown: Format,
    order: Sequence[str],
    *,
    least_step: float = 0.0,
) -> Chart:
    """A bar per day, one part per series. `order` ranks the series: the first ones have a colour of their own.

    `least_step` is 1 for what comes in whole numbers.
    """
    series = _folded(values, order)
    sums = [sum(amounts.get(day, 0.0) for amounts in series.values()) for day in days]
    step, top = _scale(max(sums, default=0.0), least_step)
    ticks = [index * step for index in range(round(top / step) + 1)]
    return Chart(
        title=title,
        total=shown(sum(sums)),
        bars=_bars(days, series, top, shown),
        scale=[Mark(_number(_height_at(tick, top)), shown(tick)) for tick in ticks],
        days=_day_marks(days),
        legend=list(enumerate(series)),
    )


def beside(
    title: str,
    days: Sequence[date],
    values: Mapping[str, Mapping[date, float]],
    shown: Format,
    order: Sequence[str],
    *,
    total: str,
) -> Chart:
    """Bars beside each other on every day, for what does not add up; only the first series have room. `total` is
    what stands for all of it."""
    kept = order[:MAX_SERIES]
    series = {name: values.get(name, {}) for name in kept}
    step, top = _scale(max((amount for amounts in series.values() for amount in amounts.values()), default=0.0), 0.0)
    slot = _slot(days)
    width = slot * 0.8 / max(1, len(kept))
    bars = [
        Bar(
            _number(LEFT + place * slot + slot * 0.1 + colour * width),
            _number(_height_at(amount, top)),
            _number(max(1.0, min(width, 48.0))),
            _number(_height_at(0, top) - _height_at(amount, top)),
            colour,
            f"{day.isoformat()} · {name}: {shown(amount)}",
        )
        for place, day in enumerate(days)
        for colour, (name, amounts) in enumerate(series.items())
        if (amount := amounts.get(day, 0.0)) > 0
    ]
    ticks = [index * step for index in range(round(top / step) + 1)]
    scale = [Mark(_number(_height_at(tick, top)), shown(tick)) for tick in ticks]
    return Chart(
        title=title, total=total, bars=bars, scale=scale, days=_day_marks(days), legend=list(enumerate(series))
    )


def _folded(values: Mapping[str, Mapping[date, float]], order: Sequence[str]) -> dict[str, Mapping[date, float]]:
    """The first series as they are, the rest added up."""
    kept = order if len(order) <= MAX_SERIES else order[: MAX_SERIES - 1]
    series: dict[str, Mapping[date, float]] = {name: values[name] for name in kept}
    if rest := order[len(kept) :]:
        days = {day for name in rest for day in values[name]}
        series[f"{len(rest)} {REST}"] = {day: sum(values[name].get(day, 0.0) for name in rest) for day in days}
    return series


def _scale(highest: float, least_step: float) -> tuple[float, float]:
    """A round step and the top of the scale, at least as high as the highest bar."""
    if highest <= 0:
        return 1.0, 1.0
    magnitude = 10.0 ** floor(log10(highest / _RULES))
    step = max(least_step, next(unit * magnitude for unit in _STEPS if unit * magnitude * _RULES >= highest))
    return step, step * ceil(highest / step)


def _bars(days: Sequence[date], series: Mapping[str, Mapping[date, float]], top: float, shown: Format) -> list[Bar]:
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
            title = f"{day.isoformat()} · {name}: {shown(amount)}"
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
