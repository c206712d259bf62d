# SPDX-License-Identifier: Apache-2.0
"""The router and the units' schedulers: who serves a request, where its bytes go, what is a batch.

The rules are the simulator's (docs/simulator.md): the unit with the fewest outstanding new tokens,
the decode host with the fewest outstanding stage 3 bytes, a drawn store; or these two by what their
ports can still be given (choice.py). It has no clock and sends nothing itself: `arrive` and `heard`
return what is to be told to whom.

    arrive(job)            -> route to all that have to do with it, queue to its unit
    heard(host, message)   <- {"event": "computed", job...}, "delivered", "first_token"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import choice
from .choice import Choice
from .job import Job
from .setting import Setting
from .space import Full, Space

Told = list[tuple[str, dict[str, Any]]]  # host, message


@dataclass
class Unit:
    waiting: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    computed: int = 0  # processes that are through with the running batch
    outstanding: int = 0  # new tokens


@dataclass(frozen=True)
class Route:
    """Of one request, by the hosts of its unit: index i is host i of the unit. All of it is on one
    NIC of each host."""

    unit: int
    hosts: list[str]
    decode: list[str]
    store: list[str]  # empty: nothing to fetch
    fetched_at: list[int]  # place in the memory `fetched` of the unit's host
    kv_at: list[int]  # place in the memory `kv` of the decode host


class Router:
    """`compute_s` says how long a group of a batch computes; `token_budget`: new tokens a batch."""

    def __init__(
        self,
        setting: Setting,
        jobs: Sequence[Job],
        region_bytes: int,
        compute_s: Callable[[list[Job]], float],
        token_budget: int = 1,
        chosen: Choice = choice.USUAL,
        choose: choice.Choose = choice.first,
    ) -> None:
        self.chosen, self.choose = chosen, choose
        self.setting, self.jobs = setting, jobs
        self.compute_s, self.token_budget = compute_s, token_budget
        self.units = [Unit() for _ in range(setting.units)]
        self.routes: dict[int, Route] = {}
        self.first_token_s: dict[int, float] = {}
        self._region_bytes = region_bytes
        self._spaces: dict[tuple[str, str], Space] = {}
        self._owed = [0] * setting.decode_hosts  # stage 3 bytes that it waits for
        self._missing: dict[int, int] = {}  # of a request: decode hosts that have not all of it
        self._latest_s: dict[int, float] = {}

    @property
    def over(self) -> bool:
        return len(self.first_token_s) == len(self.jobs)

    # --- a request comes ---

    def arrive(self, job: Job) -> Told:
        setting = self.setting
        unit = self._least_unit() if job.unit is None else job.unit
        nic = job.index % setting.nics
        hosts = setting.of_unit(unit, nic)
        decode = self._decode(job, nic)
        store = self._store(job, unit, nic) if job.fetch_bytes else []
        route = Route(
            unit,
            hosts,
            decode,
            store,
            [
                self._take(host, "fetched", (job.index, i), job.fetch_bytes) if store else 0
                for i, host in enumerate(hosts)
            ],
            [
                self._take(host, "kv", (job.index, i), job.shard_bytes)
                for i, host in enumerate(decode)
            ],
        )
        self.routes[job.index] = route
        self._missing[job.index] = len(set(decode))
        for host in decode:
            self._owed[setting.place(host)[0]] += job.shard_bytes * setting.groups
        self.units[unit].outstanding += job.new
        self.units[unit].waiting.append(job.index)
        message = {"order": "route", "job": job.index, **route.__dict__}
        told = [*decode, *setting.of_unit(unit), *(store if setting.fetch == "push" else [])]
        return [*((name, message) for name in dict.fromkeys(told)), *self._queue(unit)]

    def _least_unit(self) -> int:
        outstanding = [unit.outstanding for unit in self.units]
        return outstanding.index(min(outstanding))

    def _decode(self, job: Job, nic: int) -> list[str]:
        count = self.setting.unit_hosts
        if self.setting.spread:
            return [f"decode{i}" for i in range(count)]
        names = self.setting.decode[nic :: self.setting.nics]
        least = self._owed.index(min(self._owed))
        names = [*names[least:], *names[:least]]
        if self.chosen.decode == choice.BYTES:
            return [names[0]] * count
        size = job.shard_bytes * count * self.setting.groups
        return [names[self.choose("ingress", names, size, job.slo_s)]] * count

    def _store(self, job: Job, unit: int, nic: int) -> list[str]:
        setting, store = self.setting, self.chosen.store
        if setting.spread and store == choice.OWN:
            return [f"store{i}" for i in range(setting.unit_hosts)]
        own = setting.of_unit(unit)
        every = setting.stores if setting.spread else setting.processes
        others = [name for name in every[nic :: setting.nics] if name not in own]
        if store in (choice.OWN, choice.DRAW):
            return choice.copies(job.draw, others, 1) * setting.unit_hosts
        names = choice.copies(job.draw, others, self.chosen.replicas)
        size = job.fetch_bytes * setting.unit_hosts * setting.groups
        at = self.choose("egress", names, size, choice.deadline_s(store, job, setting))
        return [names[at]] * setting.unit_hosts

    def _take(self, host: str, region: str, key: tuple[int, int], size: int) -> int:
        space = self._spaces.setdefault((host, region), Space(self._region_bytes))
        try:
            return space.take(key, size * self.setting.groups)
        except Full as error:
            raise Full(
                f"host {host} has no room for {error} of KV: more requests wait than it can hold; "
                "choose a smaller rate, or fewer requests"
            ) from None

    # --- batches ---

    def _batches(self, waiting: list[int]) -> list[list[Job]]:
        """The head of the queue up to the budget, at least one request, and so on."""
        found: list[list[Job]] = []
        room = 0
        for job in (self.jobs[index] for index in waiting):
            if not found or job.new > room:
                found.append([])
                room = self.token_budget
            found[-1].append(job)
            room -= job.new
        return found

    def _queue(self, number: int) -> Told:
        """What waits at the unit, in batches; the first of them begins if the unit is free."""
        unit = self.units[number]
        batches = self._batches(unit.waiting)
        begin = bool(batches) and not unit.running
        message = {
            "order": "queue",
            "unit": number,
            "begin": begin,
            "batches": [
                {"jobs": [job.index for job in batch], "compute_s": self.compute_s(batch)}
                for batch in batches
            ],
        }
        if begin:
            unit.running = [job.index for job in batches[0]]
            unit.waiting = unit.waiting[len(unit.running) :]
        return [(host, message) for host in self.setting.of_unit(number)]

    # --- what hosts say ---

    def heard(self, host: str, message: dict[str, Any]) -> Told:
        if message["event"] == "computed":
            return self._computed(host, message["unit"])
        job = self.jobs[message["job"]]
        if message["event"] == "delivered":
            self._owed[self.setting.place(host)[0]] -= job.shard_bytes
            return []
        self._missing[job.index] -= 1
        self._latest_s[job.index] = max(message["s"], self._latest_s.get(job.index, 0.0))
        if self._missing[job.index] == 0:
            self.first_token_s[job.index] = self._latest_s.pop(job.index)
            for shard, name in enumerate(self.routes[job.index].decode):
                self._spaces[name, "kv"].give_back((job.index, shard))
        return []

    def _computed(self, host: str, number: int) -> Told:
        unit = self.units[number]
        for index in unit.running:
            route = self.routes[index]
            if route.store and host in route.hosts:
                self._spaces[host, "fetched"].give_back((index, route.hosts.index(host)))
        unit.computed += 1
        if unit.computed < len(self.setting.of_unit(number)):
            return []
        unit.computed = 0
        unit.outstanding -= sum(self.jobs[index].new for index in unit.running)
        unit.running = []
        return self._queue(number) if unit.waiting else []
