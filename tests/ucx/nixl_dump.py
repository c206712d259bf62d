# SPDX-License-Identifier: Apache-2.0
"""A NIXL agent whose peer is stopped with a tagged transfer under way, to be looked at.

    nixl_dump.py [BYTES]     of the transfer; many windows by default

Says "stuck" once the transfer is posted; at the next line of its input the peer goes on. Prints
how the transfer has ended, and ends at the line behind that without another look at its queue.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from nixl_stall import SICK_BYTES, Receiver, Side, told

from mfs_transport import control
from mfs_transport.engines.nixl import Agent


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else SICK_BYTES
    side = Side("sender")
    side.agent = Agent(side.agent)
    sick = Receiver("sick")
    try:
        side.connect(sick.peer)
        sick.process.send_signal(signal.SIGSTOP)
        request = control.register("cmpl-17", ttft_s=600.0)
        with control.tag(request, "p2d", 3):
            handle = side.post(sick.peer, size, "WRITE")
        print("stuck", flush=True)
        while told() is None:
            side.agent.check_xfer_state(handle)
            time.sleep(0.0005)
        sick.process.send_signal(signal.SIGCONT)
        print(side.wait(handle), flush=True)
        while told() is None:
            time.sleep(0.0005)
    finally:
        sick.process.kill()  # also if it is stopped


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # we end with our starter, even if stopped
    main()
    sys.stdout.flush()
    os._exit(0)  # the NIXL wheel's libnl crashes in its destructor, without us as well
