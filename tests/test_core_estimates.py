# SPDX-License-Identifier: Apache-2.0
"""Estimates that are 30 % wrong, each way: what they cost, on one link. docs/scheduler.md has
the figures that are held here.

The link is the truth; what the queue is told of its bandwidth, of the time of a layer and of the
bytes left differs.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import pytest
from test_core_known_answers import LATEST, finishes

from mfs_transport.scheduler import Facts, Queue, Tag

LOW, HIGH = 0.7, 1.3
PAPER = {"mlu_base": 4.0, "mlu_top": 4.0}  # deferring to the last safe moment


def late(ends: dict[str, float]) -> str:
    return "".join(sorted(name for name, end in ends.items() if end > LATEST[name]))


# --- the known answers: three flows that fit to the last unit, so that nothing is to spare ---

# one estimate wrong: who is late. Nobody is when all are right.
ONE_WRONG = [
    ("mfs", {}, ""),
    ("mfs", {"rate": LOW}, "C"),  # C seems doomed: 3 units at 0.7 in 3 time units
    ("mfs", {"rate": HIGH}, ""),
    ("mfs", {"left": LOW}, ""),
    ("mfs", {"left": HIGH}, "C"),  # the same
    ("mfs", {"layer": LOW}, "B"),  # B seems to have until 7.8, behind C
    ("mfs", {"layer": HIGH}, "C"),  # A seems to have until 6.3, in front of C
    ("mfs_paper", {}, ""),
    ("mfs_paper", {"rate": LOW}, "B"),  # C is raised too early
    ("mfs_paper", {"rate": HIGH}, "C"),  # C is raised too late
    ("mfs_paper", {"left": LOW}, ""),
    ("mfs_paper", {"left": HIGH}, ""),
    ("mfs_paper", {"layer": LOW}, ""),
    ("mfs_paper", {"layer": HIGH}, ""),
]


@pytest.mark.parametrize(("policy", "wrong", "expected"), ONE_WRONG)
def test_one_wrong(policy: str, wrong: dict[str, float], expected: str) -> None:
    params = PAPER if policy == "mfs_paper" else {}
    assert late(finishes(policy, **{"left": 1.0, **wrong}, **params)) == expected


@pytest.mark.parametrize("policy", ["mfs", "mfs_paper"])
def test_all_wrong_at_once(policy: str) -> None:
    """However they combine, one of the three is late at most: as under edf, never as under fair."""
    params = PAPER if policy == "mfs_paper" else {}
    for rate, layer, left in itertools.product((LOW, 1.0, HIGH), repeat=3):
        ends = finishes(policy, rate=rate, layer=layer, left=left, **params)
        assert len(late(ends)) <= 1, (rate, layer, left)
        assert max(ends.values()) == 9  # the link never idles


# --- many requests, with deadlines that most can meet ---

UNIT = 1_000_000  # bytes a ms
PIECE = 125_000


@dataclass
class Job:
    arrival_ns: int
    size: int
    deadline_ns: int
    factor: float  # of what is told of the bytes left


def jobs(load: float, seed: int, count: int = 400) -> list[Job]:
    """Poisson arrivals of 1 to 40 ms of the link, deadlines of 1.5 to 10 times that."""
    draw = random.Random(seed)
    made, now_ms = [], 0.0
    for _ in range(count):
        size_ms = min(40.0, max(1.0, draw.expovariate(1 / 8)))
        now_ms += draw.expovariate(load / 8.7)
        due_ms = now_ms + size_ms * draw.uniform(1.5, 10)
        factor = draw.choice((LOW, HIGH))
        made.append(Job(int(now_ms * 1e6), int(size_ms * UNIT), int(due_ms * 1e6), factor))
    return made


def on_time(policy: str, load: float, *, rate: float = 1.0, left: bool = False) -> float:
    """Share of requests delivered by their deadlines, over three draws."""
    met = total = 0
    for seed in range(3):
        waiting = jobs(load, seed)
        total += len(waiting)
        queue = Queue(policy, rate_Bps=round(rate * UNIT * 1000))
        now_ns, at = 0, 0
        while at < len(waiting) or len(queue):
            if not len(queue):
                now_ns = max(now_ns, waiting[at].arrival_ns)
            while at < len(waiting) and waiting[at].arrival_ns <= now_ns:
                job = waiting[at]
                told = round(job.size * job.factor) if left else 0
                queue.facts[1 + at] = Facts(deadline_ns=job.deadline_ns, p2d_left_bytes=told)
                queue.push(Tag(1 + at, "p2d"), job.size, now_ns)
                at += 1
            chunk = queue.take(PIECE, now_ns)
            assert chunk
            now_ns += chunk.length  # a byte a ns
            request = chunk.operation.tag.request
            assert isinstance(request, int)
            job = waiting[request - 1]
            if chunk.last:
                met += now_ns <= job.deadline_ns
            elif left:
                told = round((job.size - chunk.operation.taken) * job.factor)
                queue.facts[request] = Facts(deadline_ns=job.deadline_ns, p2d_left_bytes=told)
    return met / total


@pytest.mark.parametrize("load", [0.8, 0.95])
def test_most_are_on_time_all_the_same(load: float) -> None:
    """Each wrong, and both: two in a hundred more are late at most; fair shares lose a quarter."""
    exact = on_time("mfs", load)
    assert on_time("fair", load) < exact - 0.25
    for rate, left in ((LOW, False), (HIGH, False), (1.0, True), (LOW, True), (HIGH, True)):
        assert on_time("mfs", load, rate=rate, left=left) > exact - 0.021, (rate, left)
