# SPDX-License-Identifier: Apache-2.0
"""One agent for each segment: who has the lock beside its file is the one.

    PATH.agent        the lock, held as long as the agent lives
    PATH.agent.json   what it knows, written anew each second

`mfs run` starts one where MFS_PEERS is set and none has the lock. It ends when no other process has
used the segment for a while.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import output_file
from ..config import Settings
from ..host import Host
from ..native import InputError, lib, now_ns
from ..observe.segment import place_of
from . import contacts, loop, roster
from .agent import Agent
from .seal import Seal, read_key
from .segment import HostSegment

SCHEMA_VERSION = 1
FIRST_S = 60.0  # to wait for the first process
LAST_S = 10.0  # after the last one
LINES = 20  # of what was said, that are kept


@dataclass(frozen=True)
class Options:
    """Of an agent, checked."""

    segment: str
    peers: str  # that are named
    networks: tuple[contacts.Network, ...] | None  # of connections; None: they lead to nobody
    key: bytes
    address: str  # "": all
    port: int
    rate_Bps: float
    stays: bool = False  # also without other processes
    hooks: loop.Hooks = field(default_factory=loop.Hooks)


def options(
    settings: Settings,
    rate_Bps: float,
    *,
    stays: bool = False,
    hooks: loop.Hooks = loop.Hooks(),  # noqa: B008
) -> Options:
    """By MFS_ variables; InputError says what is missing or wrong."""
    peers = settings["MFS_PEERS"].value
    if not peers:
        raise InputError("MFS_PEERS: no peers are named; as in MFS_PEERS=decode-0,decode-1")
    peers, networks = contacts.parted(peers)
    address, port = roster.own_address(settings["MFS_AGENT_ADDRESS"].value)
    try:
        if peers or networks is None:
            roster.check(peers, (address, port))
    except OSError as error:
        raise InputError(f"MFS_PEERS {peers}: {error.strerror}") from None
    file = settings["MFS_AGENT_KEY_FILE"].value
    if not file:
        raise InputError(
            "MFS_AGENT_KEY_FILE: hosts trust each other by a key that they share: "
            "mfs agent --new-key > FILE, and the same file on each"
        )
    key = read_key(Path(file))
    Seal(key)  # the library is there
    segment = settings["MFS_SEGMENT"].value
    return Options(segment, peers, networks, key, address, port, rate_Bps, stays, hooks=hooks)


def lock_path(segment: str) -> Path:
    place = place_of(segment)
    return place.with_name(place.name + ".agent")


def state_path(segment: str) -> Path:
    place = place_of(segment)
    return place.with_name(place.name + ".agent.json")


def take_lock(path: Path) -> int | None:
    """A descriptor that holds it; None: another agent does."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o660)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_running(segment: str) -> bool:
    path = lock_path(segment)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def state_of(segment: str) -> dict[str, Any] | None:
    """What the agent of the segment has written last; None: there is none."""
    if not is_running(segment):
        return None
    try:
        found = json.loads(state_path(segment).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def start(environ: Mapping[str, str]) -> None:
    """One in the background, of nobody's session, without the shim; it has what the program's
    environment says of MFS_. If another has come first, it ends at once."""
    env = {
        name: value for name, value in environ.items() if name not in ("LD_PRELOAD", "MFS_ENABLE")
    }
    command = [sys.executable, "-m", "mfs_transport", "agent"]
    # the shell ends at once, so that the agent is no child of the program that comes
    subprocess.run(
        ["sh", "-c", '"$@" &', "sh", *command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )


def start_if_wanted(settings: Settings, environ: Mapping[str, str]) -> None:
    """For `mfs run`. What an agent would lack is said before the program runs."""
    if not settings["MFS_PEERS"].value:
        return
    given = options(settings, 0)
    if is_running(given.segment):
        return
    try:
        loop.bind(given.address, given.port).close()
    except InputError:
        if is_running(given.segment):  # which has come meanwhile, and has the lock before the port
            return
        raise
    start(environ)


def identity(segment: Path, address: str, port: int) -> int:
    """Of this host's agent: the same after a start anew."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        boot = ""
    parts = (boot, socket.gethostname(), str(segment), address, str(port))
    digest = hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def others_use(host: Host) -> bool:
    """Does any process but this one?"""
    return bool(lib.mfs_host_others(host.handle))


class Watch:
    """Once a second: is anybody there, and what do we know?"""

    def __init__(
        self, agent: Agent, host: Host, segment: str, stays: bool, lines: deque[str]
    ) -> None:
        self.agent, self.host, self.stays = agent, host, stays
        self.lines = lines
        self.began_s = time.monotonic()
        self.until_s = self.began_s + FIRST_S
        self.path = state_path(segment)
        self.ended = False
        self._own_pid = os.getpid()

    def __call__(self) -> bool:
        now_s = time.monotonic()
        if others_use(self.host):
            self.until_s = now_s + LAST_S
        try:
            output_file.write(self.path, json.dumps(self.state()) + "\n")
        except OSError as error:
            self.agent.say(f"{error.filename}: {error.strerror}")
        return not self.ended and (self.stays or now_s < self.until_s)

    def state(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "pid": self._own_pid,
            "seconds": time.monotonic() - self.began_s,
            "cpu_seconds": time.process_time(),
            **known(self.agent, now_ns()),
            "said": list(self.lines),
        }

    def end(self, *_: object) -> None:
        self.ended = True


def known(agent: Agent, now: int) -> dict[str, Any]:
    """What the agent knows, for people and programs."""
    return {
        "policy": agent.segment.policy(),
        "workers": len(agent.inventory.workers),
        "ports": [
            {
                "name": port.name,
                "direction": "ingress" if port.direction else "egress",
                "rate_Bps": lib.mfs_owner_rate_Bps(agent.owner(port)),
                "allowed": agent.owner(port).allowed,
            }
            for port in agent.inventory.ports.values()
        ],
        "peers": [
            {
                "address": peer.address[0],
                "port": peer.address[1],
                "heard_s": (now - peer.link.heard_ns) / 1e9,
                "rtt_us": peer.link.rtt_ns // 1000,
                "base_us": peer.link.base_ns // 1000,
                "ports": len(peer.ports),
                "claims": len(peer.claims),
                "limits": len(peer.held),
                "known_by": agent.known_by(who),
            }
            for who, peer in agent.peers.items()
        ],
        "contacts": contacts_of(agent),
        "counts": agent.counts._asdict(),
    }


def contacts_of(agent: Agent) -> list[dict[str, Any]] | None:
    """Where connections lead, and whether an agent has answered there; None: nobody asks there."""
    if agent.contacts is None:
        return None
    return [
        {
            "address": address[0],
            "port": address[1],
            "by": sorted(one.by),
            "agent": bool(one.peer),
            "own": address in agent.own,
            "asked": one.tries,
        }
        for address, one in agent.contacts.found.items()
    ]


def run(
    given: Options, say: Callable[[str], None], make: Callable[[Host], HostSegment] = HostSegment
) -> bool:
    """Be the agent. False: this segment has one."""
    lines: deque[str] = deque(maxlen=LINES)

    def tell(line: str) -> None:
        lines.append(line)
        say(line)

    with Host(given.segment or None) as host:
        if not host.path:
            raise InputError(f"no segment can be had: {host.reason}")
        lock = take_lock(lock_path(given.segment))
        if lock is None:
            return False
        wire = loop.Wire(loop.bind(given.address, given.port), given.hooks)
        segment = make(host)
        addresses = (given.address,) if given.address else ()
        own_identity = identity(Path(host.path), given.address, given.port)
        segment.name(own_identity)
        family = wire.socket.family
        met = (
            None
            if given.networks is None
            else contacts.Contacts(given.networks, given.port, family, tell)
        )
        agent = Agent(
            segment,
            Seal(given.key),
            own_identity,
            secrets.randbits(64) | 1,
            wire.send,
            tell,
            addresses=addresses,
            rate_Bps=given.rate_Bps,
            contacts=met,
        )
        own = (given.address, given.port)
        peers = roster.Roster(given.peers, family, tell, own)
        peers.start()
        watch = Watch(agent, host, given.segment, given.stays, lines)
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, watch.end)
        try:
            loop.run(agent, wire, peers, watch, segment.check)
        finally:
            peers.end()
            segment.close()
            output_file.remove(watch.path)
            wire.socket.close()  # who has the lock next finds the port free
            os.close(lock)
    return True
