# SPDX-License-Identifier: Apache-2.0
"""What the processes of a host have warned of, and which of them are short of a core, in words."""

from __future__ import annotations

from .segment import Look, Warned

RECENT_S = 60.0


def ago(seconds: float) -> str:
    """12 s, 5 min, 3 h: since then."""
    for most, unit, scale in ((120.0, "s", 1.0), (7200.0, "min", 60.0), (172800.0, "h", 3600.0)):
        if seconds < most:
            return f"{seconds / scale:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def told(one: Warned) -> str:
    times = "once" if one.count == 1 else f"{one.count:,} times"
    return f"{ago(one.last_s)} ago, {times}, process {one.process} last: {one.text}"


def recent(found: Look, most: int) -> list[Warned]:
    """The last of the last minute."""
    return [one for one in found.warned if one.last_s <= RECENT_S][:most]


def late(found: Look) -> list[str]:
    """A line for each process whose absences are longer than what its window covers, the worst
    first: it is a core that is short there, and not the port."""
    worst: dict[str, tuple[float, float]] = {}
    for port in found.ports:
        for one in port.senders:
            if one.is_late and (one.away_s, one.covers_s) > worst.get(one.process, (0.0, 0.0)):
                worst[one.process] = (one.away_s, one.covers_s)
    return [
        f"process {name} looks at its queue every {1e3 * away_s:.1f} ms, and its window covers "
        f"{1e3 * covers_s:.1f} ms: it is short of a core, or calls its transport too seldom"
        for name, (away_s, covers_s) in sorted(worst.items(), key=lambda item: -item[1][0])
    ]
