# SPDX-License-Identifier: Apache-2.0
"""Stage 2 through the NCCL net plug-in: an all-to-all between the ranks of a unit.

The ranks that a unit has on a host share a process, a communicator of the plug-in and so its
endpoints; each pair of ranks on different hosts has a connection each way. Messages are posted in
ring rounds: rank i sends to i + 1, then to i + 2, and so on. What stays inside a host takes no
network and no time. Receives are posted while the group computes, as NCCL has its own.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import control
from ..native import NCCL_PLUGIN
from .batch import Batch
from .memory import pool_offset
from .nccl_net import Net, keep

if TYPE_CHECKING:
    from .worker import Worker

MEETING_S = 60.0


def region_bytes(ranks: int, hosts: int, most: int) -> int:
    """Memory for what arrives; `most`: bytes of one group from one host."""
    del ranks
    return (hosts - 1) * most


@dataclass(frozen=True)
class Pair:
    """A rank of ours and one of another host, numbered in the unit."""

    ours: int
    theirs: int


class Connections:
    """Of one process, for all runs: its ranks belong to one unit."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        (unit,) = worker.setting.units_on(worker.name)
        self.hosts = worker.setting.of_unit(unit, worker.setting.place(worker.name)[1])
        self.each = worker.setting.unit_ranks
        self.net = Net(NCCL_PLUGIN)
        self.own = self.hosts.index(worker.name)
        self.pairs = self._in_ring_rounds()
        self.listeners = {pair: self.net.listen() for pair in self.pairs}
        self.sends: dict[Pair, tuple[Any, Any]] = {}  # comm, memory
        self.receives: dict[Pair, tuple[Any, Any]] = {}

    def _in_ring_rounds(self) -> list[Pair]:
        count = len(self.hosts) * self.each
        ranks = range(self.own * self.each, (self.own + 1) * self.each)
        found = [Pair(rank, (rank + k) % count) for k in range(1, count) for rank in ranks]
        return [pair for pair in found if pair.theirs not in ranks]

    def greeting(self) -> dict[str, str]:
        """By OURS-THEIRS, where that rank of theirs finds ours."""
        return {
            f"{pair.ours}-{pair.theirs}": handle.hex()
            for pair, (_, handle) in self.listeners.items()
        }

    def meet(self, peers: dict[str, Any]) -> None:
        handles = {}
        for pair in self.pairs:
            peer = peers[self.hosts[pair.theirs // self.each]]["nccl"]
            handles[pair] = keep(bytes.fromhex(peer[f"{pair.theirs}-{pair.ours}"]))
        pool, area = self.worker.memory["pool"], self.worker.memory["exchanged"]
        until = time.monotonic() + MEETING_S
        while len(self.sends) + len(self.receives) < 2 * len(self.pairs):
            for pair in self.pairs:
                if pair not in self.sends and (comm := self.net.connect(handles[pair])):
                    memory = self.net.register(comm, pool.ctypes.data, pool.nbytes)
                    self.sends[pair] = (comm, memory)
                listener, _ = self.listeners[pair]
                if pair not in self.receives and (comm := self.net.accept(listener)):
                    memory = self.net.register(comm, area.ctypes.data, area.nbytes)
                    self.receives[pair] = (comm, memory)
                    self.net.close_listen(listener)
            if time.monotonic() > until:
                raise OSError(f"ranks of {', '.join(self.hosts)} did not meet")
            time.sleep(0.001)


class Exchange:
    """Of one run."""

    def __init__(self, worker: Worker, connections: Connections) -> None:
        self.worker, self.at = worker, connections
        self.receives: deque[tuple[Pair, int]] = deque()  # to be posted: pair, place in the pool
        self.sends: deque[tuple[Pair, int]] = deque()
        self.posted: deque[tuple[Any, Pair | None, int]] = deque()  # pair: of a receive
        self.size = 0

    def _contents(self, batch: Batch, source: int, target: int) -> int:
        name = (batch.leader.job.index, batch.group, 1000 * source + target)
        return pool_offset("exchange", *name, self.size)

    def expect(self, batch: Batch) -> None:
        self.size = batch.exchange_bytes // self.at.each**2
        control.batch(batch.most_pressing, batch.group)
        for pair in self.at.pairs:
            self.receives.append((pair, self._contents(batch, pair.theirs, pair.ours)))

    def begin(self, batch: Batch) -> None:
        for pair in self.at.pairs:
            self.sends.append((pair, self._contents(batch, pair.ours, pair.theirs)))

    def heard(self, what: list[int]) -> None:
        raise OSError("a collective came by NIXL")

    def _place(self, pair: Pair) -> int:
        """In `exchanged`, of what comes from that rank of theirs to that of ours."""
        host = pair.theirs // self.at.each
        before = host - (host > self.at.own)
        inside = (pair.ours % self.at.each) * self.at.each + pair.theirs % self.at.each
        return (before * self.at.each**2 + inside) * self.size

    def step(self) -> bool:
        moved = self._post()
        net = self.at.net
        while self.posted:
            request, pair, contents = self.posted[0]
            came = net.test(request)
            if came is None:
                break
            self.posted.popleft()
            moved = True
            if pair is not None:
                self._verify(pair, contents, came)
        return moved

    def _post(self) -> bool:
        net, moved = self.at.net, False
        area, pool = self.worker.memory["exchanged"], self.worker.memory["pool"]
        while self.receives:
            pair, contents = self.receives[0]
            comm, memory = self.at.receives[pair]
            place = area.ctypes.data + self._place(pair)
            if (request := net.receive(comm, place, self.size, memory)) is None:
                break
            self.posted.append((request, pair, contents))
            self.receives.popleft()
            moved = True
        while self.sends:
            pair, contents = self.sends[0]
            comm, memory = self.at.sends[pair]
            if (request := net.send(comm, pool.ctypes.data + contents, self.size, memory)) is None:
                break
            self.posted.append((request, None, 0))
            self.sends.popleft()
            moved = True
        return moved

    def _verify(self, pair: Pair, contents: int, came: int) -> None:
        worker, at = self.worker, self._place(pair)
        worker.bytes_received += came
        area, pool = worker.memory["exchanged"], worker.memory["pool"]
        got, sent = area[at : at + self.size], pool[contents : contents + self.size]
        if came != self.size or not np.array_equal(got, sent):
            worker.mismatches += 1
        area[at : at + self.size] = 0

    def done(self, batch: Batch) -> bool:
        del batch
        return not (self.receives or self.sends or self.posted)
