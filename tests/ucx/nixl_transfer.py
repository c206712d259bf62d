# SPDX-License-Identifier: Apache-2.0
"""Two NIXL agents of one process: COUNT descriptors of SIZE bytes, a write and then a read.

usage: nixl_transfer.py COUNT SIZE ROUNDS

The descriptors are apart from each other, so that NIXL cannot merge them. In each round
the receiver looks at the data in the moment at which the notification arrives. Prints one
line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
from nixl._api import nixl_agent, nixl_agent_config


def main() -> None:
    count, size, rounds = map(int, sys.argv[1:4])
    config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
    agents = [nixl_agent(name, config) for name in ("left", "right")]
    left, right = agents
    stride = size + 64
    memory = [np.zeros((count, stride), dtype=np.uint8) for _ in agents]
    for agent, block in zip(agents, memory, strict=True):
        agent.register_memory([(block.ctypes.data, block.nbytes, 0, "")], "DRAM")
    left.add_remote_agent(right.get_agent_metadata())
    right.add_remote_agent(left.get_agent_metadata())
    descriptors = [
        left.get_xfer_descs(
            [(block.ctypes.data + i * stride, size, 0) for i in range(count)], "DRAM"
        )
        for block in memory
    ]
    random = np.random.default_rng(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = {"WRITE": 0.0, "READ": 0.0}
    notified = 0
    for number in range(rounds):
        for operation in spent:
            source, target = memory if operation == "WRITE" else memory[::-1]
            source[:, :size] = random.integers(1, 255, size=(count, size), dtype=np.uint8)
            target[:] = 0
            message = f"{operation} {number}".encode()
            handle = left.initialize_xfer(operation, *descriptors, "right", message)
            start = time.perf_counter()
            state = left.transfer(handle)
            arrived: list[bytes] = []
            while state != "DONE" or not arrived:
                if state == "ERR":
                    sys.exit(f"{operation}: transfer failed")
                if state != "DONE":
                    state = left.check_xfer_state(handle)
                else:
                    left.get_new_notifs()
                arrived += right.get_new_notifs().get("left", [])
                if arrived and operation == "WRITE":
                    check(source, target, size, operation)  # at once, before anything else moves
            spent[operation] += time.perf_counter() - start
            check(source, target, size, operation)
            if arrived != [message]:
                sys.exit(f"{operation}: notifications {arrived!r} instead of {message!r}")
            notified += 1
            left.release_xfer_handle(handle)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"notified": notified, "seconds": spent, "grown_kib": after - before}))


def check(source: np.ndarray, target: np.ndarray, size: int, what: str) -> None:
    if not np.array_equal(source[:, :size], target[:, :size]):
        sys.exit(f"{what}: data differs")
    if target[:, size:].any():
        sys.exit(f"{what}: bytes outside the descriptors were written")


main()
