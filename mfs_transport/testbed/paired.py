# SPDX-License-Identifier: Apache-2.0
"""What a choice of hosts is worth: the same requests with it and as usual, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..sim import statistics
from ..sim.report import by, seeds
from ..sim.statistics import Interval
from ..terminal import Column, Table, number

Row = Mapping[str, Any]
ASKED = ("chosen", "turns", "faults")


def minus(ours: Sequence[Row], theirs: Sequence[Row], field: str) -> Interval:
    """Of the seeds that both have."""
    return statistics.paired(seeds(ours, field), seeds(theirs, field))


def per_cent(ours: Sequence[Row], theirs: Sequence[Row], field: str) -> Interval:
    base = seeds(theirs, field)
    return statistics.interval(
        [
            100 * (value / base[seed] - 1) if base.get(seed, 0.0) > 0.0 else math.nan
            for seed, value in seeds(ours, field).items()
        ]
    )


def table(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> Table:
    """Of (name, name as usual); what the simulator says of the same requests, where rows have it.
    The last columns: choices by what hosts said, without, and answers that were none."""
    made = Table(
        "policy",
        Column("attained\nminus"),
        Column("simu-\nlated", 9),
        Column("mean TTFT\n%", 8),
        Column("simu-\nlated", 5),
        Column("p99\n%", 4),
        Column("chosen", 7),
        Column("drawn", 6),
        Column("faults", 3),
    )
    named = {name: group for (name,), group in by(rows, "policy").items()}
    for name, usual in pairs:
        ours, theirs = named.get(name, []), named.get(usual, [])
        asked = [
            str(sum((one.get("choices") or {}).get(what, 0) for one in ours)) for what in ASKED
        ]
        made.add_row(
            name,
            signed(minus(ours, theirs, "attainment")),
            number(minus(ours, theirs, "predicted_attainment").mean, "+.3f"),
            signed(per_cent(ours, theirs, "ttft_mean_s"), "+.1f"),
            number(per_cent(ours, theirs, "predicted_ttft_mean_s").mean, "+.1f"),
            number(per_cent(ours, theirs, "ttft_p99_s").mean, "+.0f"),
            *asked,
        )
    return made


def signed(value: Interval, form: str = "+.3f") -> str:
    return f"{value:{form}}".replace("± +", "± ")
