# SPDX-License-Identifier: Apache-2.0
"""What is between us and one peer: is a datagram new, is the peer there, how long does it take?

ADMISSION: a datagram counts when it names our own boot and echoes one of our recent datagrams, so
it was made by somebody who has heard us just now. One that does not is answered, and that is all.
So what was recorded yesterday, or before one of the two started again, is worth nothing. Within a
boot each sequence counts once, and an older one not at all: what is newer says all that the older
said.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .message import Header, Message

RECENT_NS = 2_000_000_000  # an echo of what we sent longer ago admits nobody
BASE_SPAN_NS = 10_000_000_000  # the shortest time there and back of so long is the path's own
SMOOTH = 8


@dataclass(slots=True)
class Sent:
    """When our datagrams left: as many as matter."""

    room: int = 4096
    sequence: int = 0
    times: dict[int, int] = field(default_factory=dict)

    def next(self, now_ns: int) -> int:
        self.sequence += 1
        self.times[self.sequence] = now_ns
        self.times.pop(self.sequence - self.room, None)
        return self.sequence

    def age_ns(self, sequence: int, now_ns: int) -> int | None:
        """None: we know of no such one."""
        at = self.times.get(sequence)
        return None if at is None else now_ns - at


@dataclass(slots=True)
class Link:
    """One peer as it can be reached."""

    boot: int = 0  # 0: not admitted
    sequence: int = 0  # newest that came
    heard_ns: int = 0  # when
    floor: int = 0  # of our own sequences: what echoes no later one is of a boot that has ended
    rtt_ns: int = 0  # smoothed; 0: not known
    base_ns: int = 0  # the least of late; 0: not known
    _least: list[int] = field(default_factory=lambda: [0, 0])  # of this span and the one before
    _turned_ns: int = 0

    def accept(self, header: Header, body: Message, own_boot: int, sent: Sent, now_ns: int) -> bool:
        """Does it count? Then it is the newest from now on."""
        if body.to_boot != own_boot:
            return False
        age_ns = sent.age_ns(body.heard, now_ns)
        if header.boot != self.boot:
            if age_ns is None or age_ns > RECENT_NS or body.heard <= self.floor:
                return False
            self.boot, self.floor = header.boot, sent.sequence
            self.rtt_ns = self.base_ns = 0
            self._least = [0, 0]
        elif header.sequence <= self.sequence:
            return False
        self.sequence, self.heard_ns = header.sequence, now_ns
        if age_ns is not None:
            self._timed(age_ns - body.held_us * 1000, now_ns)
        return True

    def _timed(self, rtt_ns: int, now_ns: int) -> None:
        if rtt_ns <= 0:
            return
        self.rtt_ns += (rtt_ns - self.rtt_ns) // SMOOTH if self.rtt_ns else rtt_ns
        if now_ns - self._turned_ns > BASE_SPAN_NS:
            self._turned_ns = now_ns
            self._least = [0, self._least[0]]
        least = self._least
        least[0] = min(least[0], rtt_ns) if least[0] else rtt_ns
        self.base_ns = min(one for one in least if one)
