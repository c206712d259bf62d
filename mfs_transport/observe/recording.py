# SPDX-License-Identifier: Apache-2.0
"""Events of a trace as an array, from a segment or from a file that `mfs trace record` has written.

A file is a line of JSON that says what is behind it, and then the events as they lie in the ring
(struct mfs_event of csrc/host/event.h), 152 bytes each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..host import Host
from ..native import NEVER, InputError, ffi, lib

FORMAT = "mfs-trace 2"
EVENT = np.dtype(
    [
        ("time_ns", "<i8"),
        ("deadline_ns", "<i8"),
        ("request", "<u8"),
        ("bytes_left", "<u8"),
        ("bytes_sent", "<u8"),
        ("slack_ns", "<i8"),
        ("rate_Bps", "<u8"),
        ("shed_for", "<u8"),
        ("layer", "<u4"),
        ("stage", "<u2"),
        ("kind", "<u2"),
        ("level", "<u2"),
        ("level_before", "<u2"),
        ("port", "<u2"),
        ("direction", "<u2"),
        ("pid", "<i4"),
        ("given_up", "<u2"),
        ("why", "<u2"),
        ("name", "S64"),
    ]
)
QUEUED, MOVED, LEFT = lib.MFS_FLOW_QUEUED, lib.MFS_FLOW_MOVED, lib.MFS_FLOW_LEFT
COMPLETED = lib.MFS_FLOW_COMPLETED
BATCH = 4096
HEAD_BYTES = 8192


@dataclass
class Port:
    name: str
    rate_Bps: int = 0  # 0: not known


@dataclass
class Recording:
    events: NDArray[np.void]  # in the order of their times
    ports: dict[int, Port] = field(default_factory=dict)  # by the index that events have
    lost: int = 0  # that were overwritten before they were read

    def port(self, index: int) -> Port:
        return self.ports.get(index, Port(f"port {index}"))

    def names(self) -> dict[int, str]:
        """Of all requests by their keys."""
        first = np.unique(self.events["request"], return_index=True)[1]
        rows = self.events[["request", "name"]][first].tolist()
        return {key: name_of(name, key) for key, name in rows}


def ports_of(host: Host) -> dict[int, Port]:
    found = {}
    for index in range(lib.MFS_PORTS_MAX):
        if name := host.port_at(index):
            rate = host.egress_rate_Bps(name) if name in host.ports() else 0
            found[index] = Port(name, rate)
    return found


class Reader:
    """Reads the ring of one host, as arrays."""

    def __init__(self, host: Host, *, from_now: bool = False) -> None:
        self.host = host
        count = int(lib.mfs_event_count(host.handle))
        first = count if from_now else max(0, count - lib.MFS_EVENTS_MAX)
        self._next = ffi.new("uint64_t *", first)
        self._raw = ffi.new("struct mfs_event[]", BATCH)
        self._lost = ffi.new("uint64_t *")

    @property
    def lost(self) -> int:
        return int(self._lost[0])

    def read(self) -> list[NDArray[np.void]]:
        """Those recorded since the last call."""
        found = []
        while count := lib.mfs_event_read(
            self.host.handle, self._next, self._raw, BATCH, self._lost
        ):
            data = ffi.buffer(self._raw, count * EVENT.itemsize)[:]
            found.append(np.frombuffer(data, EVENT))
        return found


def of_host(host: Host) -> Recording:
    reader = Reader(host)
    parts = reader.read()
    events = np.concatenate(parts) if parts else np.empty(0, EVENT)
    return Recording(in_order(events), ports_of(host), reader.lost)


def in_order(events: NDArray[np.void]) -> NDArray[np.void]:
    order = np.argsort(events["time_ns"], kind="stable")
    sorted_events: NDArray[np.void] = events[order]
    return sorted_events


def head(ports: dict[int, Port]) -> bytes:
    """The beginning of the file, as long as ever, so that it can be written anew."""
    said = {
        "format": FORMAT,
        "event_bytes": EVENT.itemsize,
        "ports": {str(index): [port.name, port.rate_Bps] for index, port in ports.items()},
    }
    return json.dumps(said, ensure_ascii=True).encode().ljust(HEAD_BYTES - 1) + b"\n"


def write(path: Path, recording: Recording) -> None:
    with path.open("wb") as out:
        out.write(head(recording.ports))
        out.write(recording.events.tobytes())


def _head(line: bytes, path: Path) -> dict[str, Any]:
    try:
        said = json.loads(line)
        if said["format"] == FORMAT and said["event_bytes"] == EVENT.itemsize:
            return dict(said)
    except (ValueError, TypeError, KeyError):
        pass
    raise InputError(f"{path}: no trace of this version; `mfs trace record {path}` writes one")


def load(path: Path) -> Recording:
    """A last event that was only half written is left out."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    line, _, rest = data.partition(b"\n")
    said = _head(line, path)
    try:
        ports = {int(k): Port(str(name), int(rate)) for k, (name, rate) in said["ports"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: its first line names no ports; record it anew") from None
    events = np.frombuffer(rest[: len(rest) - len(rest) % EVENT.itemsize], EVENT)
    sound = (events["kind"] <= COMPLETED) & (events["stage"] <= lib.MFS_STAGE_P2D)
    sound &= (events["direction"] <= 1) & (events["why"] < lib.MFS_WHY_LAST)
    return Recording(in_order(events[sound]), ports)


def name_of(name: bytes, key: int) -> str:
    """Of a request; "" for traffic of none."""
    return name.decode(errors="replace") or (f"{key:016x}" if key != lib.MFS_REQUEST_NONE else "")


def deadline(value: int) -> int | None:
    return None if value == NEVER else value
