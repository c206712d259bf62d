# SPDX-License-Identifier: Apache-2.0
"""Flows on links and nothing else: their rates and finish times, for tests and benches."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import native
from ..native import InputError
from . import structs
from ._sim import ffi, lib
from .interface import ENFORCEMENTS, Floats

FLUID = tuple(one for one in ENFORCEMENTS if not one.startswith("chunks"))
"""Those that need no policy."""


@dataclass(frozen=True)
class FlowsOutcome:
    finish_s: Floats
    rates_Bps: Floats
    """At time 0, of those that start then."""
    visited: int
    """Flows looked at, over all events: what re-rating cost."""
    seconds: float
    """Wall time of the run."""


def flows(
    capacity_Bps: ArrayLike,
    routes: Sequence[Sequence[int]],
    sizes: ArrayLike,
    *,
    start_s: ArrayLike = 0.0,
    tier: ArrayLike = 1,
    level: ArrayLike = 0,
    key: ArrayLike = 0,
    enforcement: str = "global",
) -> FlowsOutcome:
    """Flows on links and nothing else; a route has 1 to 6 links, the egress first. Tier 0 is
    ordered by (level, key, place in the list); 1 and more are shared max-min, each from what the
    tiers before it leave."""
    count = len(routes)
    capacity = np.ascontiguousarray(capacity_Bps, dtype=np.float64)
    first = np.zeros(count + 1, dtype=np.uint32)
    first[1:] = np.cumsum([len(route) for route in routes], dtype=np.uint64)
    hops = np.array([link for route in routes for link in route] or [0], dtype=np.uint32)

    def spread(value: ArrayLike, dtype: Any) -> Any:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, dtype=dtype), (count,)))

    def at(kind: str, array: Any) -> Any:
        return ffi.cast(f"{kind} *", array.ctypes.data)

    tiers, levels, keys = spread(tier, np.uint32), spread(level, np.uint32), spread(key, np.int64)
    bytes_, starts = spread(sizes, np.float64), spread(start_s, np.float64)
    finish, rates = np.zeros(max(count, 1)), np.zeros(max(count, 1))
    visited = ffi.new("uint64_t *")
    begin = time.perf_counter()
    result = lib.mfs_sim_flows(
        len(capacity),
        at("double", capacity),
        count,
        at("uint32_t", first),
        at("uint32_t", hops),
        at("double", bytes_),
        at("double", starts),
        at("uint32_t", tiers),
        at("uint32_t", levels),
        at("int64_t", keys),
        structs.place(enforcement, FLUID, "enforcement"),
        at("double", finish),
        at("double", rates),
        visited,
    )
    seconds = time.perf_counter() - begin
    if result == -errno.EINVAL:
        raise InputError(
            "flows: 1 to 6 known links a route, capacity and start 0 or more, size above 0, both "
            "finite, level to 32, tier to 35"
        )
    native.check(result, "flows")
    return FlowsOutcome(finish[:count], rates[:count], int(visited[0]), seconds)


def max_min(
    capacity_Bps: ArrayLike,
    routes: Sequence[Sequence[int]],
    level: ArrayLike = 0,
    key: ArrayLike | None = None,
) -> Floats:
    """Rates of flows on links: strict priority over levels; inside a level max-min, or with keys
    in key order (equal ones in order of the list)."""
    if key is None:
        return flows(
            capacity_Bps, routes, 1.0, tier=1 + np.asarray(level, dtype=np.uint32)
        ).rates_Bps
    return flows(capacity_Bps, routes, 1.0, tier=0, level=level, key=key).rates_Bps
