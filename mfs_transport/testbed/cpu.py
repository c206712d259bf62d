# SPDX-License-Identifier: Apache-2.0
"""Was a processor the limit of a run, and not the links?

Computing is a wait of a known length. A unit's host that looks up late from such a wait had no
processor when it needed one, or was busy with something else: the run was not that of the cluster.

    late = (time by which hosts looked up late from waits) / (time that they waited)
    the run is not valid    late > most_late, or the cores were busy for more than MOST_BUSY of it

Work at a lower priority (nice) is not busy: it gives way. Where it did not, hosts were late. How
late they are on idle cores is a matter of how long they compute: 0.01 to 0.02 in the demo, 0.006 to
0.008 in the test bed, where collectives took twice as long in a run with 0.02.
"""

from __future__ import annotations

MOST_LATE = 0.05
MOST_BUSY = 0.90
STAT = "/proc/stat"


def _times() -> tuple[int, int]:
    """(busy, all) ticks of all processors since the machine started, whoever used them."""
    with open(STAT) as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    _, nice, _, idle, waiting_for_disks = ticks[:5]
    return sum(ticks) - nice - idle - waiting_for_disks, sum(ticks)


class Usage:
    """Of the machine, from now on."""

    def __init__(self) -> None:
        self._begin = _times()

    def end(self) -> float:
        """Share of its processors' time that was used since; 0 when no time has passed."""
        busy, every = (after - before for after, before in zip(_times(), self._begin, strict=True))
        return busy / every if every else 0.0


def is_bound(late: float, busy: float, most_late: float = MOST_LATE) -> bool:
    return late > most_late or busy > MOST_BUSY
