# SPDX-License-Identifier: Apache-2.0
"""One emulated host: a process with a NIXL agent, memory, and one loop.

    python -m mfs_transport.testbed.worker ROLE RANK FD

Orders come and answers go as JSON lines on the inherited socket FD. The loop has no
thread: it polls the agent (which progresses UCX, and the shim with it) and sleeps for a
fraction of a millisecond when nothing moved.

    <- hello                       -> agent metadata, region addresses
    <- peers                       -> ready
    <- run {policy, jobs, start}   -> result {...} when this host's part is over
    <- end                         (leaves)

The contents of all data come from one pseudo-random pool that every host makes from the
same number, so a receiver's memory can be cleared before each run, and each transfer
names its place in the pool by a checksum that was taken at the sender.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import control
from ..engines.nixl import Agent
from .schedule import Job

POOL_BYTES = 32 << 20
IDLE_S = 0.0003

Array = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Region:
    """Registered memory of some host."""

    address: int
    size: int


class Regions:
    """Where each job's bytes lie in a receive region: [job][group], one after another."""

    def __init__(self, jobs: list[Job], groups: int, sizes: list[int]) -> None:
        self.groups = groups
        self.sizes = sizes
        self.starts: list[int] = []
        total = 0
        for size in sizes:
            self.starts.append(total)
            total += size * groups
        self.total = total

    def offset(self, job: int, group: int) -> int:
        return self.starts[job] + group * self.sizes[job]


def pool_offset(kind: str, job: int, group: int, rank: int, size: int) -> int:
    """Where in the pool the contents of a transfer lie (a multiple of 128)."""
    mixed = zlib.crc32(f"{kind} {job} {group} {rank}".encode())
    return mixed % ((POOL_BYTES - size) // 128 + 1) * 128


def checksum(data: Array) -> int:
    return zlib.crc32(data)  # type: ignore[arg-type]  # numpy arrays are buffers


class Channel:
    """JSON lines to and from the coordinator. Its end means that the demo is over."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._file = self._socket.makefile("rw")

    def send(self, message: dict[str, Any]) -> None:
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    def receive(self) -> dict[str, Any]:
        line = self._file.readline()
        if not line:
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        return message

    def ended(self) -> bool:
        """The coordinator has gone, or has something to say (which ends a run)."""
        return bool(select.select([self._socket], [], [], 0)[0])


class Worker:
    """What the roles share. A role defines memory, prepare, step and result."""

    #: receive regions by name
    regions: tuple[str, ...] = ()

    def __init__(self, role: str, rank: int, channel: Channel) -> None:
        from nixl._api import nixl_agent, nixl_agent_config

        self.role, self.rank, self.channel = role, rank, channel
        self.name = f"{role}{rank}"
        config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
        self.agent = Agent(nixl_agent(self.name, config))
        self.host = control.default_host()
        self.memory: dict[str, Array] = {}
        self.remote: dict[str, dict[str, Region]] = {}
        self.bytes_received = 0
        self.mismatches = 0

    # --- setting up ---

    def hello(self, order: dict[str, Any]) -> None:
        self.groups: int = order["groups"]
        random = np.random.default_rng(order["pool_seed"])
        self.memory["pool"] = random.integers(0, 256, POOL_BYTES, dtype=np.uint8)
        for name in self.regions:
            self.memory[name] = np.zeros(max(128, order["region_bytes"]), dtype=np.uint8)
        for data in self.memory.values():
            self.agent.register_memory([(data.ctypes.data, data.nbytes, 0, "")], "DRAM")
        self.channel.send(
            {
                "metadata": base64.b64encode(self.agent.get_agent_metadata()).decode(),
                "regions": {n: [d.ctypes.data, d.nbytes] for n, d in self.memory.items()},
            }
        )

    def peers(self, order: dict[str, Any]) -> None:
        for name, peer in order["peers"].items():
            self.remote[name] = {n: Region(*region) for n, region in peer["regions"].items()}
            self.agent.add_remote_agent(base64.b64decode(peer["metadata"]))
        self.channel.send({"ready": True})

    # --- running ---

    def run(self, order: dict[str, Any]) -> None:
        self.jobs = [Job(**job) for job in order["jobs"]]
        for name in self.regions:
            self.memory[name][:] = 0
        self.host.policy = order["policy"]
        self.bytes_received = self.mismatches = 0
        before = self.host.counters(process=True)
        self.prepare()
        self.channel.send({"prepared": True})
        start: int = self.channel.receive()["start_ns"]
        self.start_ns = start
        while time.monotonic_ns() < start and not self.channel.ended():
            self.poll()
            time.sleep(IDLE_S)
        rounds = 0
        while not self.over():
            moved = self.poll()
            moved |= self.step()
            rounds += 1
            if not moved:
                time.sleep(IDLE_S)
            if rounds % 64 == 0 and self.channel.ended():
                break
        after = self.host.counters(process=True)
        self.channel.send(
            {
                "result": self.result(),
                "bytes": self.bytes_received,
                "mismatches": self.mismatches,
                "counters": {name: after[name] - before[name] for name in after},
            }
        )
        # the passive side of other hosts' transfers goes on until the coordinator says so
        while not self.channel.ended():
            self.poll()
            time.sleep(IDLE_S)
        self.clean_up()

    def poll(self) -> bool:
        """Progress, and hand in what notifications say has arrived."""
        arrived = self.agent.get_new_notifs()
        for peer, messages in arrived.items():
            for message in messages:
                self.notified(peer, json.loads(message))
        return bool(arrived)

    def prepare(self) -> None:
        """Before the start of a run."""

    def step(self) -> bool:
        """One look at what can go on. True: something moved."""
        return False

    def over(self) -> bool:
        """This host's own part is over (passive ones: when told)."""
        return self.channel.ended()

    def result(self) -> dict[str, Any]:
        return {}

    def clean_up(self) -> None:
        """After a run."""

    def notified(self, peer: str, message: dict[str, Any]) -> None:
        """A transfer that `peer` wrote here is complete."""

    # --- transfers ---

    def verify(self, region: str, offset: int, size: int, expected: int) -> None:
        self.bytes_received += size
        if checksum(self.memory[region][offset : offset + size]) != expected:
            self.mismatches += 1

    def descriptors(self, region: Region, offset: int, size: int) -> Any:
        return self.agent.get_xfer_descs([(region.address + offset, size, 0)], "DRAM")

    def local(self, region: str) -> Region:
        data = self.memory[region]
        return Region(data.ctypes.data, data.nbytes)

    def now_s(self) -> float:
        return float(time.monotonic_ns() - self.start_ns) / 1e9


def serve(role: str, rank: int, fd: int) -> None:
    channel = Channel(fd)
    module = importlib.import_module(f".{role}", __package__)
    make: Callable[[str, int, Channel], Worker] = module.WORKER
    worker = make(role, rank, channel)
    orders: dict[str, Callable[[dict[str, Any]], None]] = {
        "hello": worker.hello,
        "peers": worker.peers,
        "run": worker.run,
        "stop": lambda _: None,
    }
    while True:
        message = channel.receive()
        if message["order"] == "end":
            return
        orders[message["order"]](message)


def main() -> None:
    role, rank, fd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator ends us
    status = 0
    try:
        serve(role, rank, fd)
    except (EOFError, ConnectionError):
        pass  # the coordinator has gone
    except Exception as error:  # whatever the transport raises when a peer is gone
        print(f"mfs: host {role}{rank}: {type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    segment = os.environ.get("MFS_SEGMENT")
    if segment:
        with contextlib.suppress(OSError):
            os.unlink(segment)
            os.removedirs(os.path.dirname(segment))  # up to the first that is not empty
    os._exit(status)  # the other hosts may be gone: no orderly goodbye of the transport


if __name__ == "__main__":
    main()
