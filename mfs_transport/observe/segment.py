# SPDX-License-Identifier: Apache-2.0
"""A look at the host's segment that changes nothing.

Attaching to a segment that nobody is attached to starts it afresh, and the first bytes of a
file that is none would be lost. So the file is looked at first: its magic, and whether a
process holds a lock on one of the bytes by which processes prove that they are alive
(csrc/host/process.c).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..control import Host
from ..native import check, ffi, lib, text

MAGIC = b"MFSSEG\n\0"
SLOTS_AT, SLOTS = 64, 128  # bytes of the file that processes lock
FOREIGN = "it is some other file, no segment"
FLOCK = "hhqqi4x"  # struct flock: l_type, l_whence, l_start, l_len, l_pid

# none: no file; idle: nobody is attached; live: in use; unusable: see the reason
State = Literal["none", "idle", "live", "unusable"]


@dataclass(frozen=True)
class Look:
    path: Path
    state: State
    reason: str = ""
    policy: str = ""
    requests: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    egress_Bps: dict[str, int] = field(default_factory=dict)  # of each port; 0: not known yet
    stalled: dict[str, int] = field(default_factory=dict)  # destinations, of each port


def place_of(path: str) -> Path:
    """The file that the library uses for `path` ("": the default place); nothing is made."""
    place = ffi.new("char[256]")
    check(lib.mfs_host_place(path.encode(), place, len(place)), f"segment {path}".strip())
    return Path(text(place))


def attached(descriptor: int) -> bool:
    """Does a process hold one of the slots?"""
    asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, SLOTS_AT, SLOTS, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack(FLOCK, answer)[0] != fcntl.F_UNLCK)


def look(path: str) -> Look:
    """What lies at `path` ("": the default place)."""
    try:
        place = place_of(path)
    except OSError as error:
        return Look(Path(path or "default place"), "unusable", reason_of(error))
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if path and not place.parent.is_dir():
            return Look(place, "unusable", f"the folder {place.parent} does not exist")
        return Look(place, "none")
    except OSError as error:
        return Look(place, "unusable", error.strerror or str(error))
    try:
        status = os.fstat(descriptor)
        first = os.pread(descriptor, len(MAGIC), 0)
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return Look(place, "unusable", "it belongs to, or is open to, another user")
        if first.strip(b"\0") and first != MAGIC:
            return Look(place, "unusable", FOREIGN)
        if not attached(descriptor):
            return Look(place, "idle")
    except OSError as error:
        return Look(place, "unusable", error.strerror or str(error))
    finally:
        os.close(descriptor)
    try:
        with Host(path) as host:
            return Look(
                place,
                "live",
                policy=host.policy,
                requests=host.requests(),
                counters=host.counters(),
                egress_Bps={name: host.egress_rate_Bps(name) for name in host.ports()},
                stalled={name: host.stalled(name) for name in host.ports()},
            )
    except OSError as error:
        return Look(place, "unusable", reason_of(error))


def reason_of(error: OSError) -> str:
    """Why it could not be opened, in words of the segment."""
    if error.errno == errno.EPROTO:
        return "another version of mfs-transport is using it"
    if error.errno == errno.EUSERS:
        return f"all of its {SLOTS} places for processes are taken"
    return os.strerror(error.errno) if error.errno else str(error)
