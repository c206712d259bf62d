# SPDX-License-Identifier: Apache-2.0
"""The host's segment, as far as other hosts are concerned: csrc/host/far.h and guest.h.

`Segment` is what the agent needs of it; `HostSegment` is the real one.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..control import Host
from ..native import check, ffi, lib, now_ns, text
from .message import NO_LEVEL, Port

ATTEND_NS = 50_000_000  # without a sign of life the tables of this host are worth nothing
NO_FAR = 2**32 - 1  # MFS_FAR_NONE


class FarClaim(NamedTuple):
    """struct mfs_claim: what this host has for a port of another host, or for one of its own."""

    far: int
    level: int
    span_ns: int
    waiting: int
    inflight: int
    done: int


class Segment(Protocol):
    def own_version(self) -> int:
        """Moves when a worker of this host comes or goes."""

    def own_workers(self) -> list[tuple[int, str]]:
        """Of each UCX worker of this host: uid, and the name of its port."""

    def address_uid(self, address: str) -> int:
        """What stands for the workers at an address; 0: it is none."""

    def policy(self) -> str: ...

    def keys_are_times(self) -> bool:
        """Of this policy, so that they can be told as spans."""

    def add_port(self, key: int, name: str) -> int:
        """A port of another host; its number from now on, or -1: there is no room."""

    def add_worker(self, uid: int, for_puts: int, for_gets: int) -> bool:
        """A worker of another host, and the numbers of its ports. False: there is no room."""

    def forget(self, far: int) -> None: ...

    def claims(self, now_ns: int) -> list[FarClaim]:
        """For ports of other hosts."""

    def limit(self, far: int, level: int, span_ns: int, for_ns: int) -> None: ...

    def rate_Bps(self, port: Port) -> float:
        """Of one of our own, where it is configured; 0: it is not."""

    def seed_Bps(self, port: Port) -> float:
        """Of one of our own, as far as our own senders know it; 0: they do not."""

    def own_claims(self, port: Port, now_ns: int) -> list[FarClaim]:
        """Of our senders on one of our own ports."""

    def guest(
        self, port: Port, level: int, span_ns: int, inflight: int, done: int, now_ns: int
    ) -> None:
        """What others have for one of our own ports."""


_CLAIM = struct.Struct("<IIqQQQ")


@dataclass
class _OwnPort:
    port: Any  # struct mfs_port *
    guest: Any  # struct mfs_guest **, NULL inside until it is told something
    told: bool = False


class HostSegment:
    """The segment of this host, of which this process is the agent."""

    def __init__(self, host: Host, rate_Bps: float) -> None:
        self.host, self._rate_Bps = host, rate_Bps
        self._own = ffi.new("struct mfs_far_own[]", int(lib.MFS_FAR_OWN_MAX))
        self._claims = ffi.new("struct mfs_claim[]", int(lib.MFS_FAR_PORTS_MAX))
        assert ffi.sizeof("struct mfs_claim") == _CLAIM.size
        self._view = memoryview(ffi.buffer(self._claims))
        self._ports: dict[int, _OwnPort] = {}
        self._attend_ns = 0
        self.attend(now_ns())

    def attend(self, now: int) -> None:
        """We are there. OSError: another process is the agent."""
        if now - self._attend_ns < ATTEND_NS // 4:
            return
        self._attend_ns = now
        result = int(lib.mfs_far_attend(self.host.handle, ATTEND_NS))
        if result != -errno.EAGAIN:
            check(result, "another agent of this segment")

    def close(self) -> None:
        for one in self._ports.values():
            if one.guest[0]:
                lib.mfs_guest_leave(one.guest[0])
            lib.mfs_port_close(one.port)
        self._ports.clear()
        lib.mfs_far_depart(self.host.handle)

    def own_version(self) -> int:
        return int(lib.mfs_far_own_version(self.host.handle))

    def own_workers(self) -> list[tuple[int, str]]:
        count = lib.mfs_far_own(self.host.handle, self._own, len(self._own))
        return [(int(one.uid), text(one.port)) for one in self._own[0:count]]

    def address_uid(self, address: str) -> int:
        return int(lib.mfs_far_address(address.encode()))

    def policy(self) -> str:
        return self.host.policy

    def keys_are_times(self) -> bool:
        return bool(lib.mfs_policy_keys_are_times(lib.mfs_host_policy(self.host.handle)))

    def add_port(self, key: int, name: str) -> int:
        out = ffi.new("uint32_t *")
        shown = name.encode(errors="replace")[: int(lib.MFS_FAR_NAME_MAX)]
        return -1 if lib.mfs_far_port(self.host.handle, key, shown, out) < 0 else int(out[0])

    def add_worker(self, uid: int, for_puts: int, for_gets: int) -> bool:
        return bool(lib.mfs_far_worker(self.host.handle, uid, for_puts, for_gets) == 0)

    def forget(self, far: int) -> None:
        lib.mfs_far_forget(self.host.handle, far)

    def _rows(self, count: int) -> list[FarClaim]:
        return [FarClaim(*row) for row in _CLAIM.iter_unpack(self._view[: count * _CLAIM.size])]

    def claims(self, now_ns: int) -> list[FarClaim]:
        return self._rows(
            lib.mfs_far_claims(self.host.handle, now_ns, self._claims, len(self._claims))
        )

    def limit(self, far: int, level: int, span_ns: int, for_ns: int) -> None:
        lib.mfs_far_limit(self.host.handle, far, level, span_ns, for_ns)

    def _port(self, port: Port) -> _OwnPort | None:
        found = self._ports.get(port.number)
        if found is None:
            out = ffi.new("struct mfs_port **")
            name = port.name.encode(errors="surrogateescape")
            if lib.mfs_port_open(self.host.handle, name, port.direction, out) < 0:
                return None
            found = self._ports[port.number] = _OwnPort(out[0], ffi.new("struct mfs_guest **"))
        return found

    def rate_Bps(self, port: Port) -> float:
        return self._rate_Bps

    def seed_Bps(self, port: Port) -> float:
        found = self._port(port)
        return float(lib.mfs_port_rate_Bps(found.port)) if found else 0.0

    def own_claims(self, port: Port, now_ns: int) -> list[FarClaim]:
        found = self._port(port)
        if found is None:
            return []
        return self._rows(lib.mfs_port_claims(found.port, now_ns, self._claims, len(self._claims)))

    def guest(
        self, port: Port, level: int, span_ns: int, inflight: int, done: int, now_ns: int
    ) -> None:
        found = self._port(port)
        nothing = level == NO_LEVEL and not inflight
        if found is None or (nothing and not found.told):
            return
        if not found.guest[0] and lib.mfs_guest_join(found.port, found.guest) < 0:
            return
        found.told = not nothing
        told = lib.mfs_guest_tell(found.guest[0], level, span_ns, inflight, done, now_ns)
        if told == -errno.ENOENT:  # somebody has written over its place: anew, at the next tick
            lib.mfs_guest_leave(found.guest[0])
            found.guest[0] = ffi.NULL
