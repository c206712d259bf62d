# SPDX-License-Identifier: Apache-2.0
"""What waits in the processes of a host, and for what: csrc/host/look_waits.h, in words.

for queue in waits("").queues:
    for wait in queue.waits:
        print(queue.process, wait.request, wait.stage, wait.peer, wait.still_s, reason(queue, wait))
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..native import NEVER, ffi, lib, text
from .segment import Look, look_by, members_of

WHY = (  # enum mfs_wait_for
    *("look", "turn", "others", "window", "pace", "slow", "stalled", "limit", "flight"),
)

TAKES_NONE_S = 1.0  # a peer for which no byte has left for so long


@dataclass(frozen=True)
class Wait:
    """A flow that has something queued; one of which all is in flight; or a peer that bytes in
    flight do not reach, if it is not known whose they are."""

    request: str  # its name, or its key in hex; "": it belongs to none
    stage: str
    layer: int
    level: int | None  # 0 first; None: it has none yet
    left_bytes: int  # queued
    sent_bytes: int  # since it became active; in flight: of the operations that are
    inflight_bytes: int  # to its peer
    wait_s: float  # since its oldest operation was posted
    still_s: float  # since something of it was sent, as far as was seen
    peer: str  # "": its transport has no name for it
    peer_s: float | None  # since a byte for that peer left last; None: none is in flight
    due_s: float | None  # until the deadline; None: it has none
    laxity_s: float | None  # that, less what sending the rest takes at the port's rate
    finish_s: (
        float | None
    )  # until it has to have left, with what comes after it; None: no such time
    p2d_left_bytes: int  # of its request to deliver, with what is not computed yet; 0: not known
    given_up: bool
    why: str  # one of WHY

    @property
    def named(self) -> bool:
        """Its tag is known; else it is a peer."""
        return self.why != "flight" or self.sent_bytes > 0


@dataclass(frozen=True)
class Queue:
    """One sender that has something to do: a worker of the shim, an engine of the NCCL plug-in."""

    process: str  # its name: its pid; in another namespace pid@host
    port: str
    direction: str  # egress or ingress
    still: bool  # it has not looked at its queue for the lease
    age_s: float  # since it has
    told_s: float | None  # since it told what waits; None: it never has
    flows: int  # that waited then
    left_bytes: int  # of them
    inflight_bytes: int  # to destinations that take bytes as they should
    stalled: int  # destinations that take none
    level: int | None  # of its best chunk that can be sent
    better: str | None  # the process whose chunk goes before that
    better_level: int | None
    waits: list[Wait] = field(default_factory=list)  # oldest first; fewer than flows: the others

    @property
    def oldest_s(self) -> float:
        return max((one.wait_s for one in self.waits), default=self.age_s)


@dataclass(frozen=True)
class Waits:
    look: Look
    queues: list[Queue]  # the one with the oldest first
    left_out: int  # senders for which there was no room

    def as_dict(self) -> dict[str, Any]:
        queues = [asdict(queue) for queue in self.queues]
        for made, queue in zip(queues, self.queues, strict=True):
            for row, wait in zip(made["waits"], queue.waits, strict=True):
                row["reason"] = reason(queue, wait)
        return {"queues": queues, "left_out": self.left_out}


def waits(path: str) -> Waits:
    """Of the segment at `path` ("": the default place); no queues where nobody lives."""
    raw = ffi.new("struct mfs_look_waits *")
    names: list[str] = []  # of the processes

    def take(name: bytes, host: Any) -> int:
        result = int(lib.mfs_look_waits(name, host, raw))
        if result == 0:
            names.extend(one.name for one in members_of(host))
        return result

    found = look_by(path, take)
    if found.state != "live":
        return Waits(found, [], 0)
    queues = [_queue(raw.queues[index], names) for index in range(raw.queue_count)]
    queues.sort(key=lambda queue: -queue.oldest_s)
    return Waits(found, queues, int(raw.left_out))


def _level(raw: int) -> int | None:
    return None if raw == lib.MFS_LOOK_NOTHING else int(raw)


def _span(raw: int) -> float | None:
    return None if raw == NEVER else raw / 1e9


def _queue(raw: Any, names: list[str]) -> Queue:
    better = None if raw.better_process == lib.MFS_LOOK_NOBODY else names[raw.better_process]
    return Queue(
        process=names[raw.process],
        port=text(raw.port),
        direction="egress" if raw.direction == lib.MFS_EGRESS else "ingress",
        still=bool(raw.still),
        age_s=raw.age_ns / 1e9,
        told_s=None if raw.told_ns < 0 else raw.told_ns / 1e9,
        flows=int(raw.flows),
        left_bytes=int(raw.bytes),
        inflight_bytes=int(raw.inflight_bytes),
        stalled=int(raw.stalled),
        level=_level(raw.level),
        better=better,
        better_level=None if better is None else int(raw.better_level),
        waits=[_wait(raw.waits[index]) for index in range(raw.count)],
    )


def _wait(raw: Any) -> Wait:
    name = text(raw.request)
    if not name and raw.key != lib.MFS_REQUEST_NONE:
        name = f"{raw.key:016x}"
    return Wait(
        request=name,
        stage=text(lib.mfs_stage_name(raw.stage)),
        layer=int(raw.layer),
        level=_level(raw.level),
        left_bytes=int(raw.bytes_left),
        sent_bytes=int(raw.bytes_sent),
        inflight_bytes=int(raw.inflight_bytes),
        wait_s=raw.wait_ns / 1e9,
        still_s=raw.still_ns / 1e9,
        peer=text(raw.peer),
        peer_s=None if raw.peer_ns < 0 else raw.peer_ns / 1e9,
        due_s=_span(raw.due_ns),
        laxity_s=_span(raw.laxity_ns),
        finish_s=_span(raw.finish_ns),
        p2d_left_bytes=int(raw.p2d_left_bytes),
        given_up=bool(raw.given_up),
        why=WHY[raw.why],
    )


def reason(queue: Queue, wait: Wait) -> str:
    """What it waits for, in words."""
    peer = wait.peer or "its receiver"
    since = "" if wait.peer_s is None else f" since {wait.peer_s:.1f} s"
    if wait.why == "stalled":
        return f"{peer}: takes no bytes{since}"
    if wait.why == "flight":
        if wait.named and wait.peer_s is not None and wait.peer_s < TAKES_NONE_S:
            return f"{peer}: all of it is in flight"
        if queue.still and queue.age_s > TAKES_NONE_S:  # it sleeps until one arrives, or is stopped
            return f"{peer}: no byte was seen to arrive{since}"
        return f"{peer}: takes no bytes{since}"
    if queue.still:
        return f"process {queue.process}: has not looked at its queue since {queue.age_s:.1f} s"
    if wait.why == "slow":
        return f"{peer}: is slower than the port"
    if wait.why == "others" and queue.better is not None:
        return f"process {queue.better}: sends level {queue.better_level} first"
    return {
        "look": "its sender's next look",
        "turn": "more urgent transfers of its process",
        "others": "more urgent transfers of another process",
        "window": f"room in the window: {queue.inflight_bytes / 1e6:.1f} MB are in flight",
        "pace": "the pacer, MFS_PACE",
        "limit": f"{peer}: more urgent transfers of other hosts go there first",
    }[wait.why]
