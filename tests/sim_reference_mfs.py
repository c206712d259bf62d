# SPDX-License-Identifier: Apache-2.0
"""The policy `mfs` once more, slow and plain, in the whole evaluation model: every unit is planned
and every flow placed anew at each event, and at each moment at which a level may fall.

Written from docs/scheduler.md, not from csrc. Seconds and bytes as floats. `step_s` is the least
time between two looks while bytes move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sim_reference_serving import Flow, Reference, Unit

LEVELS = 8
GIVEN_UP = LEVELS


@dataclass
class Known:
    """What is known of a request."""

    start_s: float = math.inf
    others_s: float = math.inf  # S'
    group_s: float = 0.0  # w
    collective_s: float = 0.0  # c
    hopeless: bool = False
    shed: bool = False


class MfsReference(Reference):
    def __init__(self, *arguments: Any, step_s: float = 50e-6, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.step_s = step_s
        self.known = [Known() for _ in range(len(self.r))]
        self.levels: dict[int, int] = {}  # by the number of a flow
        self.planned: list[Any] = [None] * self.c.units
        self.look_s = math.inf

    def deadline(self, i: int) -> float:
        return float(self.r.deadline_s[i])

    # --- the plan of a unit ---

    def batch_s(self, batch: list[int]) -> tuple[float, float]:
        hosts, c = self.c.unit_hosts, self.c
        apart = self.collective_bytes(batch) / c.link_Bps if hosts > 1 else 0.0
        return self.compute_s(batch) + apart, apart

    def batches(self, unit: Unit) -> list[tuple[list[int], int]]:
        """Each with the group that it is at."""
        found = [(list(unit.batch), unit.group)] if unit.batch else []
        waiting = list(unit.queue)
        while waiting:
            batch, total = [waiting.pop(0)], 0
            total = int(self.r.tokens[batch[0]] - self.r.prefix[batch[0]])
            while waiting:
                new = int(self.r.tokens[waiting[0]] - self.r.prefix[waiting[0]])
                if total + new > self.c.token_budget:
                    break
                total += new
                batch.append(waiting.pop(0))
            found.append((batch, 0))
        return found

    def group_p2d_s(self, i: int) -> float:
        return self.kv(int(self.r.tokens[i])) / self.c.link_Bps

    def plan(self, unit: Unit) -> None:
        free_s, starts_s = self.now, math.inf
        batches = self.batches(unit)
        for batch, at in batches:
            group_s, collective_s = self.batch_s(batch)
            for i in batch:
                known = self.known[i]
                known.start_s = free_s - at * group_s
                known.group_s, known.collective_s = group_s, collective_s
            free_s += (self.m.groups - at) * group_s
            for i in batch:
                self.known[i].hopeless = free_s + self.group_p2d_s(i) > self.deadline(i)
        for batch, at in reversed(batches):
            own = {
                i: self.deadline(i) - self.group_p2d_s(i)
                for i in batch
                if not self.known[i].hopeless
            }
            for i in batch:
                others = [one_s for j, one_s in own.items() if j != i]
                self.known[i].others_s = min([starts_s, *others])
            group_s = self.known[batch[0]].group_s
            starts_s = min([starts_s, *own.values()]) - (self.m.groups - at) * group_s

    def left(self) -> list[float]:
        """Stage 3 bytes of each request still to deliver, with groups not yet computed."""
        left = [0.0] * len(self.r)
        for flow in self.flows:
            if flow.tag[2] == "p2d":
                left[flow.tag[0]] += flow.left
        for unit in self.units:
            for batch, at in self.batches(unit):
                for i in batch:
                    left[i] += self.kv(int(self.r.tokens[i])) * (self.m.groups - at)
        return left

    def shed(self, unit: Unit, left: list[float]) -> None:
        """Moore-Hodgson over those of a unit that have begun their stage 3."""
        begun = {flow.tag[0] for flow in self.flows if flow.tag[2] == "p2d"}
        mine = [i for i in begun if self.unit_of[i] == unit.number]
        kept: list[int] = []
        for i in sorted(mine, key=lambda i: (self.deadline(i), i)):
            self.known[i].shed = False
            if self.known[i].hopeless:
                continue
            kept.append(i)
            rate = self.c.link_Bps * self.c.unit_hosts
            while kept and self.now + sum(left[j] for j in kept) / rate > self.deadline(i):
                worst = max(kept, key=lambda j: left[j])
                self.known[worst].shed = True
                kept.remove(worst)

    def replan(self, left: list[float]) -> None:
        """The units whose queue, group or deliveries have moved."""
        for unit in self.units:
            mine = [i for i in range(len(self.r)) if self.unit_of[i] == unit.number]
            done = sum(math.isfinite(self.first_token[i]) for i in mine)
            state = (tuple(unit.batch), tuple(unit.queue), unit.group, done)
            if state == self.planned[unit.number]:
                continue
            self.planned[unit.number] = state
            self.plan(unit)
            for i in mine:
                if self.computed[i]:
                    self.known[i].others_s = math.inf
                    self.known[i].hopeless = self.deadline(i) < self.now
            self.shed(unit, left)

    # --- places ---

    def finish_s(self, i: int, group: int) -> float:
        known, x3 = self.known[i], self.group_p2d_s(i)
        behind = self.m.groups - 1 - group
        found = known.others_s - behind * known.group_s
        if not known.hopeless:
            tail = max(behind * known.group_s + x3, (behind + 1) * x3)
            found = min(found, self.deadline(i) - tail)
        return found

    def by_urgency(self, urgency_s: float) -> tuple[int, float]:
        """The level, and by how much the urgency has to fall for the next one."""
        if urgency_s <= 5e-3:
            return 0, math.inf
        return (1, urgency_s - 5e-3) if urgency_s <= 20e-3 else (2, urgency_s - 20e-3)

    def place(self, flow: Flow, left: list[float], bytes_of: dict[Any, float]) -> tuple[int, float]:
        i, stage, group = flow.tag[0], flow.tag[2], flow.tag[3]
        rate, again_s = self.c.link_Bps, math.inf
        if stage == "collective":
            batch = self.units[self.unit_of[i]].batch
            i = min(batch, key=lambda j: (self.deadline(j), batch.index(j)))
            known = self.known[i]
            short = 0 < known.collective_s <= known.group_s / 4
            return 0, self.finish_s(i, group) - (3600.0 if short else 0.0)
        known = self.known[i]
        if stage == "fetch":
            key = self.finish_s(i, group) - known.group_s
            need_s = known.start_s + group * known.group_s
            ahead = group - self.at_group(i) + 1
            level, again_s = self.by_urgency(
                need_s - self.now - max(1, ahead) * bytes_of[flow.tag] / rate
            )
            turn_s = need_s - known.group_s
            if level == 0 and turn_s > self.now:
                level, again_s = 1, turn_s - self.now
        else:
            key = self.deadline(i)
            time_s, needed_s = key - self.now, left[i] / rate
            if known.hopeless or known.shed or needed_s > time_s:
                level, key = GIVEN_UP, key + 100 * needed_s
            else:
                level, again_s = self.by_urgency(time_s - 2 * needed_s)
                again_s = min(again_s, time_s - needed_s)
        if math.isfinite(again_s):
            self.look_s = min(self.look_s, self.now + max(again_s + 1e-9, self.step_s))
        return level, key

    def at_group(self, i: int) -> int:
        unit = self.units[self.unit_of[i]]
        return unit.group if i in unit.batch else 0

    def rates(self) -> None:
        left = self.left()
        self.replan(left)
        bytes_of = self.by_tag("left")
        self.look_s = math.inf
        for flow in self.flows:
            level, key = self.place(flow, left, bytes_of)
            before = self.levels.get(flow.key[1], GIVEN_UP)
            if before < GIVEN_UP and level != GIVEN_UP:
                level = min(level, before)
            self.levels[flow.key[1]] = level
            # a collective of one group and a fetch for the next are due at the same time by the
            # rule: rounded, so that it is the order of creation that says which goes first
            due = math.floor(key * 1e8 + 0.5) if math.isfinite(key) else key
            flow.key = ((level, due), flow.key[1])  # type: ignore[assignment]
        super().rates()

    def crossings(self) -> list[float]:
        return [self.look_s]
