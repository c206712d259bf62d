# SPDX-License-Identifier: Apache-2.0
"""The whole evaluation model once more, slow and plain: every flow on its own, every rate anew.

Written from the model's definition (docs/simulator.md), not from csrc/sim, for policies whose
order needs no scheduler: fair, fifo, sjf, srpt, edf. Floats; small clusters.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from mfs_transport.sim.engine import Cluster, Model, Requests


@dataclass
class Flow:
    route: tuple[Any, ...]
    left: float
    key: tuple[float, int]
    done: Any  # called at its end
    rate: float = 0.0
    tag: tuple[Any, ...] = ()  # (request, stage, group) and egress: srpt counts what is left of it


@dataclass
class Unit:
    number: int
    queue: list[int] = field(default_factory=list)
    batch: list[int] = field(default_factory=list)
    group: int = 0
    waiting: bool = False
    ready_s: float = math.inf
    collective: int = 0


class Reference:
    def __init__(self, cluster: Cluster, model: Model, requests: Requests, policy: str) -> None:
        self.c, self.m, self.r, self.policy = cluster, model, requests, policy
        self.units = [Unit(u) for u in range(cluster.units)]
        self.seat = self.seats()
        self.outstanding = [0.0] * cluster.units
        self.decode = [0.0] * cluster.decode_hosts
        self.flows: list[Flow] = []
        self.sequence = itertools.count()
        self.now = 0.0
        self.scale = model.layers / model.groups
        n = len(requests)
        self.unit_of, self.decode_of = [0] * n, [0] * n
        self.fetching: list[list[int]] = [[0] * model.groups for _ in range(n)]
        self.sending = [0] * n
        self.computed = [False] * n
        self.first_token = [math.inf] * n

    # --- sizes and times, from the definition ---

    def compute_s(self, batch: list[int]) -> float:
        m = self.m
        new = [int(self.r.tokens[i] - self.r.prefix[i]) for i in batch]
        linear = m.linear_flop_per_token_layer * sum(new)
        attention = sum(
            m.attention_flop_factor * t * (t + 2 * int(self.r.prefix[i]))
            for i, t in zip(batch, new, strict=True)
        )
        mfu = m.mfu_max * sum(new) / (sum(new) + m.mfu_half)
        layer = linear / (mfu * m.flops) + attention / (m.mfu_max * m.flops)
        return layer * (1 + m.elementwise) * self.scale

    def collective_bytes(self, batch: list[int]) -> float:
        hosts = self.c.unit_hosts
        tokens = sum(int(self.r.tokens[i] - self.r.prefix[i]) for i in batch)
        reduce = 2 * (hosts - 1) / hosts * self.m.allreduce_bytes_per_token_layer * tokens
        spread = (hosts - 1) / hosts * self.m.alltoall_bytes_per_token_layer * tokens / hosts
        return (reduce + spread) * self.scale

    def kv(self, tokens: float) -> float:
        return self.m.kv_bytes_per_token_layer * tokens * self.scale

    # --- links and rates ---

    def capacity(self, link: tuple[str, int]) -> float:
        c = self.c
        if link[0] in ("out", "in"):
            return c.link_Bps
        if link[0] in ("zone up", "zone down"):
            return c.zone_hosts * c.link_Bps / c.zone_oversubscription
        return c.pod_hosts * c.link_Bps / c.oversubscription

    def seats(self) -> list[int]:
        """Of each host: in order, or blocks of a role at (k + 1/2) / n of the way."""
        c, size = self.c, self.c.spread_hosts
        if not size:
            return list(range(c.hosts))
        turns, first = [], 0
        for role, hosts in enumerate((c.units * c.unit_hosts, c.decode_hosts, c.store_hosts)):
            for host in range(hosts):
                block, blocks = host // size, hosts // size
                turns.append((Fraction(2 * block + 1, 2 * blocks), role, first + host))
            first += hosts
        order = [host for _, _, host in sorted(turns)]
        return [order.index(host) for host in range(c.hosts)]

    def route(self, source: int, target: int) -> tuple[Any, ...]:
        pods, zones = self.c.pod_hosts, self.c.zone_hosts
        start, end = self.seat[source], self.seat[target]
        middle: tuple[Any, ...] = ()
        if zones and start // zones != end // zones:
            middle = (("zone up", start // zones), ("zone down", end // zones))
        if pods and start // pods != end // pods:
            middle = (("up", start // pods), *middle, ("down", end // pods))
        return (("out", source), *middle, ("in", target))

    def add(
        self,
        source: int,
        target: int,
        size: float,
        port: float,
        request: int,
        done: Any,
        tag: tuple[Any, ...] = (),
    ) -> None:
        first = {
            "fair": 0.0,
            "fifo": self.now,
            "sjf": port,
            "srpt": 0.0,  # by what is left, at each moment
            "mfs": 0.0,  # sim_reference_mfs.py
            "edf": float(self.r.deadline_s[request]),
        }[self.policy]
        key = (first, next(self.sequence))
        self.flows.append(
            Flow(self.route(source, target), size, key, done, tag=(request, source, *tag))
        )

    def by_tag(self, what: str) -> dict[Any, float]:
        """`left` or `rate` of all flows of a tag on one egress."""
        found: dict[Any, float] = {}
        for flow in self.flows:
            found[flow.tag] = found.get(flow.tag, 0.0) + getattr(flow, what)
        return found

    def crossings(self) -> list[float]:
        """srpt: when one passes another that it meets on a link."""
        if self.policy != "srpt":
            return []
        left, rate = self.by_tag("left"), self.by_tag("rate")
        moments = []
        for a, b in itertools.permutations(self.flows, 2):
            speed = rate[a.tag] - rate[b.tag]
            if a.key > b.key and a.tag != b.tag and speed > 0 and set(a.route) & set(b.route):
                gap = max(0.0, left[a.tag] - left[b.tag])
                moments.append(self.now + gap / speed + 1e-9)
        return moments

    def rates(self) -> None:
        if self.policy == "srpt":
            left = self.by_tag("left")
            for flow in self.flows:
                flow.key = (math.ceil(left[flow.tag] - 1e-3), flow.key[1])
        room: dict[Any, float] = {}
        for flow in self.flows:
            flow.rate = 0.0
            for link in flow.route:
                room.setdefault(link, self.capacity(link))
        if self.policy != "fair":
            for flow in sorted(self.flows, key=lambda f: f.key):
                flow.rate = min(room[link] for link in flow.route)
                if flow.rate < 1e-9 * self.c.link_Bps:
                    flow.rate = 0.0
                for link in flow.route:
                    room[link] -= flow.rate
            return
        growing = list(self.flows)
        while growing:
            count: dict[Any, int] = {}
            for flow in growing:
                for link in flow.route:
                    count[link] = count.get(link, 0) + 1
            step = min(room[link] / n for link, n in count.items())
            for flow in growing:
                flow.rate += step
            full = set()
            for link, n in count.items():
                room[link] -= step * n
                if room[link] <= 1e-9 * self.capacity(link):
                    full.add(link)
            growing = [flow for flow in growing if not full & set(flow.route)]

    # --- serving ---

    def arrive(self, i: int) -> None:
        c, hosts = self.c, self.c.unit_hosts
        tokens, prefix = int(self.r.tokens[i]), int(self.r.prefix[i])
        unit = min(range(c.units), key=lambda u: (self.outstanding[u], u))
        decode = min(range(c.decode_hosts), key=lambda d: (self.decode[d], d))
        self.unit_of[i], self.decode_of[i] = unit, decode
        self.outstanding[unit] += tokens - prefix
        self.decode[decode] += self.kv(tokens) * self.m.groups
        self.units[unit].queue.append(i)
        if prefix > 0:
            others = [h for h in range(c.hosts) if h // hosts != unit or h >= c.units * hosts]
            store = others[int(self.r.store_draw[i] * len(others))]  # type: ignore[index]
            for group in range(self.m.groups):
                for host in range(hosts):
                    self.fetching[i][group] += 1
                    self.add(
                        store,
                        unit * hosts + host,
                        self.kv(prefix) / hosts,
                        self.kv(prefix),
                        i,
                        lambda g=group: self.fetched(i, g),
                        ("fetch", group),
                    )
        self.begin(self.units[unit])

    def fetched(self, i: int, group: int) -> None:
        self.fetching[i][group] -= 1
        self.try_compute(self.units[self.unit_of[i]])

    def begin(self, unit: Unit) -> None:
        if unit.batch or not unit.queue:
            return
        total = 0
        while unit.queue:
            new = int(self.r.tokens[unit.queue[0]] - self.r.prefix[unit.queue[0]])
            if unit.batch and total + new > self.c.token_budget:
                break
            total += new
            unit.batch.append(unit.queue.pop(0))
        unit.group, unit.waiting = 0, True
        self.try_compute(unit)

    def try_compute(self, unit: Unit) -> None:
        if unit.waiting and not any(
            self.fetching[i][g] for i in unit.batch for g in range(unit.group + 1)
        ):
            unit.waiting = False
            unit.ready_s = self.now + self.compute_s(unit.batch)

    def computed_group(self, unit: Unit) -> None:
        unit.ready_s = math.inf
        hosts = self.c.unit_hosts
        share = self.collective_bytes(unit.batch) / max(1, hosts - 1)
        if hosts == 1 or share == 0:
            self.group_done(unit)
            return
        unit.collective = hosts * (hosts - 1)
        first = min(unit.batch, key=lambda i: float(self.r.deadline_s[i]))
        base = unit.number * hosts
        for k in range(1, hosts):
            for i in range(hosts):
                self.add(
                    base + i,
                    base + (i + k) % hosts,
                    share,
                    share * (hosts - 1),
                    first,
                    lambda: self.collected(unit),
                    ("collective", unit.group),
                )

    def collected(self, unit: Unit) -> None:
        unit.collective -= 1
        if unit.collective == 0:
            self.group_done(unit)

    def group_done(self, unit: Unit) -> None:
        last = unit.group == self.m.groups - 1
        hosts = self.c.unit_hosts
        for i in unit.batch:
            self.computed[i] = last
            if last:
                self.outstanding[unit.number] -= int(self.r.tokens[i] - self.r.prefix[i])
            size = self.kv(int(self.r.tokens[i])) / hosts
            for host in range(hosts):
                self.sending[i] += 1
                self.add(
                    unit.number * hosts + host,
                    self.c.units * hosts + self.decode_of[i],
                    size,
                    size,
                    i,
                    lambda i=i, size=size: self.sent(i, size),
                    ("p2d", unit.group),
                )
        if last:
            unit.batch = []
            self.begin(unit)
        else:
            unit.group += 1
            unit.waiting = True
            self.try_compute(unit)

    def sent(self, i: int, size: float) -> None:
        self.sending[i] -= 1
        self.decode[self.decode_of[i]] -= size
        if self.computed[i] and self.sending[i] == 0:
            self.first_token[i] = self.now

    def run(self) -> list[float]:
        arrived, n = 0, len(self.r)
        while math.inf in self.first_token:
            self.rates()
            moments = [unit.ready_s for unit in self.units]
            moments += [self.now + f.left / f.rate for f in self.flows if f.rate > 0]
            if arrived < n:
                moments.append(float(self.r.arrival_s[arrived]))
            moments += self.crossings()
            then = min(moments)
            for flow in self.flows:
                flow.left -= flow.rate * (then - self.now)
            self.now = then
            ended = [flow for flow in self.flows if flow.left <= 1e-3]
            self.flows = [flow for flow in self.flows if flow.left > 1e-3]
            for flow in ended:
                flow.done()
            for unit in self.units:
                if unit.ready_s <= self.now:
                    self.computed_group(unit)
            while arrived < n and self.r.arrival_s[arrived] <= self.now:
                self.arrive(arrived)
                arrived += 1
        return self.first_token
