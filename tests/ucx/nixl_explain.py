# SPDX-License-Identifier: Apache-2.0
"""Tagged NIXL transfers that take their time, one after another; prints how long each took, as NIXL
measured it, in seconds."""

from __future__ import annotations

import os
import sys

from nixl_stall import Receiver, Side

from mfs_transport import control
from mfs_transport.engines.nixl import Agent

BYTES = 8 << 20
TIMES = 3


def main() -> None:
    side = Side("sender", telemetry=True)
    side.agent = Agent(side.agent)
    receiver = Receiver("receiver")
    try:
        side.connect(receiver.peer)
        for index in range(TIMES):
            request = control.register(f"cmpl-{index}", ttft_s=0.1)
            with control.tag(request, "p2d", 3):
                handle = side.post(receiver.peer, BYTES, "WRITE")
            while (state := side.agent.check_xfer_state(handle)) == "PROC":
                pass
            assert state == "DONE", state
            print(side.agent.get_xfer_telemetry(handle).xferDuration / 1e6, flush=True)
    finally:
        receiver.process.kill()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the NIXL wheel's libnl crashes in its destructor, without us as well
