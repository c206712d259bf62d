# SPDX-License-Identifier: Apache-2.0
"""The demo's requests: which arrives when, and when its first token is due.

    load = bytes that a prefill host sends for all requests / (link * seconds)

A seed picks a run of consecutive rows of the trace and draws Poisson arrivals, which are
stretched so that the load is exactly the wanted one; lengths and reuse are the trace's
own. A request goes to the unit that would be free first if each took its time alone.
"""

from __future__ import annotations

import random

from .job import Job
from .llama import Llama
from .trace import Row


def make(
    rows: list[Row], llama: Llama, load: float, seconds: float, seed: int, most_tokens: int
) -> list[Job]:
    """Jobs that arrive within `seconds`; prompts are cut to `most_tokens`."""
    draw, stores = random.Random(seed), random.Random(f"stores {seed}")
    setting = llama.setting
    first = draw.randrange(len(rows))
    chosen: list[tuple[float, int, int]] = []  # arrival (not stretched), tokens, cached
    now = 0.0
    wanted = load * setting.link_Bps * seconds
    while wanted > 0 or not chosen:
        row = rows[(first + len(chosen)) % len(rows)]
        tokens = min(row.tokens, most_tokens)
        now += draw.expovariate(1.0)
        chosen.append((now, tokens, min(row.cached, tokens - 1)))
        wanted -= 2 * setting.groups * llama.shard_bytes(tokens)  # stages 2 and 3
    stretch = seconds / (now + draw.expovariate(1.0))
    free = [0.0] * setting.units
    jobs = []
    for index, (at, tokens, cached) in enumerate(chosen):
        arrival = at * stretch
        alone = llama.alone_s(tokens, cached)
        starts = [max(moment, arrival) for moment in free]
        unit = starts.index(min(starts))
        free[unit] = starts[unit] + alone
        jobs.append(
            Job(
                index=index,
                unit=unit,
                arrival_s=arrival,
                tokens=tokens,
                cached=cached,
                slo_s=llama.slo_factor * alone,
                shard_bytes=llama.shard_bytes(tokens),
                fetch_bytes=llama.shard_bytes(cached) if cached else 0,
                exchange_bytes=llama.shard_bytes(tokens),
                compute_s=llama.compute_s(tokens, cached),
                draw=stores.random(),
            )
        )
    return jobs
