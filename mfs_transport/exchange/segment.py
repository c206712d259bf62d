# SPDX-License-Identifier: Apache-2.0
"""The host's segment, as far as other hosts are concerned: csrc/host/far.h, agent_segment.h.

`Segment` is what the agent needs of it; `HostSegment` is the real one.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..host import Host
from ..native import check, ffi, lib, text

OTHER = "another agent of this segment"
NO_FAR = 2**32 - 1  # MFS_FAR_NONE
TELLERS = {int(lib.MFS_CONTACT_UCX): "UCX", int(lib.MFS_CONTACT_NCCL): "NCCL"}


class Segment(Protocol):
    def own_version(self) -> int:
        """Moves when a worker of this host comes or goes."""

    def own_workers(self) -> list[tuple[int, str]]:
        """Of each UCX worker of this host: uid, and the name of its port."""

    def address_uid(self, address: str) -> int:
        """What stands for the workers at an address; 0: it is none."""

    def want_contacts(self) -> None:
        """Once a second: processes tell to which hosts they are connected."""

    def contacts_version(self) -> int:
        """Moves when a process of this host is connected to another host, or is not any more."""

    def contacts(self) -> list[tuple[bytes, str]]:
        """Where they are connected to, as IPv6 addresses, and by what."""

    def policy(self) -> str: ...

    def keys_are_times(self) -> bool:
        """Of this policy, so that they can be told as spans."""

    def add_port(self, key: int, name: str) -> int:
        """A port of another host; its number from now on, or -1: there is no room."""

    def add_worker(self, uid: int, for_puts: int, for_gets: int) -> bool:
        """A worker of another host, and the numbers of its ports. False: there is no room."""

    def forget(self, far: int) -> None: ...

    def limit(self, far: int, level: int, span_ns: int, for_ns: int) -> None: ...

    def fill(self, ops: Any) -> None:
        """A struct mfs_agent_ops: what the agent uses at each tick."""


class HostSegment:
    """The segment of this host, of which this process is the agent."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._own = ffi.new("struct mfs_far_own[]", int(lib.MFS_FAR_OWN_MAX))
        self._contacts = ffi.new("struct mfs_contact[]", int(lib.MFS_CONTACTS_MAX))
        out = ffi.new("struct mfs_agent_segment **")
        check(lib.mfs_agent_segment_open(host.handle, out), OTHER)
        self._handle = out[0]

    def check(self) -> None:
        """OSError: another process is the agent now."""
        check(lib.mfs_agent_segment_error(self._handle), OTHER)

    def close(self) -> None:
        lib.mfs_agent_segment_close(self._handle)

    def name(self, identity: int) -> None:
        """Of the agent among agents, by which requests of this host are followed."""
        lib.mfs_agent_segment_name(self._handle, identity)

    def fill(self, ops: Any) -> None:
        lib.mfs_agent_segment_ops(self._handle, ops)

    def own_version(self) -> int:
        return int(lib.mfs_far_own_version(self.host.handle))

    def own_workers(self) -> list[tuple[int, str]]:
        count = lib.mfs_far_own(self.host.handle, self._own, len(self._own))
        return [(int(one.uid), text(one.port)) for one in self._own[0:count]]

    def address_uid(self, address: str) -> int:
        return int(lib.mfs_far_address(address.encode()))

    def want_contacts(self) -> None:
        lib.mfs_contacts_want(self.host.handle, True)

    def contacts_version(self) -> int:
        return int(lib.mfs_contacts_version(self.host.handle))

    def contacts(self) -> list[tuple[bytes, str]]:
        count = lib.mfs_contacts(self.host.handle, self._contacts, len(self._contacts))
        rows = {
            (bytes(one.ip), TELLERS[one.teller])
            for one in self._contacts[0:count]
            if one.teller in TELLERS
        }
        return sorted(rows)

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

    def limit(self, far: int, level: int, span_ns: int, for_ns: int) -> None:
        lib.mfs_far_limit(self.host.handle, far, level, span_ns, for_ns)
