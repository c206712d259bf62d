# SPDX-License-Identifier: Apache-2.0
"""The page of `mfs report`: for each file what came out, on what, and how to repeat it.

Rows that have a policy and an attainment (demo, simulator, test beds) are shown by policy; of
others each column that is a number or a word is shown as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .. import page
from ..sim.plots import color
from . import charts
from .charts import Bar, median, short
from .documents import Document, Row

MOST_ROWS = 200
MOST_BARS = 24
MOST_CHARTS = 4
LOADS = ("load", "rate")  # by the first that varies, attainment is a line
SECONDS = "_s"


def number(value: Any) -> float:
    """NaN: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def values(rows: Iterable[Row], name: str) -> list[float]:
    return [value for row in rows if math.isfinite(value := number(row.get(name)))]


def grouped(rows: Sequence[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row.get(name)) for name in names), []).append(row)
    return found


def spread(many: Sequence[float], scale: float = 1.0) -> str:
    """Median (least to most)."""
    if not many:
        return "-"
    middle = short(median(many) * scale)
    if min(many) == max(many):
        return middle
    return f"{middle} ({short(min(many) * scale)} to {short(max(many) * scale)})"


# --- by policy ---


def is_attained(rows: Sequence[Row]) -> bool:
    return bool(rows) and all("policy" in row and "attainment" in row for row in rows)


def distribution(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """TTFT over its target, and the share of requests that had no more."""
    ratios = sorted(
        ttft / slo
        for row in rows
        for ttft, slo in zip(row.get("ttft_s") or (), row.get("slo_s") or (), strict=False)
        if math.isfinite(number(ttft)) and number(slo) > 0
    )
    return [(ratio, 100 * (index + 1) / len(ratios)) for index, ratio in enumerate(ratios)]


def attained(rows: Sequence[Row]) -> str:
    """Charts and a table, for each class of requests and each load that there is."""
    apart = [
        name
        for name in ("workload", "model", "cluster", "slo_class", *LOADS)
        if len({str(row.get(name)) for row in rows}) > 1
    ]
    load = next((name for name in LOADS if name in apart), None)
    policies = list(dict.fromkeys(str(row["policy"]) for row in rows))
    colors = {policy: color(policy) for policy in policies}
    drawn = []
    others = [name for name in apart if name not in LOADS]
    for key, mine in grouped(rows, *others).items():
        title = "requests within their TTFT target, %"
        title += "".join(f", {name} {value}" for name, value in zip(others, key, strict=True))
        if load:
            series = {
                policy: sorted(
                    (float(at), 100 * median(values(group, "attainment")))
                    for (at,), group in grouped(
                        [row for row in mine if str(row["policy"]) == policy], load
                    ).items()
                )
                for policy in policies
            }
            drawn.append(charts.lines(title, series, load, "median of seeds", colors))
        else:
            drawn.append(
                charts.bars(
                    title,
                    [
                        Bar(
                            policy,
                            [100 * one for one in values(group, "attainment")],
                            color(policy),
                        )
                        for (policy,), group in grouped(mine, "policy").items()
                    ],
                )
            )
    shares = {
        policy: distribution([r for r in rows if r["policy"] == policy]) for policy in policies
    }
    if any(shares.values()):
        title = "requests whose TTFT is at most so many times its target"
        drawn.append(charts.lines(title, shares, "TTFT / target", "%", colors, (4.0, 100.0)))
    wanted = [
        ("attained, %", "attainment", 100.0),
        ("TTFT mean, s", "ttft_mean_s", 1.0),
        ("p50", "ttft_p50_s", 1.0),
        ("p99", "ttft_p99_s", 1.0),
        ("goodput, MB/s", "goodput_Bps", 1e-6),
        ("requests", "requests", 1.0),
        ("wrong checksums", "mismatches", 1.0),
    ]
    shown = [one for one in wanted if any(one[1] in row for row in rows)]
    keys = ["policy", *apart]
    lines = [
        (*key, *(spread(values(group, name), scale) for _, name, scale in shown), len(group))
        for key, group in grouped(rows, *keys).items()
    ]
    headings = (*keys, *(title for title, _, _ in shown), "runs")
    note = '<p class="mute">Medians of the runs; behind them the least and the most.</p>'
    return charts.row(*drawn) + page.table(headings, lines, text=range(len(keys))) + note


# --- of anything else ---


def flat(row: Row) -> dict[str, Any]:
    """Objects in it as columns of their own."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            made.update({f"{name}: {inner}": one for inner, one in value.items()})
        else:
            made[name] = value
    return made


def cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " to ".join(cell(one) for one in value)
    return str(value)


def is_plain(value: Any) -> bool:
    """It goes into a cell: a spread, of two numbers, does as well."""
    if isinstance(value, list):
        return len(value) <= 3 and all(math.isfinite(number(one)) for one in value)
    return value is None or isinstance(value, str | int | float)


def listing(rows: Sequence[Row]) -> str:
    """All columns; those that say the same in each row once."""
    table = [flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in table for name in row))
    plain = [name for name in names if all(is_plain(row.get(name)) for row in table)]
    constant = [
        name for name in plain if len(table) > 1 and len({str(row.get(name)) for row in table}) == 1
    ]
    shown = [name for name in plain if name not in constant]
    words = [name for name in shown if any(isinstance(row.get(name), str) for row in table)]
    parts = [charts.row(*pictures(table, shown, words))]
    order = [*words, *(name for name in shown if name not in words)]
    lines = [[cell(row.get(name)) for name in order] for row in table[:MOST_ROWS]]
    parts.append(page.table(order, lines, text=range(len(words))))
    if len(table) > MOST_ROWS:
        parts.append(f'<p class="mute">The first {MOST_ROWS} of {len(table):,} rows.</p>')
    if constant:
        parts.append("<h3>The same in all rows</h3>")
        parts.append(page.pairs((name, cell(table[0].get(name))) for name in constant))
    hidden = [name for name in names if name not in plain]
    if hidden:
        listed = ", ".join(page.escape(name) for name in hidden)
        parts.append(f'<p class="mute">Not shown, being lists: {listed}.</p>')
    return "\n".join(parts)


def pictures(table: Sequence[Row], shown: Sequence[str], words: Sequence[str]) -> list[str]:
    """Bars of the first numbers that differ, where the rows have names."""
    groups = grouped(table, *words) if words else {}
    if not 1 < len(groups) <= MOST_BARS:
        return []
    made = []
    for name in shown:
        if name in words or len(values(table, name)) < 2 or name == "seed":
            continue
        rows = [
            Bar(", ".join(key), values(group, name), charts.COLORS[index % len(charts.COLORS)])
            for index, (key, group) in enumerate(groups.items())
            if values(group, name)
        ]
        if len(rows) > 1 and min(value for bar in rows for value in bar.values) >= 0:
            made.append(charts.bars(name.replace("_", " "), rows))
        if len(made) == MOST_CHARTS:
            break
    return made


# --- the page ---


def about(document: Document) -> str:
    """On what, and how to repeat it."""
    machine = [
        (
            name,
            ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value,
        )
        for name, value in document.environment.items()
    ]
    more = [(name, cell(value)) for name, value in document.more.items() if is_plain(value)]
    hidden = [name for name, value in document.more.items() if not is_plain(value)]
    parts = []
    if more:
        parts += ["<h3>Said of all of it</h3>", page.pairs(more)]
    if hidden:
        listed = ", ".join(page.escape(name) for name in hidden)
        parts.append(f'<p class="mute">Also in the file, and not shown: {listed}.</p>')
    if document.command:
        parts += ["<h3>How to repeat it</h3>", f"<pre>{page.escape(document.command)}</pre>"]
    parts += ["<h3>On what</h3>", page.pairs(machine)]
    return "\n".join(parts)


def section(document: Document, index: int) -> str:
    rows = document.rows
    body = "<p>It has no results.</p>"
    if rows:
        body = attained(rows) if is_attained(rows) else listing(rows)
    return (
        f'<h2 id="run{index}">{page.escape(document.title)}</h2>'
        f'<p class="mute">{page.escape(document.path.name)}, '
        f"{page.escape(document.environment.get('time', 'at a time that it does not say'))}</p>"
        f"{body}\n{about(document)}"
    )


def build(documents: Sequence[Document], title: str) -> str:
    """The whole file."""
    links = "".join(
        f'<li><a href="#run{index}">{page.escape(one.title)}</a> '
        f'<span class="mute">{page.escape(one.path.name)}</span></li>'
        for index, one in enumerate(documents)
    )
    contents = f"<ul>{links}</ul>" if len(documents) > 1 else ""
    sections = "\n".join(section(one, index) for index, one in enumerate(documents))
    return page.document(title, f"<h1>{page.escape(title)}</h1>{contents}{sections}")
