# SPDX-License-Identifier: Apache-2.0
"""The agent of one host, as far as it acts seldom: who the peers are, which ports and workers they
have, and what people are told. What it does a thousand times a second is csrc/host/agent.h.

This has no socket and no clock: `received` and `tick` are called with datagrams and the time by a
test with a network of its own; loop.py lets C do it and calls `look_after` and `refresh`.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..native import check, ffi, lib
from .contacts import Contacts
from .message import (
    INGRESS,
    NO_LEVEL,
    VERSION,
    Claim,
    Limit,
    Port,
    Worker,
    claims_of,
    limits_of,
    message_of,
    policy_number,
    worker_rows,
)
from .ours import Inventory, Theirs
from .roster import MOST, Address
from .seal import Seal
from .segment import NO_FAR, Segment

GREET_NS = 200_000_000  # between two attempts to reach an address
GONE_NS = 5_000_000_000  # a peer that is silent for so long is forgotten
REFRESH_NS = 50_000_000  # between two looks at our own workers
PEERS_NS = 100_000_000  # between two looks for peers that are gone, or are to be asked
MET_NS = 1_000_000_000  # as long as all were known, and none has gone
LEFT_NS = 3_000_000_000  # what a peer says that we have left, it has said before
ANSWER_NS = 1_000_000  # between two answers to a stranger
LATE = 20  # datagrams that were read too late, of which it is said: fewer are a hiccup


# --- addresses ---


def address_to(address: Address) -> Any:
    """A struct mfs_agent_address of an IP address and a port."""
    host, _, scope = address[0].partition("%")
    six = ":" in host
    made = ffi.new("struct mfs_agent_address *")
    raw = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, host)
    ffi.memmove(made.ip, raw, len(raw))
    made.port, made.six = address[1], six
    if scope:
        made.scope = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
    return made


def address_from(made: Any) -> Address:
    size = 16 if made.six else 4
    family = socket.AF_INET6 if made.six else socket.AF_INET
    host = socket.inet_ntop(family, bytes(ffi.buffer(made.ip, size)))
    return (f"{host}%{made.scope}" if made.scope else host), int(made.port)


# --- peers ---


@dataclass(slots=True)
class Peer:
    place: int
    state: Any  # struct mfs_agent_peer, which C keeps
    theirs: Theirs = field(default_factory=Theirs)
    ports: dict[int, int] = field(default_factory=dict)  # its ports by number: far
    workers: dict[int, tuple[int, int]] = field(default_factory=dict)  # uid: far for puts, for gets

    @property
    def address(self) -> Address:
        return address_from(self.state.address)

    @property
    def link(self) -> Any:
        """struct mfs_agent_link"""
        return self.state.link

    @property
    def claims(self) -> list[Claim]:
        """On our ports."""
        return claims_of(self.state.they)

    @property
    def held(self) -> list[Limit]:
        """What it has told us."""
        return limits_of(self.state.they)


class Counts(NamedTuple):
    """struct mfs_agent_counts"""

    sent: int
    received: int
    malformed: int
    stale: int
    page: int
    limits_told: int
    limits_held: int
    aged: int
    had_share: int
    verdicts_told: int
    verdicts_held: int


class Agent:
    def __init__(
        self,
        segment: Segment,
        seal: Seal,
        identity: int,
        boot: int,
        send: Callable[[bytes, Address], None],
        say: Callable[[str], None],
        addresses: tuple[str, ...] = (),
        rate_Bps: float = 0.0,
        contacts: Contacts | None = None,
    ) -> None:
        self.segment = segment
        self.identity, self.boot = identity, boot
        self.send, self.say = send, say
        self.peers: dict[int, Peer] = {}  # by their identity
        self.own: set[Address] = set()  # addresses that are ours
        self.named: set[Address] = set()  # addresses of peers that MFS_PEERS names
        self.contacts = contacts  # None: connections lead to nobody
        self.inventory = Inventory(addresses)
        self.far: dict[int, tuple[int, int]] = {}  # a far port: its peer and its number there
        self.tellers: dict[int, set[int]] = {}  # of a worker's uid: the peers that say it is theirs
        self.answered_ns: dict[Address, int] = {}  # when it was last told who we are
        self.asked_ns: dict[Address, int] = {}  # when an address was last asked who it is
        self.left_ns: dict[int, int] = {}  # when we have told a peer that we leave it
        self._refresh_ns = self._peers_ns = 0
        self._met: list[Address] | None = None  # addresses that were all of peers ...
        self._met_ns = 0  # ... then
        self._counted = (0, 0)  # datagrams that had come when they were counted last, and too late
        self._policy = ""
        self._said: set[str] = set()
        self.handle = self._made(seal, rate_Bps)
        self._heard = lib.mfs_agent_heard(self.handle)
        self._follow_policy()

    def _made(self, seal: Seal, rate_Bps: float) -> Any:
        setup = ffi.new("struct mfs_agent_setup *")
        setup.identity, setup.boot, setup.rate_Bps = self.identity, self.boot, rate_Bps
        setup.key = list(seal.key)
        setup.close, setup.open = seal.close, seal.open
        self.segment.fill(ffi.addressof(setup, "ops"))
        out = ffi.new("struct mfs_agent **")
        check(lib.mfs_agent_new(setup, out), "an agent")
        return ffi.gc(out[0], lib.mfs_agent_free)

    @property
    def counts(self) -> Counts:
        made = lib.mfs_agent_counts(self.handle)
        return Counts(*(getattr(made, name) for name in Counts._fields))

    def owner(self, port: Port) -> Any:
        """A struct mfs_owner of one of our ports; NULL: it is none."""
        return lib.mfs_agent_owner(self.handle, port.number)

    # --- what comes ---

    def received(self, datagram: bytes, address: Address, now_ns: int, waited_ns: int = 0) -> None:
        """It came at now_ns, and is read so much later."""
        source = address_to(address)
        size = len(datagram)
        left = lib.mfs_agent_take(self.handle, datagram, size, source, now_ns, waited_ns)
        self.look_after(left, now_ns)
        self.send_frames()

    def look_after(self, left: int, now_ns: int) -> None:
        """What a datagram has left to do: MFS_AGENT_ bits."""
        if not left:
            return
        heard, address = self._heard, address_from(self._heard.source)
        who = int(heard.header.sender)
        if left & lib.MFS_AGENT_MALFORMED:
            self._once(f"a datagram from {address[0]} is not used: {reason_of(heard)}")
        elif left & lib.MFS_AGENT_OWN:
            self.own.add(address)
        elif left & lib.MFS_AGENT_FULL:
            self._once(f"more than {MOST} peers: the others are not listened to")
        elif left & lib.MFS_AGENT_STRANGER:
            if not heard.body.to_boot:
                self.left_ns.pop(who, None)  # it asks, so it has a reason to
            if not heard.body.leaves and not self._has_left(who, now_ns):
                self._introduce(heard.header, address, now_ns)
        else:
            self._look_after_peer(left, who, address, now_ns)

    def _look_after_peer(self, left: int, who: int, address: Address, now_ns: int) -> None:
        if left & lib.MFS_AGENT_CAME and self._has_left(who, now_ns):
            # it has said that before it heard of it, or has not heard of it
            lib.mfs_agent_drop(self.handle, self._heard.peer)
            if not left & lib.MFS_AGENT_LEAVES:
                self._greet(address, now_ns, int(self._heard.header.boot), leaves=True)
            return
        if left & lib.MFS_AGENT_AGAIN:
            self._forget(who, self.peers[who])
        if left & (lib.MFS_AGENT_CAME | lib.MFS_AGENT_AGAIN):
            place = int(self._heard.peer)
            self.peers[who] = Peer(place, lib.mfs_agent_peer(self.handle, place))
        if left & lib.MFS_AGENT_LEAVES:
            self._remove(who)
            return
        if left & lib.MFS_AGENT_ANSWER and self.contacts:
            self.contacts.answered(int(self._heard.body.heard), who)
        if left & lib.MFS_AGENT_PAGE:
            self._page(who, self.peers[who])
        elif left & lib.MFS_AGENT_POLICY:
            self._once(f"{address[0]} has another policy: no order with it")

    def _introduce(self, header: Any, address: Address, now_ns: int) -> None:
        """It does not know us, or we do not know it: say who we are, to nobody more often than
        once a millisecond."""
        if now_ns - self.answered_ns.get(address, -ANSWER_NS) < ANSWER_NS:
            return
        if len(self.answered_ns) > 4 * MOST:
            self.answered_ns.clear()
        self.answered_ns[address] = now_ns
        self._greet(address, now_ns, header.boot, header.sequence)

    def _page(self, who: int, peer: Peer) -> None:
        body = message_of(self._heard.body)
        whole = peer.theirs.add(body)
        owes = body.inventory == peer.theirs.version
        lib.mfs_agent_whole(self.handle, peer.place, peer.theirs.version, owes)
        if whole:
            self._learn(who, peer, *whole)

    def _learn(self, who: int, peer: Peer, ports: list[Port], workers: list[Worker]) -> None:
        """Its ports and workers, all of them."""
        numbers = {one.number for one in ports}
        for number in peer.ports.keys() - numbers:
            self._drop_port(peer, number)
        for port in ports:
            if port.number not in peer.ports:
                self._add_port(who, peer, port)
        now = {
            worker.uid: (peer.ports[worker.ingress], peer.ports[worker.egress])
            for worker in workers
            if worker.ingress in peer.ports and worker.egress in peer.ports
        }
        changed = {uid for uid, fars in now.items() if peer.workers.get(uid) != fars}
        changed |= peer.workers.keys() - now.keys()
        peer.workers = now
        for uid in changed:
            self._enter(who, uid, uid in now)

    def _add_port(self, who: int, peer: Peer, port: Port) -> None:
        way = "in" if port.direction == INGRESS else "out"
        name = f"{peer.address[0]} {port.name} {way}"
        key = zlib.crc32(f"{who} {port.number}".encode()) << 32 | port.number
        far = self.segment.add_port(key, name)
        if far < 0:
            self._once("too many ports of other hosts: the rest is not in one order with us")
            return
        peer.ports[port.number] = far
        self.far[far] = (who, port.number)
        lib.mfs_agent_far(self.handle, peer.place, port.number, far)

    def _enter(self, who: int, uid: int, there: bool) -> None:
        """A peer says that a worker is its own, or that it is not any more."""
        tellers = self.tellers.setdefault(uid, set())
        if there:
            tellers.add(who)
        else:
            tellers.discard(who)
        fars = (NO_FAR, NO_FAR)
        if len(tellers) > 1:
            # one of them lies, or is another's copy: with neither is there an order
            self._once(f"two hosts have a worker {uid:#x}: no order with it")
        elif tellers and not self.inventory.has(uid):
            fars = self.peers[next(iter(tellers))].workers[uid]
        if not tellers:
            del self.tellers[uid]
        if not self.segment.add_worker(uid, *fars):
            self._once("too many workers of other hosts: the rest is not in one order with us")

    def _drop_port(self, peer: Peer, number: int) -> None:
        far = peer.ports.pop(number)
        self.far.pop(far, None)
        lib.mfs_agent_far(self.handle, peer.place, number, NO_FAR)
        self.segment.limit(far, NO_LEVEL, 0, 0)
        self.segment.forget(far)

    def _forget(self, who: int, peer: Peer) -> None:
        """What it has told."""
        for number in list(peer.ports):
            self._drop_port(peer, number)
        uids, peer.workers = list(peer.workers), {}
        for uid in uids:
            self._enter(who, uid, False)

    def _remove(self, who: int) -> None:
        peer = self.peers[who]
        self._forget(who, peer)
        lib.mfs_agent_drop(self.handle, peer.place)
        del self.peers[who]
        self._met = None

    def _once(self, line: str) -> None:
        if line not in self._said and len(self._said) < 1000:
            self._said.add(line)
            self.say(line)

    # --- what goes ---

    def tick(self, addresses: list[Address], now_ns: int) -> bool:
        """Is there traffic with peers? addresses: of peers, as far as they are known."""
        self.refresh(addresses, now_ns)
        busy = lib.mfs_agent_tick(self.handle, now_ns)
        self.send_frames()
        return bool(busy)

    def refresh(self, addresses: list[Address], now_ns: int) -> None:
        """What is looked at now and then."""
        if now_ns - self._refresh_ns < REFRESH_NS and self._refresh_ns:
            return
        self._refresh_ns = now_ns
        if self.inventory.refresh(self.segment):
            self._tell_own()
            if self.inventory.left_out:
                names = ", ".join(self.inventory.left_out)
                self._once(f"more NICs than peers are told of: no order with them by {names}")
        self._follow_policy()
        if now_ns - self._peers_ns >= PEERS_NS or not self._peers_ns:
            self._peers_ns = now_ns
            self._look_for_gone(now_ns)
            self._ask(addresses, now_ns)
            if self.contacts:
                self._follow_contacts(self.contacts, now_ns)

    def look_for_late(self) -> None:
        """Each second: is this agent short of a core?"""
        counts = self.counts
        came, late = (
            now - was
            for now, was in zip((counts.received, counts.aged), self._counted, strict=True)
        )
        self._counted = (counts.received, counts.aged)
        if late >= LATE and late * 2 >= came:
            self._once(
                "short of a core: most of what came in a second lay unread for 20 ms and more; "
                "meanwhile this host decides for itself"
            )

    def leave(self, now_ns: int) -> None:
        """We end: nobody has to wait until we are missed."""
        for peer in self.peers.values():
            self._greet(peer.address, now_ns, peer.link.boot, leaves=True)
        self.send_frames()
        for who in list(self.peers):
            self._remove(who)
        lib.mfs_agent_leave(self.handle, now_ns)

    def _tell_own(self) -> None:
        ports, workers = self.inventory.ports, self.inventory.workers
        rows = ffi.new(
            "struct mfs_agent_port[]",
            [
                (number, one.direction, one.name.encode(errors="surrogateescape"))
                for number, one in ports.items()
            ],
        )
        given = (rows, len(ports), worker_rows(workers), len(workers))
        check(lib.mfs_agent_own(self.handle, self.inventory.version, *given), "this host's ports")

    def _follow_policy(self) -> None:
        policy = self.segment.policy()
        if policy != self._policy:
            self._policy = policy
            comparable = self.segment.keys_are_times()
            lib.mfs_agent_policy(self.handle, policy_number(policy), comparable)
            if not comparable:
                self._once(
                    f"policy {policy} ranks by something other than moments: each host decides "
                    "for itself"
                )

    def _ask(self, addresses: list[Address], now_ns: int) -> None:
        self.named = set(addresses)
        if addresses is self._met and now_ns - self._met_ns < MET_NS:
            return
        if len(self.asked_ns) > 4 * MOST:
            self.asked_ns.clear()
        known = {peer.address for peer in self.peers.values()} | self.own
        missing = [address for address in addresses if address not in known]
        if not missing:
            self._met, self._met_ns = addresses, now_ns
        for address in missing:
            if now_ns - self.asked_ns.get(address, -GREET_NS) >= GREET_NS:
                self.asked_ns[address] = now_ns
                self._greet(address, now_ns)

    def _follow_contacts(self, contacts: Contacts, now_ns: int) -> None:
        for who in contacts.look(self.segment, now_ns) & self.peers.keys():
            peer = self.peers[who]
            if peer.address not in self.named:
                self._greet(peer.address, now_ns, peer.link.boot, leaves=True)
                self._remove(who)
                self.left_ns = {
                    one: at_ns for one, at_ns in self.left_ns.items() if self._has_left(one, now_ns)
                }
                self.left_ns[who] = now_ns
        known = {peer.address: who for who, peer in self.peers.items()}
        for address in contacts.due(known, self.own, now_ns):
            contacts.asked(address, self._greet(address, now_ns), now_ns)

    def _has_left(self, who: int, now_ns: int) -> bool:
        """We it, so that it is no peer until it asks again."""
        return now_ns - self.left_ns.get(who, -LEFT_NS) < LEFT_NS

    def known_by(self, who: int) -> str:
        """How we have found a peer."""
        if self.peers[who].address in self.named:
            return "name"
        if self.contacts and self.contacts.lead_to(who):
            return "connection"
        return "itself"

    def _look_for_gone(self, now_ns: int) -> None:
        for who, peer in list(self.peers.items()):
            if now_ns - peer.link.heard_ns > GONE_NS:
                address = peer.address
                self._remove(who)
                self.say(f"{address[0]} is silent: this host decides for itself about it")

    def _greet(
        self,
        address: Address,
        now_ns: int,
        to_boot: int = 0,
        heard: int = 0,
        leaves: bool = False,
    ) -> int:
        """The number of the datagram."""
        to = address_to(address)
        return int(lib.mfs_agent_greet(self.handle, to, to_boot, heard, leaves, now_ns))

    def send_frames(self) -> None:
        """By our caller's `send`, where C does not do it."""
        count = ffi.new("uint32_t *")
        frames = lib.mfs_agent_frames(self.handle, count)
        for one in frames[0 : count[0]]:
            self.send(bytes(ffi.buffer(one.bytes, one.size)), address_from(one.to))
        lib.mfs_agent_frames_sent(self.handle)


def reason_of(heard: Any) -> str:
    """Why a datagram is no message."""
    if heard.why:
        return str(ffi.string(heard.why).decode())
    if heard.error == -errno.EPROTONOSUPPORT:
        return f"version {heard.version} of the messages, ours is {VERSION}"
    if heard.error == -errno.EMSGSIZE:
        return "it has the size of no message"
    return "no message of an agent"
