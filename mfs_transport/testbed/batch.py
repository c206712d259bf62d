# SPDX-License-Identifier: Apache-2.0
"""What a prefill host has under way: requests, and the batch that a unit computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .. import control
from .job import Job


@dataclass(eq=False)
class Active:
    """A request that has arrived and is not all sent."""

    job: Job
    request: control.Request
    route: dict[str, Any]
    part: int | None  # which host of the unit we are; None: its KV is on another NIC
    fetched: list[bool]  # by group
    fetches: dict[int, Any] = field(default_factory=dict)  # group -> handle
    sends: dict[int, Any] = field(default_factory=dict)  # None: the decode host reads
    p2d_left: int = 0  # stage 3 bytes

    def __post_init__(self) -> None:
        if self.part is not None:
            self.p2d_left = self.job.shard_bytes * len(self.fetched)


@dataclass(eq=False)
class Batch:
    """Requests that a unit computes together; all of its hosts have the same one."""

    unit: int
    number: int  # of the unit's batches
    actives: list[Active]
    compute_s: float  # of a group
    group: int = 0  # that computes, or comes next
    computed_ns: int = 0  # end of its computing; 0: not started
    began_ns: int = 0  # of its collective; 0: not yet

    @property
    def leader(self) -> Active:
        """The request that names what the batch exchanges."""
        return self.actives[0]

    @property
    def most_pressing(self) -> control.Request:
        return min((one.request for one in self.actives), key=lambda one: one.deadline_ns)

    @property
    def exchange_bytes(self) -> int:
        """From one host of the unit to each other one."""
        return sum(active.job.exchange_bytes for active in self.actives)

    def next_group(self) -> None:
        self.group, self.computed_ns, self.began_ns = self.group + 1, 0, 0
