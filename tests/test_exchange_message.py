# SPDX-License-Identifier: Apache-2.0
"""The messages of agents: what is packed comes out again, and nothing else gets in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfs_transport.exchange import message as m
from mfs_transport.exchange.seal import Seal, new_key, read_key
from mfs_transport.native import InputError

KEY = bytes(32)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
spans = st.integers(-m.MOST_SPAN_NS, m.MOST_SPAN_NS)
counts = st.integers(0, m.MOST_COUNT)
levels = st.one_of(st.integers(0, m.MOST_LEVEL), st.just(m.NO_LEVEL))
claims = st.builds(m.Claim, u32, levels, spans, counts, counts, counts)
limits = st.builds(
    m.Limit, u32, levels, spans, st.integers(0, m.MOST_FOR_NS // 1000).map(lambda us: us * 1000)
)
ports = st.builds(m.Port, st.integers(0, 1), st.text("abc0_:.", min_size=1, max_size=31))
workers = st.builds(m.Worker, u64, u32, u32)
heads = {
    "to_boot": u64, "heard": u64, "held_us": u32, "policy": u32, "inventory": u32, "have": u32,
    "leaves": st.booleans(),
}  # fmt: skip
states = st.builds(
    m.Message, **heads, claims=st.lists(claims, max_size=12), limits=st.lists(limits, max_size=12)
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
headers = st.builds(m.Header, u64, u64, u64)


@given(headers, st.one_of(states, pages))
def test_message__comes_out_as_it_went_in(header: m.Header, body: m.Message):
    seal = Seal(KEY)
    datagram = seal.close(header, body)
    assert len(datagram) <= m.MOST_BYTES
    found, sealed = seal.open(datagram)
    assert (found, m.parse(sealed)) == (header, body)


@given(st.binary(max_size=m.MOST_BYTES + 8))
def test_parse__takes_any_bytes_for_a_message_or_for_none(data: bytes):
    try:
        body = m.parse(data)
    except m.Malformed:
        return
    assert len(body.claims) <= m.MOST_PORTS
    assert len(body.ports) <= m.MOST_PORTS
    for claim in body.claims:
        assert claim.level <= m.MOST_LEVEL or claim.level == m.NO_LEVEL
        assert abs(claim.span_ns) <= m.MOST_SPAN_NS
        assert max(claim[3:]) <= m.MOST_COUNT
    for limit in body.limits:
        assert limit.for_ns <= m.MOST_FOR_NS


@settings(max_examples=300)
@given(st.one_of(states, pages), st.data())
def test_parse__of_a_message_that_was_changed(body: m.Message, data: st.DataObject):
    packed = bytearray(m.pack(body))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    test_parse__takes_any_bytes_for_a_message_or_for_none.hypothesis.inner_test(bytes(packed))
    test_parse__takes_any_bytes_for_a_message_or_for_none.hypothesis.inner_test(bytes(packed[:cut]))


@given(st.binary(max_size=m.MOST_BYTES + 8))
def test_open__bytes_of_nobody(data: bytes):
    with pytest.raises(m.Malformed):
        Seal(KEY).open(data)


def test_open__every_bit_counts():
    seal = Seal(KEY)
    datagram = seal.close(m.Header(1, 2, 3), m.Message(claims=[m.Claim(1, 0, 5, 1, 2, 3)]))
    for bit in range(8 * len(datagram)):
        changed = bytearray(datagram)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(m.Malformed):
            seal.open(bytes(changed))
    with pytest.raises(m.Malformed, match="our key"):
        Seal(bytes([1]) * 32).open(datagram)


def test_open__another_version_is_named():
    datagram = Seal(KEY).close(m.Header(1, 2, 3), m.Message())
    with pytest.raises(m.Malformed, match="version 9"):
        Seal(KEY).open(datagram[:3] + b"\x09" + datagram[4:])


def test_parse__goes_over_what_a_later_release_has_added():
    claim = m.Claim(7, 1, -5, 10, 20, 30)
    body = m.pack(m.Message())
    packed = m.pack(m.Message(claims=[claim]))[len(body) + m.SECTION.size :]
    longer = m.SECTION.pack(m.CLAIM, len(packed) + 8, 2) + 2 * (packed + b"\xff" * 8)
    unknown = m.SECTION.pack(99, 3, 2) + b"abcdef"
    assert m.parse(body + unknown + longer).claims == [claim, claim]
    with pytest.raises(m.Malformed, match="too short"):
        m.parse(body + m.SECTION.pack(m.CLAIM, 8, 1) + b"12345678")


def test_pack__more_than_a_datagram_holds():
    claim = m.Claim(1, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="more than"):
        m.pack(m.Message(claims=[claim] * 40))
    full = m.Message(claims=[claim] * m.MOST_PORTS, limits=[m.Limit(1, 0, 0, 0)] * m.MOST_PORTS)
    assert len(m.pack(full)) <= m.ROOM + m.BODY.size


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
