# SPDX-License-Identifier: Apache-2.0
"""A look at the host's segment from outside, by csrc/host/look.h: it attaches to nothing and takes
no lock, so it changes nothing, and shows processes that are stopped as well.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..native import check, encoded, ffi, lib, text

FOREIGN = "it is some other file, no segment"
REASONS = {
    errno.EPROTO: "another version of mfs-transport is using it",
    errno.EBADMSG: FOREIGN,
    errno.EACCES: "it belongs to, or is open to, another user",
}
REQUESTS = ("waiting", "computing", "computed", "late", "given_up")  # enum mfs_look_request

# none: no file; idle: nobody is attached; live: in use; unusable: see the reason
State = Literal["none", "idle", "live", "unusable"]


@dataclass(frozen=True)
class Process:
    """Who shares the segment. Its number is its own namespace's, as a container's."""

    name: str  # the pid; in another namespace `pid@host`, which is pid@pod in Kubernetes
    pid: int
    namespace: int  # of its number; 0: not known
    host: str  # as it calls its host
    counters: dict[str, int]


@dataclass(frozen=True)
class Sender:
    """One sender of a port: a worker of the shim, or an engine of the NCCL plug-in."""

    process: str  # its name
    pid: int
    level: int | None  # of the best that waits and can be sent; None: nothing does
    inflight_bytes: int  # to destinations that take bytes as they should
    stalled: int  # destinations that take no bytes now
    still: bool  # something waits or is in flight, and it does not look at its queue
    age_s: float  # since it has last looked at its queue
    away_s: float = 0.0  # how long it mostly does not look, while something waits for room
    covers_s: float = 0.0  # how long what it has in flight then keeps the port busy; 0: not known

    @property
    def is_late(self) -> bool:
        """The port stands idle while it is away: a core is short, and not the port."""
        busy = self.level is not None or self.inflight_bytes > 0
        return busy and self.away_s > self.covers_s > 0


@dataclass(frozen=True)
class Port:
    name: str
    direction: str  # egress or ingress
    rate_Bps: int  # 0: not known yet
    window_bytes: int  # by the settings of this process
    done_bytes: int  # ever completed
    senders: list[Sender]

    @property
    def inflight_bytes(self) -> int:
        return sum(sender.inflight_bytes for sender in self.senders)

    @property
    def level(self) -> int | None:
        """Of the best that waits; None: nothing does."""
        return min((one.level for one in self.senders if one.level is not None), default=None)

    @property
    def waiting(self) -> int:
        return sum(sender.level is not None for sender in self.senders)

    @property
    def still(self) -> int:
        return sum(sender.still for sender in self.senders)

    @property
    def stalled(self) -> int:
        return sum(sender.stalled for sender in self.senders)


@dataclass(frozen=True)
class Warned:
    """A kind of warning that processes of the host have logged, whatever MFS_LOG is."""

    text: str  # as it was last
    count: int
    first_s: float  # ago
    last_s: float
    process: str  # that has said it last; its pid, if it has gone


@dataclass(frozen=True)
class Look:
    path: Path
    state: State
    reason: str = ""
    other_version: bool = False  # in use by one that has another layout
    policy: str = ""
    tracing: bool = False
    requests: dict[str, int] = field(default_factory=dict)  # registered now, by state
    counters: dict[str, int] = field(default_factory=dict)  # of all processes there ever were
    processes: dict[str, Process] = field(default_factory=dict)  # by name
    ports: list[Port] = field(default_factory=list)
    warned: list[Warned] = field(default_factory=list)  # the last first

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        egress = {port.name: port.rate_Bps for port in self.ports if port.direction == "egress"}
        stalled = dict.fromkeys((port.name for port in self.ports), 0)
        for port in self.ports:
            stalled[port.name] += port.stalled
        return {
            "path": str(self.path),
            "state": self.state,
            "reason": self.reason,
            "policy": self.policy,
            "requests": sum(self.requests.values()),
            "requests_by_state": self.requests,
            "counters": self.counters,
            "egress_Bps": {name: egress.get(name, 0) for name in stalled},  # 0: not known yet
            "stalled": stalled,  # destinations that take no bytes now, of each port
            "warned": [asdict(one) for one in self.warned],
            "ports": [asdict(port) for port in self.ports],
            "processes": [
                {
                    "name": one.name,
                    "pid": one.pid,
                    "pid_namespace": one.namespace,
                    "host": one.host,
                    "counters": one.counters,
                }
                for one in self.processes.values()
            ],
        }


def place_of(path: str) -> Path:
    """The file that the library uses for `path` ("": the default place); nothing is made."""
    place = ffi.new("char[256]")
    check(
        lib.mfs_host_place(encoded(path, "segment"), place, len(place)), f"segment {path}".strip()
    )
    return Path(text(place))


def look(path: str) -> Look:
    """What lies at `path` ("": the default place)."""
    return look_by(path, lib.mfs_look_take)


def look_by(path: str, take: Callable[[bytes, Any], int]) -> Look:
    """The same, as `take` fills a struct mfs_look: 0 or -errno."""
    try:
        place = place_of(path)
    except OSError as error:
        return Look(Path(path or "default place"), "unusable", os.strerror(error.errno or 0))
    raw = ffi.new("struct mfs_look *")
    result = -int(take(encoded(path, "segment"), raw))
    if result == 0:
        return _live(place, raw)
    if result == errno.ENOENT:
        if path and not place.parent.is_dir():
            return Look(place, "unusable", f"the folder {place.parent} does not exist")
        return Look(place, "none")
    if result == errno.ENODATA:
        left = -int(lib.mfs_look_past(encoded(path, "segment"), raw)) == 0
        if not left:
            return Look(place, "idle")
        return Look(place, "idle", counters=counters_of(raw.counters), warned=_warned(raw, []))
    reason = REASONS.get(result) or os.strerror(result)
    return Look(place, "unusable", reason, other_version=result == errno.EPROTO)


def members_of(raw: Any) -> list[Process]:
    """The processes as they stand there. Hosts of one name in several namespaces are told apart by
    the namespace's number."""
    here = int(raw.pid_namespace)
    rows = [raw.processes[index] for index in range(raw.process_count)]
    spaces: dict[str, set[int]] = {}
    for row in rows:
        spaces.setdefault(text(row.host), set()).add(int(row.pid_namespace))

    def name(pid: int, namespace: int, host: str) -> str:
        if namespace in (0, here) or not here:
            return str(pid)
        return f"{pid}@{host if host and len(spaces[host] - {here}) == 1 else namespace}"

    members = []
    for row in rows:
        who = (int(row.pid), int(row.pid_namespace), text(row.host))
        members.append(Process(name(*who), *who, counters_of(row.counters)))
    return members


def _live(place: Path, raw: Any) -> Look:
    members = members_of(raw)
    processes: dict[str, Process] = {}
    for one in members:  # a process that has two segments open is there twice
        before = processes[one.name].counters if one.name in processes else {}
        both = {name: before.get(name, 0) + count for name, count in one.counters.items()}
        processes[one.name] = replace(one, counters=both)
    ports: dict[tuple[str, str], Port] = {}
    for index in range(raw.port_count):
        port = _port(raw.ports[index], members)
        ports.setdefault((port.name, port.direction), port)
    return Look(
        place,
        "live",
        policy=text(raw.policy),
        tracing=bool(raw.tracing),
        requests={name: int(raw.requests[index]) for index, name in enumerate(REQUESTS)},
        counters=counters_of(raw.counters),
        processes=processes,
        ports=sorted(ports.values(), key=lambda port: (port.name, port.direction)),
        warned=_warned(raw, members),
    )


def _warned(raw: Any, members: list[Process]) -> list[Warned]:
    names = {one.pid: one.name for one in members}
    found = []
    for index in range(raw.warned_count):
        one, now_ns = raw.warned[index], int(raw.now_ns)
        first_s, last_s = (max(0, now_ns - int(at)) / 1e9 for at in (one.first_ns, one.last_ns))
        name = names.get(int(one.pid), str(int(one.pid)))
        found.append(Warned(text(one.text), int(one.count), first_s, last_s, name))
    return sorted(found, key=lambda one: one.last_s)


def counters_of(raw: Any) -> dict[str, int]:
    return {
        text(lib.mfs_counter_name(index)): int(raw[index]) for index in range(lib.MFS_COUNT_LAST)
    }


def _port(raw: Any, members: list[Process]) -> Port:
    return Port(
        text(raw.name),
        "egress" if raw.direction == lib.MFS_EGRESS else "ingress",
        rate_Bps=int(raw.rate_Bps),
        window_bytes=int(raw.window_bytes),
        done_bytes=int(raw.done_bytes),
        senders=[_sender(raw.senders[index], members) for index in range(raw.sender_count)],
    )


def _sender(raw: Any, members: list[Process]) -> Sender:
    return Sender(
        members[raw.process].name,
        members[raw.process].pid,
        level=None if raw.level == lib.MFS_LOOK_NOTHING else int(raw.level),
        inflight_bytes=int(raw.inflight_bytes),
        stalled=int(raw.stalled),
        still=bool(raw.still),
        age_s=raw.age_ns / 1e9,
        away_s=raw.away_ns / 1e9,
        covers_s=raw.covers_ns / 1e9,
    )
