# SPDX-License-Identifier: Apache-2.0
"""One of our own ports, and who may send through it: the rule of csrc/core/exchange.h, with what a
real exchange adds to it.

    members   other hosts, each with its best claim, and this host with its own best
    limit     the rank down to which members may send; others are told it, ours yield by a guest

LIARS: a host that always says "urgent" must not gain by it. While its level is better than another
member's it spends credit, a nanosecond each; each member earns 1/n of one at the same time. So it
is in front of others for its share of the time, with PERIOD_NS of it in advance, and beyond that it
counts as what has no deadline, behind the others of that level. This host's own traffic is not
bounded so: its processes are trusted as they are without peers.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ..native import ffi, lib
from .message import NO_LEVEL, Claim

NONE: int = 2**64 - 1  # MFS_RANK_NONE
KEY_BITS: int = lib.MFS_KEY_BITS  # of a rank; the level is above them
PERIOD_NS = 4_000_000_000
BACK_NS = 20_000_000  # of credit: a member that had none counts again
GAP_NS = 100_000_000  # between two judgements at most: longer ones are not charged
UNDATED_LEVEL = 7  # of what has no deadline: the last but those given up
SAMPLE_NS = 30_000_000
BUSY = 0.8  # of its rate, whose maximum is high by a burst: one that completes less does not queue
WAY_MOST_NS = 8_000_000
RATE_SPAN_NS = 5_000_000_000
SECOND_NS = 1_000_000_000
# a member's bytes in flight that are believed: as many as the port sends in so long
INFLIGHT_NS = 8_000_000


def rank_of(level: int, span_ns: int, now_ns: int) -> int:
    """On our clock."""
    return int(lib.mfs_exchange_rank(level, span_ns, now_ns))


def span_of(rank: int, now_ns: int) -> tuple[int, int]:
    """Level, and key less now."""
    if rank == NONE:
        return NO_LEVEL, 0
    return int(lib.mfs_rank_level(rank)), int(lib.mfs_exchange_span(rank, now_ns))


@dataclass(slots=True)
class Member:
    """A host with a claim on the port. `who` is None for this host."""

    who: Hashable
    rank: int  # NONE: nothing waits
    inflight: int
    done: int
    base_ns: int = 0  # there and back, when nothing is in the way
    at_ns: int = 0  # when it was said

    @classmethod
    def of(cls, who: Hashable, claim: Claim, now_ns: int, base_ns: int = 0) -> Member:
        rank = rank_of(claim.level, claim.span_ns, now_ns) if claim.waiting else NONE
        return cls(who, rank, claim.inflight, claim.done, base_ns, now_ns)

    @property
    def level(self) -> int:
        return self.rank >> KEY_BITS


@dataclass(slots=True)
class Rate:
    """How fast the port is, and how long bytes are on their way.

    The rate is the most that members have completed in a while, while several wanted the port:
    limits that come late leave it idle now and then, so the mean would be less. On a port that
    completes less than that nothing queues, and what is in flight is on its way.
    """

    most: list[float] = field(default_factory=lambda: [0.0, 0.0])  # in this span and the one before
    way_ns: int = 0  # 0: not known
    turned_ns: int = 0
    since_ns: int = 0
    seen_ns: int = 0
    area: float = 0.0  # bytes in flight, summed over time
    base: dict[Hashable, int] = field(default_factory=dict)

    @property
    def Bps(self) -> float:
        """0: not known."""
        return max(self.most)

    def see(self, members: list[Member], contended: bool, now_ns: int) -> None:
        done = {one.who: one.done for one in members}
        if not contended or done.keys() != self.base.keys():
            self._begin(done, now_ns)
            return
        self.area += sum(one.inflight for one in members) * (now_ns - self.seen_ns)
        self.seen_ns = now_ns
        span_ns = now_ns - self.since_ns
        if span_ns < SAMPLE_NS:
            return
        moved = sum(max(0, done[who] - before) for who, before in self.base.items())
        if moved:
            self._sample(moved * SECOND_NS / span_ns, int(self.area / moved), now_ns)
        self._begin(done, now_ns)

    def _begin(self, done: dict[Hashable, int], now_ns: int) -> None:
        self.since_ns = self.seen_ns = now_ns
        self.area = 0.0
        self.base = done

    def _sample(self, rate_Bps: float, flight_ns: int, now_ns: int) -> None:
        """flight_ns: of a byte, from when it was sent until it had come."""
        if now_ns - self.turned_ns > RATE_SPAN_NS:
            self.turned_ns = now_ns
            self.most = [0.0, self.most[0]]
        self.most[0] = max(self.most[0], rate_Bps)
        flight_ns = min(flight_ns, WAY_MOST_NS)
        if rate_Bps < BUSY * self.Bps:
            self.way_ns += (flight_ns - self.way_ns) // 4
        else:  # some of that is queueing: less and less is believed, until the port is not busy
            self.way_ns = min(self.way_ns * 7 // 8, flight_ns)


@dataclass(slots=True)
class Credit:
    left_ns: float
    spent: bool = False  # its claims do not count as urgent now


@dataclass(slots=True)
class Purse:
    """See LIARS: what the members of one port have left."""

    credits: dict[Hashable, Credit] = field(default_factory=dict)
    since_ns: int = 0
    times: int = 0  # that a member has used all of its own

    def charge(self, waiting: list[Member], now_ns: int) -> None:
        """Ranks of those that have had their share are made worse."""
        span_ns = min(now_ns - self.since_ns, GAP_NS) if self.since_ns else 0
        self.since_ns = now_ns
        share = 1 / max(1, len(waiting))
        for credit in self.credits.values():
            credit.left_ns = min(credit.left_ns + span_ns * share, PERIOD_NS * share)
            credit.spent = credit.spent and credit.left_ns < BACK_NS
        worst = max((one.level for one in waiting), default=0)
        for one in waiting:
            if one.who is None or one.level >= worst:
                continue
            credit = self.credits.setdefault(one.who, Credit(PERIOD_NS * share))
            if not credit.spent:
                credit.left_ns -= span_ns
                credit.spent = credit.left_ns <= 0
                self.times += credit.spent
            if credit.spent:
                one.rank = int(lib.mfs_rank_make(UNDATED_LEVEL, 2**63 - 1))

    def forget(self, who: Hashable) -> None:
        self.credits.pop(who, None)


@dataclass(slots=True)
class OwnPort:
    allowed: int = int(lib.MFS_EXCHANGE_BEGIN)
    limit: int = NONE
    mixed: bool = False  # members are of several levels
    judged_ns: int = 0
    purse: Purse = field(default_factory=Purse)
    rate: Rate = field(default_factory=Rate)

    def judge(
        self, members: list[Member], rates: tuple[float, float], wait_ns: int, now_ns: int
    ) -> int:
        """The limit from now on. rates: as configured, and as our own senders know it; 0: nobody
        does. wait_ns: that a claim and a limit spend in agents and queues, beside their way."""
        waiting = [one for one in members if one.rank != NONE]
        contended = len(waiting) > 1
        rate_Bps = rates[0] or self.rate.Bps or rates[1]
        for one in members if rate_Bps > 0 else ():
            one.inflight = min(one.inflight, int(rate_Bps * INFLIGHT_NS / SECOND_NS))
        self.rate.see(members, contended, now_ns)
        self.purse.charge(waiting, now_ns)
        if not contended or rate_Bps <= 0:
            self.judged_ns, self.limit = now_ns, NONE
            self.allowed = min(self.allowed, int(lib.MFS_EXCHANGE_BEGIN))
            return NONE
        base_ns = max(one.base_ns for one in members)
        self._follow_levels(waiting)
        # not again by what was known at the last time, and not before that has had its effect
        news = max(one.at_ns for one in members) > self.judged_ns
        if news and now_ns - self.judged_ns >= base_ns + wait_ns:
            self.judged_ns = now_ns
            self._allow(members, len(waiting), rate_Bps, base_ns, wait_ns)
        ranks = ffi.new("mfs_rank_t[]", [one.rank for one in waiting])
        self.limit = int(lib.mfs_exchange_limit(ranks, len(waiting), self.allowed))
        return self.limit

    def _follow_levels(self, waiting: list[Member]) -> None:
        """Something more urgent has come: as many as have that go, not as many as went before."""
        best = min(one.level for one in waiting)
        urgent = sum(one.level == best for one in waiting)
        mixed = urgent < len(waiting)
        if mixed and not self.mixed:
            self.allowed = min(self.allowed, urgent)
        self.mixed = mixed

    def _allow(
        self, members: list[Member], count: int, rate_Bps: float, base_ns: int, wait_ns: int
    ) -> None:
        inflight = sum(one.inflight for one in members)
        # who is more urgent shall not wait because others could fill the port better
        way_ns = base_ns if self.mixed else max(base_ns, self.rate.way_ns)
        backlog_ns = max(0, int(inflight * SECOND_NS / rate_Bps) - way_ns)
        self.allowed = int(
            lib.mfs_exchange_allowed(self.allowed, count, backlog_ns, base_ns + wait_ns)
        )


def best_other(members: list[Member]) -> Member | None:
    """What our own senders have to yield to."""
    others = [one for one in members if one.who is not None and one.rank != NONE]
    return min(others, key=lambda one: one.rank, default=None)
