# SPDX-License-Identifier: Apache-2.0
"""A request's time, cut without gaps into pieces in which one thing held it up: what `mfs explain`
and `mfs sim explain` say in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .sim.report import span

WORDS = {
    "queue": "unit {unit} to be free",
    "fetch": "cached KV of group {group}",
    "compute": "computing of group {group}",
    "collective": "collective of group {group}",
    "deliver": "new KV to reach the decode host",
}


class Piece(Protocol):
    """A stretch of time."""

    @property
    def what(self) -> str:
        """One of WORDS."""

    @property
    def seconds(self) -> float: ...


def totals(pieces: Sequence[Piece]) -> dict[str, float]:
    """Seconds of each kind, in the order in which they come first."""
    found: dict[str, float] = {}
    for piece in pieces:
        found[piece.what] = found.get(piece.what, 0.0) + piece.seconds
    return found


def most(pieces: Sequence[Piece]) -> str:
    """The kind that took longest: the cause, if it was late."""
    found = totals(pieces)
    return max(found, key=lambda name: found[name], default="compute")


def shares(pieces: Sequence[Piece]) -> str:
    return ", ".join(f"{name} {span(time)}" for name, time in totals(pieces).items())


def verdict(late_s: float | None) -> str:
    """late_s: by how much; below 0: to spare; None: it has no deadline."""
    if late_s is None:
        return "no deadline"
    return f"{span(late_s)} late" if late_s > 0 else f"{span(-late_s)} to spare"
