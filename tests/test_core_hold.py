# SPDX-License-Identifier: Apache-2.0
"""The bound on how long a transfer is held: no time-out of an engine's runs out in our queue."""

from __future__ import annotations

import random

import pytest

from mfs_transport.native import policies
from mfs_transport.scheduler import Facts, Queue, Tag

RATE = 1_000_000_000  # of the port, bytes a second
CHUNK = 1 << 20
MS = 1_000_000
TIMEOUT = 500 * MS  # after which the program gives a transfer up
HOLD = TIMEOUT // 2
NAMES = [row.name for row in policies() if row.name not in ("off", "fifo")]


def transfers(count: int, load: float) -> list[tuple[int, int, int]]:
    """(posted, bytes, deadline), of many small and a few large ones; a third of the deadlines
    cannot be met."""
    draw = random.Random(17)
    at, made = 0.0, []
    for _ in range(count):
        size = draw.choices((256 << 10, 2 << 20, 16 << 20), (70, 25, 5))[0]
        needs = 1e9 * size / RATE
        made.append((round(at), size, round(at + needs * draw.choice((0.5, 3, 30)))))
        at += draw.expovariate(load / (1e9 * (0.7 * 0.25 + 0.25 * 2 + 0.05 * 16) * 1048576 / RATE))
    return made


def longest_ns(policy: str, made: list[tuple[int, int, int]], **params: int) -> int:
    """From the posting of a transfer to its end, of the one that took longest."""
    queue = Queue(policy, rate_Bps=RATE, **params)
    posted: dict[int, int] = {}
    now, longest, at = 0, 0, 0
    while at < len(made) or posted:
        if not posted:
            now = max(now, made[at][0])
        while at < len(made) and made[at][0] <= now:
            start, size, deadline = made[at]
            queue.facts[f"r{at}"] = Facts(deadline_ns=deadline, arrival_ns=start)
            posted[id(queue.push(Tag(f"r{at}", "p2d"), size, start))] = start
            at += 1
        chunk = queue.take(CHUNK, now)
        assert chunk is not None
        now += round(1e9 * chunk.length / RATE)
        if chunk.last:
            longest = max(longest, now - posted.pop(id(chunk.operation)))
            del queue.facts[chunk.operation.tag.request]
    return longest


@pytest.mark.parametrize("policy", NAMES)
def test_no_time_out_at_high_load(policy: str) -> None:
    """10,000 transfers at load 0.95: none takes longer than its program waits for it."""
    made = transfers(10_000, 0.95)
    assert longest_ns(policy, made, patience=0) > TIMEOUT
    assert longest_ns(policy, made, patience=0, hold_ns=HOLD) <= TIMEOUT


def test_request_s_own_bound() -> None:
    queue = Queue("edf", rate_Bps=RATE)
    queue.facts.update_all(
        {"soon": Facts(deadline_ns=10**12), "held": Facts(deadline_ns=2 * 10**12, hold_ns=10**9)}
    )
    for name in ("held", "soon"):
        queue.push(Tag(name, "p2d"), 4 << 20)
    order = []
    for now in (0, 10**9, 10**9):
        chunk = queue.take(CHUNK, now)
        assert chunk is not None
        order.append(chunk.operation.tag.request)
    assert order == ["soon", "held", "held"]


def test_late_once_is_not_first_for_ever() -> None:
    """A flow that never ends: when what was late has left it is where its policy puts it."""
    queue = Queue("edf", rate_Bps=RATE, hold_ns=10**9)
    queue.facts["dated"] = Facts(deadline_ns=10**12)
    endless = Tag("without a date", "p2d")
    queue.push(endless, 1000)
    queue.push(Tag("dated", "p2d"), 4 << 20)
    queue.push(endless, 1000, 5 * 10**8)
    order = []
    for _ in range(2):
        chunk = queue.take(CHUNK, 10**9)
        assert chunk is not None
        order.append(chunk.operation.tag.request)
    assert order == ["without a date", "dated"]
