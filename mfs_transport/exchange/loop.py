# SPDX-License-Identifier: Apache-2.0
"""The agent with a socket and a clock, until it is told to end or its segment has nobody else.

csrc/host/agent_wire.h takes and tells; each ROUND_NS, and when a datagram has left something to do,
it comes back for what happens seldom.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..native import InputError, check, ffi, lib, now_ns
from .agent import Agent
from .roster import Address, Roster

ROUND_NS = 50_000_000
HOOKS_NS = 1_000_000  # where datagrams are late
EVERY_NS = 1_000_000_000
SO_TIMESTAMPNS = 35
DSCP = 46 << 2  # expedited forwarding: a network that heeds it lets these few bytes pass


@dataclass(frozen=True)
class Hooks:
    """For tests and benches: what a bad network does to what we send."""

    loss: float = 0.0
    delay_s: float = 0.0
    seed: int = 1

    @property
    def used(self) -> bool:
        return self.loss > 0 or self.delay_s > 0


def bind(address: str, port: int) -> socket.socket:
    """A UDP socket there; "": all addresses."""
    family = (
        socket.AF_INET6 if ":" in address or (not address and socket.has_ipv6) else socket.AF_INET
    )
    try:
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError:
        family = socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP)
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.setblocking(False)
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise InputError(
            f"address {address or 'any'}, port {port}: {error.strerror}; MFS_AGENT_ADDRESS names "
            "what this host's agent uses"
        ) from None
    return made


class Wire:
    """The socket, with what the hooks do to it."""

    def __init__(self, made: socket.socket, hooks: Hooks) -> None:
        self.socket, self.hooks = made, hooks
        self._random = random.Random(hooks.seed)
        self._late: deque[tuple[float, bytes, Address]] = deque()

    def send(self, datagram: bytes, address: Address) -> None:
        if self.hooks.loss and self._random.random() < self.hooks.loss:
            return
        if self.hooks.delay_s:
            self._late.append((time.monotonic() + self.hooks.delay_s, datagram, address))
            return
        self._send(datagram, address)

    def _send(self, datagram: bytes, address: Address) -> None:
        # no route, a full buffer, a peer's port is closed: the next one says it
        with contextlib.suppress(OSError):
            self.socket.sendto(datagram, address)

    def flush(self) -> None:
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, datagram, address = self._late.popleft()
            self._send(datagram, address)


def run(
    agent: Agent,
    wire: Wire,
    roster: Roster,
    each_second: Callable[[], bool],
    check_segment: Callable[[], None],
) -> None:
    """Until each_second says that it is over, or check_segment that the segment is another's."""
    out = ffi.new("struct mfs_agent_wire **")
    six = wire.socket.family == socket.AF_INET6
    opened = (agent.handle, wire.socket.fileno(), six, wire.hooks.used, out)
    check(lib.mfs_agent_wire_open(*opened), "the agent's socket")
    handle = ffi.gc(out[0], lib.mfs_agent_wire_close)
    second_ns = 0
    while True:
        now = now_ns()
        check_segment()
        agent.refresh(roster.addresses, now)
        if now - second_ns >= EVERY_NS:
            second_ns = now
            agent.look_for_late()
            if not each_second():
                break
        _go_on(agent, wire, handle, now + (HOOKS_NS if wire.hooks.used else ROUND_NS))
    agent.leave(now_ns())
    wire.flush()


def _go_on(agent: Agent, wire: Wire, handle: Any, until_ns: int) -> None:
    while left := lib.mfs_agent_wire_run(handle, until_ns):
        if left == lib.MFS_AGENT_FRAMES:
            agent.send_frames()
        else:
            agent.look_after(left, now_ns())
        if now_ns() >= until_ns:
            break
    wire.flush()
