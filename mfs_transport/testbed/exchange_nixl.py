# SPDX-License-Identifier: Apache-2.0
"""Stage 2 as puts of the NIXL agents: each host of a unit writes to each other one, in ring order.

A receiver has two places for each sender of a unit: a sender can be one group ahead, and no more,
since it needs what we send of a group to complete it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .batch import Batch

if TYPE_CHECKING:
    from .worker import Worker


def region_bytes(units_per_set: int, hosts: int, most: int) -> int:
    """Memory for what arrives; `most`: bytes of one group from one host."""
    return units_per_set * hosts * 2 * most


class Exchange:
    """Of one run, for all units of this host."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.nic = worker.setting.place(worker.name)[1]
        self.units = worker.setting.units_on(worker.name)
        self.most = worker.memory["exchanged"].nbytes // region_bytes(
            len(self.units), worker.setting.unit_hosts, 1
        )
        self.sends: dict[int, list[Any]] = {unit: [] for unit in self.units}
        self.come: set[tuple[int, int, int, int]] = set()  # unit, batch, group, host of the unit

    def _place(self, unit: int, batch: int, group: int, source: int) -> int:
        turn = (batch * self.worker.groups + group) % 2
        hosts = self.worker.setting.unit_hosts
        return ((self.units.index(unit) * hosts + source) * 2 + turn) * self.most

    def expect(self, batch: Batch) -> None:
        """It computes: nothing to prepare."""

    def begin(self, batch: Batch) -> None:
        worker, size = self.worker, batch.exchange_bytes
        hosts = worker.setting.of_unit(batch.unit, self.nic)
        own = hosts.index(worker.name)
        at, known = worker.sum_of("exchange", batch.leader.job.index, batch.group, own, size)
        place = self._place(batch.unit, batch.number, batch.group, own)
        what = [batch.unit, batch.number, batch.group, own, size, known]
        for turn in range(1, len(hosts)):
            self.sends[batch.unit].append(
                worker.post(
                    *(batch.most_pressing, "collective", batch.group, "WRITE", ("pool", at)),
                    *(hosts[(own + turn) % len(hosts)], ("exchanged", place), size),
                    {"exchange": what},
                )
            )

    def heard(self, what: list[int]) -> None:
        """Another host's part has come."""
        unit, batch, group, source, size, known = what
        if (unit, batch, group, source) in self.come:
            raise OSError(f"collective {group} of batch {batch} of unit {unit} has come twice")
        self.worker.verify("exchanged", self._place(unit, batch, group, source), size, known)
        self.come.add((unit, batch, group, source))

    def step(self) -> bool:
        return False

    def done(self, batch: Batch) -> bool:
        sends = self.sends[batch.unit]
        sends[:] = [handle for handle in sends if not self.worker.done(handle)]
        own = self.worker.setting.of_unit(batch.unit, self.nic).index(self.worker.name)
        return not sends and all(
            (batch.unit, batch.number, batch.group, source) in self.come
            for source in range(self.worker.setting.unit_hosts)
            if source != own
        )
