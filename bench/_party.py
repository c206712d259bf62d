# SPDX-License-Identifier: Apache-2.0
"""A process of bench/contend.py, pods.py or nics.py that sends or receives, driven by JSON lines on
a socket.

python bench/_party.py SYSTEM NAME DESCRIPTOR [MIB of memory for each write in the background
    [SECONDS between two looks]]
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import time
from typing import Any, Protocol

import numpy as np

import mfs_transport as mfs
from mfs_transport.engines.nixl import Agent
from mfs_transport.testbed.worker import Channel

MIB = 1 << 20
BACKGROUND = 8
BACKGROUND_BYTES = 64 * MIB
URGENT_BYTES = 64 * MIB  # at most
PAUSE_S = 0.0001


def rubbish() -> None:
    """What a process does to the others of its segment whose stray pointer goes everywhere."""
    with open(os.environ["MFS_SEGMENT"], "r+b") as file:
        segment = mmap.mmap(file.fileno(), 0)
        segment[:] = os.urandom(len(segment))
        segment.close()


class Peer(Protocol):
    """How one system writes to another process's memory."""

    def metadata(self) -> str:
        """What the other side must know of us."""

    def connect(self, metadata: str) -> None:
        """Write to that one from now on."""

    def post(self, here: int, there: int, size: int, name: str, ttft_s: float | None) -> Any:
        """Begin to write; what `done` wants to see. name "": of no request."""

    def done(self, transfer: Any) -> bool:
        """Has it arrived? OSError: it failed."""

    def progress(self) -> None:
        """As a receiver: what is needed for others to come through."""


class Nixl:
    """NIXL over UCX: plain, behind the gate of the proxy, or with the shim preloaded."""

    def __init__(self, name: str, data: np.ndarray[Any, Any]) -> None:
        from nixl._api import nixl_agent, nixl_agent_config

        config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
        self.agent = Agent(nixl_agent(name, config))
        self.agent.register_memory([(data.ctypes.data, data.nbytes, 0, "")], "DRAM")
        self.count = 0

    def metadata(self) -> str:
        return str(self.agent.get_agent_metadata().hex())

    def connect(self, metadata: str) -> None:
        peer = self.agent.add_remote_agent(bytes.fromhex(metadata))
        self.peer = peer.decode() if isinstance(peer, bytes) else peer

    def post(self, here: int, there: int, size: int, name: str, ttft_s: float | None) -> Any:
        local = self.agent.get_xfer_descs([(here, size, 0)], "DRAM")
        remote = self.agent.get_xfer_descs([(there, size, 0)], "DRAM")
        handle = self.agent.initialize_xfer("WRITE", local, remote, self.peer)
        if name:
            self.count += 1
            # in each pod it is process 1
            whose = f"{os.uname().nodename}-{os.getpid()}"
            request = mfs.register(f"{whose}-{name}-{self.count}", ttft_s=ttft_s)
            self.agent.tag(handle, request, "p2d")
        self.agent.transfer(handle)
        return handle

    def done(self, transfer: Any) -> bool:
        state = self.agent.check_xfer_state(transfer)
        if state == "ERR":
            raise OSError("a transfer failed")
        if state == "DONE":
            self.agent.release_xfer_handle(transfer)
        return bool(state == "DONE")

    def progress(self) -> None:
        self.agent.get_new_notifs()


class Mooncake:
    """Mooncake's transfer engine over TCP: threads of its own, no priorities in this interface."""

    def __init__(self, name: str, data: np.ndarray[Any, Any]) -> None:
        from mooncake.engine import TransferEngine

        self.engine = TransferEngine()
        self.address = os.environ["MFS_BENCH_ADDRESS"]
        if self.engine.initialize(self.address, "P2PHANDSHAKE", "tcp", "") != 0:
            raise OSError("Mooncake's engine did not start")
        if self.engine.register_memory(data.ctypes.data, data.nbytes) != 0:
            raise OSError("Mooncake did not register the memory")

    def metadata(self) -> str:
        return f"{self.address}:{self.engine.get_rpc_port()}"

    def connect(self, metadata: str) -> None:
        self.peer = metadata

    def post(self, here: int, there: int, size: int, name: str, ttft_s: float | None) -> Any:
        del name, ttft_s
        batch = self.engine.transfer_submit_write(self.peer, here, there, size)
        if batch <= 0:
            raise OSError("Mooncake took no transfer")
        return batch

    def done(self, transfer: Any) -> bool:
        state = self.engine.transfer_check_status(transfer)
        if state < 0:
            raise OSError("a transfer failed")
        return bool(state == 1)

    def progress(self) -> None:
        pass


class Party:
    """Does what it is told, on top of any of them."""

    def __init__(
        self, system: str, name: str, channel: Channel, block: int, pause_s: float | None
    ) -> None:
        self.channel = channel
        self.block = block
        self.pause_s = pause_s or PAUSE_S
        self.serve_pause_s = pause_s or 2 * PAUSE_S
        self.data = np.full(BACKGROUND * block + URGENT_BYTES, 7, np.uint8)
        self.peer: Peer = (Mooncake if system == "mooncake" else Nixl)(name, self.data)

    def metadata(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": self.peer.metadata(), "at": self.data.ctypes.data}

    def connect(self, order: dict[str, Any]) -> dict[str, Any]:
        self.peer.connect(order["metadata"])
        self.at = order["at"]
        self.wait(self.post(0, MIB, "first", None))
        return {}

    def post(self, offset: int, size: int, name: str, ttft_s: float | None) -> Any:
        here = self.data.ctypes.data + offset
        return self.peer.post(here, self.at + offset, size, name, ttft_s)

    def wait(self, handle: Any) -> None:
        while not self.peer.done(handle):
            time.sleep(self.pause_s)

    def urgent(self, order: dict[str, Any]) -> dict[str, Any]:
        begun = time.monotonic()
        self.wait(self.post(BACKGROUND * self.block, order["bytes"], "urgent", 1.0))
        return {"seconds": time.monotonic() - begun}

    def process(self, order: dict[str, Any]) -> dict[str, Any]:
        """The scene of one process: background, then the urgent one, until all is done."""
        start = time.monotonic()
        handles = [
            self.post(i * self.block, self.block, "background", 60.0) for i in range(BACKGROUND)
        ]
        while time.monotonic() < start + 0.05:
            handles = [handle for handle in handles if not self.peer.done(handle)]
            time.sleep(PAUSE_S)
        posted = time.monotonic()
        urgent = self.post(BACKGROUND * self.block, order["bytes"], "urgent", 1.0)
        finished = None
        while handles or finished is None:
            if finished is None and self.peer.done(urgent):
                finished = time.monotonic()
            handles = [handle for handle in handles if not self.peer.done(handle)]
            time.sleep(PAUSE_S)
        total = BACKGROUND * self.block + order["bytes"]
        return {
            "seconds": finished - posted,
            "rate_Bps": total / (time.monotonic() - start),
        }

    def background(self, order: dict[str, Any]) -> dict[str, Any]:
        """Keep the port full until told; bytes that are done since `mark`. With deadlines, if not
        told otherwise: name, ttft_s."""
        pause_s = order.get("pause_s", PAUSE_S)
        name, ttft_s = order.get("name", "background"), order.get("ttft_s", 60.0)

        def post(i: int) -> Any:
            return self.post(i * self.block, 8 * MIB, name, ttft_s)

        handles = [post(i) for i in range(BACKGROUND)]
        self.channel.send({})
        begun, completed, ended = time.monotonic(), 0, False
        while handles:
            if not ended and self.channel.ended():
                message = self.channel.receive()
                if message["order"] == "mark":
                    begun, completed = time.monotonic(), 0
                elif message["order"] == "rubbish":
                    rubbish()
                else:
                    ended, seconds, counted = True, time.monotonic() - begun, completed
            again = []
            for i, handle in enumerate(handles):
                if not self.peer.done(handle):
                    again.append(handle)
                else:
                    completed += 8 * MIB
                    if not ended:
                        again.append(post(i))
            handles = again
            time.sleep(pause_s)
        return {"rate_Bps": counted / seconds}

    def serve(self) -> None:
        orders = {
            "metadata": self.metadata,
            "connect": self.connect,
            "urgent": self.urgent,
            "process": self.process,
            "background": self.background,
        }
        while True:
            while not self.channel.ended():
                self.peer.progress()  # transfers of others end here
                time.sleep(self.serve_pause_s)
            message = self.channel.receive()
            if message["order"] == "end":
                os._exit(0)
            self.channel.send(orders[message["order"]](message))


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        block = int(sys.argv[4]) * MIB if len(sys.argv) > 4 else BACKGROUND_BYTES
        pause_s = float(sys.argv[5]) if len(sys.argv) > 5 else None
        Party(sys.argv[1], sys.argv[2], Channel(int(sys.argv[3])), block, pause_s).serve()
    os._exit(0)
