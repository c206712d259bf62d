# SPDX-License-Identifier: Apache-2.0
"""What came out of a run of the test bed; times are seconds as they passed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import cpu
from .job import Job
from .router import Router
from .setting import Setting


@dataclass(frozen=True)
class Outcome:
    """One policy on one seed."""

    policy: str
    seed: int
    attainment: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    collective_mean_s: float
    bytes: int
    seconds: float
    goodput_Bps: float  # bytes of requests that made their deadline, a second
    requests: int
    mismatches: int
    ttft_s: list[float]
    slo_s: list[float]
    counters: dict[str, int]
    given_up: list[int] = field(default_factory=list)  # requests
    cpu_busy: float = 0.0  # of the machine's processors, whoever used them
    cpu_own: float = 0.0  # of them, by the hosts' processes
    late: float = 0.0  # see cpu.py
    cpu_bound: bool = False
    units: list[int] = field(default_factory=list)  # by request
    collectives: int = 0
    sent_bytes: dict[str, int] = field(default_factory=dict)  # by host, headers included
    received_bytes: dict[str, int] = field(default_factory=dict)
    choices: dict[str, int] = field(default_factory=dict)
    """Where hosts were asked: chosen by what they said, turns without, faults (choice.py)."""
    port_line: list[tuple[float, int]] = field(default_factory=list)
    """Of the prefill process that has sent the most: seconds, bytes that have left so far."""
    class_bytes: list[int] = field(default_factory=list)
    """That left each queue of the hosts' ports, the first one first; empty: ports have one."""


def expected_bytes(setting: Setting, jobs: Sequence[Job]) -> int:
    """What receivers have to get for these requests, each byte once."""
    hosts = setting.unit_hosts
    exchanged = (hosts - 1) * setting.nics
    each = sum(job.shard_bytes + job.fetch_bytes + exchanged * job.exchange_bytes for job in jobs)
    return setting.groups * hosts * each


def collective_times(spans: list[list[tuple[int, int, float, float]]]) -> list[float]:
    """Of each batch and group, from when the last host of the unit began to when the last had
    everything."""
    begins: dict[tuple[int, int], float] = {}
    ends: dict[tuple[int, int], float] = {}
    for job, group, begin, end in (span for host in spans for span in host):
        begins[job, group] = max(begin, begins.get((job, group), begin))
        ends[job, group] = max(end, ends.get((job, group), end))
    return [ends[key] - begins[key] for key in begins]


def outcome(
    policy: str,
    seed: int,
    setting: Setting,
    jobs: Sequence[Job],
    router: Router,
    answers: dict[str, dict[str, Any]],
    busy: float,
    choices: dict[str, int] | None = None,
) -> Outcome:
    done = np.array([router.first_token_s[job.index] for job in jobs])
    ttft = done - np.array([job.arrival_s for job in jobs])
    slo = np.array([job.slo_s for job in jobs])
    sizes = np.array([job.shard_bytes * setting.groups * setting.unit_hosts for job in jobs])
    seconds = float(done.max())
    prefill = [answers[name]["result"] for name in setting.prefill]
    times = collective_times([one["spans"] for one in prefill])
    counters: dict[str, int] = {}
    for answer in answers.values():
        for name, value in answer["counters"].items():
            counters[name] = counters.get(name, 0) + value
    computing_s = sum(one["computing_s"] for one in prefill)
    late = sum(one["late_s"] for one in prefill) / computing_s if computing_s else 0.0
    busiest = max(setting.prefill, key=lambda name: answers[name]["sent"])
    used_s = sum(answer["cpu_s"] for answer in answers.values())
    return Outcome(
        policy=policy,
        seed=seed,
        attainment=float((ttft <= slo).mean()),
        ttft_mean_s=float(ttft.mean()),
        ttft_p50_s=float(np.percentile(ttft, 50)),
        ttft_p99_s=float(np.percentile(ttft, 99)),
        collective_mean_s=float(np.mean(times)) if times else 0.0,
        bytes=sum(answer["bytes"] for answer in answers.values()),
        seconds=seconds,
        goodput_Bps=float(sizes[ttft <= slo].sum() / seconds),
        requests=len(jobs),
        mismatches=sum(answer["mismatches"] for answer in answers.values()),
        ttft_s=[round(float(value), 6) for value in ttft],
        slo_s=[round(float(value), 6) for value in slo],
        counters=counters,
        given_up=sorted({job for one in prefill for job in one["given_up"]}),
        cpu_busy=busy,
        cpu_own=used_s / seconds,
        late=late,
        cpu_bound=cpu.is_bound(late, busy, setting.most_late),
        units=[router.routes[job.index].unit for job in jobs],
        collectives=len(times),
        sent_bytes={name: answer["sent"] for name, answer in answers.items()},
        port_line=answers[busiest]["port_line"],
        choices=choices or {},
        received_bytes={name: answer["received"] for name, answer in answers.items()},
    )
