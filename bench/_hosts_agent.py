# SPDX-License-Identifier: Apache-2.0
"""An agent of bench/hosts.py on a bad network, or one that lies.

python bench/_hosts_agent.py LOSS DELAY_S honest|liar     MFS_ variables say the rest
"""

from __future__ import annotations

import sys
from typing import Any

from mfs_transport.config import resolve
from mfs_transport.exchange import launcher
from mfs_transport.exchange.loop import Hooks
from mfs_transport.exchange.segment import HostSegment
from mfs_transport.native import ffi, lib

LIE = "uint32_t(void *, int64_t, struct mfs_claim *, uint32_t)"


class Liar(HostSegment):
    """All that it has waiting is the most urgent of all, and more waits than there is."""

    def fill(self, ops: Any) -> None:
        super().fill(ops)

        @ffi.callback(LIE)  # type: ignore[untyped-decorator]
        def claims(_: Any, now_ns: int, rows: Any, room: int) -> int:
            count = int(lib.mfs_far_claims(self.host.handle, now_ns, rows, room))
            for one in rows[0:count]:
                one.level, one.span_ns = 0, -(10**9)
                one.waiting_bytes, one.inflight_bytes = 1 << 40, 0
            return count

        self.kept = ops.claims = claims


if __name__ == "__main__":
    loss, delay_s, kind = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    given = launcher.options(resolve(), 0.0, stays=True, hooks=Hooks(loss, delay_s))

    def say(line: str) -> None:
        print(f"agent: {line}", file=sys.stderr, flush=True)

    launcher.run(given, say, Liar if kind == "liar" else HostSegment)
