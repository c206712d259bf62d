# SPDX-License-Identifier: Apache-2.0
"""Places in the receive memory of a host: the first that is large enough, given back when read."""

from __future__ import annotations

from collections.abc import Hashable

LINE = 128  # bytes; places begin at multiples of it


class Full(RuntimeError):
    """No place is large enough."""


class Space:
    def __init__(self, size: int) -> None:
        self._free = [(0, size)]  # (offset, size), in order, never two that touch
        self._taken: dict[Hashable, tuple[int, int]] = {}

    def take(self, key: Hashable, size: int) -> int:
        """Where `size` bytes may lie until they are given back."""
        size = max(LINE, -(-size // LINE) * LINE)
        for index, (offset, room) in enumerate(self._free):
            if room >= size:
                rest = [(offset + size, room - size)] if room > size else []
                self._free[index : index + 1] = rest
                self._taken[key] = (offset, size)
                return offset
        raise Full(f"{size >> 20} MiB")

    def give_back(self, key: Hashable) -> None:
        merged: list[tuple[int, int]] = []
        for offset, size in sorted([*self._free, self._taken.pop(key)]):
            if merged and sum(merged[-1]) == offset:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((offset, size))
        self._free = merged
