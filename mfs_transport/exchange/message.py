# SPDX-License-Identifier: Apache-2.0
"""What agents tell each other: one datagram, whose layout is fixed but for the number of entries.

    header    magic, version, sender, boot, sequence      in clear, under the seal
    body      to whom, what was heard of it, versions      sealed (seal.py)
    sections  kind, size of an entry, count, entries

A version that is not ours is no message. Within a version, entries may get longer and kinds may be
added: what is behind the part of an entry that we know is not looked at, nor is a kind that we do
not know. All numbers are little-endian. Times are spans: the clocks of two hosts are not compared.

Nothing is trusted, also not under the right key: what does not fit is `Malformed`, and numbers are
brought into their bounds.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

MAGIC = b"MFX"
VERSION = 1
MOST_BYTES = 1200  # of a datagram: no network cuts it
SEAL_BYTES = 16
NAME_BYTES = 32
EGRESS, INGRESS = 0, 1  # enum mfs_direction
MOST_PORTS = 16  # of a host: MFS_PORTS_MAX
MOST_WORKERS = 1024  # of a host: MFS_FAR_OWN_MAX
NO_LEVEL = 64  # nothing waits; no limit: MFS_FAR_NO_LEVEL
MOST_LEVEL = 32  # MFS_LEVELS_MAX
MOST_SPAN_NS = 1 << 58
MOST_COUNT = 1 << 50  # bytes that a claim may name
MOST_FOR_NS = 1_000_000_000  # that a limit may hold

HEADER = struct.Struct("<3sBQQQ")
BODY = struct.Struct("<QQIIIIB3x")
SECTION = struct.Struct("<BBH")
_PAGE = struct.Struct("<HH")
_PORT = struct.Struct("<B3x32s")
_WORKER = struct.Struct("<QII")
_CLAIM = struct.Struct("<IB3xqQQQ")
_LIMIT = struct.Struct("<IB3xqI4x")
PAGE, PORT, WORKER, CLAIM, LIMIT = 1, 2, 3, 4, 5
_LAYOUTS = {PAGE: _PAGE, PORT: _PORT, WORKER: _WORKER, CLAIM: _CLAIM, LIMIT: _LIMIT}
ROOM = MOST_BYTES - HEADER.size - SEAL_BYTES - BODY.size


class Malformed(ValueError):
    """These bytes are no message of ours."""


class Header(NamedTuple):
    """In clear. The three numbers together are never used twice under one key."""

    sender: int  # a host's agent, the same after it has started again
    boot: int  # another one at each start
    sequence: int  # grows with each datagram of a boot


class Port(NamedTuple):
    """A port of the sender's. `number` names it in all that follows."""

    direction: int
    name: str

    @property
    def number(self) -> int:
        return zlib.crc32(f"{self.direction} {self.name}".encode(errors="surrogateescape"))


class Worker(NamedTuple):
    """Of the sender's: what is put to it fills the port `ingress`, what is got from it `egress`."""

    uid: int
    egress: int
    ingress: int


class Claim(NamedTuple):
    """What the sender has for a port of the receiver. Nothing waits: level NO_LEVEL."""

    port: int
    level: int
    span_ns: int  # key less now
    waiting: int
    inflight: int
    done: int


class Limit(NamedTuple):
    """What is worse than this stays with its sender, for so long at most. NO_LEVEL: all may go."""

    port: int  # of the sender's
    level: int
    span_ns: int
    for_ns: int


class Page(NamedTuple):
    """Which part of ports and workers this datagram has, and of how many."""

    number: int
    pages: int


@dataclass(slots=True)
class Message:
    to_boot: int = 0  # of the receiver, as far as the sender knows: 0 means that it does not
    heard: int = 0  # the receiver's newest sequence that has come
    held_us: int = 0  # since then
    policy: int = 0  # CRC of its name: ranks of two policies are not compared
    inventory: int = 0  # version of the sender's ports and workers
    have: int = 0  # that of the receiver's which the sender has whole
    leaves: bool = False  # it ends now
    page: Page | None = None
    ports: list[Port] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)


def policy_number(name: str) -> int:
    return zlib.crc32(name.encode())


def pack_header(header: Header) -> bytes:
    return HEADER.pack(MAGIC, VERSION, *header)


def parse_header(data: bytes) -> Header:
    if not HEADER.size + SEAL_BYTES <= len(data) <= MOST_BYTES:
        raise Malformed(f"a datagram of {len(data)} bytes")
    magic, version, *numbers = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Malformed("no message of an agent")
    if version != VERSION:
        raise Malformed(f"version {version} of the messages, ours is {VERSION}")
    return Header(*numbers)


def _section(kind: int, packed: list[bytes]) -> bytes:
    if not packed:
        return b""
    return SECTION.pack(kind, len(packed[0]), len(packed)) + b"".join(packed)


def pack(message: Message) -> bytes:
    """The body. ValueError: it is more than a datagram holds."""
    claims, limits = message.claims, message.limits
    parts = [
        BODY.pack(
            message.to_boot,
            message.heard,
            min(message.held_us, 2**32 - 1),
            message.policy,
            message.inventory,
            message.have,
            message.leaves,
        )
    ]
    if claims:
        parts.append(_section(CLAIM, [_CLAIM.pack(*one) for one in claims]))
    if limits:
        told = [_LIMIT.pack(one[0], one[1], one[2], one[3] // 1000) for one in limits]
        parts.append(_section(LIMIT, told))
    if message.page:
        names = [(one.direction, one.name.encode(errors="replace")) for one in message.ports]
        parts.append(_section(PAGE, [_PAGE.pack(*message.page)]))
        parts.append(_section(PORT, [_PORT.pack(way, name[:NAME_BYTES]) for way, name in names]))
        parts.append(_section(WORKER, [_WORKER.pack(*one) for one in message.workers]))
    data = b"".join(parts)
    if len(data) > ROOM + BODY.size:
        raise ValueError(f"{len(data)} bytes are more than a datagram holds")
    return data


def _claim(entry: tuple[int, ...]) -> Claim:
    port, level, span_ns, waiting, inflight, done = entry
    if level > MOST_LEVEL:
        level = NO_LEVEL
    if not -MOST_SPAN_NS <= span_ns <= MOST_SPAN_NS:
        span_ns = MOST_SPAN_NS if span_ns > 0 else -MOST_SPAN_NS
    if waiting > MOST_COUNT or inflight > MOST_COUNT or done > MOST_COUNT:
        waiting, inflight, done = (min(one, MOST_COUNT) for one in entry[3:])
    return Claim(port, level, span_ns, waiting, inflight, done)


def _limit(entry: tuple[int, ...]) -> Limit:
    port, level, span_ns, for_us = entry
    if level > MOST_LEVEL:
        level = NO_LEVEL
    if not -MOST_SPAN_NS <= span_ns <= MOST_SPAN_NS:
        span_ns = MOST_SPAN_NS if span_ns > 0 else -MOST_SPAN_NS
    return Limit(port, level, span_ns, min(for_us * 1000, MOST_FOR_NS))


def _port(entry: tuple[int, bytes]) -> Port:
    direction, name = entry
    text = name.rstrip(b"\0").decode(errors="replace")
    if direction > 1 or not text or not text.isprintable():
        raise Malformed("a port without a name or a direction")
    return Port(direction, text)


def _entries(
    data: bytes, at: int, layout: struct.Struct, size: int, count: int
) -> list[tuple[int, ...]]:
    if size == layout.size:
        return list(layout.iter_unpack(data[at : at + size * count]))
    return [layout.unpack_from(data, start) for start in range(at, at + size * count, size)]


def parse(data: bytes) -> Message:
    """A body that was sealed with the shared key."""
    if not BODY.size <= len(data) <= MOST_BYTES:
        raise Malformed(f"a body of {len(data)} bytes")
    message = Message(*BODY.unpack_from(data))
    message.leaves = bool(message.leaves)
    at = BODY.size
    while at < len(data):
        if at + SECTION.size > len(data):
            raise Malformed("a section that is cut")
        kind, size, count = SECTION.unpack_from(data, at)
        at += SECTION.size
        end = at + size * count
        if end > len(data):
            raise Malformed("a section that is cut")
        layout = _LAYOUTS.get(kind)
        if layout:
            if size < layout.size:
                raise Malformed("an entry that is too short")
            _add(message, kind, _entries(data, at, layout, size, count))
        at = end
    if message.page and message.page.number >= message.page.pages:
        raise Malformed("a page behind the last")
    if (message.ports or message.workers) and not message.page:
        raise Malformed("ports of no page")
    return message


def _add(message: Message, kind: int, entries: list[tuple[int, ...]]) -> None:
    if kind == CLAIM:
        message.claims += map(_claim, entries)
    elif kind == LIMIT:
        message.limits += map(_limit, entries)
    elif kind == WORKER:
        message.workers += [Worker(*entry) for entry in entries]
    elif kind == PORT:
        message.ports += [_port((entry[0], bytes(entry[1]))) for entry in entries]
    elif entries:
        message.page = Page(*entries[0])
    if len(message.ports) > MOST_PORTS or len(message.claims) > MOST_PORTS:
        raise Malformed("more ports than a host has")
