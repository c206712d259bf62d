# SPDX-License-Identifier: Apache-2.0
"""Keeps the processes of a host in step, one for each of its NICs: a group of layers is complete
when it is complete on all of them. They meet in memory that they share, since what stays inside a
host takes no network and no time.
"""

from __future__ import annotations

import mmap
import os

import numpy as np

WORD = 8  # bytes of a process


class Steps:
    """`path` is of the host; `own` of the `count` processes is this one."""

    def __init__(self, path: str, own: int, count: int) -> None:
        self._own = own
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(fd, count * WORD)
            shared = mmap.mmap(fd, count * WORD)
        finally:
            os.close(fd)
        self._through = np.frombuffer(shared, dtype=np.uint64)

    def begin(self) -> None:
        """Of a run, before any of them is through with anything."""
        self._through[self._own] = 0

    def together(self, step: int) -> bool:
        """We are through with `step`; are the others?"""
        self._through[self._own] = step
        return bool(self._through.min() >= step)
