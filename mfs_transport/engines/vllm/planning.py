# SPDX-License-Identifier: Apache-2.0
"""The plan of what goes out of a host, or comes in, worked out beside an engine's scheduler.

A plan takes some microseconds for each request that is known, and every arrival and every end
asks for one. So it is worked out once a step, and for at most a tenth of the time: what a new
request says of itself is published at once, without.
"""

from __future__ import annotations

import time

from ... import control
from ...native import lib

SHARE = 0.1  # of the time of the engine's own thread


class Planned(control.Egress):
    """`replan` is asked for as often as may be; `settle` does it."""

    def __init__(self, host: control.Host) -> None:
        super().__init__(host)
        self.asked = False
        self._not_before_s = 0.0

    def replan(self, at_ns: int | None = None) -> None:
        del at_ns
        self.asked = True

    def settle(self) -> None:
        if not self.asked:
            return
        begun = time.monotonic()
        if begun < self._not_before_s:
            return
        self.asked = False
        super().replan()
        ended = time.monotonic()
        self._not_before_s = ended + (ended - begun) * (1 / SHARE - 1)


class PlannedIngress(Planned):
    """The other direction: what comes in to a decode host."""

    direction = lib.MFS_INGRESS
