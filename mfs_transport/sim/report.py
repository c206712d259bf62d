# SPDX-License-Identifier: Apache-2.0
"""Tables of results: one run, policies side by side, attainment over load, goodput."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..terminal import NOTHING, Column, Table, number
from . import statistics
from .statistics import Interval

Row = Mapping[str, Any]


def span(seconds: float) -> str:
    """A time with three digits: 12.3 ms, 1.23 s."""
    if math.isnan(seconds):
        return NOTHING
    if math.isinf(seconds):
        return "never"
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if abs(seconds) >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def by(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def mean(rows: Sequence[Row], field: str) -> Interval:
    """Of the rows that have it: those of an older build may not."""
    return statistics.interval([float(row.get(field, math.nan)) for row in rows])


def seeds(rows: Iterable[Row], field: str = "attainment") -> dict[int, float]:
    return {int(row["seed"]): float(row[field]) for row in rows if field in row}


def one(row: Row) -> Table:
    """All that a run says, a line each."""
    table = Table(Column("", left=True), Column("", fold=True), heading=False)
    lines = {
        "requests a second": f"{row['rate']:.4g} (load {row['load']:.2f})",
        "attained": f"{number(row['attainment'], '.3f')} of {row['requests']} requests",
        "TTFT mean, p50, p99": ", ".join(
            span(row[f"ttft_{name}_s"]) for name in ("mean", "p50", "p99")
        ),
        "TTFT / SLO mean, p50, p99": ", ".join(
            number(row[f"ttft_slos_{name}"], ".2f") for name in ("mean", "p50", "p99")
        ),
        "given up": f"{row['shed']}; TTFT of the others: mean "
        f"{span(row['ttft_kept_mean_s'])}, p99 {span(row['ttft_kept_p99_s'])}",
        "collective, mean": span(row["collective_mean_s"]),
        "earliness, mean": span(row["earliness_mean_s"]),
        "ports of prefill hosts": f"egress {row['utilisation_prefill_egress']:.2f}, "
        f"ingress {row['utilisation_prefill_ingress']:.2f}",
        "ports of decode hosts": f"egress {row['utilisation_decode_egress']:.2f}, "
        f"ingress {row['utilisation_decode_ingress']:.2f}",
        "simulated": f"{row['events']:,} events, {row['flows']:,} flows in {row['seconds']:.2f} s",
    }
    if len(row["attainment_by_class"]) > 1:
        lines["attained by class"] = ", ".join(
            f"{name} {value:.3f}" for name, value in row["attainment_by_class"].items()
        )
    for name, value in lines.items():
        table.add_row(name, value)
    return table


def compare(rows: Sequence[Row], base: str) -> Table:
    """Policies on the same requests; differences are paired by seed."""
    table = Table(
        *("policy", "attained"),
        Column(f"minus {base}", 7),
        Column(f"times {base}", 5),
        Column("collective", 2),
        Column("earliness", 1),
    )
    groups = by(rows, "policy")
    bases = groups.get((base,), [])
    for (policy,), group in groups.items():
        attained = mean(group, "attainment")
        apart = statistics.paired(seeds(group), seeds(bases))
        floor = mean(bases, "attainment").mean if bases else math.nan
        table.add_row(
            policy,
            f"{attained:.3f}",
            "" if policy == base or not bases else f"{apart:+.3f}".replace("± +", "± "),
            number(attained.mean / floor, ".2f") if bases and floor > 0 else "",
            span(mean(group, "collective_mean_s").mean),
            span(mean(group, "earliness_mean_s").mean),
        )
    return table


def tails(rows: Sequence[Row]) -> Table:
    """Mean and tail, a line a policy and load: means over the seeds of what each run had."""
    several = len({round(float(row["load"]), 3) for row in rows}) > 1
    table = Table(
        "policy",
        *(("load",) if several else ()),
        *("attained", "TTFT mean", "TTFT p50", "TTFT p99"),
        *("mean / SLO", "p50 / SLO", "p99 / SLO"),
        Column("given up", 1),
    )
    for (policy,), group in by(rows, "policy").items():
        for load in sorted({round(float(row["load"]), 3) for row in group}):
            here = [row for row in group if round(float(row["load"]), 3) == load]
            table.add_row(
                policy,
                *((f"{load:.3g}",) if several else ()),
                number(mean(here, "attainment").mean, ".3f"),
                *(span(mean(here, f"ttft_{name}_s").mean) for name in ("mean", "p50", "p99")),
                *(
                    number(mean(here, f"ttft_slos_{name}").mean, ".2f")
                    for name in ("mean", "p50", "p99")
                ),
                number(mean(here, "shed").mean, ".0f"),
            )
    return table


def over_load(rows: Sequence[Row]) -> Table:
    """Mean attainment, a line a policy, a column a load."""
    loads = sorted({round(float(row["load"]), 3) for row in rows})
    table = Table("policy", *(f"{load:.3g}" for load in loads))
    for (policy,), group in by(rows, "policy").items():
        cells = []
        for load in loads:
            here = [row for row in group if round(float(row["load"]), 3) == load]
            cells.append(number(mean(here, "attainment").mean, ".3f") if here else "")
        table.add_row(policy, *cells)
    return table


def goodputs(rows: Sequence[Row], target: float = statistics.TARGET) -> dict[str, dict[int, float]]:
    """policy -> seed -> highest rate at which `target` is attained (0 where it never is)."""
    found: dict[str, dict[int, float]] = {}
    for (policy, seed), group in by(rows, "policy", "seed").items():
        rates = [float(row["rate"]) for row in group]
        at = statistics.crossing(rates, [float(row["attainment"]) for row in group], target)
        found.setdefault(policy, {})[seed] = at or 0.0
    return found


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> Interval:
    """Ours over theirs, seed by seed; seeds on which they have 0 are left out."""
    return statistics.interval([rate / theirs[s] for s, rate in ours.items() if theirs.get(s)])


def goodput(rows: Sequence[Row], base: str, target: float = statistics.TARGET) -> Table:
    """Highest rate with `target` attained, and its ratio to the base's, seed by seed."""
    found = goodputs(rows, target)
    table = Table("policy", f"requests/s at {100 * target:.0f} %", f"times {base}", "utilisation")
    for policy, rates in found.items():
        times = ratio(rates, found.get(base, {}))
        near = min(
            (row for row in rows if row["policy"] == policy),
            key=lambda row: abs(row["rate"] - statistics.interval(list(rates.values())).mean),
        )
        table.add_row(
            policy,
            f"{statistics.interval(list(rates.values())):.4g}",
            f"{times:.3f}" if times.count else "",
            f"{near['utilisation']:.2f}",
        )
    return table
