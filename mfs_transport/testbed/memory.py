# SPDX-License-Identifier: Apache-2.0
"""The memory of emulated hosts, and what lies in it.

All contents come from one pseudo-random pool that every host makes from the same number. A
transfer is named by what it is for, and its name says where in the pool its bytes lie.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

POOL_BYTES = 32 << 20

Array = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Region:
    """Registered memory of some host."""

    address: int
    size: int


def make_pool(seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, POOL_BYTES, dtype=np.uint8)


def pool_offset(kind: str, job: int, group: int, part: int, size: int) -> int:
    """Where in the pool the contents of a transfer lie (a multiple of 128)."""
    mixed = zlib.crc32(f"{kind} {job} {group} {part}".encode())
    return mixed % ((POOL_BYTES - size) // 128 + 1) * 128


def checksum(data: Array) -> int:
    return zlib.crc32(data)  # type: ignore[arg-type]  # numpy arrays are buffers
