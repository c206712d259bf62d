# SPDX-License-Identifier: Apache-2.0
"""Tables as papers print them: what changes against one policy, and what it attains over others.

    attained   percentage points of the requests, theirs less the base's
    TTFT       mean and p99, theirs less the base's, in % of the base's
    beyond     the mean TTFT less that of a policy which has what nobody can, as `inf`, for which
               the network takes no time: what transfers add. `less` is the base's over theirs

All of them are worked out seed by seed, with the 95 % interval of what comes out.

    attained over   of the loads at which the other attains at least a tenth the least and the most
    rate            at the load where the other attains so much, ours that attains as much over it
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..terminal import Column, Table, number
from . import report, statistics
from .report import Row, by, mean, span
from .statistics import Interval

LEAST_ATTAINED = 0.1
EQUAL = (0.9, 0.8, 0.7, 0.5)
"""Attainments at which rates are compared."""


def cases(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of the same cluster, model, workload, target and enforcement, under words for these."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        work = str(row["workload"]).rpartition("/")[2]
        words = [row["cluster"], row["model"], work, f"SLO {row['slo']}", row["enforcement"]]
        words += [f"{name} {value}" for name, value in row.get("changes", {}).items()]
        found.setdefault(", ".join(map(str, words)), []).append(row)
    return found


def _by_seed(
    mine: Mapping[int, float], theirs: Mapping[int, float], how: Callable[[float, float], float]
) -> Interval:
    return statistics.interval([how(mine[seed], theirs[seed]) for seed in mine.keys() & theirs])


def _change(mine: Sequence[Row], base: Sequence[Row], field: str) -> Interval:
    """In % of the base's."""
    return _by_seed(
        report.seeds(mine, field),
        report.seeds(base, field),
        lambda a, b: 100 * (a - b) / b if b > 0 else math.nan,
    )


def added(rows: Sequence[Row], floor: Sequence[Row]) -> dict[int, float]:
    """Mean TTFT beyond the floor's, by seed."""
    least = report.seeds(floor, "ttft_mean_s")
    mine = report.seeds(rows, "ttft_mean_s")
    return {seed: mine[seed] - least[seed] for seed in mine.keys() & least}


def _signed(value: Interval) -> str:
    """As a change: with its sign."""
    if not math.isfinite(value.mean):
        return ""
    half = "" if math.isnan(value.half) else f" ± {value.half:.1f}"
    return f"{value.mean:+.1f}{half}"


def changes(rows: Sequence[Row], base: str, beyond: str = "") -> Table:
    """Of one case: a line a policy and load."""
    more = (f"beyond {beyond}", "less, times") if beyond else ("p99, %", "points")
    table = Table("policy", "load", "attained", "TTFT", "mean, %", *more)
    for (load,), here in by(
        [{**row, "load": round(float(row["load"]), 3)} for row in rows], "load"
    ).items():
        policies = {name: group for (name,), group in by(here, "policy").items()}
        theirs, floor = policies.get(base, []), policies.get(beyond, [])
        for policy, group in policies.items():
            attained, ttft_s = mean(group, "attainment").mean, mean(group, "ttft_mean_s").mean
            cells = ["", "", ""]
            if policy != base:
                cells[0] = _signed(_change(group, theirs, "ttft_mean_s"))
                cells[1] = _signed(_change(group, theirs, "ttft_p99_s"))
                cells[2] = _signed(_by_seed(report.seeds(group), report.seeds(theirs), _points))
            if beyond:
                own, of_base = added(group, floor), added(theirs, floor)
                less = _by_seed(of_base, own, lambda a, b: a / b if b > 0 else math.nan)
                cells[1] = span(statistics.interval(list(own.values())).mean)
                cells[2] = f"{less:.2f}" if policy != base and math.isfinite(less.mean) else ""
            table.add_row(policy, f"{load:.3g}", number(attained, ".3f"), span(ttft_s), *cells)
    return table


def _points(mine: float, theirs: float) -> float:
    return 100 * (mine - theirs)


# --- a policy over others ---


def _curve(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    loads = by([{**row, "load": round(float(row["load"]), 6)} for row in rows], "load")
    found = sorted((load, mean(group, "attainment").mean) for (load,), group in loads.items())
    return [load for load, _ in found], [value for _, value in found]


def attained_over(ours: Sequence[Row], theirs: Sequence[Row]) -> list[float]:
    """At each load at which they attain at least a tenth."""
    mine, others = dict(zip(*_curve(ours), strict=True)), _curve(theirs)
    return [
        mine[load] / value
        for load, value in zip(*others, strict=True)
        if value >= LEAST_ATTAINED and load in mine
    ]


def rate_over(ours: Sequence[Row], theirs: Sequence[Row], target: float) -> float:
    """NaN where one of them does not cross it."""
    found = []
    for loads, values in (_curve(ours), _curve(theirs)):
        at = statistics.crossing(loads, values, target)
        if at is None or at >= loads[-1] or at <= loads[0]:
            return math.nan
        found.append(at)
    return found[0] / found[1]


def ratios(rows: Sequence[Row], base: str) -> Table:
    """A line a case and other policy: attained over its, and rates over its at so much attained."""
    table = Table(
        Column("case", fold=True),
        Column("over", left=True),
        "attains",
        *(f"at {100 * target:.0f} %" for target in EQUAL),
    )
    for title, group in cases(rows).items():
        policies = {name: here for (name,), here in by(group, "policy").items()}
        for policy, theirs in policies.items():
            if policy == base:
                continue
            times = attained_over(policies[base], theirs)
            rates = [rate_over(policies[base], theirs, target) for target in EQUAL]
            table.add_row(
                title,
                policy,
                f"{np.min(times):.2f} - {np.max(times):.2f}" if times else "",
                *("" if math.isnan(rate) else f"{rate:.2f}" for rate in rates),
            )
    return table
