# SPDX-License-Identifier: Apache-2.0
"""The agent with a socket and a clock, until it is told to end or its segment has nobody else.

A tick is a millisecond while there is traffic with peers: what has come is taken, then what has
changed is told. Without traffic it sleeps until a datagram comes, IDLE_S at most.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..native import InputError, now_ns
from .agent import Agent
from .message import MOST_BYTES
from .roster import Address, Roster

IDLE_S = 0.005
BUSY_NS = 200_000_000  # after the last traffic
BATCH = 512  # datagrams of one tick at most: a flood does not keep us from our own
EVERY_NS = 1_000_000_000
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@ll")
ANCILLARY = socket.CMSG_SPACE(TIMESPEC.size)
MOST_WAITED_NS = 1_000_000_000
DSCP = 46 << 2  # expedited forwarding: a network that heeds it lets these few bytes pass


@dataclass(frozen=True)
class Hooks:
    """For tests and benches: what a bad network does to what we send."""

    loss: float = 0.0
    delay_s: float = 0.0
    seed: int = 1


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
        raise InputError(f"address {address or 'any'}, port {port}: {error.strerror}") from None
    return made


def waited_ns(more: list[tuple[int, int, bytes]]) -> int:
    """How long a datagram has lain in the socket, as the kernel says it."""
    for level, kind, data in more:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS) and len(data) == TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack(data)
            waited = time.time_ns() - (seconds * EVERY_NS + nanoseconds)
            return waited if 0 <= waited < MOST_WAITED_NS else 0  # the clock was set meanwhile
    return 0


class Wire:
    """The socket, with what the hooks do to it."""

    def __init__(self, made: socket.socket, hooks: Hooks) -> None:
        self.socket, self.hooks = made, hooks
        self._random = random.Random(hooks.seed)
        self._late: deque[tuple[float, bytes, Address]] = deque()
        self.lost = 0  # that the system has not taken

    def send(self, datagram: bytes, address: Address) -> None:
        if self.hooks.loss and self._random.random() < self.hooks.loss:
            return
        if self.hooks.delay_s:
            self._late.append((time.monotonic() + self.hooks.delay_s, datagram, address))
            return
        self._send(datagram, address)

    def _send(self, datagram: bytes, address: Address) -> None:
        try:
            self.socket.sendto(datagram, address)
        except OSError:  # no route, a full buffer, a peer's port is closed: the next one says it
            self.lost += 1

    def flush(self) -> None:
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, datagram, address = self._late.popleft()
            self._send(datagram, address)

    def take(self, received: Callable[[bytes, Address, int], None]) -> int:
        for count in range(BATCH):
            try:
                datagram, more, _, address = self.socket.recvmsg(MOST_BYTES + 1, ANCILLARY)
            except BlockingIOError:
                return count
            except OSError:  # an error of an earlier datagram
                continue
            received(datagram, (address[0], address[1]), now_ns() - waited_ns(more))
        return BATCH


def run(
    agent: Agent,
    wire: Wire,
    roster: Roster,
    each_second: Callable[[], bool],
    attend: Callable[[int], None],
) -> None:
    """Until each_second says that it is over. attend: tell the segment that we are there."""
    busy_ns = second_ns = 0
    while True:
        wire.take(agent.received)
        now = now_ns()
        attend(now)
        if agent.tick(roster.addresses, now):
            busy_ns = now
        wire.flush()
        if now - second_ns >= EVERY_NS:
            second_ns = now
            if not each_second():
                break
        if now - busy_ns < BUSY_NS:
            time.sleep(agent.tick_ns / 1e9)
        else:
            select.select([wire.socket], [], [], IDLE_S)
    agent.leave(now_ns())
    wire.flush()
