# SPDX-License-Identifier: Apache-2.0
"""The messages of agents: what is packed comes out again, and nothing else gets in."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from exchange_world import KEY, RATE_BPS, FakeSegment, opened, sealed
from hypothesis import given, settings
from hypothesis import strategies as st

from mfs_transport.exchange import message as m
from mfs_transport.exchange.agent import Agent
from mfs_transport.exchange.seal import Seal, new_key, read_key
from mfs_transport.native import InputError, lib

MOST_SPAN_NS = 1 << 58
MOST_COUNT = 1 << 50
MOST_LEVEL: int = lib.MFS_LEVELS_MAX
MOST_FOR_NS = 10**9
SECTION = struct.Struct("<BBH")
CLAIM = 4  # a kind of section
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
spans = st.integers(-MOST_SPAN_NS, MOST_SPAN_NS)
counts = st.integers(0, MOST_COUNT)
levels = st.one_of(st.integers(0, MOST_LEVEL), st.just(m.NO_LEVEL))
claims = st.builds(m.Claim, u32, levels, spans, counts, counts, counts)
limits = st.builds(
    m.Limit,
    u32,
    levels,
    spans,
    st.integers(0, MOST_FOR_NS // 1000).map(lambda us: us * 1000),
    st.integers(0, lib.MFS_MESSAGE_SHARERS_MAX),
)
ports = st.builds(m.Port, st.integers(0, 1), st.text("abc0_:.", min_size=1, max_size=31))
workers = st.builds(m.Worker, u64, u32, u32)
verdicts = st.lists(st.builds(m.Verdict, u64, st.integers(0, lib.MFS_VERDICT_ALL)), max_size=12)
heads = {
    "to_boot": u64, "heard": u64, "held_us": u32, "policy": u32, "inventory": u32, "have": u32,
    "leaves": st.booleans(),
}  # fmt: skip
states = st.builds(
    m.Message,
    **heads,
    claims=st.lists(claims, max_size=10),
    limits=st.lists(limits, max_size=10),
    asks=verdicts,
    verdicts=verdicts,
)
pages = st.builds(
    m.Message,
    **heads,
    page=st.integers(1, 40).flatmap(
        lambda count: st.builds(m.Page, st.integers(0, count - 1), st.just(count))
    ),
    ports=st.lists(ports, max_size=16),
    workers=st.lists(workers, max_size=24),
)
headers = st.tuples(u64, u64, u64)


class Listener:
    """An agent that is told datagrams, and what it says of them."""

    def __init__(self, key: bytes = KEY) -> None:
        self.said: list[str] = []
        send = lambda datagram, address: None  # noqa: E731
        segment = FakeSegment("one", 0)
        self.agent = Agent(segment, Seal(key), 1, 2, send, self.said.append, rate_Bps=RATE_BPS)

    def why(self, datagram: bytes) -> str | None:
        """Why that one is no message; None: it is one."""
        self.said.clear()
        self.agent._said.clear()
        malformed = self.agent.counts.malformed
        self.agent.received(datagram, ("192.0.2.1", 9655), 10**9)
        return self.said[0] if self.agent.counts.malformed > malformed else None


@settings(deadline=None)
@given(headers, st.one_of(states, pages))
def test_message__comes_out_as_it_went_in(header: tuple[int, int, int], body: m.Message):
    datagram = sealed(header, body)
    assert len(datagram) <= m.MOST_BYTES
    assert m.parse(opened(datagram)) == body
    listener = Listener()
    assert listener.why(datagram) is None
    heard = listener.agent._heard.header
    assert (heard.sender, heard.boot, heard.sequence) == header


@settings(deadline=None)
@given(st.binary(max_size=m.MOST_BYTES + 8))
def test_parse__takes_any_bytes_for_a_message_or_for_none(data: bytes):
    try:
        body = m.parse(data)
    except m.Malformed:
        return
    assert len(body.claims) <= m.MOST_PORTS
    assert len(body.ports) <= m.MOST_PORTS
    for claim in body.claims:
        assert claim.level <= MOST_LEVEL or claim.level == m.NO_LEVEL
        assert abs(claim.span_ns) <= MOST_SPAN_NS
        assert max(claim[3:]) <= MOST_COUNT
    assert max(len(body.asks), len(body.verdicts)) <= m.VERDICTS_A_MESSAGE
    for one in body.asks + body.verdicts:
        assert one.verdict <= lib.MFS_VERDICT_ALL
    for limit in body.limits:
        assert limit.for_ns <= MOST_FOR_NS


@settings(max_examples=300, deadline=None)
@given(st.one_of(states, pages), st.data())
def test_parse__of_a_message_that_was_changed(body: m.Message, data: st.DataObject):
    packed = bytearray(m.pack(body))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    test_parse__takes_any_bytes_for_a_message_or_for_none.hypothesis.inner_test(bytes(packed))
    test_parse__takes_any_bytes_for_a_message_or_for_none.hypothesis.inner_test(bytes(packed[:cut]))


@settings(deadline=None)
@given(st.binary(max_size=m.MOST_BYTES + 8))
def test_take__bytes_of_nobody(data: bytes):
    assert Listener().why(data)


def test_take__every_bit_counts():
    listener = Listener()
    datagram = sealed((1, 2, 3), m.Message(claims=[m.Claim(1, 0, 5, 1, 2, 3)]))
    assert listener.why(datagram) is None
    for bit in range(8 * len(datagram)):
        changed = bytearray(datagram)
        changed[bit // 8] ^= 1 << bit % 8
        assert listener.why(bytes(changed))
    assert "not made with our key" in str(Listener(bytes(32)).why(datagram))


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"MFX\x09", "version 9 of the messages, ours is 1"),
        (b"GET ", "no message of an agent"),
    ],
)
def test_take__what_is_no_message_is_named(start: bytes, reason: str):
    datagram = sealed((1, 2, 3), m.Message())
    assert reason in str(Listener().why(start + datagram[4:]))
    assert "the size of no message" in str(Listener().why(datagram[:40]))


def test_parse__goes_over_what_a_later_release_has_added():
    claim = m.Claim(7, 1, -5, 10, 20, 30)
    body = m.pack(m.Message())
    packed = m.pack(m.Message(claims=[claim]))[len(body) + SECTION.size :]
    longer = SECTION.pack(CLAIM, len(packed) + 8, 2) + 2 * (packed + b"\xff" * 8)
    unknown = SECTION.pack(99, 3, 2) + b"abcdef"
    assert m.parse(body + unknown + longer).claims == [claim, claim]
    with pytest.raises(m.Malformed, match="too short"):
        m.parse(body + SECTION.pack(CLAIM, 8, 1) + b"12345678")


def test_pack__more_than_a_datagram_holds():
    claim = m.Claim(1, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="more than"):
        m.pack(m.Message(claims=[claim] * 40))
    workers = [m.Worker(1, 2, 3)] * m.WORKERS_A_MESSAGE
    with pytest.raises(ValueError, match="more than"):
        m.pack(m.Message(page=m.Page(0, 1), workers=workers))
    with pytest.raises(ValueError, match="more than"):
        m.pack(m.Message(asks=[m.Verdict(1, 4)] * (m.VERDICTS_A_MESSAGE + 1)))
    full = m.Message(claims=[claim] * m.MOST_PORTS, limits=[m.Limit(1, 0, 0, 0)] * m.MOST_PORTS)
    assert len(m.pack(full)) <= m.MOST_BYTES


# --- the key's file ---


def key_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_read_key__of_a_new_one(tmp_path: Path):
    first, second = (read_key(key_file(tmp_path / "key", new_key())) for _ in range(2))
    assert len(first) == 32
    assert first != second


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (new_key(), 0o644, "others can read or change it"),
        (new_key(), 0o660, "others can read or change it"),
        ("short", 0o600, "32 bytes in base64"),
        ("AAAA", 0o600, "32 bytes in base64"),
        ("", 0o600, "32 bytes in base64"),
    ],
)
def test_read_key__that_cannot_be_used(text: str, mode: int, reason: str, tmp_path: Path):
    with pytest.raises(InputError, match=reason):
        read_key(key_file(tmp_path / "key", text, mode))


def test_read_key__no_file(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read_key(tmp_path / "none")
    with pytest.raises(InputError, match=r"Is a directory|no regular file"):
        read_key(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_read_key__of_another_user(tmp_path: Path):
    file = key_file(tmp_path / "key", new_key())
    os.chown(file, 12345, 12345)
    with pytest.raises(InputError, match="another user"):
        read_key(file)
