# SPDX-License-Identifier: Apache-2.0
"""A small demo on loopback that a test looks into from outside while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mfs_transport.commands.demo import alone_in_its_batch
from mfs_transport.control import HostCopy
from mfs_transport.observe import recording
from mfs_transport.observe.recording import Recording
from mfs_transport.testbed import network, schedule, trace
from mfs_transport.testbed.coordinator import Coordinator, Room, Run
from mfs_transport.testbed.llama import Llama
from mfs_transport.testbed.outcome import Outcome

Look = Callable[[], None]


def segment(folder: Path, host: str) -> str:
    return f"{folder}/{host}/host"


def recorded(folder: Path, host: str) -> Recording:
    with HostCopy(segment(folder, host)) as copy:
        return recording.of_host(copy)


def demo(
    folder: Path,
    policy: str,
    seconds: float,
    load: float,
    *,
    during: Look | None = None,
    around: Look | None = None,
) -> tuple[Recording, Outcome]:
    """One policy on one seed; the trace of prefill host 0. during: called again and again while it
    runs; around: before and behind that, while all hosts are there."""
    llama = Llama()
    jobs = schedule.make(trace.read(trace.SHIPPED), llama, load, seconds, 0, 12288)
    kv = llama.setting.groups * sum(job.shard_bytes for job in jobs)
    room = Room(kv, max(job.exchange_bytes for job in jobs))
    hosts = network.Loopback(str(folder))
    with Coordinator(hosts, llama.setting) as coordinator:
        coordinator.start(room)
        if around:
            around()
        run = Run(policy, 0, jobs, alone_in_its_batch)
        outcome = coordinator.run(run, lambda _: during() if during else None)
        if around:
            around()
        found = recorded(folder, "prefill0")
    return found, outcome
