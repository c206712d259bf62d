# SPDX-License-Identifier: Apache-2.0
"""What this host wants of other hosts' ports and what they allow, by csrc/host/look_far.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..native import encoded, ffi, lib, text

MS = 1e6


@dataclass(frozen=True)
class Limit:
    """What is worse is held back."""

    level: int
    span_ms: float  # from now to the limit's key: laxity, where keys are deadlines
    ends_ms: float


@dataclass(frozen=True)
class FarPort:
    """A direction of a NIC of another host: its ingress for our puts, its egress for our gets."""

    name: str
    level: int | None  # of the best of ours that waits for it; None: nothing does
    span_ms: float
    waiting_bytes: int
    inflight_bytes: int
    limit: Limit | None


def far_ports(path: str) -> list[FarPort] | None:
    """Of the segment at `path` ("": the default place); None: there is no agent, or no segment."""
    raw = ffi.new("struct mfs_look_far_ports *")
    if lib.mfs_look_far(encoded(path, "segment"), raw) != 0 or not raw.attended:
        return None
    return [_port(raw.ports[index]) for index in range(raw.count)]


def _port(row: Any) -> FarPort:
    limit = None
    if row.limit_level != lib.MFS_FAR_NO_LEVEL:
        limit = Limit(int(row.limit_level), row.limit_span_ns / MS, max(0.0, row.limit_for_ns / MS))
    waits = row.claim.level != lib.MFS_FAR_NO_LEVEL
    return FarPort(
        name=text(row.name),
        level=int(row.claim.level) if waits else None,
        span_ms=row.claim.span_ns / MS,
        waiting_bytes=int(row.claim.waiting_bytes),
        inflight_bytes=int(row.claim.inflight_bytes),
        limit=limit,
    )
