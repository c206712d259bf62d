# SPDX-License-Identifier: Apache-2.0
"""A request as it is replayed; times in seconds from the start of the run, as they pass here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Bytes are those of one group of layers."""

    index: int
    arrival_s: float
    tokens: int
    cached: int
    slo_s: float
    shard_bytes: int
    """Stage 3: KV of all tokens that one host of the unit has."""
    fetch_bytes: int
    """Stage 1: of the cached ones; 0: nothing to fetch."""
    exchange_bytes: int
    """Stage 2: from one NIC of a host of the unit to that of each other one."""
    compute_s: float
    """Of one group, alone in its batch."""
    unit: int | None = None
    """None: the router's choice."""
    draw: float = 0.0
    """In [0, 1): who has its prefix."""

    @property
    def new(self) -> int:
        return self.tokens - self.cached
