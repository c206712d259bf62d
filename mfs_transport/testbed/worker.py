# SPDX-License-Identifier: Apache-2.0
"""One emulated host: a process with a NIXL agent, memory, and one loop.

    python -m mfs_transport.testbed.worker ROLE NUMBER FD

Orders come and answers go as JSON lines on the inherited socket FD. The loop has no
thread: it polls the agent (which progresses UCX, and the shim with it) and sleeps for a
fraction of a millisecond when nothing moved.

    <- hello                       -> agent metadata, region addresses
    <- peers                       -> ready
    <- run {policy, jobs}          -> prepared
    <- {start_ns}
    <- route, queue                -> events: computed, delivered, first_token
    <- stop                        -> result {...} when this host's part is over
    <- end                         (leaves)

Every host is a KV store as well: its pool is read by others, or it writes from it when it is told
to (store.py). A receiver holds what has arrived against the checksum that the sender took.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import control
from ..engines.nixl import Agent
from .channel import Channel
from .job import Job
from .memory import Array, Region, checksum, make_pool, pool_offset
from .port_line import PortLine
from .setting import Setting
from .store import Store


class Worker:
    """What the roles share. A role defines memory, prepare, step and result."""

    #: receive regions by name
    regions: tuple[str, ...] = ()

    def __init__(self, role: str, number: int, channel: Channel) -> None:
        from nixl._api import nixl_agent, nixl_agent_config

        self.role, self.number, self.channel = role, number, channel
        self.name = f"{role}{number}"
        config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
        self.agent = Agent(nixl_agent(self.name, config))
        self.host = control.default_host()
        self.memory: dict[str, Array] = {}
        self.remote: dict[str, dict[str, Region]] = {}
        self.bytes_received = 0
        self.mismatches = 0

    # --- setting up ---

    def hello(self, order: dict[str, Any]) -> None:
        self.setting = Setting(**order["setting"])
        self.groups = self.setting.groups
        self.memory["pool"] = make_pool(order["pool_seed"])
        for name in self.regions:
            self.memory[name] = np.zeros(max(128, order["bytes"][name]), dtype=np.uint8)
        for data in self.memory.values():
            self.agent.register_memory([(data.ctypes.data, data.nbytes, 0, "")], "DRAM")
        self.channel.send(
            {
                "metadata": base64.b64encode(self.agent.get_agent_metadata()).decode(),
                "regions": {n: [d.ctypes.data, d.nbytes] for n, d in self.memory.items()},
                **self.greeting(),
            }
        )

    def greeting(self) -> dict[str, Any]:
        """What else the other hosts have to know of this one."""
        return {}

    def peers(self, order: dict[str, Any]) -> None:
        for name, peer in order["peers"].items():
            self.remote[name] = {n: Region(*region) for n, region in peer["regions"].items()}
            self.agent.add_remote_agent(base64.b64decode(peer["metadata"]))
        self.meet(order["peers"])
        self.channel.send({"ready": True})

    def meet(self, peers: dict[str, Any]) -> None:
        """Connect to them."""

    # --- running ---

    def run(self, order: dict[str, Any]) -> None:
        self.jobs = [Job(**job) for job in order["jobs"]]
        for name in self.regions:
            self.memory[name][:] = 0
        self.host.policy = order["policy"]
        self.bytes_received = self.mismatches = 0
        before = self.host.counters(process=True)
        self.store = Store(self)
        self.early: list[dict[str, Any]] = []  # of requests that the router has not told us of
        self.prepare()
        self.channel.send({"prepared": True})
        start: int = self.channel.receive()["start_ns"]
        self.start_ns = start
        cpu_s = cpu_used_s()
        port = PortLine(os.environ.get("UCX_NET_DEVICES", ""), start)
        stopped = False
        while not (stopped and self.over() and self.store.over()):
            messages = self.channel.poll()
            for message in messages:
                if message["order"] == "stop":
                    stopped = True
                else:
                    self.told(message)
                    early, self.early = self.early, []
                    self.hear(early)
            moved = self.poll() | self.step() | self.store.step()
            port.look()
            if not moved and not messages:
                time.sleep(self.nap_s())
        after = self.host.counters(process=True)
        sent, received = port.carried()
        self.channel.send(
            {
                "result": self.result(),
                "bytes": self.bytes_received,
                "mismatches": self.mismatches,
                "cpu_s": cpu_used_s() - cpu_s,
                "sent": sent,
                "received": received,
                "port_line": port.sent,
                "counters": {name: after[name] - before[name] for name in after},
            }
        )
        # the passive side of other hosts' transfers goes on until the coordinator says so
        while not self.channel.ended():
            self.poll()
            time.sleep(self.setting.idle_s)
        self.clean_up()

    def poll(self) -> bool:
        """Progress, and hand in what notifications say has arrived."""
        arrived = self.agent.get_new_notifs()
        for messages in arrived.values():
            self.hear([json.loads(message) for message in messages])
        return bool(arrived)

    def hear(self, messages: list[dict[str, Any]]) -> None:
        self.early += [message for message in messages if not self.notified(message)]

    def told(self, message: dict[str, Any]) -> None:
        """By the router."""
        if message["order"] == "route" and self.name in message["store"]:
            self.store.route(message)

    def prepare(self) -> None:
        """Before the start of a run."""

    def step(self) -> bool:
        """One look at what can go on. True: something moved."""
        return False

    def nap_s(self) -> float:
        """How long to sleep where nothing has moved."""
        return self.setting.idle_s

    def over(self) -> bool:
        """Nothing of this host's own is under way."""
        return True

    def result(self) -> dict[str, Any]:
        return {}

    def clean_up(self) -> None:
        """After a run."""

    def notified(self, message: dict[str, Any]) -> bool:
        """What another host has sent with a transfer that is complete, or alone. False: it is of a
        request that we do not know yet."""
        raise OSError(f"{self.name}: nobody should tell us {message}")

    # --- transfers ---

    def post(
        self,
        request: control.Request,
        stage: str,
        group: int,
        operation: str,
        here: tuple[str, int],
        peer: str,
        there: tuple[str, int],
        size: int,
        message: dict[str, Any] | None = None,
    ) -> Any:
        """Begin a transfer between a place of ours and one of the peer's: (region, offset)."""
        local = Region(self.memory[here[0]].ctypes.data, self.memory[here[0]].nbytes)
        handle = self.agent.initialize_xfer(
            operation,
            self._descriptors(local, here[1], size),
            self._descriptors(self.remote[peer][there[0]], there[1], size),
            peer,
            json.dumps(message).encode() if message else b"",
        )
        self.agent.tag(handle, request, stage, group)
        if self.agent.transfer(handle) == "ERR":
            raise OSError(f"{self.name}: a {stage} transfer to {peer} failed")
        return handle

    def done(self, handle: Any) -> bool:
        state = self.agent.check_xfer_state(handle)
        if state == "ERR":
            raise OSError(f"{self.name}: a transfer failed")
        if state == "DONE":
            self.agent.release_xfer_handle(handle)
        return bool(state == "DONE")

    def notify(self, peer: str, message: dict[str, Any]) -> None:
        """A message without a transfer."""
        self.agent.send_notif(peer, json.dumps(message).encode())

    def verify(self, region: str, offset: int, size: int, expected: int) -> None:
        self.bytes_received += size
        if checksum(self.memory[region][offset : offset + size]) != expected:
            self.mismatches += 1

    def sum_of(self, kind: str, job: int, group: int, part: int, size: int) -> tuple[int, int]:
        """Where the contents of that transfer lie in the pool, and their checksum."""
        at = pool_offset(kind, job, group, part, size)
        return at, checksum(self.memory["pool"][at : at + size])

    def _descriptors(self, region: Region, offset: int, size: int) -> Any:
        if offset + size > region.size:
            raise ValueError(f"{size} bytes at {offset} of a region of {region.size}")
        return self.agent.get_xfer_descs([(region.address + offset, size, 0)], "DRAM")

    def now_s(self) -> float:
        return float(time.monotonic_ns() - self.start_ns) / 1e9

    def register(self, job: Job, *, delivers: bool = True) -> control.Request:
        """What this host tells its queues of a request, whose KV it may have."""
        setting = self.setting
        senders = 1 if setting.spread else setting.unit_hosts  # that share the decode host's port
        exchange_s = job.exchange_bytes * (setting.unit_hosts - 1) / setting.payload_Bps
        p2d_s = senders * job.shard_bytes / setting.payload_Bps
        return control.register(
            f"job-{job.index}",
            ttft_s=job.slo_s,
            arrival_ns=self.start_ns + round(job.arrival_s * 1e9),
            layers=self.groups,
            layer_s=job.compute_s + exchange_s,
            collective_s=exchange_s,
            p2d_layer_s=p2d_s,
            p2d_bytes=job.shard_bytes * self.groups * delivers,
            host=self.host,
            publish=False,
        )


def cpu_used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(role: str, number: int, fd: int) -> None:
    channel = Channel(fd)
    module = importlib.import_module(f".{role}", __package__)
    make: Callable[[str, int, Channel], Worker] = module.WORKER
    worker = make(role, number, channel)
    orders: dict[str, Callable[[dict[str, Any]], None]] = {
        "hello": worker.hello,
        "peers": worker.peers,
        "run": worker.run,
        "next": lambda _: None,
    }
    while True:
        message = channel.receive()
        if message["order"] == "end":
            return
        orders[message["order"]](message)


def main() -> None:
    role, number, fd = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator ends us
    status = 0
    try:
        serve(role, number, fd)
    except (EOFError, ConnectionError):
        pass  # the coordinator has gone
    except Exception as error:  # whatever the transport raises when a peer is gone
        print(f"mfs: host {role}{number}: {type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    segment = os.environ.get("MFS_SEGMENT")
    if segment:
        with contextlib.suppress(OSError):
            os.unlink(segment)
            os.removedirs(os.path.dirname(segment))  # up to the first that is not empty
    os._exit(status)  # the other hosts may be gone: no orderly goodbye of the transport


if __name__ == "__main__":
    main()
