# SPDX-License-Identifier: Apache-2.0
"""Real NIXL agents: a sender, a healthy receiver and one that is stopped with transfers under way.

    nixl_stall.py WRITE|READ same|other     same, other: which process's transfers are stuck

Prints {"healthy": states, "stuck": states, "after": states}: of the transfers with the healthy
one, of the stuck ones at that moment, and of these after their receiver has gone on.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from nixl._api import nixl_agent, nixl_agent_config

SICK_BYTES = 48 << 20
WELL_BYTES = 4 << 20
LIMIT_S = 15.0


def told() -> str | None:
    """A line of our starter's; None: there is none. When it has gone, so are we."""
    if not select.select([sys.stdin], [], [], 0)[0]:
        return None
    return sys.stdin.readline() or os._exit(0)


@dataclass(frozen=True)
class Peer:
    name: str
    metadata: str  # hex
    address: int


class Side:
    def __init__(self, name: str, *, telemetry: bool = False) -> None:
        config = nixl_agent_config(
            enable_prog_thread=False, backends=["UCX"], capture_telemetry=telemetry
        )
        self.agent = nixl_agent(name, config)
        self.data = np.full(SICK_BYTES, 5, np.uint8)
        self.agent.register_memory([(self.data.ctypes.data, SICK_BYTES, 0, "")], "DRAM")

    def post(self, peer: Peer, size: int, operation: str) -> Any:
        local, remote = (
            self.agent.get_xfer_descs([(at, size, 0)], "DRAM")
            for at in (self.data.ctypes.data, peer.address)
        )
        handle = self.agent.initialize_xfer(operation, local, remote, peer.name, b"done")
        self.agent.transfer(handle)
        return handle

    def wait(self, handle: Any) -> str:
        until = time.monotonic() + LIMIT_S
        while (state := self.agent.check_xfer_state(handle)) == "PROC":
            if time.monotonic() > until:
                break
            time.sleep(0.0002)
        return str(state)

    def connect(self, peer: Peer) -> None:
        self.agent.add_remote_agent(bytes.fromhex(peer.metadata))
        assert self.wait(self.post(peer, 1024, "WRITE")) == "DONE"


class Child:
    """A process of this script, in another role."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def tell(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


class Receiver(Child):
    def __init__(self, name: str) -> None:
        super().__init__("receiver", name)
        self.peer = Peer(name, *self.hear())


class Stuck:
    """Transfers with the sick receiver, of this process."""

    def __init__(self, side: Side, peer: Peer, operation: str) -> None:
        self.side, self.peer, self.operation = side, peer, operation
        side.connect(peer)

    def begin(self) -> None:
        self.handles = [self.side.post(self.peer, SICK_BYTES, self.operation) for _ in range(2)]

    def states(self) -> list[str]:
        return [str(self.side.agent.check_xfer_state(handle)) for handle in self.handles]

    def after(self) -> list[str]:
        return [self.side.wait(handle) for handle in self.handles]


class StuckElsewhere(Child):
    """The same, of a process of their own."""

    def __init__(self, peer: Peer, operation: str) -> None:
        super().__init__("stuck", peer.name, peer.metadata, str(peer.address), operation)
        self.hear()

    def _next(self) -> Any:
        self.tell()
        return self.hear()

    begin = states = after = _next


def receive(name: str) -> None:
    side = Side(name)
    print(json.dumps([side.agent.get_agent_metadata().hex(), side.data.ctypes.data]), flush=True)
    while told() is None:
        side.agent.get_new_notifs()
        time.sleep(0.0005)


def be_stuck(name: str, metadata: str, address: str, operation: str) -> None:
    side = Side("stuck")
    stuck = Stuck(side, Peer(name, metadata, int(address)), operation)
    for step in (lambda: None, stuck.begin, stuck.states, stuck.after):
        print(json.dumps(step()), flush=True)
        while told() is None:
            side.agent.get_new_notifs()
            time.sleep(0.0005)


def main(operation: str, where: str) -> None:
    side = Side("sender")
    sick, well = Receiver("sick"), Receiver("well")
    try:
        stuck = (
            Stuck(side, sick.peer, operation)
            if where == "same"
            else StuckElsewhere(sick.peer, operation)
        )
        side.connect(well.peer)
        sick.process.send_signal(signal.SIGSTOP)
        stuck.begin()
        healthy: list[str] = []
        while len(healthy) < 4 and "PROC" not in healthy:
            healthy.append(side.wait(side.post(well.peer, WELL_BYTES, operation)))
        states = stuck.states()
        sick.process.send_signal(signal.SIGCONT)
        print(json.dumps({"healthy": healthy, "stuck": states, "after": stuck.after()}))
    finally:
        sick.process.kill()  # also if it is stopped
        well.process.kill()


if __name__ == "__main__":
    roles = {"receiver": receive, "stuck": be_stuck}
    role = roles.get(sys.argv[1])
    if role:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # we end with our starter, even if stopped
        role(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # the NIXL wheel's libnl crashes in its destructor, without us as well
