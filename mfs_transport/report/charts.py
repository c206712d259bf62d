# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG that stands inside a page: bars with the single values as dots, and lines.

They are WIDTH wide at most, so that their words can be read on a phone, and wrap beside each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..page import escape

WIDTH = 430
LABEL = 118  # of a bar, in pixels
LABEL_LETTERS = 18
ROW = 24
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 40  # around lines
HEIGHT = 260
COLORS = ("#c2352b", "#2a7fb8", "#4a7a4a", "#b8860b", "#7d5ba6", "#17a2a2", "#8c564b", "#888888")


@dataclass(frozen=True)
class Bar:
    label: str
    values: Sequence[float]  # the bar is their median
    color: str


def figure(title: str, drawn: str, width: int, height: float) -> str:
    return (
        f'<figure style="margin:.5rem 1rem .5rem 0;max-width:100%"><figcaption>{escape(title)}'
        f'</figcaption><svg width="{width}" viewBox="0 0 {width} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}">{drawn}</svg></figure>'
    )


def row(*figures: str) -> str:
    return f'<div style="display:flex;flex-wrap:wrap">{"".join(figures)}</div>'


def short(value: float) -> str:
    """Three digits, thousands apart."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    known = sorted(value for value in values if math.isfinite(value))
    if not known:
        return math.nan
    middle = len(known) // 2
    return known[middle] if len(known) % 2 else (known[middle - 1] + known[middle]) / 2


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Horizontal; from 0 on. Long labels stand above their bars."""
    known = [value for one in rows for value in one.values if math.isfinite(value)]
    most = max([0.0, *known]) or 1.0
    above = any(len(one.label) > LABEL_LETTERS for one in rows)
    left, height = (0, ROW + 18) if above else (LABEL, ROW)
    room = WIDTH - left - 64
    parts = []
    for index, one in enumerate(rows):
        top = index * height + 4
        middle = top + height - ROW / 2
        value = median(one.values)
        where = f'x="0" y="{top + 13}"'
        if not above:
            where = f'x="{LABEL - 6}" y="{middle + 4:.1f}" text-anchor="end"'
        parts.append(f"<text {where}>{escape(one.label)}</text>")
        length = room * max(0.0, value) / most if math.isfinite(value) else 0.0
        parts.append(
            f'<rect x="{left}" y="{middle - ROW / 2 + 3:.1f}" width="{length:.1f}" '
            f'height="{ROW - 6}" fill="{one.color}" fill-opacity="0.75"/>'
        )
        ends = [room * max(0.0, at) / most for at in one.values if math.isfinite(at)]
        if len(ends) > 1:
            parts += [
                f'<circle cx="{left + at:.1f}" cy="{middle:.1f}" r="2.5" fill="currentColor"/>'
                for at in ends
            ]
        parts.append(
            f'<text x="{left + max([length, *ends]) + 8:.1f}" y="{middle + 4:.1f}">'
            f"{escape(short(value))}</text>"
        )
    return figure(title, "".join(parts), WIDTH, len(rows) * height + 8)


def ticks(low: float, high: float, most: int = 5) -> Iterator[float]:
    """Round numbers between them."""
    span = high - low
    if not span > 0:
        yield low
        return
    step = 10.0 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    for index in itertools.count(math.ceil(low / step - 1e-9)):
        if index * step > high + 1e-9 * span:
            return
        yield index * step


def lines(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    colors: Mapping[str, str],
    most: tuple[float, float] | None = None,
) -> str:
    """most: the largest x and y that are drawn."""
    points = [
        (x, y) for many in series.values() for x, y in many if math.isfinite(x) and math.isfinite(y)
    ]
    if not points:
        return ""
    low_x = min(0.0, *(x for x, _ in points)) if most else min(x for x, _ in points)
    high_x = most[0] if most else max(x for x, _ in points)
    high_y = most[1] if most else max(0.0, *(y for _, y in points))
    high_x, high_y = (high_x if high_x > low_x else low_x + 1), high_y or 1.0
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + across * (x - low_x) / (high_x - low_x), TOP + down * (1 - y / high_y)

    parts = []
    for tick in ticks(0.0, high_y):
        y = at(low_x, tick)[1]
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in ticks(low_x, high_x):
        x = at(tick, 0.0)[0]
        parts.append(
            f'<text x="{x:.1f}" y="{TOP + down + 16}" text-anchor="middle">{short(tick)}</text>'
        )
    for name, many in series.items():
        inside = [(x, y) for x, y in many if math.isfinite(x) and math.isfinite(y) and x <= high_x]
        path = " ".join("{:.1f},{:.1f}".format(*at(x, y)) for x, y in inside)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colors[name]}" stroke-width="2"/>'
        )
    parts.append(
        f'<text class="mute" x="{LEFT + across / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    legend = "".join(
        f'<span style="white-space:nowrap"><span style="color:{colors[name]}">&#9632;</span> '
        f"{escape(name)}</span> "
        for name in series
    )
    drawn = figure(f"{title} ({y_label})", "".join(parts), WIDTH, HEIGHT)
    return drawn.replace("</figure>", f'<div style="max-width:{WIDTH}px">{legend}</div></figure>')
