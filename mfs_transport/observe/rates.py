# SPDX-License-Identifier: Apache-2.0
"""What moves between two looks at the segment, and since when something waits.

The segment does not say since when: that would cost a sender a word at each change. Whoever looks
again and again knows it, back to its first look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .segment import Look, Port, Process


@dataclass(frozen=True)
class PortNow:
    port: str
    direction: str
    moved_Bps: float | None  # None: there was no look before
    rate_Bps: int  # 0: not known yet
    window_bytes: int
    inflight_bytes: int
    level: int | None  # of the best that waits; None: nothing does
    waits_s: float | None  # at least so long already, without a break that was seen
    waiting: int  # senders
    still: int
    still_s: float
    stalled: int


@dataclass(frozen=True)
class ProcessNow:
    process: str | None  # its name: see segment.Process; None: several, as one
    pid: int | None
    moved_Bps: float | None  # of the operations that its program posts
    deferred_per_s: float | None
    level: int | None
    inflight_bytes: int
    still_s: float  # since it has looked at its queue, having something to do; 0: it does
    stalled: int
    faults: int


class Watch:
    """Give it look after look."""

    def __init__(self) -> None:
        self.before: Look | None = None
        self.at_s = 0.0
        self.since_s: dict[tuple[str, str], float] = {}  # a port that waits

    def update(self, found: Look, now_s: float) -> tuple[list[PortNow], list[ProcessNow]]:
        ports = [self._port(port, now_s) for port in found.ports]
        processes = [self._process(found, one, now_s) for one in found.processes.values()]
        waiting = {(one.port, one.direction) for one in ports if one.level is not None}
        self.since_s = {key: self.since_s.get(key, now_s) for key in waiting}
        self.before, self.at_s = found, now_s
        return ports, processes

    def _per_s(self, now: int, before: int | None, now_s: float) -> float | None:
        """None: nothing is known of the time before, or it was another one's."""
        if before is None or now < before or now_s <= self.at_s:
            return None
        return (now - before) / (now_s - self.at_s)

    def _port(self, port: Port, now_s: float) -> PortNow:
        key = (port.name, port.direction)
        old = self.before.ports if self.before else []
        before = next((one.done_bytes for one in old if (one.name, one.direction) == key), None)
        return PortNow(
            *key,
            moved_Bps=self._per_s(port.done_bytes, before, now_s),
            rate_Bps=port.rate_Bps,
            window_bytes=port.window_bytes,
            inflight_bytes=port.inflight_bytes,
            level=port.level,
            waits_s=None if port.level is None else now_s - self.since_s.get(key, now_s),
            waiting=port.waiting,
            still=port.still,
            still_s=max((one.age_s for one in port.senders if one.still), default=0.0),
            stalled=port.stalled,
        )

    def _process(self, found: Look, process: Process, now_s: float) -> ProcessNow:
        counters = process.counters
        known = self.before.processes.get(process.name) if self.before else None
        before = known.counters if known else {}
        senders = [
            one for port in found.ports for one in port.senders if one.process == process.name
        ]
        return ProcessNow(
            process.name,
            process.pid,
            moved_Bps=self._per_s(counters["bytes"], before.get("bytes"), now_s),
            deferred_per_s=self._per_s(counters["deferred"], before.get("deferred"), now_s),
            level=min((one.level for one in senders if one.level is not None), default=None),
            inflight_bytes=sum(one.inflight_bytes for one in senders),
            still_s=max((one.age_s for one in senders if one.still), default=0.0),
            stalled=sum(one.stalled for one in senders),
            faults=counters["faults"],
        )


def folded(processes: list[ProcessNow], most: int) -> tuple[list[ProcessNow], int]:
    """At most so many, those in trouble and then those that move most first; the others as one,
    which stands last, and how many those are."""

    def worth(one: ProcessNow) -> tuple[Any, ...]:
        return -one.still_s, -one.stalled, -(one.moved_Bps or 0.0), -one.inflight_bytes

    ordered = sorted(processes, key=worth)
    if len(ordered) <= most:
        return ordered, 0
    shown, others = ordered[: most - 1], ordered[most - 1 :]
    levels = [one.level for one in others if one.level is not None]
    together = ProcessNow(
        None,
        None,
        moved_Bps=_sum([one.moved_Bps for one in others]),
        deferred_per_s=_sum([one.deferred_per_s for one in others]),
        level=min(levels, default=None),
        inflight_bytes=sum(one.inflight_bytes for one in others),
        still_s=max(one.still_s for one in others),
        stalled=sum(one.stalled for one in others),
        faults=sum(one.faults for one in others),
    )
    return [*shown, together], len(others)


def _sum(values: list[float | None]) -> float | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None
