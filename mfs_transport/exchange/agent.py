# SPDX-License-Identifier: Apache-2.0
"""The agent of one host: what comes from peers goes into the segment, and the other way round.

    segment --claims for far ports--> their owners      limits --> segment, for HOLD_NS
    peers' claims --> our own ports: owner.py --limits--> peers; --guests--> segment

A datagram without a page has all that its sender has to say to its receiver: a claim or a limit
that is not in it is gone. It is sent when something has changed that matters, at most one a peer
and tick, again every BEACON_NS while there is anything to say, and every IDLE_NS otherwise. So a
lost datagram is made good by the next one, and whoever is silent for HOLD_NS has neither claims
nor limits any more: hosts then decide for themselves.

This has no socket and no clock: `received` and `tick` are called with datagrams and the time
(loop.py), or by a test with a network of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from .link import Link, Sent
from .message import (
    INGRESS,
    NO_LEVEL,
    Claim,
    Header,
    Limit,
    Malformed,
    Message,
    Port,
    Worker,
    parse,
    policy_number,
)
from .ours import Inventory, Theirs
from .owner import NONE, Member, OwnPort, best_other, rank_of, span_of
from .roster import MOST, Address
from .seal import Seal
from .segment import NO_FAR, FarClaim, Segment

TICK_NS = 1_000_000
FEW = 3  # peers with traffic; with more of them a tick is twice as long
BEACON_NS = 5_000_000  # a quarter of the lease, after which the segment forgets a limit
HOLD_NS = 50_000_000
IDLE_NS = 1_000_000_000
GREET_NS = 200_000_000  # between two attempts to reach an address
GONE_NS = 5_000_000_000  # a peer that is silent for so long is forgotten
PAGE_NS = 5_000_000  # between two pages to one peer
REFRESH_NS = 50_000_000  # between two looks at our own workers
MOVED_NS = 1_000_000  # a key that has moved by less is the same
FRESH_NS = 4_000_000  # between two tellings of bytes in flight, where a limit depends on them
SENDER_NS = 500_000  # until a sender looks at its limit: docs/decisions/0053


@dataclass(slots=True)
class Peer:
    address: Address
    link: Link = field(default_factory=Link)
    theirs: Theirs = field(default_factory=Theirs)
    have: int = 0  # version of our inventory that it has whole
    policy: int = 0
    page: int = 0  # that goes next
    page_ns: int = 0
    ports: dict[int, int] = field(default_factory=dict)  # its ports by number: far
    workers: dict[int, tuple[int, int]] = field(default_factory=dict)  # uid: far for puts, for gets
    claims: list[Claim] = field(default_factory=list)  # for our ports
    claims_ns: int = 0
    held: list[Limit] = field(default_factory=list)  # that it told us
    told: Message = field(default_factory=Message)
    told_ns: int = 0
    owes: bool = True  # it has told its workers, or is new: it waits for an answer


@dataclass
class Counts:
    sent: int = 0
    received: int = 0
    malformed: int = 0
    stale: int = 0  # replays, or of a start that is over
    page: int = 0
    limits_told: int = 0
    limits_held: int = 0
    had_share: int = 0  # times that a peer's claims stopped counting as urgent


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
    ) -> None:
        self.segment, self.seal = segment, seal
        self.identity, self.boot = identity, boot
        self.send, self.say = send, say
        self.tick_ns = TICK_NS
        self.sent = Sent()
        self.peers: dict[int, Peer] = {}  # by their identity
        self.own: set[Address] = set()  # addresses that are ours
        self.inventory = Inventory(addresses)
        self.owned: dict[int, OwnPort] = {}  # by number
        self.far: dict[int, tuple[int, int]] = {}  # a far port: its peer and its number there
        self.tellers: dict[int, set[int]] = {}  # of a worker's uid: the peers that say it is theirs
        self.counts = Counts()
        self.answered_ns: dict[Address, int] = {}  # when it was last told who we are
        self.asked_ns: dict[Address, int] = {}  # when an address was last asked who it is
        self._refresh_ns = self._policy_ns = 0
        self._policy = ""
        self._policy_number = 0
        self._comparable = False  # ranks of this policy are, across hosts
        self._guests: set[int] = set()
        self._claimers: set[int] = set()
        self._said: set[str] = set()
        self._follow_policy()

    # --- what comes ---

    def received(self, datagram: bytes, address: Address, now_ns: int) -> None:
        try:
            header, sealed = self.seal.open(datagram)
            if header.sender == self.identity:
                self.own.add(address)
                return
            peer = self.peers.get(header.sender)
            if peer and header.boot == peer.link.boot and header.sequence <= peer.link.sequence:
                self.counts.stale += 1
                return
            body = parse(sealed)
        except Malformed as error:
            self.counts.malformed += 1
            self._once(f"a datagram from {address[0]} is not used: {error}")
            return
        peer = peer or (Peer(address) if len(self.peers) < MOST else None)
        if peer is None:
            self._once(f"more than {MOST} peers: the others are not listened to")
            return
        boot = peer.link.boot
        if not peer.link.accept(header, body, self.boot, self.sent, now_ns):
            self.counts.stale += body.to_boot == self.boot
            self._introduce(header, address, now_ns)
            return
        if header.sender not in self.peers:
            self.peers[header.sender] = peer
        elif boot != peer.link.boot:  # it has started again
            self._forget(header.sender, peer)
            link = peer.link
            peer = self.peers[header.sender] = Peer(address, link)
        self.counts.received += 1
        peer.address = address
        self._take(header.sender, peer, body, now_ns)

    def _introduce(self, header: Header, address: Address, now_ns: int) -> None:
        """It does not know us, or we do not know it: say who we are, to nobody more often than
        once a millisecond."""
        if now_ns - self.answered_ns.get(address, -TICK_NS) < TICK_NS:
            return
        if len(self.answered_ns) > 4 * MOST:
            self.answered_ns.clear()
        self.answered_ns[address] = now_ns
        self._send(address, Message(to_boot=header.boot, heard=header.sequence), now_ns)

    def _take(self, who: int, peer: Peer, body: Message, now_ns: int) -> None:
        peer.have, peer.policy = body.have, body.policy
        if body.leaves:
            self._forget(who, peer)
            del self.peers[who]
            return
        if body.page:
            whole = peer.theirs.add(body)
            peer.owes = peer.owes or body.inventory == peer.theirs.version
            if whole:
                self._learn(who, peer, *whole)
            return
        if peer.policy != self._policy_number:
            self._once(f"{peer.address[0]} has another policy: no order with it")
            body.claims, body.limits = [], []
        peer.claims, peer.claims_ns = body.claims, now_ns
        self._hold(peer, body.limits)

    def _hold(self, peer: Peer, limits: list[Limit]) -> None:
        """What its ports let us send; a limit that it does not name any more is none."""
        named = {one.port for one in limits}
        for old in peer.held:
            if old.port not in named and old.port in peer.ports:
                self.segment.limit(peer.ports[old.port], NO_LEVEL, 0, 0)
        for one in limits:
            far = peer.ports.get(one.port)
            if far is not None:
                self.segment.limit(far, one.level, one.span_ns, min(one.for_ns, HOLD_NS))
                self.counts.limits_held += 1
        peer.held = limits

    def _learn(self, who: int, peer: Peer, ports: list[Port], workers: list[Worker]) -> None:
        """Its ports and workers, all of them."""
        numbers = {one.number for one in ports}
        for number in peer.ports.keys() - numbers:
            self._drop_port(peer, number)
        for port in ports:
            if port.number in peer.ports:
                continue
            way = "in" if port.direction == INGRESS else "out"
            name = f"{peer.address[0]} {port.name} {way}"
            key = zlib.crc32(f"{who} {port.number}".encode()) << 32 | port.number
            far = self.segment.add_port(key, name)
            if far < 0:
                self._once("too many ports of other hosts: the rest is not in one order with us")
                continue
            peer.ports[port.number] = far
            self.far[far] = (who, port.number)
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
        self.segment.limit(far, NO_LEVEL, 0, 0)
        self.segment.forget(far)

    def _forget(self, who: int, peer: Peer) -> None:
        for number in list(peer.ports):
            self._drop_port(peer, number)
        uids, peer.workers = list(peer.workers), {}
        for uid in uids:
            self._enter(who, uid, False)
        for owned in self.owned.values():
            owned.purse.forget(who)

    def _once(self, line: str) -> None:
        if line not in self._said and len(self._said) < 1000:
            self._said.add(line)
            self.say(line)

    # --- what goes ---

    def tick(self, addresses: list[Address], now_ns: int) -> bool:
        """Is there traffic with peers? addresses: of peers, as far as they are known."""
        if now_ns - self._refresh_ns >= REFRESH_NS or not self._refresh_ns:
            self._refresh_ns = now_ns
            self.inventory.refresh(self.segment)
            self._follow_policy()
            self._look_for_gone(now_ns)
            self._greet(addresses, now_ns)
        claims = self._claims(now_ns) if self.far else {}
        limits = self._limits(now_ns)
        for who, peer in self.peers.items():
            self._tell(peer, claims.get(who, []), limits.get(who, []), now_ns)
        busy = claims.keys() | self._claimers
        self.tick_ns = TICK_NS if len(busy) <= FEW else 2 * TICK_NS
        return bool(busy)

    def leave(self, now_ns: int) -> None:
        """We end: nobody has to wait until we are missed."""
        for peer in self.peers.values():
            self._send(peer.address, Message(to_boot=peer.link.boot, leaves=True), now_ns)
        for who, peer in self.peers.items():
            self._forget(who, peer)
        for number in self._guests & self.inventory.ports.keys():
            self.segment.guest(self.inventory.ports[number], NO_LEVEL, 0, 0, 0, now_ns)
        self.peers.clear()

    def _follow_policy(self) -> None:
        policy = self.segment.policy()
        if policy != self._policy:
            self._policy, self._policy_number = policy, policy_number(policy)
            self._comparable = self.segment.keys_are_times()
            if not self._comparable:
                self._once(
                    f"policy {policy} ranks by something other than moments: each host decides "
                    "for itself"
                )

    def _greet(self, addresses: list[Address], now_ns: int) -> None:
        if len(self.asked_ns) > 4 * MOST:
            self.asked_ns.clear()
        known = {peer.address for peer in self.peers.values()} | self.own
        for address in addresses:
            if address not in known and now_ns - self.asked_ns.get(address, -GREET_NS) >= GREET_NS:
                self.asked_ns[address] = now_ns
                self._send(address, Message(), now_ns)

    def _look_for_gone(self, now_ns: int) -> None:
        for who, peer in list(self.peers.items()):
            silent_ns = now_ns - peer.link.heard_ns
            if silent_ns > GONE_NS:
                self._forget(who, peer)
                del self.peers[who]
                self.say(f"{peer.address[0]} is silent: this host decides for itself about it")

    def _claims(self, now_ns: int) -> dict[int, list[Claim]]:
        """Ours, by the peer that owns the port."""
        found: dict[int, list[Claim]] = {}
        if not self._comparable:
            return found
        for one in self.segment.claims(now_ns):
            place = self.far.get(one.far)
            if place and (one.waiting or one.inflight):
                claim = Claim(place[1], *one[1:]) if one.waiting else _idle(place[1], one)
                found.setdefault(place[0], []).append(claim)
        return found

    def _limits(self, now_ns: int) -> dict[int, list[Limit]]:
        """Of our own ports, by the peer that has a claim on it."""
        by_port: dict[int, list[Member]] = {}
        self._claimers = set()
        for who, peer in self.peers.items():
            if not peer.claims or now_ns - peer.claims_ns > HOLD_NS:
                continue
            self._claimers.add(who)
            # it was said then: since then the time has gone on
            for claim in peer.claims:
                member = Member.of(who, claim, peer.claims_ns, peer.link.base_ns)
                by_port.setdefault(claim.port, []).append(member)
        found: dict[int, list[Limit]] = {}
        for number, members in by_port.items():
            port = self.inventory.ports.get(number)
            if port is None:
                continue
            others = [one.who for one in members]
            mine = self.segment.own_claims(port, now_ns)
            if mine:
                members.append(_mine(mine, now_ns))
            limit = self._judge(port, members, now_ns)
            if limit != NONE:
                told = Limit(number, *span_of(limit, now_ns), HOLD_NS)
                for one in others:
                    assert isinstance(one, int)
                    found.setdefault(one, []).append(told)
        for number in self._guests - by_port.keys():
            if number in self.inventory.ports:
                self.segment.guest(self.inventory.ports[number], NO_LEVEL, 0, 0, 0, now_ns)
        self._guests = by_port.keys() & self.inventory.ports.keys()
        return found

    def _judge(self, port: Port, members: list[Member], now_ns: int) -> int:
        owned = self.owned.setdefault(port.number, OwnPort())
        before = owned.purse.times
        rates = (self.segment.rate_Bps(port), self.segment.seed_Bps(port))
        limit = owned.judge(members, rates, self.wait_ns, now_ns)
        self.counts.had_share += owned.purse.times - before
        best = best_other(members)
        others = [one for one in members if one.who is not None]
        level, span_ns = span_of(best.rank if best else NONE, now_ns)
        inflight = sum(one.inflight for one in others)
        done = sum(one.done for one in others)
        self.segment.guest(port, level, span_ns, inflight, done, now_ns)
        return limit

    @property
    def wait_ns(self) -> int:
        """From a claim to its limit, beside the way: half a tick at each end, and the sender's."""
        return self.tick_ns + SENDER_NS

    def _tell(self, peer: Peer, claims: list[Claim], limits: list[Limit], now_ns: int) -> None:
        age_ns = now_ns - peer.told_ns
        told = peer.told
        owes, peer.owes = peer.owes, False
        if claims or limits or told.claims or told.limits:
            due = age_ns >= BEACON_NS or _differ(told, claims, limits, age_ns, bool(peer.held))
        else:
            due = age_ns >= IDLE_NS
        if due or owes:
            body = Message(claims=claims, limits=limits)
            peer.told, peer.told_ns = body, now_ns
            self.counts.limits_told += len(limits)
        elif peer.have != self.inventory.version and now_ns - peer.page_ns >= PAGE_NS:
            body = Message()
            self.inventory.add_page(body, peer.page % self.inventory.pages)
            peer.page = (peer.page + 1) % self.inventory.pages
            peer.page_ns = now_ns
            self.counts.page += 1
        else:
            return
        link = peer.link
        body.to_boot, body.heard = link.boot, link.sequence
        body.held_us = (now_ns - link.heard_ns) // 1000
        body.have = peer.theirs.version
        self._send(peer.address, body, now_ns)

    def _send(self, address: Address, body: Message, now_ns: int) -> None:
        body.policy, body.inventory = self._policy_number, self.inventory.version
        header = Header(self.identity, self.boot, self.sent.next(now_ns))
        self.counts.sent += 1
        self.send(self.seal.close(header, body), address)


def _idle(port: int, one: FarClaim) -> Claim:
    """Nothing waits, but bytes are under way."""
    return Claim(port, NO_LEVEL, 0, 0, one.inflight, one.done)


def _mine(claims: list[FarClaim], now_ns: int) -> Member:
    """This host is one member: its own senders are in an order already."""
    waiting = [rank_of(one.level, one.span_ns, now_ns) for one in claims if one.waiting]
    return Member(
        None,
        min(waiting, default=NONE),
        sum(one.inflight for one in claims),
        sum(one.done for one in claims),
        at_ns=now_ns,
    )


def _moved(one: Claim | Limit, other: Claim | Limit, age_ns: int) -> bool:
    """In level or key: a span gets shorter by itself."""
    if one.level != other.level:
        return True
    return one.level < NO_LEVEL and abs(one.span_ns + age_ns - other.span_ns) > MOVED_NS


def _differ(
    told: Message, claims: list[Claim], limits: list[Limit], age_ns: int, limited: bool
) -> bool:
    """Has anything changed that the peer should know before the next beacon?"""
    if len(told.claims) != len(claims) or len(told.limits) != len(limits):
        return True
    if limited and age_ns >= FRESH_NS:
        return True
    for one, was in zip(claims, told.claims, strict=True):
        if one.port != was.port or _moved(one, was, age_ns):
            return True
    return any(
        limit.port != before.port or _moved(limit, before, age_ns)
        for limit, before in zip(limits, told.limits, strict=True)
    )
