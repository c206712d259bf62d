# SPDX-License-Identifier: Apache-2.0
"""Agents on a network of our own, in a time of our own. A host has a segment of a few lists."""

from __future__ import annotations

import heapq
import ipaddress
import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mfs_transport.exchange.agent import Agent
from mfs_transport.exchange.message import EGRESS, HEADER_BYTES, INGRESS, NO_LEVEL, Message, Port
from mfs_transport.exchange.message import pack as pack_body
from mfs_transport.exchange.roster import PORT, Address
from mfs_transport.exchange.seal import Seal
from mfs_transport.exchange.segment import NO_FAR
from mfs_transport.native import ffi, lib

KEY = bytes(range(32))
MS = 1_000_000
TICK_NS = MS
BEACON_NS = 8 * MS
CAREFUL_NS = 5 * MS  # where a datagram was lost
LOSS_MS = 2000  # that one is remembered for
HOLD_NS = 50 * MS
START_NS = 10**12
RATE_BPS = 125e6


class FarClaim(NamedTuple):
    """struct mfs_claim"""

    far: int
    level: int
    span_ns: int
    waiting: int
    inflight: int
    done: int
    under_way: int = 0  # level + 1


# PyNaCl's own functions, to hold against what C makes of them


def header_bytes(sender: int, boot: int, sequence: int) -> bytes:
    clear = ffi.new("uint8_t[]", HEADER_BYTES)
    lib.mfs_message_header_pack(
        ffi.new("struct mfs_message_header *", (sender, boot, sequence)), clear
    )
    return bytes(ffi.buffer(clear))


def sealed(header: tuple[int, int, int], body: Message, key: bytes = KEY) -> bytes:
    """The datagram."""
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as close

    clear = header_bytes(*header)
    return clear + bytes(close(pack_body(body), clear[:4], clear[4:], key))


def opened(datagram: bytes, key: bytes = KEY) -> bytes:
    """The body's bytes."""
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as open_

    clear = datagram[:HEADER_BYTES]
    return bytes(open_(datagram[HEADER_BYTES:], clear[:4], clear[4:], key))


CLAIMS = "uint32_t(void *, int64_t, struct mfs_claim *, uint32_t)"
OWN_CLAIM = "bool(void *, struct mfs_agent_port *, int64_t, struct mfs_claim *)"
LIMIT = "void(void *, uint32_t, uint32_t, int64_t, int64_t)"
SHARE = "void(void *, uint32_t, uint32_t, int64_t)"
GUEST = "void(void *, struct mfs_agent_port *, uint32_t, int64_t, uint64_t, uint64_t, int64_t)"
ANSWERS = "void(void *, uint32_t, uint32_t, int64_t)"
SEED = "double(void *, struct mfs_agent_port *)"
FOLLOWS = "uint32_t(void *, struct mfs_follow *, uint32_t)"
VERSION = "uint64_t(void *)"
OWN_VERDICT = "uint32_t(void *, uint64_t)"
VERDICT = "void(void *, struct mfs_follow *, uint32_t, int64_t)"


def write_rows(rows: Any, found: list[FarClaim]) -> int:
    for place, one in enumerate(found):
        rows[place] = tuple(one)
    return len(found)


@dataclass
class FakeSegment:
    name: str
    clock_ns: int  # its clock is so far ahead of the world's
    workers: list[tuple[int, str]] = field(default_factory=list)
    version: int = 0
    policy_name: str = "mfs"
    room: int = 256
    far_names: dict[int, str] = field(default_factory=dict)
    keys: dict[int, int] = field(default_factory=dict)
    known: dict[int, tuple[int, int]] = field(default_factory=dict)  # workers of others
    wants: dict[int, FarClaim] = field(default_factory=dict)  # ours, by far port; key for span
    own: dict[int, list[FarClaim]] = field(default_factory=dict)  # of our senders, by our port
    limits: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # level, key, end
    shares: dict[int, tuple[int, int]] = field(default_factory=dict)  # sharers, end
    guests: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    answers: dict[int, tuple[int, int]] = field(default_factory=dict)  # by far port: level, end
    now_ns: int = 0
    follows: dict[int, tuple[int, int]] = field(default_factory=dict)  # by place: owner, key
    follows_version: int = 0
    verdicts: dict[int, int] = field(default_factory=dict)  # of our own requests, by key
    verdicts_version: int = 0
    held: dict[int, tuple[int, int]] = field(default_factory=dict)  # by place: verdict, its end
    contacts_wanted: int = 0  # times
    contact_version: int = 0
    contact_rows: set[tuple[bytes, str]] = field(default_factory=set)
    callbacks: list[Any] = field(default_factory=list)

    def fill(self, ops: Any) -> None:
        """The functions that C calls are methods of this one."""
        made = {
            "attend": ("void(void *, int64_t)", lambda _, now: None),
            "claims": (CLAIMS, lambda _, now, rows, room: write_rows(rows, self.claims(now))),
            "own_claim": (
                OWN_CLAIM,
                lambda _, port, now, rows: write_rows(rows, self.own.get(port.number, [])) > 0,
            ),
            "limit": (LIMIT, lambda _, *told: self.limit(*told)),
            "share": (SHARE, lambda _, *told: self.share(*told)),
            "guest": (GUEST, lambda _, port, *told: self.guest(port.number, *told)),
            "answers": (ANSWERS, lambda _, *told: self.answer(*told)),
            "seed_Bps": (SEED, lambda _, port: 0.0),
            "follows": (FOLLOWS, lambda _, rows, room: self.write_follows(rows, room)),
            "follows_version": (VERSION, lambda _: self.follows_version),
            "requests_version": (VERSION, lambda _: self.verdicts_version),
            "own_verdict": (OWN_VERDICT, lambda _, key: self.verdicts.get(key, 0)),
            "verdict": (VERDICT, lambda _, row, *told: self.verdict(row, *told)),
        }
        for name, (kind, function) in made.items():
            callback = ffi.callback(kind, function)
            self.callbacks.append(callback)
            setattr(ops, name, callback)

    def own_version(self) -> int:
        return self.version

    def own_workers(self) -> list[tuple[int, str]]:
        return list(self.workers)

    def address_uid(self, address: str) -> int:
        return hash(address) & 0xFFFFFFFF

    def want_contacts(self) -> None:
        self.contacts_wanted += 1

    def contacts_version(self) -> int:
        return self.contact_version

    def contacts(self) -> list[tuple[bytes, str]]:
        return sorted(self.contact_rows)

    def policy(self) -> str:
        return self.policy_name

    def keys_are_times(self) -> bool:
        return self.policy_name in ("mfs", "edf", "fifo")

    def add_port(self, key: int, name: str) -> int:
        far = self.keys.setdefault(key, len(self.keys))
        if far >= self.room:
            return -1
        self.far_names[far] = name
        return far

    def add_worker(self, uid: int, for_puts: int, for_gets: int) -> bool:
        if for_puts == NO_FAR:
            self.known.pop(uid, None)
        else:
            self.known[uid] = (for_puts, for_gets)
        return True

    def forget(self, far: int) -> None:
        self.far_names.pop(far, None)
        self.limits.pop(far, None)
        self.known = {uid: fars for uid, fars in self.known.items() if far not in fars}

    def claims(self, now_ns: int) -> list[FarClaim]:
        return [one._replace(span_ns=one.span_ns - now_ns) for one in self.wants.values()]

    def limit(self, far: int, level: int, span_ns: int, for_ns: int) -> None:
        if level >= NO_LEVEL:
            self.limits.pop(far, None)
        else:
            end_ns = self.now_ns + min(for_ns, 20 * MS)  # the lease
            self.limits[far] = (level, self.now_ns + span_ns, end_ns)

    def share(self, far: int, sharers: int, for_ns: int) -> None:
        self.shares[far] = (sharers, self.now_ns + min(for_ns, HOLD_NS))

    def guest(
        self, port: int, level: int, span_ns: int, inflight: int, done: int, now_ns: int
    ) -> None:
        self.guests[port] = (level, span_ns, inflight, done)

    def answer(self, far: int, level: int, for_ns: int) -> None:
        self.answers[far] = (level, self.now_ns + min(for_ns, 20 * MS))

    def write_follows(self, rows: Any, room: int) -> int:
        found = sorted(self.follows.items())[:room]
        for at, (place, (owner, key)) in enumerate(found):
            rows[at] = (place, owner, key)
        return len(found)

    def verdict(self, row: Any, verdict: int, for_ns: int) -> None:
        if self.follows.get(row.place) == (row.owner, row.key):
            self.held[row.place] = (verdict, self.now_ns + for_ns)

    # --- for tests ---

    def connect(self, *hosts: str, by: str = "UCX") -> None:
        """Connections lead to these now, and to nobody else."""
        self.contact_rows = {
            (ipaddress.IPv6Address(f"::ffff:{host}" if "." in host else host).packed, by)
            for host in hosts
        }
        self.contact_version += 1

    def follow(self, place: int, owner: int, key: int) -> None:
        self.follows[place] = (owner, key)
        self.held.pop(place, None)
        self.follows_version += 1

    def judge(self, key: int, verdict: int) -> None:
        """This host says so of a request of its own."""
        self.verdicts[key] = verdict
        self.verdicts_version += 1

    def verdict_now(self, place: int) -> int:
        """That is fresh; 0: this host decides for itself."""
        verdict, end_ns = self.held.get(place, (0, 0))
        return verdict if end_ns > self.now_ns else 0

    def limit_now(self, far: int) -> tuple[int, int] | None:
        """Level and key that is in force."""
        found = self.limits.get(far)
        return found[:2] if found and found[2] > self.now_ns else None

    def answers_now(self, far: int) -> int | None:
        """Level that is in force."""
        level, end_ns = self.answers.get(far, (NO_LEVEL, 0))
        return level if end_ns > self.now_ns and level != NO_LEVEL else None

    def sharers_now(self, far: int) -> int:
        sharers, end_ns = self.shares.get(far, (0, 0))
        return sharers if end_ns > self.now_ns else 0

    def want(self, far: int, level: int, span_ns: int, inflight: int = 0, done: int = 0) -> None:
        self.wants[far] = FarClaim(far, level, self.now_ns + span_ns, 1 << 20, inflight, done)


@dataclass
class HostAgent:
    address: Address
    segment: FakeSegment
    agent: Agent
    said: list[str]
    alive: bool = True
    more: set[Address] = field(default_factory=set)  # addresses that lead here as well


class World:
    """`count` hosts that all name each other as peers. Time moves in ticks."""

    def __init__(
        self,
        count: int,
        *,
        delay_ns: int = 50_000,
        loss: float = 0.0,
        seed: int = 1,
        key: bytes = KEY,
    ) -> None:
        self.random = random.Random(seed)
        self.delay_ns, self.loss = delay_ns, loss
        self.now_ns = START_NS
        self.flying: list[tuple[int, int, bytes, Address, Address]] = []
        self.count = 0
        self.sent: list[tuple[int, bytes, Address, Address]] = []  # of the wire, for who listens
        self.hosts: list[HostAgent] = []
        for number in range(count):
            # clocks that are days apart
            segment = FakeSegment(f"h{number}", number * 86_400 * 10**9)
            segment.workers = [(1000 + number, "eth0")]
            self.hosts.append(self.host(number, segment, key))
        self.addresses = [host.address for host in self.hosts]

    def host(self, number: int, segment: FakeSegment, key: bytes = KEY) -> HostAgent:
        address = (f"10.0.0.{number + 1}", PORT)
        said: list[str] = []

        def send(datagram: bytes, to: Address) -> None:
            self.send(datagram, address, to)

        boot = self.random.getrandbits(64) | 1
        agent = Agent(segment, Seal(key), 7000 + number, boot, send, said.append, rate_Bps=RATE_BPS)
        return HostAgent(address, segment, agent, said)

    def send(self, datagram: bytes, source: Address, to: Address) -> None:
        self.sent.append((self.now_ns, datagram, source, to))
        if self.random.random() >= self.loss:
            self.count += 1
            item = (self.now_ns + self.delay_ns, self.count, datagram, source, to)
            heapq.heappush(self.flying, item)

    def run(self, ms: int) -> None:
        for _ in range(ms * MS // TICK_NS):
            self.now_ns += TICK_NS
            while self.flying and self.flying[0][0] <= self.now_ns:
                at_ns, _, datagram, source, to = heapq.heappop(self.flying)
                for host in self.hosts:
                    if host.alive and (host.address == to or to in host.more):
                        self.clock(host)
                        host.agent.received(datagram, source, at_ns + host.segment.clock_ns)
            for host in self.hosts:
                if host.alive:
                    host.agent.tick(self.addresses, self.clock(host))

    def clock(self, host: HostAgent) -> int:
        host.segment.now_ns = self.now_ns + host.segment.clock_ns
        return host.segment.now_ns

    def far(self, here: int, there: int, direction: int) -> int:
        """The number that host `here` has for a port of host `there`."""
        puts, gets = self.hosts[here].segment.known[1000 + there]
        return puts if direction == INGRESS else gets


IN = Port(INGRESS, "eth0").number
OUT = Port(EGRESS, "eth0").number
