# SPDX-License-Identifier: Apache-2.0
"""A message of 1 MiB and some of 64 bytes through the plug-in over TCP, to ourselves. Prints what
DSCPs the connections of this process have then.

python tests/nccl/classes.py PLUGIN     TRAFFIC_CLASS: of the communicators
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mfs_transport.testbed.nccl_net import Net, keep

SIZE = 1 << 20
LIMIT_S = 30.0


def connections() -> list[int]:
    """The DSCP of each connection with ourselves."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as one:
                if one.type == socket.SOCK_STREAM and one.getpeername():
                    found.append(one.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2)
        except OSError:
            continue
    return found


def wait(ready: Callable[[], Any]) -> Any:
    ends = time.monotonic() + LIMIT_S
    while (found := ready()) is None:
        if time.monotonic() > ends:
            sys.exit("nothing came")
    return found


def main() -> None:
    plugin, of = Path(sys.argv[1]), int(os.environ.get("TRAFFIC_CLASS", "-1"))
    sender, receiver = Net(plugin, 1, of), Net(plugin, 2, of)
    listener, handle = receiver.listen()
    kept = keep(handle)
    sends = receives = None
    while sends is None or receives is None:
        sends = sends or sender.connect(kept)
        receives = receives or receiver.accept(listener)
    data = np.arange(SIZE, dtype=np.uint8)
    came = np.zeros(SIZE, dtype=np.uint8)
    here = sender.register(sends, data.ctypes.data, SIZE)
    there = receiver.register(receives, came.ctypes.data, SIZE)
    for size in (SIZE, 64, 64, 64, SIZE):
        came[:] = 0
        taken = wait(partial(receiver.receive, receives, came.ctypes.data, size, there))
        sent = wait(partial(sender.send, sends, data.ctypes.data, size, here))
        done = [None, None]
        ends = time.monotonic() + LIMIT_S
        while None in done and time.monotonic() < ends:
            done = [
                done[0] if done[0] is not None else sender.test(sent),
                done[1] if done[1] is not None else receiver.test(taken),
            ]
        assert done == [size, size], done
        assert (came[:size] == data[:size]).all()
    print(*sorted(connections()))
    sys.stdout.flush()
    os._exit(0)


main()
