# SPDX-License-Identifier: Apache-2.0
"""The control plane of bench/soak.py: requests come, make progress and go, for so many seconds.

python bench/_soak_control.py SECONDS SEED
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time

import mfs_transport as mfs

LAYERS = 32
PERIOD_S = 0.1
MOST = 40  # requests at one time


def main(seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    unit = mfs.Unit()
    live: dict[mfs.Request, int] = {}  # and the layer that each computes
    registered = finished = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # somebody who holds the segment's lock has no CPU: it is told with the next
        with contextlib.suppress(BlockingIOError):
            if len(live) < MOST and chance.random() < 0.7:
                request = mfs.register(
                    f"cmpl-{os.getpid()}-{registered}",
                    ttft_s=chance.uniform(0.1, 20),
                    layers=LAYERS,
                    p2d_bytes=1 << 20,
                    publish=False,
                )
                live[request] = 0
                registered += 1
                unit.enqueue(request)
        for request in chance.sample(list(live), min(len(live), 8)):
            with contextlib.suppress(BlockingIOError):
                live[request] += chance.randint(1, 8)
                if live[request] < LAYERS:
                    unit.progress(request, layer=live[request], layer_s=0.003)
                    continue
                del live[request]
                finished += 1
                unit.finish(request)
        time.sleep(PERIOD_S)
    for request in live:
        with contextlib.suppress(BlockingIOError):
            unit.finish(request)
    print(json.dumps({"registered": registered, "finished": finished + len(live)}))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
