# SPDX-License-Identifier: Apache-2.0
"""Verdicts of requests between agents, on a network and a clock of the test's own."""

from __future__ import annotations

import pytest
from exchange_world import MS, FakeSegment, World, opened, sealed

from mfs_transport.exchange.message import Message, Verdict, parse, policy_number
from mfs_transport.native import lib

KEY = 4711  # of a request of host 0
OWNER = 7000  # host 0's agent
KNOWN, HOPELESS, SHED = (
    lib.MFS_VERDICT_KNOWN,
    lib.MFS_VERDICT_KNOWN | lib.MFS_VERDICT_HOPELESS,
    lib.MFS_VERDICT_KNOWN | lib.MFS_VERDICT_SHED,
)
MET_MS = 300
HOLD_MS = 500
WITHIN_MS = 5 + 5 + 2  # a look, the tick of an agent, and the way
LOSSY_MS = 250  # 30 % of datagrams lost: for a change to arrive in any of the runs here


def world_of(count: int = 2, **more: object) -> World:
    """Host 1 (and all behind it) has bytes of a request of host 0's."""
    world = World(count, **more)  # type: ignore[arg-type]
    world.hosts[0].segment.judge(KEY, KNOWN)
    for host in world.hosts[1:]:
        host.segment.follow(0, OWNER, KEY)
    world.run(MET_MS)
    return world


def heard(world: World, host: int = 1) -> int:
    world.clock(world.hosts[host])
    return world.hosts[host].segment.verdict_now(0)


def test_owner__is_heard_by_all_who_have_bytes_of_the_request():
    world = world_of(4)
    assert [heard(world, host) for host in (1, 2, 3)] == [KNOWN] * 3
    for verdict in (SHED, KNOWN, HOPELESS, HOPELESS | SHED, KNOWN):
        world.hosts[0].segment.judge(KEY, verdict)
        world.run(WITHIN_MS)
        assert [heard(world, host) for host in (1, 2, 3)] == [verdict] * 3


def test_owner__holds_while_nothing_changes():
    world = world_of()
    for _ in range(300):
        world.run(10)
        assert heard(world) == KNOWN


@pytest.mark.parametrize("seed", range(5))
def test_lost_datagrams__changes_arrive_and_verdicts_hold(seed: int):
    world = World(2, loss=0.3, seed=seed)
    world.hosts[0].segment.judge(KEY, KNOWN)
    world.hosts[1].segment.follow(0, OWNER, KEY)
    world.run(2000)
    assert heard(world) == KNOWN
    for step in range(40):
        verdict = (SHED, KNOWN)[step % 2]
        world.hosts[0].segment.judge(KEY, verdict)
        world.run(LOSSY_MS)
        assert heard(world) == verdict


def test_late_datagrams__the_newest_verdict_holds_in_the_end():
    world = World(2, delay_ns=50 * MS)
    world.hosts[1].segment.follow(0, OWNER, KEY)
    world.run(1000)
    for step in range(100):
        world.hosts[0].segment.judge(KEY, (SHED, KNOWN, HOPELESS)[step % 3])
        world.run(3)
    world.run(50 + WITHIN_MS)
    assert heard(world) == world.hosts[0].segment.verdicts[KEY]


def test_owner__that_dies_leaves_the_others_to_themselves():
    world = world_of()
    world.hosts[0].segment.judge(KEY, SHED)
    world.run(WITHIN_MS)
    world.hosts[0].alive = False
    world.run(HOLD_MS - 250)
    assert heard(world) == SHED
    world.run(260)
    assert heard(world) == 0
    assert not world.hosts[1].said
    world.run(6000)
    assert world.hosts[1].said == ["10.0.0.1 is silent: this host decides for itself about it"]
    world.hosts[0].alive = True
    world.run(1000)
    assert heard(world) == SHED


def test_owner__that_leaves_is_not_waited_for():
    world = world_of()
    world.hosts[0].agent.leave(world.clock(world.hosts[0]))
    world.hosts[0].alive = False
    world.run(2)
    assert heard(world) == 0


def test_owner__that_starts_again_is_asked_again():
    world = world_of()
    segment = FakeSegment("again", 0)
    segment.workers = [(1000, "eth0")]
    world.hosts[0] = world.host(0, segment)
    segment.judge(KEY, SHED)
    world.run(MET_MS)
    assert heard(world) == SHED


def test_follower__that_was_forgotten_by_the_owner_alone_asks_on():
    world = world_of()
    agent = world.hosts[0].agent
    agent._remove(7001)
    world.hosts[0].segment.judge(KEY, SHED)
    world.run(MET_MS)
    assert heard(world) == SHED


def test_request__that_is_over_at_its_owner_is_the_followers_again():
    world = world_of()
    del world.hosts[0].segment.verdicts[KEY]
    world.hosts[0].segment.verdicts_version += 1
    world.run(WITHIN_MS)
    assert heard(world) == 0
    world.hosts[0].segment.judge(KEY, HOPELESS)
    world.run(WITHIN_MS)
    assert heard(world) == HOPELESS


def test_request__of_a_host_that_is_no_peer_is_the_followers_own():
    world = world_of()
    world.hosts[1].segment.follow(1, 99, KEY)
    world.run(1000)
    world.clock(world.hosts[1])
    assert world.hosts[1].segment.verdict_now(1) == 0
    assert heard(world) == KNOWN


def test_request__of_the_same_host_needs_no_peer():
    world = World(1)
    segment = world.hosts[0].segment
    segment.judge(KEY, SHED)
    segment.follow(3, OWNER, KEY)
    for verdict in (SHED, KNOWN, HOPELESS):
        segment.judge(KEY, verdict)
        world.run(WITHIN_MS)
        assert segment.verdict_now(3) == verdict
    world.run(2000)
    assert segment.verdict_now(3) == HOPELESS


def test_place__that_has_become_another_requests():
    world = world_of()
    other = KEY + 1
    world.hosts[0].segment.judge(other, HOPELESS)
    world.hosts[1].segment.follow(0, OWNER, other)
    world.run(WITHIN_MS)
    assert heard(world) == HOPELESS
    world.hosts[0].segment.judge(KEY, SHED)
    world.run(WITHIN_MS)
    assert heard(world) == HOPELESS


def tell(world: World, liar: int, verdicts: list[Verdict]) -> None:
    """Host `liar` says that to host 1, where nobody has asked it."""
    host, other = world.hosts[1], world.hosts[liar].agent
    link = host.agent.peers[other.identity].link
    body = Message(
        to_boot=host.agent.boot,
        heard=1,
        policy=policy_number("mfs"),
        inventory=1,
        have=host.agent.inventory.version,
        verdicts=verdicts,
    )
    header = (other.identity, other.boot, int(link.sequence) + 1)
    received = host.agent.counts.received
    host.agent.received(sealed(header, body), world.hosts[liar].address, world.clock(host))
    assert host.agent.counts.received == received + 1


def test_liar__decides_about_its_own_requests_alone():
    world = world_of(3)
    world.hosts[1].segment.follow(1, 7002, 5)  # one of the liar's
    world.run(MET_MS)
    held = world.hosts[1].agent.counts.verdicts_held
    tell(world, 2, [Verdict(KEY, HOPELESS), Verdict(6, HOPELESS)])
    assert heard(world) == KNOWN
    assert world.hosts[1].agent.counts.verdicts_held == held
    tell(world, 2, [Verdict(5, HOPELESS)])
    assert world.hosts[1].segment.verdict_now(1) == HOPELESS
    tell(world, 0, [Verdict(KEY, SHED)])  # the owner may
    assert heard(world) == SHED


def test_asker__of_everything_takes_no_room_of_others():
    world = world_of(3)
    for key in range(1000):
        world.hosts[2].segment.follow(1 + key % 1000, OWNER, 10_000 + key)
        world.hosts[0].segment.judge(10_000 + key, SHED)
    world.run(1000)
    world.hosts[0].segment.judge(KEY, HOPELESS)
    world.run(WITHIN_MS)
    assert heard(world) == HOPELESS
    segment = world.hosts[2].segment
    world.clock(world.hosts[2])
    assert sum(segment.verdict_now(1 + key) == SHED for key in range(1000)) == 255
    assert max(len(datagram) for _, datagram, _, _ in world.sent) <= 1200


def test_many_requests__are_all_followed_beside_claims():
    world = World(2)
    for key in range(250):
        world.hosts[1].segment.follow(key, OWNER, 1 + key)
        world.hosts[0].segment.judge(1 + key, KNOWN)
    world.run(MET_MS)
    world.hosts[1].segment.want(world.far(1, 0, lib.MFS_INGRESS), 0, MS)
    world.run(100)
    for key in range(250):
        world.hosts[0].segment.judge(1 + key, SHED)
    world.run(50)
    world.clock(world.hosts[1])
    assert all(world.hosts[1].segment.verdict_now(key) == SHED for key in range(250))
    assert world.hosts[0].agent.peers[7001].claims


def test_another_policy__each_host_decides_for_itself():
    world = World(2)
    world.hosts[1].segment.policy_name = "edf"
    world.hosts[0].segment.judge(KEY, SHED)
    world.hosts[1].segment.follow(0, OWNER, KEY)
    world.run(1000)
    assert heard(world) == 0


def test_nothing_followed__nothing_is_sent_for_it():
    world = World(2)
    for key in range(50):
        world.hosts[0].segment.judge(key, SHED)
    world.run(1000)
    world.sent.clear()
    for step in range(1000):
        world.hosts[0].segment.judge(1, (SHED, KNOWN)[step % 2])
        world.run(1)
    assert len(world.sent) <= 4
    assert not any(parse(opened(one[1])).verdicts for one in world.sent)


def test_followed__a_request_costs_a_few_datagrams_a_second():
    world = world_of()
    world.sent.clear()
    world.run(1000)
    assert len(world.sent) <= 2 * 6
    world.hosts[1].segment.follows.clear()
    world.hosts[1].segment.follows_version += 1
    world.run(1500)
    world.sent.clear()
    world.run(1000)
    assert len(world.sent) <= 4
