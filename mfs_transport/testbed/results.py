# SPDX-License-Identifier: Apache-2.0
"""Tables of `mfs testbed compare`: what was measured, and beside it what the simulator predicts.

Runs of which a processor was the limit count for nothing; the last column says how many are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..sim import statistics
from ..sim.report import by, mean, seeds
from ..sim.statistics import Interval
from ..terminal import NOTHING, Column, Table, number

Row = Mapping[str, Any]

# arXiv 2603.17456, at one request a second and prefill GPU: change against fair sharing, %
PAPER = {"conversation": (-20.7, -31.9), "agent": (-32.3, -43.1)}


def valid(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if not row["cpu_bound"]]


def milliseconds(rows: Sequence[Row], field: str, digits: str = ".0f") -> str:
    return number(1e3 * mean(rows, field).mean, digits)


def measured(rows: Sequence[Row]) -> Table:
    """Of one rate, a line a policy: means of seeds, attainment with its 95 % interval."""
    table = Table(
        *("policy", "attained"),
        Column("simu-\nlated", 9),
        Column("TTFT ms\nmean", 8),
        Column("simu-\nlated", 6),
        Column("p99", 5),
        Column("simu-\nlated", 3),
        Column("collective\nms", 7),
        Column("simu-\nlated", 4),
        Column("early\nms", 1),
        Column("valid\nruns", 2),
    )
    for (policy,), every in by(rows, "policy").items():
        group = valid(every)
        table.add_row(
            policy,
            f"{mean(group, 'attainment'):.3f}",
            number(mean(group, "predicted_attainment").mean, ".3f"),
            milliseconds(group, "ttft_mean_s"),
            milliseconds(group, "predicted_ttft_mean_s"),
            milliseconds(group, "ttft_p99_s"),
            milliseconds(group, "predicted_ttft_p99_s"),
            milliseconds(group, "collective_mean_s", ".2f"),
            milliseconds(group, "predicted_collective_mean_s", ".2f"),
            milliseconds(group, "earliness_mean_s"),
            f"{len(group)} of {len(every)}",
        )
    return table


def change(ours: Sequence[Row], theirs: Sequence[Row], field: str) -> Interval:
    """Per cent, seed by seed."""
    base = seeds(theirs, field)
    return statistics.interval(
        [
            100 * (value / base[seed] - 1)
            for seed, value in seeds(ours, field).items()
            if base.get(seed, 0.0) > 0.0
        ]
    )


def changes(rows: Sequence[Row], base: str) -> Table:
    """Of one rate: mean TTFT and collectives against `base`, and attainment as a multiple of it."""
    table = Table(
        "policy",
        Column("TTFT\n%"),
        Column("simu-\nlated", 3),
        Column("collective\n%"),
        Column("simu-\nlated", 2),
        Column("attained\ntimes"),
        Column("simu-\nlated", 1),
    )
    theirs = [row for row in valid(rows) if row["policy"] == base]
    for (policy,), every in by(rows, "policy").items():
        if policy == base:
            continue
        ours = valid(every)
        cells = []
        for field in ("ttft_mean_s", "collective_mean_s"):
            cells.append(signed(change(ours, theirs, field)))
            cells.append(number(change(ours, theirs, f"predicted_{field}").mean, "+.1f"))
        for field in ("attainment", "predicted_attainment"):
            bases = seeds(theirs, field)
            times = statistics.interval(
                [value / bases[s] for s, value in seeds(ours, field).items() if bases.get(s)]
            )
            cells.append(f"{times:.2f}" if field == "attainment" else number(times.mean, ".2f"))
        table.add_row(policy, *cells)
    for work in {str(row["workload"]) for row in rows} & PAPER.keys():
        ttft, collective = PAPER[work]
        table.add_row("the paper's", f"{ttft:+.1f}", "", f"{collective:+.1f}")
    return table


def signed(value: Interval) -> str:
    return f"{value:+.1f}".replace("± +", "± ")


def agreement(rows: Sequence[Row]) -> Table:
    """Test bed and simulator: order of the policies by attainment, and how far they are apart."""
    table = Table(
        "rate",
        Column("order measured, best first", fold=True, left=True),
        Column("simulated", fold=True, left=True),
        Column("apart\nat most"),
    )
    for (rate,), every in by(rows, "rate").items():
        group = by(valid(every), "policy")
        found = {policy: mean(some, "attainment").mean for (policy,), some in group.items()}
        said = {
            policy: mean(some, "predicted_attainment").mean for (policy,), some in group.items()
        }
        apart = max((abs(found[one] - said[one]) for one in found), default=math.nan)
        table.add_row(f"{rate:g}", in_order(found), in_order(said), number(apart, ".3f"))
    return table


def in_order(attained: Mapping[str, float]) -> str:
    """Best first."""
    return " ".join(sorted(attained, key=lambda one: -attained[one])) or NOTHING


def invalid(rows: Sequence[Row]) -> list[str]:
    """Says of which runs a processor was the limit."""
    bound = [row for row in rows if row["cpu_bound"]]
    if not bound:
        return []
    late, busy = (max(float(row[name]) for row in bound) for name in ("late", "cpu_busy"))
    return [
        f"not valid: {len(bound)} of {len(rows)} runs, of which a processor was the limit (hosts "
        f"looked up from waits up to {100 * late:.0f} % late, processors up to {100 * busy:.0f} % "
        "busy); --again runs them once more"
    ]
