# SPDX-License-Identifier: Apache-2.0
"""Peers that are found by the connections of a host: unknown to anybody but for that."""

from __future__ import annotations

import ipaddress
import random
import socket

import pytest
from exchange_world import KEY, MS, World

from mfs_transport.exchange import contacts
from mfs_transport.exchange.contacts import Contacts, address_of, parted
from mfs_transport.exchange.roster import MOST, PORT
from mfs_transport.native import InputError

SECOND_NS = 10**9
MET_MS = 600  # until two find each other


@pytest.mark.parametrize(
    ("text", "rest", "networks"),
    [
        ("a,b:1", "a,b:1", None),
        ("connections", "", []),
        ("a, connections ,b", "a,b", []),
        ("connections:10.0.0.0/8,connections:fd00::/8", "", ["10.0.0.0/8", "fd00::/8"]),
        ("connections:10.1.2.3/8", "", ["10.0.0.0/8"]),
        ("connections,etcd://a:1,b:2/c", "etcd://a:1,b:2/c", []),
        ("file:/etc/connections", "file:/etc/connections", None),
        ("connections.example", "connections.example", None),
    ],
)
def test_parted(text: str, rest: str, networks: list[str] | None):
    found = parted(text)
    assert found[0] == rest
    assert (found[1] if networks is None else [str(one) for one in found[1] or ()]) == networks


@pytest.mark.parametrize("text", ["connections:", "connections:9655", "connections:a.b/8"])
def test_parted__what_is_no_network(text: str):
    with pytest.raises(InputError, match=r"connections:10\.0\.0\.0/8"):
        parted(text)


def raw(text: str) -> bytes:
    return ipaddress.IPv6Address(f"::ffff:{text}" if "." in text else text).packed


@pytest.mark.parametrize(
    ("text", "networks", "four", "six"),
    [
        ("10.0.0.1", "", "10.0.0.1", "::ffff:10.0.0.1"),
        ("8.8.8.8", "", "8.8.8.8", "::ffff:8.8.8.8"),
        ("8.8.8.8", "10.0.0.0/8", None, None),
        ("127.0.0.1", "", None, None),
        ("127.0.0.1", "127.0.0.0/8", "127.0.0.1", "::ffff:127.0.0.1"),
        ("169.254.169.254", "", None, None),
        ("224.0.0.1", "224.0.0.0/4", None, None),
        ("0.0.0.0", "0.0.0.0/0", None, None),
        ("255.255.255.255", "0.0.0.0/0", None, None),
        ("fd00::7", "", None, "fd00::7"),
        ("fd00::7", "fd00::/8", None, "fd00::7"),
        ("fe80::7", "fe80::/10", None, None),
        ("ff02::1", "::/0", None, None),
        ("::1", "", None, None),
        ("::", "::/0", None, None),
    ],
)
def test_address_of(text: str, networks: str, four: str | None, six: str | None):
    allowed = tuple(ipaddress.ip_network(one) for one in networks.split(",") if one)
    assert address_of(raw(text), allowed, socket.AF_INET) == four
    assert address_of(raw(text), allowed, socket.AF_INET6) == six


def unknown(count: int, **more: object) -> World:
    """Hosts that nobody names, and whose agents look where connections lead."""
    world = World(count, **more)  # type: ignore[arg-type]
    world.addresses = []
    for host in world.hosts:
        host.agent.contacts = Contacts((), PORT, socket.AF_INET, host.said.append)
    return world


def peers(world: World, number: int) -> dict[str, str]:
    """Addresses, and how each is known."""
    agent = world.hosts[number].agent
    return {peer.address[0]: agent.known_by(who) for who, peer in agent.peers.items()}


def greetings(world: World, address: str) -> int:
    """Datagrams that went there."""
    return sum(to[0] == address for _, _, _, to in world.sent)


def test_two_hosts_find_each_other_though_one_alone_is_connected():
    world = unknown(3)
    world.hosts[0].segment.connect("10.0.0.2")
    world.run(MET_MS)
    assert peers(world, 0) == {"10.0.0.2": "connection"}
    assert peers(world, 1) == {"10.0.0.1": "itself"}
    assert set(world.hosts[0].segment.known) == {1001}
    assert set(world.hosts[1].segment.known) == {1000}
    assert peers(world, 2) == {}
    assert world.hosts[0].segment.contacts_wanted
    assert not world.hosts[0].said


def test_those_that_are_named_and_those_that_are_not():
    world = unknown(3)
    world.addresses = [world.hosts[1].address]
    world.hosts[0].segment.connect("10.0.0.2", "10.0.0.3")
    world.run(MET_MS)
    assert peers(world, 0) == {"10.0.0.2": "name", "10.0.0.3": "connection"}


def test_networks__outside_nobody_is_asked():
    world = unknown(2)
    allowed = (ipaddress.ip_network("10.0.0.2/32"),)
    world.hosts[0].agent.contacts = Contacts(allowed, PORT, socket.AF_INET, print)
    world.hosts[0].segment.connect("10.0.0.2", "10.9.0.2")
    world.run(MET_MS)
    assert peers(world, 0) == {"10.0.0.2": "connection"}
    assert greetings(world, "10.9.0.2") == 0


def test_a_host_itself_is_none_and_is_not_asked_for_ever():
    world = unknown(1)
    world.hosts[0].segment.connect("10.0.0.1")
    world.run(3000)
    assert peers(world, 0) == {}
    assert greetings(world, "10.0.0.1") <= 2
    assert not world.hosts[0].said


def test_a_host_of_two_addresses_is_one_peer_and_answers_for_both():
    world = unknown(2)
    world.hosts[1].more = {("10.0.1.2", PORT)}
    world.hosts[0].segment.connect("10.0.0.2", "10.0.1.2")
    world.run(MET_MS)
    assert peers(world, 0) == {"10.0.0.2": "connection"}
    before = greetings(world, "10.0.1.2")
    world.run(3000)
    assert greetings(world, "10.0.1.2") == before
    assert not world.hosts[0].said


def test_an_agent_that_starts_again_is_found_again():
    world = unknown(2)
    world.hosts[0].segment.connect("10.0.0.2")
    world.run(MET_MS)
    world.hosts[1] = world.host(1, world.hosts[1].segment)
    world.hosts[1].agent.contacts = Contacts((), PORT, socket.AF_INET, print)
    world.run(MET_MS)
    assert peers(world, 0) == {"10.0.0.2": "connection"}
    assert peers(world, 1) == {"10.0.0.1": "itself"}


def test_an_agent_that_was_killed_is_asked_from_the_beginning():
    world = unknown(2)
    world.hosts[0].segment.connect("10.0.0.2")
    world.run(MET_MS)
    world.hosts[1].alive = False
    world.run(6000)
    assert peers(world, 0) == {}
    world.hosts[1].alive = True
    world.run(3000)
    assert peers(world, 0) == {"10.0.0.2": "connection"}


def test_who_has_another_key_is_none():
    world = unknown(2)
    stranger = world.host(1, world.hosts[1].segment, bytes(reversed(KEY)))
    stranger.agent.contacts = Contacts((), PORT, socket.AF_INET, stranger.said.append)
    world.hosts[1] = stranger
    for host in world.hosts:
        host.segment.connect("10.0.0.1", "10.0.0.2")
    world.run(20_000)
    assert peers(world, 0) == {}
    assert greetings(world, "10.0.0.2") < 12
    about_key, about_nobody = world.hosts[0].said
    assert "10.0.0.2 is not used: not made with our key" in about_key
    assert "no agent with our key answers" in about_nobody


# --- forgetting ---


@pytest.fixture
def forgets_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "FORGET_NS", SECOND_NS)


@pytest.mark.usefixtures("forgets_soon")
def test_a_host_that_no_connection_leads_to_is_forgotten():
    world = unknown(2)
    world.hosts[0].segment.connect("10.0.0.2")
    world.hosts[1].segment.connect("10.0.0.1")
    world.run(MET_MS)
    for host in world.hosts:
        host.segment.connect()
    world.run(900)
    assert peers(world, 0)  # not at once
    world.run(600)
    assert peers(world, 0) == peers(world, 1) == {}
    assert not world.hosts[0].segment.known
    world.sent.clear()
    world.run(1000)
    assert not world.sent


@pytest.mark.usefixtures("forgets_soon")
def test_as_long_as_the_other_host_is_connected_it_stays():
    world = unknown(2)
    world.hosts[0].segment.connect("10.0.0.2")
    world.hosts[1].segment.connect("10.0.0.1")
    world.run(MET_MS)
    world.hosts[0].segment.connect()
    world.run(3000)
    assert peers(world, 0) == {"10.0.0.2": "itself"}
    assert peers(world, 1) == {"10.0.0.1": "connection"}


@pytest.mark.usefixtures("forgets_soon")
def test_one_that_is_named_stays():
    world = unknown(2)
    world.hosts[0].segment.connect("10.0.0.2")
    world.run(MET_MS)
    world.addresses = [world.hosts[1].address]
    world.hosts[0].segment.connect()
    world.run(2000)
    assert peers(world, 0) == {"10.0.0.2": "name"}


# --- bounds ---


def asked(one: Contacts, segment: object, seconds: int) -> list[int]:
    """How many addresses are asked in each second, where nobody answers."""
    counts, number = [], 0
    for second in range(1, seconds + 1):
        before = number
        for tenth in range(10):
            now_ns = second * SECOND_NS + tenth * 100 * MS
            one.look(segment, now_ns)  # type: ignore[arg-type]
            for address in one.due({}, set(), now_ns):
                number += 1
                one.asked(address, number, now_ns)
        counts.append(number - before)
    return counts


def test_where_nobody_answers_is_asked_less_and_less_often_and_said_once():
    said: list[str] = []
    one = Contacts((), PORT, socket.AF_INET, said.append)
    segment = World(1).hosts[0].segment
    segment.connect("10.0.0.7", "10.0.0.8")
    counts = asked(one, segment, 600)
    assert sum(counts[:20]) <= 2 * 7
    assert sum(counts[300:]) <= 2 * 5
    assert sum(counts[300:]) > 0  # an agent that comes late is found
    (line,) = said
    assert "10.0.0.7" in line
    assert "mfs agent --once" in line


def test_a_full_table():
    said: list[str] = []
    one = Contacts((), PORT, socket.AF_INET, said.append)
    segment = World(1).hosts[0].segment
    segment.connect(*(f"10.0.{n // 200}.{n % 200 + 1}" for n in range(1000)))
    counts = asked(one, segment, 60)
    assert len(one.found) == MOST
    assert max(counts) <= 10 * contacts.AT_ONCE
    assert len([line for line in said if f"more than {MOST} hosts" in line]) == 1
    # it is no more where others come each second
    for second in range(61, 110):
        segment.connect(*(f"10.{second}.{n // 200}.{n % 200 + 1}" for n in range(1000)))
        one.look(segment, second * SECOND_NS)  # type: ignore[arg-type]
        assert len(one.found) == MOST


def test_rubbish_in_the_table_asks_nowhere_that_is_no_host():
    world = unknown(2)
    segment = world.hosts[0].segment
    rubbish = random.Random(1)
    for _ in range(20):
        rows = {rubbish.randbytes(16) for _ in range(50)}
        rows |= {bytes(16), b"\xff" * 16, raw("127.0.0.1"), raw("224.0.0.1"), raw("10.0.0.2")}
        segment.contact_rows = {(row, "UCX") for row in rows}
        segment.contact_version += 1
        world.run(50)
    world.run(1000)
    assert peers(world, 0) == {"10.0.0.2": "connection"}
    asked_at = {to[0] for _, _, source, to in world.sent if source[0] == "10.0.0.1"}
    assert asked_at == {"10.0.0.2"}  # random ones are IPv6, where this agent has no way


def test_answers__to_what_was_never_asked_mean_nothing():
    one = Contacts((), PORT, socket.AF_INET, print)
    segment = World(1).hosts[0].segment
    segment.connect("10.0.0.7")
    asked(one, segment, 1)
    for number in (0, 10**12):
        one.answered(number, 4711)
    assert not one.lead_to(4711)
    one.answered(1, 4711)
    assert one.lead_to(4711)
