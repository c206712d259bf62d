# SPDX-License-Identifier: Apache-2.0
"""What a device of this network namespace has carried, and when."""

from __future__ import annotations

import time
from pathlib import Path

EVERY_S = 0.25


def port_bytes(device: str) -> tuple[int, int]:
    """That have left and come, headers included."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, found, rest = line.partition(":")
        if found and name.strip() == device:
            fields = rest.split()
            return int(fields[8]), int(fields[0])
    return 0, 0


class PortLine:
    """Of a run, from `start_ns` on: a look every EVERY_S."""

    def __init__(self, device: str, start_ns: int) -> None:
        self.device, self._start_ns = device, start_ns
        self._first = port_bytes(device)
        self.sent: list[tuple[float, int]] = []  # seconds, bytes since the start
        self._next_ns = 0

    def look(self) -> None:
        """Often; it costs something only when it is time."""
        now_ns = time.monotonic_ns()
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + round(EVERY_S * 1e9)
            sent, _ = self.carried()
            self.sent.append((round((now_ns - self._start_ns) / 1e9, 3), sent))

    def carried(self) -> tuple[int, int]:
        """That have left and come since the start."""
        now = port_bytes(self.device)
        return now[0] - self._first[0], now[1] - self._first[1]
