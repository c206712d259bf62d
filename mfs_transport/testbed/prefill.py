# SPDX-License-Identifier: Apache-2.0
"""A prefill host: its ranks of its units.

Fetches of all groups begin when a request is routed here (stage 1). The router says which batch a
unit computes. Group by group: when it is fetched and the group before is complete, compute (a
wait), exchange with the unit's other hosts (stage 2), send each request's shard on to decode
(stage 3). All hosts of a unit do the same, and the exchange keeps them in step.

Scheduling enters here as it does in an engine: requests are registered with their
deadline, the unit's queue and progress are reported, and each transfer is tagged.
"""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

from .. import control
from . import exchange_nccl, exchange_nixl
from .batch import Active, Batch
from .steps import Steps
from .worker import Worker

HURRY = 5  # times sooner


class Exchange(Protocol):
    """Carries stage 2."""

    def expect(self, batch: Batch) -> None:
        """A group of the batch computes: its exchange comes next."""

    def begin(self, batch: Batch) -> None:
        """It is computed."""

    def heard(self, what: list[int]) -> None:
        """A notification of the other side's."""

    def step(self) -> bool:
        """Progress; True: something moved."""

    def done(self, batch: Batch) -> bool:
        """All is sent, and all has come."""


class Queue:
    """One unit: what waits, the batch that computes, and what is computed but not all sent."""

    def __init__(self, egress: control.Egress) -> None:
        self.plan = control.Unit(egress)
        self.waiting: dict[int, Active] = {}  # by job, in order
        self.running: Batch | None = None
        self.batches = 0
        self.sending: list[Active] = []


class Prefill(Worker):
    regions = ("fetched", "exchanged")

    def greeting(self) -> dict[str, Any]:
        host, nic = self.setting.place(self.name)
        self.steps: Steps | None = None
        if self.setting.nics > 1:
            folder = os.path.dirname(os.path.dirname(os.environ["MFS_SEGMENT"]))
            self.steps = Steps(f"{folder}/steps-{host}", nic, self.setting.nics)
        self.connections: exchange_nccl.Connections | None = None
        if self.setting.stage2 != "nccl":
            return {}
        self.connections = exchange_nccl.Connections(self)
        return {"nccl": self.connections.greeting()}

    def meet(self, peers: dict[str, Any]) -> None:
        if self.connections:
            self.connections.meet(peers)

    def prepare(self) -> None:
        egress = control.Egress(self.host)
        self.actives: dict[int, Active] = {}  # by job
        self.units = {unit: Queue(egress) for unit in self.setting.units_on(self.name)}
        self.exchange: Exchange = (
            exchange_nccl.Exchange(self, self.connections)
            if self.connections
            else exchange_nixl.Exchange(self)
        )
        self.spans: list[tuple[int, int, float, float]] = []  # batch's job, group, begin, end
        self.given_up: list[int] = []
        self.late_s = self.computing_s = 0.0
        if self.steps:
            self.steps.begin()

    # --- what comes ---

    def told(self, message: dict[str, Any]) -> None:
        super().told(message)
        if message["order"] == "route" and message["unit"] in self.units:
            self.arrive(self.units[message["unit"]], message)
        elif message["order"] == "queue":
            self.form(message)

    def arrive(self, unit: Queue, route: dict[str, Any]) -> None:
        job = self.jobs[route["job"]]
        part = route["hosts"].index(self.name) if self.name in route["hosts"] else None
        request = self.register(job, delivers=part is not None)
        fetched = job.fetch_bytes == 0 or part is None
        active = Active(job, request, route, part, [fetched] * self.groups)
        self.actives[job.index] = active
        unit.waiting[job.index] = active
        unit.plan.enqueue(request)
        if not fetched and self.setting.fetch == "pull":
            active.fetches = {group: self.fetch(active, group) for group in range(self.groups)}

    def form(self, message: dict[str, Any]) -> None:
        """The unit's batches, as the router has cut its queue."""
        number: int = message["unit"]
        unit = self.units[number]
        payload_Bps = self.setting.payload_Bps
        sizes = [len(unit.running.actives)] if unit.running else []
        for batch in message["batches"]:
            actives = [unit.waiting[job] for job in batch["jobs"]]
            sent = sum(active.job.exchange_bytes for active in actives)
            exchange_s = sent * (self.setting.unit_hosts - 1) / payload_Bps
            for active in actives:
                active.request.update(
                    layer_s=batch["compute_s"] + exchange_s, collective_s=exchange_s, publish=False
                )
            sizes.append(len(actives))
        if message["begin"]:
            first = message["batches"][0]
            unit.batches += 1
            actives = [unit.waiting.pop(job) for job in first["jobs"]]
            unit.running = Batch(number, unit.batches, actives, first["compute_s"])
        unit.plan.form(sizes)

    def fetch(self, active: Active, group: int) -> Any:
        job, part = active.job, self.part(active)
        store = active.route["store"][part]
        source, _ = self.sum_of("fetch", job.index, group, part, job.fetch_bytes)
        place = active.route["fetched_at"][part] + group * job.fetch_bytes
        return self.post(
            *(active.request, "kv_reuse", group, "READ", ("fetched", place), store),
            *(("pool", source), job.fetch_bytes),
        )

    def part(self, active: Active) -> int:
        if active.part is None:
            raise OSError(f"{self.name}: KV of request {active.job.index} is on another NIC")
        return active.part

    def notified(self, message: dict[str, Any]) -> bool:
        if "exchange" in message:
            self.exchange.heard(message["exchange"])
            return True
        active = self.actives.get((message.get("fetched") or message["read"])[0])
        if active and "fetched" in message:
            _, group, known = message["fetched"]
            self.come(active, group, known)
        elif active:
            active.sends[message["read"][1]] = True
        return active is not None

    def come(self, active: Active, group: int, known: int) -> None:
        """A group is fetched."""
        job, place = active.job, active.route["fetched_at"][self.part(active)]
        if active.fetched[group]:
            raise OSError(f"group {group} of request {job.index} was fetched twice")
        active.fetched[group] = True
        self.verify("fetched", place + group * job.fetch_bytes, job.fetch_bytes, known)

    # --- the units ---

    def step(self) -> bool:
        moved = self.exchange.step()
        for unit in self.units.values():
            moved |= self.collect_fetches(unit)
            moved |= self.collect_sends(unit)
            if unit.running:
                moved |= self.compute(unit, unit.running)
        return moved

    def collect_fetches(self, unit: Queue) -> bool:
        """See which fetches have come."""
        moved = False
        running = unit.running.actives if unit.running else []
        for active in (*running, *unit.waiting.values()):
            for group in [g for g, handle in active.fetches.items() if self.done(handle)]:
                del active.fetches[group]
                moved = True
                job = active.job
                _, known = self.sum_of(
                    "fetch", job.index, group, self.part(active), job.fetch_bytes
                )
                self.come(active, group, known)
        return moved

    def collect_sends(self, unit: Queue) -> bool:
        """See which stage 3 transfers have gone."""
        moved = False
        running = unit.running.actives if unit.running else []
        for active in (*running, *unit.sending):
            gone = [group for group, handle in active.sends.items() if self.sent(handle)]
            for group in gone:
                del active.sends[group]
            if gone:
                moved = True
                active.p2d_left -= len(gone) * active.job.shard_bytes
                unit.plan.progress(active.request, p2d_left_bytes=active.p2d_left)
            if active.p2d_left == 0 and active in unit.sending:
                unit.sending.remove(active)
                if active.request.hopeless or active.request.shed:
                    self.given_up.append(active.job.index)
                unit.plan.finish(active.request)
                del self.actives[active.job.index]
        return moved

    def sent(self, handle: Any) -> bool:
        """False: the decode host has it to read; True: it has read it."""
        return handle if isinstance(handle, bool) else self.done(handle)

    def compute(self, unit: Queue, batch: Batch) -> bool:
        now_ns = time.monotonic_ns()
        if batch.computed_ns == 0:
            if not all(active.fetched[batch.group] for active in batch.actives):
                return False
            batch.computed_ns = now_ns + round(batch.compute_s * 1e9)
            self.computing_s += batch.compute_s
            for active in batch.actives:
                active.request.update(layer=batch.group, publish=False)
            unit.plan.egress.replan()
            self.exchange.expect(batch)
            return True
        if batch.began_ns == 0:
            if now_ns < batch.computed_ns:
                return False
            self.late_s += (now_ns - batch.computed_ns) / 1e9
            batch.began_ns = now_ns
            self.exchange.begin(batch)
            return True
        if not self.exchange.done(batch):
            return False
        step = batch.number * self.groups + batch.group
        if self.steps and not self.steps.together(step):
            return False
        begin, end = ((at - self.start_ns) / 1e9 for at in (batch.began_ns, now_ns))
        self.spans.append((batch.leader.job.index, batch.group, begin, end))
        for active in batch.actives:
            if active.part is not None:
                active.sends[batch.group] = self.deliver(active, batch.group)
        batch.next_group()
        if batch.group == self.groups:
            unit.running = None
            unit.sending.extend(batch.actives)
            for active in batch.actives:
                unit.plan.computed(active.request)
            self.channel.send({"event": "computed", "unit": batch.unit})
        return True

    def deliver(self, active: Active, group: int) -> Any:
        """Stage 3 of a group: written, or said to be ready."""
        job, part = active.job, self.part(active)
        decode, size = active.route["decode"][part], job.shard_bytes
        at, known = self.sum_of("kv", job.index, group, part, size)
        if self.setting.deliver == "pull":
            self.notify(decode, {"ready": [job.index, group, part, at, known], "from": self.name})
            return False
        place = active.route["kv_at"][part] + group * size
        return self.post(
            *(active.request, "p2d", group, "WRITE", ("pool", at), decode),
            *(("kv", place), size, {"kv": [job.index, group, part, known]}),
        )

    # --- the end ---

    def nap_s(self) -> float:
        """Shorter while a collective goes through NCCL's plug-in, which takes several messages
        forth and back; and no longer than until a group is computed."""
        nap_s, now_ns = super().nap_s(), time.monotonic_ns()
        for batch in (unit.running for unit in self.units.values()):
            if batch and batch.began_ns and self.connections:
                nap_s = min(nap_s, self.setting.idle_s / HURRY)
            elif batch and batch.computed_ns and not batch.began_ns:
                nap_s = min(nap_s, max(0, batch.computed_ns - now_ns) / 1e9)
        return nap_s

    def over(self) -> bool:
        return not any(unit.waiting or unit.running or unit.sending for unit in self.units.values())

    def result(self) -> dict[str, Any]:
        return {
            "spans": self.spans,
            "given_up": self.given_up,
            "late_s": self.late_s,
            "computing_s": self.computing_s,
        }

    def clean_up(self) -> None:
        control.batch(None)


WORKER = Prefill
