# SPDX-License-Identifier: Apache-2.0
"""ucxx, both ends in one process: messages of several sizes, sent, sent back and compared.
Prints how many came back right."""

import asyncio
from typing import Any

import numpy as np
import ucxx

SIZES = [8, 4096, 100_000, 4 << 20]


async def serve(endpoint: Any) -> None:
    for size in SIZES:
        buffer = np.empty(size, dtype=np.uint8)
        await endpoint.recv(buffer)
        await endpoint.send(buffer)
    await endpoint.close()


async def main() -> None:
    right = 0
    listener = ucxx.create_listener(serve, port=0)
    endpoint = await ucxx.create_endpoint("127.0.0.1", listener.port)
    for size in SIZES:
        sent = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
        back = np.zeros(size, dtype=np.uint8)
        await endpoint.send(sent)
        await endpoint.recv(back)
        right += int(np.array_equal(sent, back))
    await endpoint.close()
    listener.close()
    print(right, "of", len(SIZES))


asyncio.run(main())
