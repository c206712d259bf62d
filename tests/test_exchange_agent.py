# SPDX-License-Identifier: Apache-2.0
"""Agents that talk to each other, on a network and a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from exchange_world import (
    BEACON_NS,
    CAREFUL_NS,
    HOLD_NS,
    IN,
    LOSS_MS,
    MS,
    OUT,
    START_NS,
    FakeSegment,
    FarClaim,
    World,
    opened,
    sealed,
)

from mfs_transport.exchange.agent import GONE_NS
from mfs_transport.exchange.message import EGRESS, INGRESS, NO_LEVEL, Message, parse
from mfs_transport.exchange.segment import NO_FAR

DAY_NS = 86_400 * 10**9
MET_MS = 300  # until all know each other


def meet(count: int, **more: object) -> World:
    world = World(count, **more)  # type: ignore[arg-type]
    world.run(MET_MS)
    for host in world.hosts:
        assert len(host.segment.known) == count - 1, host.said
    return world


def test_meet__each_knows_the_others_workers_and_ports():
    world = meet(3)
    names = world.hosts[0].segment.far_names
    assert sorted(names.values()) == [
        f"10.0.0.{n} eth0 {way}" for n in (2, 3) for way in ("in", "out")
    ]
    assert {*world.hosts[0].segment.known} == {1001, 1002}


def test_meet__many_workers_on_a_network_that_loses_a_third():
    world = World(2, loss=0.3)
    world.hosts[1].segment.workers = [(5000 + n, "eth0") for n in range(400)]
    world.run(4000)
    assert len(world.hosts[0].segment.known) == 400


def test_meet__a_worker_that_comes_later_and_one_that_goes():
    world = meet(2)
    segment = world.hosts[1].segment
    segment.workers, segment.version = [(1001, "eth0"), (77, "eth1")], 1
    world.run(MET_MS)
    assert set(world.hosts[0].segment.known) == {1001, 77}
    assert len(world.hosts[0].segment.far_names) == 4
    segment.workers, segment.version = [(77, "eth1")], 2
    world.run(MET_MS)
    assert set(world.hosts[0].segment.known) == {77}
    assert len(world.hosts[0].segment.far_names) == 2


def test_limits__the_more_urgent_of_many_goes_first():
    world = meet(5)
    for number, span_ms in ((1, 400), (2, 100), (3, 300), (4, 200)):
        far = world.far(number, 0, INGRESS)
        world.hosts[number].segment.want(far, 2, span_ms * MS, inflight=400_000)
    world.run(100)
    held = {
        number: world.hosts[number].segment.limit_now(world.far(number, 0, INGRESS))
        for number in range(1, 5)
    }
    # with a port that is full one at a time may send: the second host
    best = world.hosts[2]
    for number, limit in held.items():
        assert limit, number
        level, key = limit
        assert level == 2
        span_ns = key - world.hosts[number].segment.now_ns
        # the second host's, that has waited since; clocks are days apart
        assert -MS <= span_ns <= 10 * MS, number
    assert held[2][1] >= best.segment.wants[world.far(2, 0, INGRESS)].span_ns


def test_limits__a_port_that_runs_dry_lets_more_in():
    world = meet(4)
    for number in (1, 2, 3):
        far = world.far(number, 0, INGRESS)
        world.hosts[number].segment.want(far, 2, number * 100 * MS, inflight=0)
    world.run(60)
    for number in (1, 2, 3):
        assert world.hosts[number].segment.limit_now(world.far(number, 0, INGRESS)) is None


def test_limits__one_alone_is_never_told_any():
    world = meet(3)
    world.hosts[1].segment.want(world.far(1, 0, INGRESS), 3, MS, inflight=10**9)
    world.run(100)
    assert not world.hosts[1].segment.limits


def test_sharers__are_told_as_long_as_there_are_any():
    world = meet(4)
    fars = {number: world.far(number, 0, EGRESS) for number in (1, 2, 3)}

    def sharers() -> list[int]:
        return [world.hosts[number].segment.sharers_now(far) for number, far in fars.items()]

    world.hosts[1].segment.want(fars[1], 2, 200 * MS)
    world.run(50)
    assert sharers()[0] == 0  # alone
    for number in (2, 3):
        world.hosts[number].segment.want(fars[number], 2, number * 200 * MS)
    world.run(20)
    assert sharers() == [3, 3, 3]  # also where the port runs dry, and all may send
    assert world.hosts[1].segment.limit_now(fars[1]) is None
    world.hosts[0].segment.own[OUT] = [FarClaim(NO_FAR, 0, 5 * MS, 1 << 20, 300_000, 0)]
    world.run(20)
    assert sharers() == [3, 3, 3]  # the owner's own is in front of them, not among them
    world.hosts[3].segment.wants.clear()
    world.run(20)
    assert sharers()[:2] == [2, 2]
    world.hosts[0].alive = False
    world.run(HOLD_NS // MS)
    assert sharers() == [0, 0, 0]


def test_sharers__outlive_lost_datagrams():
    world = World(3, loss=0.3)
    world.run(2000)
    far = contended(world)[1]
    for _ in range(1000):
        world.run(1)
        assert world.hosts[2].segment.sharers_now(far) == 2


def test_sharers__alone_they_are_a_beacon_and_nothing_more():
    world = meet(4)
    fars = [world.far(number, 0, EGRESS) for number in (1, 2)]
    third = world.far(3, 0, EGRESS)
    for number, far in enumerate(fars):
        world.hosts[number + 1].segment.want(far, 2, 200 * MS)
    world.run(LOSS_MS + 100)
    world.sent.clear()
    for step in range(100):  # a third comes and goes
        if step % 2:
            world.hosts[3].segment.wants.clear()
        else:
            world.hosts[3].segment.want(third, 2, 10_000 * MS)
        world.run(10)
    few = 1000 * MS // BEACON_NS
    assert len(between(world, 0, 1)) <= few + 2


def test_limits__reads_yield_to_the_hosts_own_urgent_puts():
    world = meet(3)
    owner = world.hosts[0].segment
    owner.own[OUT] = [FarClaim(NO_FAR, 0, 5 * MS, 1 << 20, 300_000, 0)]
    for number in (1, 2):
        far = world.far(number, 0, EGRESS)
        world.hosts[number].segment.want(far, 2, 200 * MS, inflight=300_000)
    world.run(100)
    for number in (1, 2):
        limit = world.hosts[number].segment.limit_now(world.far(number, 0, EGRESS))
        assert limit
        assert limit[0] == 0
    # and ours see what the readers want, to give way where they are better
    assert owner.guests[OUT][0] == 2
    assert owner.guests[OUT][2] == 600_000
    owner.own[OUT] = []
    world.hosts[1].segment.wants.clear()
    world.run(100)
    assert world.hosts[2].segment.limit_now(world.far(2, 0, EGRESS)) is None
    world.hosts[2].segment.wants.clear()
    world.run(100)
    assert owner.guests[OUT] == (NO_LEVEL, 0, 0, 0)


def test_guest__what_a_host_has_sent_before_does_not_leave_again():
    """Hosts come and go with all that they have ever completed."""
    world = meet(3)
    owner = world.hosts[0].segment
    fars = [world.far(number, 0, EGRESS) for number in (1, 2)]
    seen = []
    for step in range(60):
        moved = 1000 * step
        world.hosts[1].segment.want(fars[0], 2, 200 * MS, done=moved)
        if step % 20 < 10:
            world.hosts[2].segment.want(fars[1], 2, 300 * MS, done=10**10)
        else:
            world.hosts[2].segment.wants.clear()
        if step == 35:  # nobody wants anything for a while
            for number in (1, 2):
                world.hosts[number].segment.wants.clear()
            world.run(100)
        world.run(10)
        seen.append(owner.guests[OUT][3])
    assert all(now >= before for before, now in pairwise(seen))
    assert 30_000 < seen[-1] < 60_000


def contended(world: World) -> list[int]:
    """Two hosts that want the ingress of host 0; returns the far ports."""
    fars = []
    for number, span_ms in ((1, 100), (2, 200)):
        fars.append(world.far(number, 0, INGRESS))
        world.hosts[number].segment.want(fars[-1], 2, span_ms * MS, inflight=400_000)
    world.run(50)
    assert world.hosts[2].segment.limit_now(fars[1])
    return fars


def test_owner__that_dies_leaves_the_others_to_themselves():
    world = meet(3)
    far = contended(world)[1]
    world.hosts[0].alive = False
    world.run(25)
    assert world.hosts[2].segment.limit_now(far) is None
    assert not world.hosts[2].said
    world.run(GONE_NS // MS + 100)
    assert world.hosts[2].said == ["10.0.0.1 is silent: this host decides for itself about it"]
    assert len(world.hosts[2].segment.far_names) == 2


def test_owner__that_leaves_is_not_waited_for():
    world = meet(3)
    far = contended(world)[1]
    world.hosts[0].agent.leave(world.clock(world.hosts[0]))
    world.hosts[0].alive = False
    world.run(2)
    assert world.hosts[2].segment.limit_now(far) is None
    assert 1000 not in world.hosts[2].segment.limits


def test_claimer__that_dies_holds_up_nobody():
    world = meet(3)
    far = contended(world)[1]
    world.hosts[1].alive = False
    world.run((HOLD_NS + 25 * MS) // MS)
    assert world.hosts[2].segment.limit_now(far) is None


def test_restart__is_noticed_and_old_datagrams_are_worth_nothing():
    world = meet(3)
    contended(world)
    old = [item for item in world.sent if item[2] == world.hosts[1].address]
    before = world.hosts[1]
    world.hosts[1] = world.host(1, FakeSegment("again", before.segment.clock_ns))
    world.hosts[1].segment.workers = [(1001, "eth0")]
    world.run(MET_MS)
    assert 1000 in world.hosts[1].segment.known
    owner = world.hosts[0]
    boot = world.hosts[1].agent.boot
    assert owner.agent.peers[7001].link.boot == boot
    assert not owner.agent.peers[7001].claims
    # somebody has recorded what it said before it started again
    for _, datagram, source, to in old:
        if to == owner.address:
            owner.agent.received(datagram, source, world.clock(owner))
    assert owner.agent.peers[7001].link.boot == boot
    assert not owner.agent.peers[7001].claims


def test_replay__counts_once():
    world = meet(2)
    world.hosts[1].segment.want(world.far(1, 0, INGRESS), 0, MS)
    world.run(20)
    owner = world.hosts[0]
    old = [item for item in world.sent if item[3] == owner.address][-5:]
    world.hosts[1].segment.wants.clear()
    world.run(20)
    assert not owner.agent.peers[7001].claims
    received = owner.agent.counts.received
    for _, datagram, source, _ in old:
        owner.agent.received(datagram, source, world.clock(owner))
    assert owner.agent.counts.received == received
    assert not owner.agent.peers[7001].claims


def test_replay__to_an_owner_that_has_started_again():
    world = meet(2)
    world.hosts[1].segment.want(world.far(1, 0, INGRESS), 0, MS)
    world.run(20)
    old = [item for item in world.sent if item[3] == world.hosts[0].address]
    world.hosts[1].alive = False
    world.hosts[0] = world.host(0, FakeSegment("again", 0))
    world.run(10)
    for _, datagram, source, _ in old:
        world.hosts[0].agent.received(datagram, source, world.clock(world.hosts[0]))
    assert not world.hosts[0].agent.peers


def test_another_key__is_nobody():
    world = World(2)
    world.hosts[1] = world.host(1, world.hosts[1].segment, bytes(32))
    world.run(MET_MS)
    assert not world.hosts[0].agent.peers
    assert world.hosts[0].said == ["a datagram from 10.0.0.2 is not used: not made with our key"]


def test_another_policy__no_order_and_it_is_said_once():
    world = World(3)
    world.hosts[2].segment.policy_name = "edf"
    world.run(MET_MS)
    for number in (1, 2):
        world.hosts[number].segment.want(world.far(number, 0, INGRESS), 2, MS, inflight=10**6)
    world.run(100)
    assert not world.hosts[1].segment.limits
    assert world.hosts[0].said == ["10.0.0.3 has another policy: no order with it"]


def test_policy_without_times__tells_nothing():
    world = World(2)
    for host in world.hosts:
        host.segment.policy_name = "srpt"
    world.run(MET_MS)
    world.hosts[1].segment.want(world.far(1, 0, INGRESS), 2, MS)
    world.run(50)
    assert not world.hosts[0].agent.peers[7001].claims
    assert len(world.hosts[0].said) == 1


def test_late_network__all_may_send():
    world = World(3, delay_ns=50 * MS)
    world.run(2000)
    for number in (1, 2):
        world.hosts[number].segment.want(world.far(number, 0, INGRESS), 2, number * MS, 10**6)
    world.run(500)
    assert not world.hosts[1].segment.limits
    assert not world.hosts[2].segment.limits


def test_late_network__nothing_is_taken_from_what_others_said_long_ago():
    world = World(3, delay_ns=50 * MS)
    world.run(2000)
    owner = world.hosts[0].segment
    owner.own[OUT] = [FarClaim(NO_FAR, 2, 500 * MS, 1 << 20, 300_000, 0)]
    for number in (1, 2):  # reads of host 0 that seem more urgent than its own puts
        far = world.far(number, 0, EGRESS)
        world.hosts[number].segment.want(far, 0, MS, inflight=300_000)
    world.run(500)
    assert world.hosts[0].agent.peers[7001].claims  # they were heard
    assert owner.guests.get(OUT, (NO_LEVEL, 0, 0, 0)) == (NO_LEVEL, 0, 0, 0)
    assert not world.hosts[1].segment.shares


def test_lossy_network__limits_hold_nearly_always():
    world = World(3, loss=0.3)
    world.run(2000)
    far = contended(world)[1]
    held = 0
    for _ in range(1000):
        world.run(1)
        held += world.hosts[2].segment.limit_now(far) is not None
    assert held > 950


def test_two_hosts_with_one_worker__neither_is_believed():
    world = World(3)
    world.hosts[2].segment.workers = [(1002, "eth0"), (1001, "eth0")]  # not its own
    world.run(MET_MS)
    known = world.hosts[0].segment.known
    assert 1001 not in known
    assert 1002 in known
    assert world.hosts[0].said == ["two hosts have a worker 0x3e9: no order with it"]


def test_ports_without_room__the_rest_is_left_alone():
    world = World(4)
    world.hosts[0].segment.room = 4
    world.run(MET_MS)
    assert len(world.hosts[0].segment.known) == 2
    assert len(world.hosts[0].said) == 1


# --- what is sent, and when ---


def between(world: World, source: int, to: int) -> list[int]:
    addresses = world.hosts[source].address, world.hosts[to].address
    return [item[0] for item in world.sent if item[2:] == addresses]


def test_nics_without_room__the_rest_is_left_alone():
    world = meet(2)
    segment = world.hosts[1].segment
    segment.workers = [(5000 + n, f"eth{n}") for n in range(9)]
    segment.version = 1
    world.run(MET_MS)
    assert set(world.hosts[0].segment.known) == {5000 + n for n in range(8)}
    said = [line for line in world.hosts[1].said if "more NICs" in line]
    assert said == ["more NICs than peers are told of: no order with them by eth8"]


def test_start_zero__is_nobodys_and_counts_for_nothing():
    """Of agents alone: each start has a number of its own, which is not 0."""
    world = World(1)
    host = world.hosts[0]
    body = Message(to_boot=host.agent.boot, policy=0, inventory=1)
    host.agent.received(sealed((77, 0, 1), body), ("10.0.0.9", 9655), START_NS)
    assert host.agent.peers == {}


def test_quiet_peers__are_told_next_to_nothing():
    world = meet(3)
    world.run(1000)
    world.sent.clear()
    contended(world)
    world.sent.clear()
    world.run(1000)
    assert len(between(world, 1, 2)) <= 2
    assert len(between(world, 1, 0)) >= 1000 * MS // BEACON_NS - 2


def told_in_a_second(world: World, source: int, to: int) -> int:
    world.sent.clear()
    world.run(1000)
    return len(between(world, source, to))


def test_beacon__is_slower_where_nothing_is_lost():
    world = meet(3)
    contended(world)
    assert told_in_a_second(world, 0, 1) >= 1000 * MS // CAREFUL_NS - 2
    world.run(LOSS_MS)
    few = 1000 * MS // BEACON_NS
    assert few - 2 <= told_in_a_second(world, 0, 1) <= few + 2
    assert few - 2 <= told_in_a_second(world, 1, 0) <= few + 2
    world.loss = 0.1
    world.run(1000)
    assert told_in_a_second(world, 0, 1) >= 1000 * MS // CAREFUL_NS - 2


def test_beacon__a_limit_outlives_one_lost_datagram():
    world = meet(3)
    far = contended(world)[1]
    world.run(LOSS_MS + 100)
    for _ in range(20):
        world.sent.clear()
        world.loss = 1.0
        while not between(world, 0, 2):
            world.run(1)
        world.loss = 0.0
        for _ in range(LOSS_MS + 100):
            world.run(1)
            assert world.hosts[2].segment.limit_now(far)


def test_fresh__bytes_that_move_under_a_limit_are_told_soon():
    world = meet(3)
    fars = contended(world)
    world.run(LOSS_MS + 100)
    world.sent.clear()
    for step in range(400):
        for number, far in enumerate(fars):
            want = world.hosts[number + 1].segment.wants[far]
            moved = want._replace(inflight=400_000 + step, done=step) if number == 1 else want
            world.hosts[number + 1].segment.wants[far] = moved
        world.run(1)
    still, moves = len(between(world, 1, 0)), len(between(world, 2, 0))
    assert still <= 400 * MS // BEACON_NS + 2
    assert moves >= 400 // 5


def test_limits__that_hold_a_peer_back_as_the_last_one_did_can_wait():
    world = meet(4)
    fars = [world.far(number, 0, INGRESS) for number in (1, 2, 3)]
    for number, far in enumerate(fars):
        world.hosts[number + 1].segment.want(far, 2, (1 + number) * 500 * MS, inflight=400_000)
    world.run(LOSS_MS + 100)
    first, last = world.hosts[1].segment, world.hosts[3].segment
    world.sent.clear()
    for step in range(200):  # its key moves
        key_ns = first.now_ns + step * 2 * MS
        first.wants[fars[0]] = first.wants[fars[0]]._replace(span_ns=key_ns)
        world.run(1)
    assert len(between(world, 0, 3)) <= 200 * MS // BEACON_NS + 2
    assert len(between(world, 1, 0)) >= 190
    # what lets it send, or would hold it back, is told at once
    last.want(fars[2], 0, 0, inflight=400_000)
    world.run(5)
    for segment, far in ((last, fars[2]), (first, fars[0])):
        limit = segment.limit_now(far)
        assert limit
        assert limit[0] == 0


def test_busy_peers__one_datagram_a_tick_at_most():
    world = meet(3)
    contended(world)
    world.sent.clear()
    for step in range(500):
        world.hosts[1].segment.want(world.far(1, 0, INGRESS), step % 3, MS, inflight=step)
        world.run(1)
    times = between(world, 1, 0)
    assert len(times) == len(set(times))
    assert len(times) >= 490


def test_datagrams__fit_into_an_ethernet_frame():
    world = World(2)
    world.hosts[1].segment.workers = [(n, f"mlx5_{n % 8}") for n in range(1, 1000)]
    world.run(1000)
    assert len(world.hosts[0].segment.known) == 999
    assert max(len(datagram) for _, datagram, _, _ in world.sent) <= 1200


def test_late_reader__what_lay_unread_for_long_is_over():
    world = meet(3)
    far = contended(world)[1]
    world.loss = 1.0
    world.sent.clear()
    world.run(30)
    assert world.hosts[2].segment.limit_now(far) is None
    addresses = world.hosts[0].address, world.hosts[2].address
    first, *_, last = [item for item in world.sent if item[2:] == addresses]
    agent = world.hosts[2].agent
    for at_ns, datagram, source, _ in (first, last):
        waited_ns = world.now_ns - at_ns
        agent.received(datagram, source, world.clock(world.hosts[2]) - waited_ns, waited_ns)
        late = waited_ns > 20 * MS
        assert (world.hosts[2].segment.limit_now(far) is None) == late
    assert agent.counts.aged == 1


# --- answers ---


def readers(loss: float = 0.0) -> World:
    """Two hosts read of the first, the one with haste."""
    world = World(3, loss=loss)
    world.run(3000 if loss else MET_MS)
    for number, level in ((1, 0), (2, 2)):
        far = world.far(number, 0, EGRESS)
        world.hosts[number].segment.want(far, level, 100 * MS, inflight=100_000)
    world.run(20)
    return world


def answered(world: World, number: int) -> int | None:
    """At which level the first host's answers to that one are."""
    return world.hosts[0].segment.answers_now(world.far(0, number, INGRESS))


def test_answers__as_urgent_as_what_is_read():
    world = readers()
    assert (answered(world, 1), answered(world, 2)) == (0, 2)
    world.hosts[1].segment.wants.clear()
    world.run(HOLD_NS // MS + 20)
    assert (answered(world, 1), answered(world, 2)) == (None, 2)


def test_answers__a_better_level_stays_while_it_may_be_under_way():
    world = readers()
    far = world.far(1, 0, EGRESS)
    world.hosts[1].segment.want(far, 2, 100 * MS, inflight=100_000)
    world.run(5)
    assert answered(world, 1) == 0
    world.run(8)
    assert answered(world, 1) == 2


def test_answers__to_what_is_all_on_its_way():
    world = readers()
    far = world.far(1, 0, EGRESS)
    world.hosts[1].segment.wants[far] = FarClaim(far, NO_LEVEL, 0, 0, 100_000, 0, under_way=2)
    world.run(30)
    assert answered(world, 1) == 1
    # nothing of it waits, so nobody is held back for it
    assert not world.hosts[2].segment.limits


def test_answers__of_puts_there_are_none():
    world = meet(3)
    world.hosts[1].segment.want(world.far(1, 0, INGRESS), 0, 100 * MS, inflight=100_000)
    world.run(20)
    assert not world.hosts[0].segment.answers


def test_answers__a_third_of_the_datagrams_is_lost():
    world = readers(loss=0.3)
    known = 0
    for _ in range(500):
        world.run(1)
        known += answered(world, 1) == 0
    assert known > 450


def test_answers__an_agent_that_is_gone_says_nothing():
    world = readers()
    world.hosts[1].alive = False
    world.run(HOLD_NS // MS + 30)
    assert (answered(world, 1), answered(world, 2)) == (None, 2)


# --- liars ---


def test_liar__is_in_front_for_its_share_and_no_longer():
    world = meet(4)
    for number in (1, 2, 3):
        far = world.far(number, 0, INGRESS)
        world.hosts[number].segment.want(far, 2, number * 100 * MS, inflight=400_000)
    liar = world.hosts[1].segment
    # of honest hosts, the second is the more urgent
    first, steps = 0, 12_000
    fars = [world.far(number, 0, INGRESS) for number in (1, 2, 3)]
    for _ in range(steps):
        liar.want(fars[0], 0, 0, inflight=10**12)
        world.run(1)
        limit = world.hosts[2].segment.limit_now(fars[1])
        first += bool(limit and limit[0] == 0)  # it is held, by the liar
    assert world.hosts[0].agent.counts.had_share > 0
    # a third of the time, and a third of a period in advance
    assert first / steps <= 1 / 3 + 4_000 / 3 / steps + 0.02
    assert first / steps > 0.2


def test_honest__short_urgent_bursts_are_always_in_front():
    world = meet(3)
    fars = contended(world)
    behind = 0
    for step in range(5000):
        urgent = step % 100 < 30
        world.hosts[2].segment.want(fars[1], 0 if urgent else 2, 200 * MS, inflight=400_000)
        world.run(1)
        if step % 100 == 20:
            limit = world.hosts[1].segment.limit_now(fars[0])
            behind += not (limit and limit[0] == 0)
    assert behind == 0


def test_spans__of_the_far_future_and_past_do_no_harm():
    world = meet(3)
    for number, span_ns in ((1, 2**60), (2, -(2**60))):
        far = world.far(number, 0, INGRESS)
        world.hosts[number].segment.wants[far] = FarClaim(
            far, 0, max(-(2**58), min(2**58, span_ns)), 1, 2**50, 2**50
        )
    world.run(100)
    assert world.hosts[0].agent.peers[7001].claims


def test_world__clocks_are_days_apart():
    world = meet(2)
    assert world.hosts[1].segment.now_ns - world.hosts[0].segment.now_ns == DAY_NS
    assert world.now_ns > START_NS
    assert IN != OUT
    datagram = world.sent[-1][1]
    assert parse(opened(datagram))


@pytest.mark.parametrize("seed", range(5))
def test_random_world__ends_in_order(seed: int):
    """Hosts die, come back and lose datagrams; when that is over all is as it should be."""
    world = World(4, loss=0.3, seed=seed)
    for _ in range(20):
        victim = world.hosts[world.random.randrange(4)]
        victim.alive = not victim.alive
        for host in world.hosts:
            for uid, (puts, _) in host.segment.known.items():
                if world.random.random() < 0.3:
                    host.segment.want(puts, uid % 3, world.random.randrange(100 * MS), 300_000)
        world.run(world.random.randrange(200))
    for host in world.hosts:
        host.alive = True
        host.segment.wants.clear()
    world.loss = 0
    world.run(7000)
    for host in world.hosts:
        assert len(host.segment.known) == 3
        assert not any(host.segment.limit_now(far) for far in host.segment.limits)
