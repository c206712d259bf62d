# SPDX-License-Identifier: Apache-2.0
"""A prefill host: one of the two ranks of its units.

A unit serves its queue in order of arrival. For each request: fetches of all groups are
posted on arrival (stage 1). Group by group: when it is fetched and the group before is
complete, compute (a wait), exchange with the other rank (stage 2), send the shard on to
decode (stage 3). Both ranks do the same, and the exchange keeps them in step.

Scheduling enters here as it does in an engine: requests are registered with their
deadline, the unit's queue and progress are reported, and each transfer is tagged.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from .. import control
from .schedule import Job
from .worker import Regions, Worker, checksum, pool_offset


class Queue:
    """One unit: what waits (the first one computes) and what is computed but not all sent."""

    def __init__(self, egress: control.Egress) -> None:
        self.plan = control.Unit(egress)
        self.waiting: list[Active] = []
        self.sending: list[Active] = []


@dataclass
class Active:
    """A request that has arrived and is not all sent."""

    job: Job
    request: control.Request
    fetched: list[bool]
    fetches: dict[int, Any] = field(default_factory=dict)  # group -> handle
    sends: dict[int, Any] = field(default_factory=dict)
    group: int = 0  # that computes, or comes next
    computed_ns: int = 0  # end of computing of `group`; 0: not started
    exchange: Any = None  # handle of ours; None: not posted; True: it has gone
    p2d_left: int = 0  # stage 3 bytes

    def __post_init__(self) -> None:
        self.p2d_left = self.job.shard_bytes * len(self.fetched)


class Prefill(Worker):
    regions = ("fetched", "exchanged")

    def peers(self, order: dict[str, Any]) -> None:
        self.setting = order["setting"]
        super().peers(order)

    def prepare(self) -> None:
        shards = [job.shard_bytes for job in self.jobs]
        self.fetch_places = Regions(self.jobs, self.groups, [j.fetch_bytes for j in self.jobs])
        self.shard_places = Regions(self.jobs, self.groups, shards)
        egress = control.Egress(self.host)
        self.units = [Queue(egress) for _ in range(self.setting["units"])]
        self.arrived = 0
        self.exchanged: set[tuple[int, int]] = set()  # (job, group) that came from the other
        self.exchange_s: list[float] = []
        self.fetch_wait_s = 0.0
        pool = self.memory["pool"]
        self.checksums: dict[tuple[str, int, int], int] = {}
        for job in self.jobs:
            for group in range(self.groups):
                for kind, size in (("fetch", job.fetch_bytes), ("kv", job.shard_bytes)):
                    at = pool_offset(kind, job.index, group, self.rank, size)
                    self.checksums[kind, job.index, group] = checksum(pool[at : at + size])

    # --- transfers ---

    def post(
        self,
        active: Active,
        stage: str,
        group: int,
        operation: str,
        local: Any,
        remote: Any,
        peer: str,
        message: dict[str, Any] | None,
    ) -> Any:
        handle = self.agent.initialize_xfer(
            operation, local, remote, peer, json.dumps(message).encode() if message else b""
        )
        self.agent.tag(handle, active.request, stage, group)
        if self.agent.transfer(handle) == "ERR":
            raise OSError(f"{self.name}: a {stage} transfer to {peer} failed")
        return handle

    def done(self, handle: Any) -> bool:
        state = self.agent.check_xfer_state(handle)
        if state == "ERR":
            raise OSError(f"{self.name}: a transfer failed")
        if state == "DONE":
            self.agent.release_xfer_handle(handle)
        return bool(state == "DONE")

    def send_kv(self, active: Active, stage: str, peer: str, region: str) -> Any:
        """New KV of the current group: the same bytes to the other rank and to decode."""
        job, group = active.job, active.group
        size = job.shard_bytes
        source = pool_offset("kv", job.index, group, self.rank, size)
        return self.post(
            active,
            stage,
            group,
            "WRITE",
            self.descriptors(self.local("pool"), source, size),
            self.descriptors(
                self.remote[peer][region], self.shard_places.offset(job.index, group), size
            ),
            peer,
            {
                "job": job.index,
                "group": group,
                "checksum": self.checksums["kv", job.index, group],
            },
        )

    def fetch(self, active: Active, group: int) -> Any:
        job = active.job
        store = f"store{self.rank}"
        source = pool_offset("fetch", job.index, group, self.rank, job.fetch_bytes)
        return self.post(
            active,
            "kv_reuse",
            group,
            "READ",
            self.descriptors(
                self.local("fetched"), self.fetch_places.offset(job.index, group), job.fetch_bytes
            ),
            self.descriptors(self.remote[store]["pool"], source, job.fetch_bytes),
            store,
            None,
        )

    def notified(self, peer: str, message: dict[str, Any]) -> None:
        job, group = message["job"], message["group"]
        self.verify(
            "exchanged",
            self.shard_places.offset(job, group),
            self.shard_places.sizes[job],
            message["checksum"],
        )
        self.exchanged.add((job, group))

    # --- the unit ---

    def step(self) -> bool:
        moved = self.arrive()
        for unit in self.units:
            moved |= self.collect_fetches(unit)
            moved |= self.collect_sends(unit)
            if unit.waiting:
                moved |= self.compute(unit, unit.waiting[0])
        return moved

    def arrive(self) -> bool:
        if self.arrived == len(self.jobs) or self.jobs[self.arrived].arrival_s > self.now_s():
            return False
        job = self.jobs[self.arrived]
        self.arrived += 1
        shard_s = job.shard_bytes / self.setting["link_Bps"]
        request = control.register(
            f"job-{job.index}",
            ttft_s=job.slo_s,
            arrival_ns=self.start_ns + round(job.arrival_s * 1e9),
            layers=self.groups,
            layer_s=job.compute_s + shard_s,
            p2d_layer_s=shard_s,
            p2d_bytes=job.shard_bytes * self.groups,
            host=self.host,
            publish=False,
        )
        active = Active(job, request, [job.fetch_bytes == 0] * self.groups)
        unit = self.units[job.unit]
        unit.waiting.append(active)
        unit.plan.enqueue(request)
        if job.fetch_bytes:
            active.fetches = {group: self.fetch(active, group) for group in range(self.groups)}
        return True

    def collect_fetches(self, unit: Queue) -> bool:
        """See which fetches have come."""
        moved = False
        for active in unit.waiting:
            for group in [g for g, handle in active.fetches.items() if self.done(handle)]:
                del active.fetches[group]
                active.fetched[group] = True
                moved = True
                self.verify(
                    "fetched",
                    self.fetch_places.offset(active.job.index, group),
                    active.job.fetch_bytes,
                    self.checksums["fetch", active.job.index, group],
                )
        return moved

    def collect_sends(self, unit: Queue) -> bool:
        """See which stage 3 transfers have gone."""
        moved = False
        for active in unit.waiting[:1] + unit.sending:
            gone = [group for group, handle in active.sends.items() if self.done(handle)]
            for group in gone:
                del active.sends[group]
            if gone:
                moved = True
                active.p2d_left -= len(gone) * active.job.shard_bytes
                unit.plan.progress(active.request, p2d_left_bytes=active.p2d_left)
            if active in unit.sending and not active.sends:
                unit.sending.remove(active)
                unit.plan.finish(active.request)
        return moved

    def compute(self, unit: Queue, active: Active) -> bool:
        job, group = active.job, active.group
        if active.computed_ns == 0:
            if not active.fetched[group]:
                return False
            active.computed_ns = time.monotonic_ns() + round(job.compute_s * 1e9)
            unit.plan.progress(active.request, layer=group)
            return True
        if active.exchange is None:
            if time.monotonic_ns() < active.computed_ns:
                return False
            other = f"prefill{1 - self.rank}"
            active.exchange = self.send_kv(active, "collective", other, "exchanged")
            return True
        if active.exchange is not True:
            if not self.done(active.exchange):
                return False
            active.exchange = True
        if (job.index, group) not in self.exchanged:
            return False
        self.exchange_s.append((time.monotonic_ns() - active.computed_ns) / 1e9)
        active.sends[group] = self.send_kv(active, "p2d", f"decode{self.rank}", "kv")
        active.group, active.computed_ns, active.exchange = group + 1, 0, None
        if active.group == self.groups:
            unit.waiting.pop(0)
            unit.sending.append(active)
            unit.plan.computed(active.request)
        return True

    def over(self) -> bool:
        return self.arrived == len(self.jobs) and not any(
            unit.waiting or unit.sending for unit in self.units
        )

    def result(self) -> dict[str, Any]:
        return {"collective_mean_s": sum(self.exchange_s) / max(1, len(self.exchange_s))}

    def clean_up(self) -> None:
        for unit in self.units:
            for active in unit.waiting + unit.sending:
                active.request.finish()


WORKER = Prefill
