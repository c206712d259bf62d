# SPDX-License-Identifier: Apache-2.0
"""A host of bench/hosts.py: a NIXL agent, memory, and what it is told to do, by JSON lines.

python bench/_hosts_party.py NAME DESCRIPTOR
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import mfs_transport as mfs
from mfs_transport.engines.nixl import Agent
from mfs_transport.testbed.worker import Channel

MIB = 1 << 20
SLOT_BYTES = 8 * MIB
SLOTS = 8  # one for each other host
PAUSE_S = 0.0002  # between two looks, until it is told otherwise
LOOSE_S = 60.0


class Party:
    def __init__(self, name: str, channel: Channel) -> None:
        from nixl._api import nixl_agent, nixl_agent_config

        self.channel, self.name = channel, name
        self.pause_s = PAUSE_S
        self.data = np.zeros(2 * SLOTS * SLOT_BYTES, np.uint8)
        # what we send lies in the upper half, what comes in the lower one
        self.out = SLOTS * SLOT_BYTES
        pattern = np.random.default_rng(zlib.crc32(name.encode())).integers(
            0, 256, SLOT_BYTES, np.uint8
        )
        self.data[self.out :].reshape(SLOTS, SLOT_BYTES)[:] = pattern
        config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
        self.agent = Agent(nixl_agent(name, config))
        self.agent.register_memory([(self.data.ctypes.data, self.data.nbytes, 0, "")], "DRAM")
        self.peers: dict[str, tuple[str, int]] = {}
        self.count = 0

    def post(
        self, way: str, peer: str, here: int, there: int, size: int, ttft_s: float, stage: str
    ) -> Any:
        name, at = self.peers[peer]
        local = self.agent.get_xfer_descs([(self.data.ctypes.data + here, size, 0)], "DRAM")
        remote = self.agent.get_xfer_descs([(at + there, size, 0)], "DRAM")
        handle = self.agent.initialize_xfer(way, local, remote, name)
        self.count += 1
        request = mfs.register(f"{self.name}-{self.count}", ttft_s=ttft_s)
        self.agent.tag(handle, request, stage)
        self.agent.transfer(handle)
        return handle, request

    def done(self, transfer: Any) -> bool:
        handle, request = transfer
        state = self.agent.check_xfer_state(handle)
        if state == "ERR":
            raise OSError("a transfer failed")
        if state == "DONE":
            self.agent.release_xfer_handle(handle)
            request.finish()
        return bool(state == "DONE")

    # --- orders ---

    def hello(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "metadata": self.agent.get_agent_metadata().hex(),
            "at": self.data.ctypes.data,
        }

    def look(self, order: dict[str, Any]) -> dict[str, Any]:
        """From here on it looks around so seldom."""
        self.pause_s = order["every_s"]
        return {}

    def received(self, order: dict[str, Any]) -> dict[str, Any]:
        """What has ever come by that device, in bytes on the wire, and when that was."""
        lines = Path("/proc/self/net/dev").read_text().splitlines()
        words = next(line.split() for line in lines if line.strip().startswith(order["by"] + ":"))
        return {"bytes": int(words[1]), "at_s": time.monotonic()}

    def first(self, order: dict[str, Any]) -> dict[str, Any]:
        """Checksum of the first bytes that we send."""
        return {"crc": zlib.crc32(self.data[self.out : self.out + order["bytes"]])}

    def meet(self, order: dict[str, Any]) -> dict[str, Any]:
        """Peers, and a first transfer to each: connections are made."""
        for name, (metadata, at) in order["peers"].items():
            known = self.agent.add_remote_agent(bytes.fromhex(metadata))
            self.peers[name] = (known.decode() if isinstance(known, bytes) else known, at)
            transfer = self.post("READ", name, 0, self.out, MIB, LOOSE_S, "p2d")
            while not self.done(transfer):
                time.sleep(self.pause_s)
        return {}

    def slots(self, order: dict[str, Any]) -> dict[str, Any]:
        """Checksums of what has come into them."""
        size = order["bytes"]
        starts = range(0, len(order["of"]) * SLOT_BYTES, SLOT_BYTES)
        return {"crc": [zlib.crc32(self.data[start : start + size]) for start in starts]}

    def stream(self, order: dict[str, Any]) -> dict[str, Any]:
        """Urgent puts, or reads, one after the other, each so long after the one before; beside
        them, on the same connection, so many loose ones."""
        times = []
        loose: dict[int, Any] = dict.fromkeys(range(1, order.get("beside", 0) + 1))
        came = 0

        def keep_loose() -> None:
            nonlocal came
            for slot, transfer in loose.items():
                if transfer is not None and not self.done(transfer):
                    continue
                came += size if transfer else 0
                at = slot * SLOT_BYTES
                to = order["to"]
                loose[slot] = self.post("WRITE", to, self.out + at, at, size, LOOSE_S, "p2d")

        way = order.get("way", "WRITE")
        mine, its = (self.out, 0) if way == "WRITE" else (0, self.out)
        size, ends = order["bytes"], time.monotonic() + order["seconds"]
        begun = time.monotonic()
        while time.monotonic() < ends:
            due = time.monotonic() + order["every_s"]
            start = time.monotonic()
            transfer = self.post(way, order["to"], mine, its, size, 0.05, "collective")
            while not self.done(transfer):
                keep_loose()
                time.sleep(self.pause_s)
            times.append(time.monotonic() - start)
            while time.monotonic() < due:
                self.agent.get_new_notifs()  # what others read of us goes on
                keep_loose()
                time.sleep(self.pause_s)
        span = time.monotonic() - begun
        while loose:
            loose = {slot: one for slot, one in loose.items() if not self.done(one)}
            time.sleep(self.pause_s)
        return {
            "seconds": times,
            "rate_Bps": size * len(times) / span,
            "loose_Bps": came / span,
        }

    def reads(self, order: dict[str, Any]) -> dict[str, Any]:
        """Keep so many reads, or loose puts, posted until told to `stop`: how many bytes that were.
        `mark` says at which rate whole ones have come since the last mark."""
        size, way = order["bytes"], order.get("way", "READ")

        def post(slot: int) -> Any:
            mine, its = slot * SLOT_BYTES, self.out + slot * SLOT_BYTES
            if way == "WRITE":
                mine, its = its, mine
            return self.post(way, order["of"], mine, its, size, LOOSE_S, "p2d")

        slots = range(order.get("first", 0), order.get("first", 0) + order["depth"])
        transfers = {slot: post(slot) for slot in slots}
        self.channel.send({})
        begun, came, stopped = time.monotonic(), 0, False
        total = 0
        while transfers:
            if not stopped and self.channel.ended():
                said = self.channel.receive()
                stopped = said["order"] == "stop"
                if said["order"] == "received":
                    self.channel.send(self.received(said))
                elif said["order"] == "mark":
                    now = time.monotonic()
                    self.channel.send({"rate_Bps": came / (now - begun)})
                    begun, came = now, 0
            for slot, transfer in list(transfers.items()):
                if self.done(transfer):
                    came += size
                    total += size
                    del transfers[slot]
                    if not stopped:
                        transfers[slot] = post(slot)
            time.sleep(self.pause_s)
        return {"bytes": total}

    def jobs(self, order: dict[str, Any]) -> dict[str, Any]:
        """Puts at their times: [at_s, bytes, deadline_s]. How long each took."""
        slot = order["slot"] * SLOT_BYTES
        start, ahead = order["start"], list(order["jobs"])
        under_way: list[tuple[int, float, Any]] = []
        took = [0.0] * len(ahead)
        number = 0
        while number < len(ahead) or under_way:
            now = time.monotonic() - start
            while number < len(ahead) and ahead[number][0] <= now:
                at_s, size, due_s = ahead[number]
                left_s = max(0.001, at_s + due_s - (time.monotonic() - start))
                transfer = self.post("WRITE", order["to"], self.out, slot, size, left_s, "p2d")
                under_way.append((number, at_s, transfer))
                number += 1
            for one in list(under_way):
                if self.done(one[2]):
                    took[one[0]] = time.monotonic() - start - one[1]
                    under_way.remove(one)
            time.sleep(self.pause_s)
        return {"took": took}

    def serve(self) -> None:
        while True:
            while not self.channel.ended():
                self.agent.get_new_notifs()
                time.sleep(self.pause_s)
            order = self.channel.receive()
            if order["order"] == "end":
                os._exit(0)
            self.channel.send(getattr(self, order["order"])(order))


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        Party(sys.argv[1], Channel(int(sys.argv[2]))).serve()
    os._exit(0)
