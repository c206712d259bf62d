# SPDX-License-Identifier: Apache-2.0
"""Which request arrives when, and when its first token is due.

    load = arrivals a second * mean bytes that a prefill host sends for one / link

A seed picks a run of consecutive rows of the trace and draws Poisson arrivals at the
rate that gives the wanted load, so lengths and reuse are the trace's own. A request goes to
the unit that would be free first if every request took its time alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .setting import Setting
from .trace import Row


@dataclass(frozen=True)
class Job:
    """One request as it is replayed; times in seconds from the start of the run."""

    index: int
    unit: int
    arrival_s: float
    tokens: int
    cached: int
    slo_s: float
    shard_bytes: int  # KV of all tokens on one rank, one group: stages 2 and 3
    fetch_bytes: int  # cached part of it: stage 1; 0: nothing to fetch
    compute_s: float  # one group


def make(
    rows: list[Row], setting: Setting, load: float, seconds: float, seed: int, most_tokens: int
) -> list[Job]:
    """Jobs that arrive within `seconds`; prompts are cut to `most_tokens`."""
    draw = random.Random(seed)
    sizes = [min(row.tokens, most_tokens) for row in rows]
    mean_bytes = sum(2 * setting.groups * setting.shard_bytes(size) for size in sizes) / len(sizes)
    rate = load * setting.link_Bps / mean_bytes
    first = draw.randrange(len(rows))
    jobs: list[Job] = []
    now = 0.0
    free = [0.0] * setting.units
    while (now := now + draw.expovariate(rate)) < seconds or not jobs:
        row = rows[(first + len(jobs)) % len(rows)]
        tokens = min(row.tokens, most_tokens)
        cached = min(row.cached, tokens - 1)
        alone = setting.alone_s(tokens, cached)
        unit = min(range(setting.units), key=lambda at: max(free[at], now))
        free[unit] = max(free[unit], now) + alone
        jobs.append(
            Job(
                index=len(jobs),
                unit=unit,
                arrival_s=now,
                tokens=tokens,
                cached=cached,
                slo_s=setting.slo_factor * alone,
                shard_bytes=setting.shard_bytes(tokens),
                fetch_bytes=setting.shard_bytes(cached) if cached else 0,
                compute_s=setting.compute_s(tokens, cached),
            )
        )
    return jobs
