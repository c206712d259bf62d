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


@dataclass(frozen=True)
class Queue:
    """One unit: its requests' facts, in the order in which they will be served.

    facts     struct mfs_facts[]; first those that wait or compute, then those that were computed
    waiting   sizes of the batches that wait or compute
    computed  sizes of the batches that were computed
    """

    facts: Any
    waiting: Sequence[int]
    computed: Sequence[int]


def plan_mfs(queues: Sequence[Queue], everyone: Any, count: int, rate_Bps: int, at_ns: int) -> None:
    """Start, inherited urgency and hopelessness along each queue; shedding over all of them.

    everyone: struct mfs_facts[count], of which the queues' facts are parts; rate_Bps 0: nobody
    is given up for the port's sake. shed_for comes as a number in it, from 1 on.
    """
    for queue in queues:
        lib.mfs_plan_unit(queue.facts, queue.waiting, len(queue.waiting), at_ns)
        waiting = sum(queue.waiting)
        for index in range(waiting, waiting + sum(queue.computed)):
            lib.mfs_plan_computed(queue.facts + index, at_ns)
    for index in range(count):
        everyone[index].red_ns = NEVER
        everyone[index].flags &= ~lib.MFS_REQUEST_SHED
        everyone[index].shed_for = 0
    if rate_Bps > 0:
        scratch = ffi.new("uint32_t[]", max(1, count))
        check(lib.mfs_plan_shed(everyone, count, rate_Bps, at_ns, scratch), "shedding")


def plan_paper(
    queues: Sequence[Queue], everyone: Any, count: int, rate_Bps: int, at_ns: int
) -> None:
    """RED of each batch; Algorithm 1 drops requests (SHED) while a batch would be late.

    A request's load on the port is its stage 3 bytes left. rate_Bps 0: nobody is dropped.
    """
    given_up = lib.MFS_REQUEST_HOPELESS | lib.MFS_REQUEST_SHED
    for index in range(count):
        everyone[index].flags &= ~given_up
        everyone[index].shed_for = 0
        everyone[index].next_start_ns = NEVER
    sizes = [size for queue in queues for size in (*queue.waiting, *queue.computed)]
    batches = ffi.new("struct mfs_plan_batch[]", max(1, len(sizes)))
    first = 0
    for batch, size in zip(batches, sizes, strict=False):
        batch.first, batch.count = first, size
        batch.compute_ns = lib.mfs_plan_computing_ns(everyone + first, size)
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
        control.ports, control.rates_Bps, control.budget = 1, rates, lib.MFS_DROPS_PER_BATCH
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


WORK_OUT = {lib.MFS_PLAN_UNIT: plan_mfs, lib.MFS_PLAN_PAPER: plan_paper}
"""By what a policy says that it needs (enum mfs_policy_plan)."""
