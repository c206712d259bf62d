# SPDX-License-Identifier: Apache-2.0
"""The record of flows: when each was queued, promoted, sent and acknowledged, at which level, why.

    trace = Trace(mfs.default_host())
    trace.on = True
    ...
    for event in trace.read():
        print(event.request, event.stage, event.layer, event.kind, event.level)

The ring lies in the host's segment (csrc/host/event.h) and holds the last 16,384 events of
all processes; reading takes nothing away from other readers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .. import checked
from ..host import Host
from ..native import NEVER, ffi, lib, text
from . import why

KINDS = {
    lib.MFS_FLOW_QUEUED: "queued",
    lib.MFS_FLOW_MOVED: "moved",
    lib.MFS_FLOW_LEFT: "left",
    lib.MFS_FLOW_COMPLETED: "completed",
}
BATCH = 512


@dataclass(frozen=True)
class Event:
    """Something that happened to a flow (all bytes of one tag on one port)."""

    time_ns: int  # CLOCK_MONOTONIC
    # queued: it has its first level; moved: to another level; left: nothing waits; completed: its
    # last byte has been acknowledged
    kind: str
    request: str  # its name, cut after 63 bytes; the key in hex if unknown; "" for untagged traffic
    stage: str
    layer: int
    level: int  # 0 first; the scavenger level is K
    level_before: int  # the same as level, unless it moved
    bytes_left: int  # queued and not yet sent
    bytes_sent: int  # since the flow was queued
    deadline_ns: int | None
    given_up: bool  # its request was hopeless or shed at that moment
    port: str
    direction: str  # egress or ingress
    pid: int
    why: str  # it has this level, one of why.NAMES; of queued and moved
    slack_ns: int | None  # until it is due, less what the rest takes; None: it is not due
    rate_Bps: int  # by which that was judged; 0: not known
    shed_for: str  # the request for which it was given up; "": for none, or not known

    def why_words(self) -> str:
        """ "": the event has no reason."""
        if self.kind == "completed" and self.deadline_ns is not None:
            spare_ns = self.deadline_ns - self.time_ns
            late = f"{-spare_ns / 1e6:,.1f} ms after its deadline"
            return late if spare_ns < 0 else f"{spare_ns / 1e6:,.1f} ms before its deadline"
        if self.kind not in ("queued", "moved"):
            return ""
        return why.words(self.why, self.slack_ns, self.rate_Bps, self.shed_for, self.request)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _name_of(host: Host, key: int) -> str:
    """Of a request that may be over; its key then. "": of none."""
    if key == lib.MFS_REQUEST_NONE:
        return ""
    name = ffi.new("char[]", lib.MFS_REQUEST_NAME_MAX + 1)
    lib.mfs_request_name(host.handle, key, name)
    return text(name) or f"{key:016x}"


def _event(host: Host, raw: Any) -> Event:
    name = text(raw.name)
    if not name and raw.request != lib.MFS_REQUEST_NONE:
        name = f"{raw.request:016x}"
    return Event(
        time_ns=int(raw.time_ns),
        kind=KINDS[raw.kind],
        request=name,
        stage=text(lib.mfs_stage_name(raw.stage)),
        layer=int(raw.layer),
        level=int(raw.level),
        level_before=int(raw.level_before),
        bytes_left=int(raw.bytes_left),
        bytes_sent=int(raw.bytes_sent),
        deadline_ns=None if raw.deadline_ns == NEVER else int(raw.deadline_ns),
        given_up=bool(raw.given_up),
        port=host.port_at(raw.port),
        direction="egress" if raw.direction == lib.MFS_EGRESS else "ingress",
        pid=int(raw.pid),
        why=why.NAMES[raw.why],
        slack_ns=why.slack(raw.slack_ns),
        rate_Bps=int(raw.rate_Bps),
        shed_for=_name_of(host, raw.shed_for),
    )


class Trace:
    """Reads the ring of one host, from its oldest event on, or from now on."""

    def __init__(self, host: Host, *, from_now: bool = False) -> None:
        self.host = checked.one_of(host, Host, "host")
        from_now = checked.truth(from_now, "from_now")
        self.lost = 0  # events that were overwritten before they were read
        self._next = ffi.new("uint64_t *", lib.mfs_event_count(host.handle) if from_now else 0)
        if not from_now:  # what was overwritten before we came is nobody's loss
            room = lib.MFS_EVENTS_MAX
            self._next[0] = max(0, lib.mfs_event_count(host.handle) - room)

    @property
    def on(self) -> bool:
        """Events are recorded, in all processes of the host; may be set at any time."""
        return bool(lib.mfs_event_tracing(self.host.handle))

    @on.setter
    def on(self, on: bool) -> None:
        lib.mfs_event_trace(self.host.handle, checked.truth(on, "on"))

    def read(self) -> list[Event]:
        """Those recorded since the last call, oldest first."""
        events: list[Event] = []
        raw = ffi.new("struct mfs_event[]", BATCH)
        lost = ffi.new("uint64_t *")
        while count := lib.mfs_event_read(self.host.handle, self._next, raw, BATCH, lost):
            events += [_event(self.host, raw[index]) for index in range(count)]
        self.lost += int(lost[0])
        return events
