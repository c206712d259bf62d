# SPDX-License-Identifier: Apache-2.0
"""What the ports of a host can still be given, and by when: the rule of csrc/core/slack.h, over
what the host's senders have told of what waits (observe/waits.py).

for port in slack("").ports:
    print(port.port, port.direction, port.bytes_by(0.1), port.soonest_s(64 << 20))

It is read from outside, so the processes pay nothing for it. A sender tells what waits every 100
ms, so what a port says is up to so old; `told_s` says how old. Nothing is counted of a flow whose
time has passed, of a request that was given up, and of traffic without a deadline: they go behind
all that is in time. What was told without a row of its own (a sender has 32) goes first instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..native import ffi, lib
from .segment import Look, Port
from .waits import Queue, Wait, Waits, waits

SCHEMA_VERSION = 1
GRID_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
STALE_S = 1.0  # what was told longer ago than this says nothing of now
MOST_S = 1e6  # of a deadline
MOST_BYTES = 1 << 62
P2D = "p2d"


@dataclass(frozen=True)
class Due:
    """Bytes that have to have left by then, in seconds from now."""

    by_s: float
    bytes: int


def _ns(span_s: float) -> int:
    return math.floor(max(-MOST_S, min(span_s, MOST_S)) * 1e9)


@dataclass(frozen=True)
class PortSlack:
    """One direction of one NIC."""

    port: str
    direction: str  # egress or ingress
    rate_Bps: int  # 0: not known yet, then nothing is promised
    first_bytes: int  # in flight, and what is waiting and not known better
    undated_bytes: int  # that wait behind all that is in time: without a deadline, or given up
    told_s: float | None  # how old the oldest of what was told is; None: nothing waits
    # something waits, and nobody has told of it for STALE_S, or its sender stands still
    stale: bool
    dues: tuple[Due, ...] = ()
    raw: Any = field(default=None, repr=False, compare=False)  # struct mfs_slack, and its flows

    @property
    def known(self) -> bool:
        """False: nothing can be said of it now."""
        return self.rate_Bps > 0 and not self.stale

    @property
    def late_bytes(self) -> int:
        """Of flows that are not in time, whatever is added."""
        return int(lib.mfs_slack_late(self.raw[0]))

    def bytes_by(self, by_s: float) -> int | None:
        """That can be added with this deadline; None: not known."""
        return int(lib.mfs_slack_bytes(self.raw[0], _ns(by_s))) if self.known else None

    def soonest_s(self, size: int) -> float | None:
        """When so many added bytes can have left at the earliest; None: not known."""
        if not self.known:
            return None
        return float(lib.mfs_slack_soonest(self.raw[0], min(size, MOST_BYTES))) / 1e9

    def as_dict(self, grid: Sequence[float], size: int | None) -> dict[str, Any]:
        made = {
            "port": self.port,
            "direction": self.direction,
            "rate_Bps": self.rate_Bps,
            "first_bytes": self.first_bytes,
            "dated_bytes": sum(one.bytes for one in self.dues),
            "late_bytes": self.late_bytes,
            "undated_bytes": self.undated_bytes,
            "told_s": self.told_s,
            "stale": self.stale,
            "room": [{"by_s": by_s, "bytes": self.bytes_by(by_s)} for by_s in grid],
        }
        return made if size is None else {**made, "soonest_s": self.soonest_s(size)}


@dataclass(frozen=True)
class Slack:
    look: Look
    ports: list[PortSlack]  # none where the segment is not live

    def as_dict(self, grid: Sequence[float] = GRID_S, size: int | None = None) -> dict[str, Any]:
        """For JSON. With a size each port says when so many bytes can have left."""
        return {
            "schema_version": SCHEMA_VERSION,
            "segment": {
                "path": str(self.look.path),
                "state": self.look.state,
                "reason": self.look.reason,
            },
            "policy": self.look.policy,
            "ports": [port.as_dict(grid, size) for port in self.ports],
        }


def slack(path: str) -> Slack:
    """Of the segment at `path` ("": the default place)."""
    return of(waits(path))


def of(found: Waits) -> Slack:
    ports = []
    for port in found.look.ports:
        queues = [
            queue
            for queue in found.queues
            if (queue.port, queue.direction) == (port.name, port.direction)
        ]
        ports.append(_port(port, queues))
    return Slack(found.look, ports)


def make(rate_Bps: int, first_bytes: int, dues: Iterable[Due], **told: Any) -> PortSlack:
    """A port by hand: what is in flight, and what is due."""
    ordered = tuple(sorted(dues, key=lambda one: one.by_s))
    flows = ffi.new("struct mfs_slack_flow[]", max(1, len(ordered)))
    raw = ffi.new(
        "struct mfs_slack *",
        {"rate_Bps": rate_Bps, "first_bytes": first_bytes, "room": len(ordered), "flows": flows},
    )
    for one in ordered:
        lib.mfs_slack_add(raw, _ns(one.by_s), one.bytes)
    usual = {"port": "", "direction": "egress", "undated_bytes": 0, "told_s": None, "stale": False}
    return PortSlack(
        rate_Bps=rate_Bps, first_bytes=first_bytes, dues=ordered, raw=(raw, flows),
        **{**usual, **told},
    )  # fmt: skip


def _port(port: Port, queues: list[Queue]) -> PortSlack:
    rows = [row for queue in queues for row in queue.waits if row.left_bytes > 0]
    dated = [row for row in rows if row.finish_s is not None and not row.given_up]
    listed = sum(row.left_bytes for row in rows)
    unlisted = max(0, sum(queue.left_bytes for queue in queues) - listed)
    told = [queue.told_s for queue in queues if queue.flows > 0 and queue.told_s is not None]
    return make(
        port.rate_Bps,
        port.inflight_bytes + unlisted,
        _dues(dated),
        port=port.name,
        direction=port.direction,
        undated_bytes=listed - sum(row.left_bytes for row in dated),
        told_s=max(told, default=None),
        stale=any(queue.still for queue in queues) or max(told, default=0.0) > STALE_S,
    )


def _dues(dated: list[Wait]) -> list[Due]:
    """Each flow by itself; of stage 3 all that its request still has to deliver, as the policy
    judges it, queued or not computed yet."""
    found = []
    p2d: dict[str, list[Wait]] = {}
    for row in dated:
        if row.stage == P2D and row.request:
            p2d.setdefault(row.request, []).append(row)
        else:
            found.append(Due(row.finish_s or 0.0, row.left_bytes))
    for rows in p2d.values():
        queued = sum(row.left_bytes for row in rows)
        by_s = min(row.finish_s or 0.0 for row in rows)
        found.append(Due(by_s, max(queued, *(row.p2d_left_bytes for row in rows))))
    return found
