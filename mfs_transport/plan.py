# SPDX-License-Identifier: Apache-2.0
"""What the queues of the units behind one egress port imply for each request.

The formulas are those of csrc/core/plan.h; here they are put together, as the policy of the
host asks: `mfs` (and the baselines, which read of it what they know) or `mfs_paper`, whose
batches are ordered by RED and thinned out by Algorithm 1 (arXiv 2603.17456).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .native import NEVER, check, ffi, lib

# B of Algorithm 1: requests that may be given up for one batch. The paper gives no number.
DROP_BUDGET = 4


@dataclass(frozen=True)
class Queue:
    """One unit: its requests' facts, in the order in which they will be served.

    facts    struct mfs_facts[]; [0, waiting) wait or compute, the rest have been computed
    waiting  how many do
    batches  sizes of the batches, in the same order; their sum is the number of requests
    """

    facts: Any
    waiting: int
    batches: Sequence[int]


def plan_mfs(queues: Sequence[Queue], everyone: Any, count: int, rate_Bps: int, at_ns: int) -> None:
    """Start, inherited urgency and hopelessness along each queue; shedding over all of them.

    One that has been computed is hopeless when its deadline has passed, whatever was thought of
    it while it waited.

    everyone: struct mfs_facts[count], of which the queues' facts are parts; rate_Bps 0: nobody
    is given up for the port's sake.
    """
    for queue in queues:
        lib.mfs_plan_unit(queue.facts, queue.waiting, at_ns)
        for index in range(queue.waiting, sum(queue.batches)):
            _computed(queue.facts[index], at_ns)
    for index in range(count):
        everyone[index].red_ns = NEVER
        everyone[index].flags &= ~lib.MFS_REQUEST_SHED
    if rate_Bps > 0:
        scratch = ffi.new("uint32_t[]", max(1, count))
        check(lib.mfs_plan_shed(everyone, count, rate_Bps, at_ns, scratch), "shedding")


def _computed(facts: Any, at_ns: int) -> None:
    """What the queue implied of it is over; the policy sees by the bytes left if it can make it."""
    facts.next_start_ns = NEVER
    if facts.deadline_ns < at_ns:
        facts.flags |= lib.MFS_REQUEST_HOPELESS
    else:
        facts.flags &= ~lib.MFS_REQUEST_HOPELESS


def _computing_ns(facts: Any, first: int, count: int) -> int:
    """Of a batch: what its slowest request still has to compute."""
    left = [0]
    for index in range(first, first + count):
        one = facts[index]
        if not one.flags & lib.MFS_REQUEST_COMPUTED and one.layers > one.layer_now:
            left.append((one.layers - one.layer_now) * one.layer_ns)
    return max(left)


def plan_paper(
    queues: Sequence[Queue],
    everyone: Any,
    count: int,
    rate_Bps: int,
    at_ns: int,
    budget: int = DROP_BUDGET,
) -> None:
    """RED of each batch; Algorithm 1 drops requests (SHED) while a batch would be late.

    A request's load on the port is its stage 3 bytes left. rate_Bps 0: nobody is dropped.
    """
    given_up = lib.MFS_REQUEST_HOPELESS | lib.MFS_REQUEST_SHED
    for index in range(count):
        everyone[index].flags &= ~given_up
        everyone[index].next_start_ns = NEVER
    sizes = [size for queue in queues for size in queue.batches]
    batches = ffi.new("struct mfs_plan_batch[]", max(1, len(sizes)))
    first = 0
    for batch, size in zip(batches, sizes, strict=False):
        batch.first, batch.count = first, size
        batch.compute_ns = _computing_ns(everyone, first, size)
        first += size
    deadlines = ffi.new("int64_t[]", max(1, count))
    loads = ffi.new("uint64_t[]", max(1, count))
    for index in range(count):
        deadlines[index] = everyone[index].deadline_ns
        loads[index] = everyone[index].p2d_left_bytes
    scratch = ffi.new("uint64_t[]", count + 2)
    if rate_Bps > 0:
        rates = ffi.new("uint64_t[]", [rate_Bps])
        control = ffi.new("struct mfs_plan_overload *")
        control.ports, control.rates_Bps, control.budget = 1, rates, budget
        control.drop_earlier = True
        order = ffi.new("uint32_t[]", max(1, len(sizes)))
        dropped = ffi.new("bool[]", max(1, count))
        check(
            lib.mfs_plan_overload(
                control, batches, len(sizes), deadlines, loads, at_ns, order, dropped, scratch
            ),
            "overload control",
        )
        for index in range(count):
            if dropped[index]:
                everyone[index].flags |= lib.MFS_REQUEST_SHED
    for batch, _ in zip(batches, sizes, strict=False):
        red = lib.mfs_plan_red(
            deadlines + batch.first, batch.count, ffi.cast("int64_t *", scratch), ffi.NULL
        )
        for index in range(batch.first, batch.first + batch.count):
            everyone[index].red_ns = red
