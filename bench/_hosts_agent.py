# SPDX-License-Identifier: Apache-2.0
"""An agent of bench/hosts.py on a bad network, or one that lies.

python bench/_hosts_agent.py LOSS DELAY_S honest|liar     MFS_ variables say the rest
"""

from __future__ import annotations

import sys

from mfs_transport.config import resolve
from mfs_transport.exchange import launcher
from mfs_transport.exchange.agent import Agent
from mfs_transport.exchange.loop import Hooks
from mfs_transport.exchange.message import Claim


class Liar(Agent):
    """All that it has waiting is the most urgent of all, and more waits than there is."""

    def _claims(self, now_ns: int) -> dict[int, list[Claim]]:
        return {
            who: [Claim(one.port, 0, -(10**9), 1 << 40, 0, one.done) for one in claims]
            for who, claims in super()._claims(now_ns).items()
        }


if __name__ == "__main__":
    loss, delay_s, kind = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    given = launcher.options(resolve(), 0.0, stays=True, hooks=Hooks(loss, delay_s))

    def say(line: str) -> None:
        print(f"agent: {line}", file=sys.stderr, flush=True)

    launcher.run(given, say, Liar if kind == "liar" else Agent)
