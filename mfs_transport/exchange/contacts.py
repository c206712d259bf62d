# SPDX-License-Identifier: Apache-2.0
"""Peers by connections: the agent asks at the hosts that processes of this host are connected to
(csrc/host/contact.h), and who answers with the key is a peer.

    MFS_PEERS=connections                        at all of them
    MFS_PEERS=connections:10.0.0.0/8             in that network; several with commas
    MFS_PEERS=connections,decode-0               and those that are named

An address is asked again and again, less and less often, FIRST_NS to LAST_NS apart, until it
answers; when its peer has gone, from the beginning. Of one that no connection leads to for
FORGET_NS nothing is known any more, and its peer is told so, unless others keep that.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

from ..native import InputError, shown
from .roster import MOST, Address
from .segment import Segment

WORD = "connections"
FIRST_NS = 200_000_000
LAST_NS = 60_000_000_000
FORGET_NS = 60_000_000_000
AT_ONCE = 8  # addresses that are asked in one look
SILENT = 6  # times asked in vain, 13 s, after which that is said
WANT_NS = 1_000_000_000
READ_NS = 5_000_000_000  # the table is read, also when nothing says that it has changed
ASKED = 1024  # questions whose answers are waited for

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parted(text: str) -> tuple[str, tuple[Network, ...] | None]:
    """MFS_PEERS without the word, and the networks behind it; None: the word is not there."""
    rest, networks, there = [], [], False
    for one in text.split(","):
        word, colon, network = one.strip().partition(":")
        if word != WORD:
            rest.append(one)
            continue
        there = True
        if colon:
            networks.append(_network(network))
    return ",".join(rest), tuple(networks) if there else None


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise InputError(
            f"MFS_PEERS {WORD}:{shown(text)}: a network, as in {WORD}:10.0.0.0/8"
        ) from None


def address_of(raw: bytes, networks: tuple[Network, ...], family: int) -> str | None:
    """Where to ask, as our socket writes it; None: nowhere. Without networks that is anywhere but
    on this host itself and where an address means something else than a host."""
    six = ipaddress.IPv6Address(raw)
    found: ipaddress.IPv4Address | ipaddress.IPv6Address = six.ipv4_mapped or six
    if found.version == 6 and (found.is_link_local or family == socket.AF_INET):
        return None  # of which link is not known; or our socket has no way there
    if found.is_unspecified or found.is_multicast or found.packed == b"\xff" * 4:
        return None
    if networks:
        if not any(found in network for network in networks):
            return None
    elif found.is_loopback or found.is_link_local:
        return None
    mapped = found.version == 4 and family == socket.AF_INET6
    return f"::ffff:{found}" if mapped else str(found)


@dataclass(slots=True)
class Contact:
    """An address that connections lead to."""

    by: set[str]  # who is connected there: UCX, NCCL
    seen_ns: int
    tries: int = 0  # in vain
    next_ns: int = 0  # when it is asked
    peer: int = 0  # the agent that has answered there; 0: none has


@dataclass
class Contacts:
    networks: tuple[Network, ...]
    port: int  # of all agents: our own
    family: int
    say: Callable[[str], None]
    found: dict[Address, Contact] = field(default_factory=dict)
    _rows: list[tuple[bytes, str]] = field(default_factory=list)
    _version: int | None = None
    _read_ns: int = 0
    _wanted_ns: int = 0
    _asked: dict[int, Address] = field(default_factory=dict)  # by the number of the datagram
    _said: set[str] = field(default_factory=set)

    # --- the table ---

    def look(self, segment: Segment, now_ns: int) -> set[int]:
        """Who is there now. Agents that no connection leads to any more."""
        if now_ns - self._wanted_ns >= WANT_NS or not self._wanted_ns:
            self._wanted_ns = now_ns
            segment.want_contacts()
        version = segment.contacts_version()
        if version != self._version or now_ns - self._read_ns >= READ_NS:
            self._version, self._read_ns = version, now_ns
            self._rows = segment.contacts()
        for raw, by in self._rows:
            self._see(raw, by, now_ns)
        return self._forget(now_ns)

    def _see(self, raw: bytes, by: str, now_ns: int) -> None:
        host = address_of(raw, self.networks, self.family)
        if host is None:
            return
        contact = self.found.get((host, self.port))
        if contact:
            contact.seen_ns = now_ns
            contact.by.add(by)
        elif len(self.found) < MOST:
            self.found[host, self.port] = Contact({by}, now_ns)
        else:
            self._once(f"connections lead to more than {MOST} hosts: the rest is left alone")

    def _forget(self, now_ns: int) -> set[int]:
        over = [at for at, one in self.found.items() if now_ns - one.seen_ns > FORGET_NS]
        gone = {self.found.pop(address).peer for address in over}
        return gone - {one.peer for one in self.found.values()} - {0}

    # --- asking ---

    def due(
        self, known: Mapping[Address, int], own: Container[Address], now_ns: int
    ) -> list[Address]:
        """Where to ask now, right after a look: where a connection leads, and no agent is known.
        known: peers' addresses, and who is there."""
        peers = set(known.values())
        due = []
        for address, contact in self.found.items():
            if contact.peer not in peers:
                if contact.peer:
                    contact.tries = contact.next_ns = contact.peer = 0
                contact.peer = known.get(address, 0)
            here = contact.seen_ns == now_ns and address not in own
            if here and not contact.peer and now_ns >= contact.next_ns:
                due.append(address)
        return due[:AT_ONCE]

    def asked(self, address: Address, number: int, now_ns: int) -> None:
        """By the datagram of that number; 0: it did not go."""
        contact = self.found[address]
        contact.next_ns = now_ns + min(FIRST_NS << min(contact.tries, 20), LAST_NS)
        contact.tries += 1
        if contact.tries == SILENT:
            self._once(
                "no agent with our key answers at some hosts that connections lead to, as "
                f"{address[0]}: no order with those; mfs agent --once lists them",
                "silent",
            )
        if number:
            while len(self._asked) >= ASKED:
                del self._asked[next(iter(self._asked))]
            self._asked[number] = address

    def answered(self, number: int, who: int) -> None:
        """A peer has answered the datagram of that number."""
        contact = self.found.get(self._asked.pop(number, ("", 0)))
        if contact:
            contact.peer = who

    def lead_to(self, who: int) -> bool:
        return any(one.peer == who for one in self.found.values())

    def _once(self, line: str, about: str = "") -> None:
        if (about or line) not in self._said:
            self._said.add(about or line)
            self.say(line)
