# SPDX-License-Identifier: Apache-2.0
"""Two transfers of one NIXL agent to one peer: a long one, then a short one with an earlier
deadline. Prints the order in which they end, as the sender and as the receiver see it."""

from __future__ import annotations

import json
import sys

import numpy as np
from nixl._api import nixl_agent, nixl_agent_config

from mfs_transport import control
from mfs_transport.engines.nixl import Agent

SIZES = {"late": 8 << 20, "soon": 256 << 10}


def main() -> None:
    config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
    left, right = Agent(nixl_agent("left", config)), nixl_agent("right", config)
    total = sum(SIZES.values())
    source = np.random.default_rng(1).integers(0, 255, total, dtype=np.uint8)
    target = np.zeros(total, dtype=np.uint8)
    left.register_memory([(source.ctypes.data, total, 0, "")], "DRAM")
    right.register_memory([(target.ctypes.data, total, 0, "")], "DRAM")
    left.add_remote_agent(right.get_agent_metadata())
    right.add_remote_agent(left.get_agent_metadata())
    deadlines = {"late": 600.0, "soon": 60.0}
    requests = {name: control.register(name, ttft_s=s) for name, s in deadlines.items()}
    handles, at = {}, 0
    for name, size in SIZES.items():
        descriptors = [
            left.get_xfer_descs([(block.ctypes.data + at, size, 0)], "DRAM")
            for block in (source, target)
        ]
        handles[name] = left.initialize_xfer("WRITE", *descriptors, "right", name.encode())
        left.tag(handles[name], requests[name], stage="p2d")
        at += size
    for handle in handles.values():
        left.transfer(handle)
    ended: list[str] = []
    notified: list[str] = []
    while len(ended) < 2 or len(notified) < 2:
        for name, handle in handles.items():
            if name not in ended:
                state = left.check_xfer_state(handle)
                if state == "ERR":
                    sys.exit(f"{name}: transfer failed")
                if state == "DONE":
                    ended.append(name)
        left.get_new_notifs()
        for message in right.get_new_notifs().get("left", []):
            name = message.decode()
            first = 0 if name == "late" else SIZES["late"]
            part = slice(first, first + SIZES[name])
            if not np.array_equal(source[part], target[part]):
                sys.exit(f"{name}: notified before its data was there")
            notified.append(name)
    print(json.dumps({"ended": ended, "notified": notified}))


main()
