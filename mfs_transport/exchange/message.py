# SPDX-License-Identifier: Apache-2.0
"""What agents tell each other, as Python sees it: csrc/host/agent_message.h packs and parses it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..native import ffi, lib

VERSION: int = lib.MFS_MESSAGE_VERSION
MOST_BYTES: int = lib.MFS_MESSAGE_BYTES_MAX
HEADER_BYTES: int = lib.MFS_MESSAGE_HEADER_BYTES
NAME_BYTES: int = lib.MFS_MESSAGE_NAME_MAX
EGRESS, INGRESS = 0, 1  # enum mfs_direction
MOST_PORTS: int = lib.MFS_MESSAGE_PORTS_MAX  # of a host
MOST_WORKERS: int = lib.MFS_FAR_OWN_MAX  # of a host
WORKERS_A_MESSAGE: int = lib.MFS_MESSAGE_WORKERS_MAX
VERDICTS_A_MESSAGE: int = lib.MFS_MESSAGE_VERDICTS_MAX
MOST = {"worker": WORKERS_A_MESSAGE, "ask": VERDICTS_A_MESSAGE, "verdict": VERDICTS_A_MESSAGE}
NO_LEVEL: int = lib.MFS_FAR_NO_LEVEL  # nothing waits; no limit


class Malformed(ValueError):
    """These bytes are no message of ours."""


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
    """What the sender has for a port of the receiver. Where nothing waits, the level is that of
    what has just gone, or NO_LEVEL."""

    port: int
    level: int
    span_ns: int  # key less now
    waiting: int
    inflight: int
    done: int


class Limit(NamedTuple):
    """What is worse than this stays with its sender, for so long at most. NO_LEVEL: all may go.
    And so many hosts have something for the port."""

    port: int  # of the sender's
    level: int
    span_ns: int
    for_ns: int
    sharers: int = 0  # it does not say


class Verdict(NamedTuple):
    """Is a request of the sender's given up (enum mfs_verdict)? As an ask: one of the receiver's,
    and what the sender has been told of it."""

    key: int
    verdict: int


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
    asks: list[Verdict] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


CLAIM = ("port", "level", "span_ns", "waiting_bytes", "inflight_bytes", "done_bytes")
HEAD = ("to_boot", "heard", "held_us", "policy", "inventory", "have", "leaves")


def policy_number(name: str) -> int:
    return zlib.crc32(name.encode())


def name_of(raw: Any) -> str:
    """Of a port, as another host has told it."""
    return bytes(ffi.string(raw)).decode(errors="replace")


def claims_of(said: Any) -> list[Claim]:
    """Of a struct mfs_message or mfs_agent_said."""
    rows = said.claims[0 : said.claim_count]
    return [Claim(*(getattr(one, name) for name in CLAIM)) for one in rows]


def limits_of(said: Any) -> list[Limit]:
    return [
        Limit(one.port, one.level, one.span_ns, one.for_ns, one.sharers)
        for one in said.limits[0 : said.limit_count]
    ]


def message_of(body: Any) -> Message:
    """Of a struct mfs_message."""
    head: dict[str, Any] = {name: getattr(body, name) for name in HEAD}
    return Message(
        **head,
        page=Page(body.page, body.pages) if body.pages else None,
        ports=[Port(one.direction, name_of(one.name)) for one in body.ports[0 : body.port_count]],
        workers=[
            Worker(one.uid, one.egress, one.ingress) for one in body.workers[0 : body.worker_count]
        ],
        claims=claims_of(body),
        limits=limits_of(body),
        asks=[Verdict(one.key, one.verdict) for one in body.asks[0 : body.ask_count]],
        verdicts=[Verdict(one.key, one.verdict) for one in body.verdicts[0 : body.verdict_count]],
    )


def worker_rows(workers: list[Worker]) -> Any:
    """struct mfs_message_worker[]."""
    return ffi.new("struct mfs_message_worker[]", [tuple(one) for one in workers])


def pack(message: Message) -> bytes:
    """The body. ValueError: it is more than a datagram holds."""
    body = ffi.new("struct mfs_message *", {name: getattr(message, name) for name in HEAD})
    if message.page:
        body.page, body.pages = message.page
    rows: dict[str, list[Any]] = {
        "claim": [tuple(one) for one in message.claims],
        "limit": [tuple(one) for one in message.limits],
        "ask": [tuple(one) for one in message.asks],
        "verdict": [tuple(one) for one in message.verdicts],
        "port": [(one.direction, one.name.encode(errors="replace")) for one in message.ports],
        "worker": [tuple(one) for one in message.workers],
    }
    for kind, found in rows.items():
        if len(found) > MOST.get(kind, MOST_PORTS):
            raise ValueError(f"{len(found)} entries are more than a datagram holds")
        setattr(body, f"{kind}_count", len(found))
        setattr(body, f"{kind}s", found)
    data = ffi.new("uint8_t[]", MOST_BYTES)
    size = lib.mfs_message_pack(body, data, MOST_BYTES)
    if size < 0:
        raise ValueError("its entries are more than a datagram holds")
    return bytes(ffi.buffer(data, size))


def parse(data: bytes) -> Message:
    """A body that was sealed with the shared key."""
    body = ffi.new("struct mfs_message *")
    why = ffi.new("const char **")
    if lib.mfs_message_parse(data, len(data), body, why) < 0:
        raise Malformed(ffi.string(why[0]).decode())
    return message_of(body)
