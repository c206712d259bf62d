# SPDX-License-Identifier: Apache-2.0
"""A request's verdict goes with it to another host: two segments, an agent on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exchange_world import KEY as AGENT_KEY

import mfs_transport as mfs
from mfs_transport import verdict
from mfs_transport.exchange.agent import Agent
from mfs_transport.exchange.roster import PORT, Address
from mfs_transport.exchange.seal import Seal
from mfs_transport.exchange.segment import HostSegment
from mfs_transport.native import InputError, ffi, lib, now_ns

MOST_NS = 60 * 10**9
OTHER = f"{9:016x}-{8:016x}"


class Side:
    """A host with its agent. Datagrams reach the other one at once."""

    def __init__(self, folder: Path, number: int) -> None:
        self.host = mfs.Host(str(folder / f"segment{number}"))
        self.segment = HostSegment(self.host)
        self.segment.name(7000 + number)
        self.stay()
        self.address: Address = (f"10.0.0.{number}", PORT)
        self.out: list[tuple[bytes, Address]] = []
        self.said: list[str] = []
        self.alive = True
        self.agent = Agent(
            self.segment,
            Seal(AGENT_KEY),
            7000 + number,
            number,
            lambda datagram, to: self.out.append((datagram, to)),
            self.said.append,
        )

    def stay(self) -> None:
        """Its agent is there, as far as the segment knows, until it ticks: then as long as that."""
        assert lib.mfs_far_attend(self.host.handle, 10**10) == 0

    def flags(self, request: mfs.Request) -> int:
        """As the queues of this host read them."""
        facts = ffi.new("struct mfs_facts *")
        assert lib.mfs_request_get(self.host.handle, request.key, facts) == 0
        return int(facts.flags)

    def close(self) -> None:
        self.segment.close()
        self.host.close()


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[list[Side]]:
    made = [Side(tmp_path, number) for number in (1, 2)]
    yield made
    for one in made:
        one.close()


def run(sides: list[Side], until: Callable[[], bool]) -> None:
    addresses = [one.address for one in sides]
    ends = now_ns() + MOST_NS
    while not until():
        assert now_ns() < ends, [one.agent.counts for one in sides]
        for one in sides:
            if not one.alive:
                one.out.clear()
                continue
            one.agent.tick(addresses, now_ns())
        for one in sides:
            taken, one.out = one.out, []
            for datagram, to in taken:
                for other in sides:
                    if other.address == to and other.alive:
                        other.agent.received(datagram, one.address, now_ns())


@pytest.fixture
def both(sides: list[Side]) -> tuple[mfs.Request, mfs.Request]:
    """A request where its prefill runs, and where its KV goes."""
    owner, follower = sides
    there = mfs.register("cmpl-1-aa", ttft_s=100, layers=1, layer_s=1e-3, host=owner.host)
    here = mfs.register("cmpl-1-bb", ttft_s=100, host=follower.host)
    return there, here


def test_follow__what_the_owner_plans_is_what_the_other_hosts_queues_read(
    sides: list[Side], both: tuple[mfs.Request, mfs.Request]
):
    owner, follower = sides
    there, here = both
    words = verdict.words(there)
    assert words == {"mfs_owner": f"{7001:016x}-{there.key:016x}"}
    assert verdict.follow(here, words)
    unit = mfs.Unit(mfs.Egress(host=owner.host))
    unit.enqueue(there)
    run(sides, lambda: follower.agent.counts.verdicts_held > 0)
    assert follower.flags(here) == 0
    unit.progress(there, layer_s=1000.0)
    assert there.hopeless
    run(sides, lambda: follower.flags(here) == lib.MFS_REQUEST_HOPELESS)
    assert not here.hopeless  # its own control plane's view is what it was
    here.update(p2d_left_bytes=5)
    assert follower.flags(here) == lib.MFS_REQUEST_HOPELESS
    unit.progress(there, layer_s=1e-3)  # and back
    assert not there.hopeless
    run(sides, lambda: follower.flags(here) == 0)
    unit.finish(there)
    run(sides, lambda: follower.agent.counts.verdicts_held > 5)
    assert follower.flags(here) == 0
    here.finish()
    assert not follower.said
    assert not owner.said


def test_follow__our_own_plan_counts_for_nothing_while_the_owner_is_heard(
    sides: list[Side], both: tuple[mfs.Request, mfs.Request]
):
    there, here = both
    follower = sides[1]
    verdict.follow(here, verdict.words(there))
    here.facts.flags = lib.MFS_REQUEST_SHED
    here.publish()
    run(sides, lambda: follower.agent.counts.verdicts_held > 0)
    assert follower.flags(here) == 0
    sides[0].alive = False  # killed: for as long as a verdict holds
    run(sides, lambda: follower.flags(here) == lib.MFS_REQUEST_SHED)


def test_words__have_the_verdict_of_now(both: tuple[mfs.Request, mfs.Request], sides: list[Side]):
    there, here = both
    there.facts.flags = lib.MFS_REQUEST_SHED
    words = verdict.words(there)
    assert words["mfs_given_up"] == "shed"
    assert verdict.follow(here, words)
    assert sides[1].flags(here) == lib.MFS_REQUEST_SHED  # before any datagram
    there.facts.flags = lib.MFS_REQUEST_SHED | lib.MFS_REQUEST_HOPELESS
    assert verdict.words(there)["mfs_given_up"] == "hopeless"


def test_words__none_without_an_agent(tmp_path: Path):
    with mfs.Host(str(tmp_path / "alone")) as host:
        request = mfs.register("r", ttft_s=1, host=host)
        assert verdict.owner_of(host) == 0
        assert verdict.words(request) == {}
        assert not verdict.follow(request, {})
        assert not verdict.follow(request, {"mfs_owner": OTHER})
        assert not verdict.follow(request, {"mfs_deadline_ms": 5})


def test_follow__of_itself_is_nothing(both: tuple[mfs.Request, mfs.Request]):
    there, _ = both
    assert not verdict.follow(there, verdict.words(there))


@pytest.mark.parametrize(
    "words",
    [
        {"mfs_owner": 5},
        {"mfs_owner": ""},
        {"mfs_owner": "x" * 10_000},
        {"mfs_owner": f"{0:016x}-{1:016x}"},
        {"mfs_owner": f"{1:016x}-{0:016x}"},
        {"mfs_owner": OTHER, "mfs_given_up": "both"},
        {"mfs_owner": OTHER, "mfs_given_up": ["shed"]},
        [],
        "no words",
    ],
)
def test_follow__what_no_host_has_said(words: Any, both: tuple[mfs.Request, mfs.Request]):
    with pytest.raises(InputError, match="what words\\(\\) makes"):
        verdict.follow(both[1], words)


def test_follow__more_than_there_is_room_for(sides: list[Side]):
    host = sides[1].host
    requests = [mfs.register(f"r{n}", ttft_s=1, host=host) for n in range(lib.MFS_FOLLOWS_MAX + 1)]
    for request in requests[:-1]:
        assert verdict.follow(request, {"mfs_owner": OTHER})
    with pytest.raises(OSError, match="follows another host"):
        verdict.follow(requests[-1], {"mfs_owner": OTHER})
    requests[0].finish()
    assert verdict.follow(requests[-1], {"mfs_owner": OTHER})
