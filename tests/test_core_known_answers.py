# SPDX-License-Identifier: Apache-2.0
"""Three flows on one link whose answers are known, under every policy that has one.

    flow  size  time after it  deadline  latest finish
    A     2     9              18        9
    B     4     6              12        6
    C     3     0              7         7     (stage 3: its deadline is explicit)

Sizes in units that the link sends in one time unit; all are posted at time 0. A and B are
collectives of the first of two layers: computing the second is the time after them.
"""

from __future__ import annotations

import pytest

from mfs_transport.scheduler import Facts, Queue, Tag

UNIT_NS = 1_000_000
UNIT_BYTES = 1_280_000
RATE_BPS = UNIT_BYTES * 1_000_000_000 // UNIT_NS
CHUNK = 1280

FLOWS = {
    "A": (2, Tag("A", "collective", 0), Facts(deadline_ns=18, layers=2, layer_ns=9)),
    "B": (4, Tag("B", "collective", 0), Facts(deadline_ns=12, layers=2, layer_ns=6)),
    "C": (3, Tag("C", "p2d", 1), Facts(deadline_ns=7, layers=2, layer_now=2, computed=True)),
}
LATEST = {"A": 9, "B": 6, "C": 7}


def finishes(
    policy: str, *, rate: float = 1.0, layer: float = 1.0, left: float = 0.0, **params: object
) -> dict[str, float]:
    """When each flow ends, in time units: one link, one chunk after the other.

    rate, layer, left: what the queue is told of the bandwidth, the time of a layer and the bytes
    left, as a multiple of the truth (left 0: not told, it takes what is queued).
    """
    queue = Queue(policy, rate_Bps=round(rate * RATE_BPS), **params)
    ends: dict[str, float] = {}

    def tell(name: str, left_bytes: int) -> None:
        _, tag, facts = FLOWS[name]
        queue.facts[name] = Facts(
            deadline_ns=facts.deadline_ns * UNIT_NS,
            layers=facts.layers,
            layer_ns=round(layer * facts.layer_ns * UNIT_NS),
            layer_now=facts.layer_now,
            p2d_left_bytes=round(left * left_bytes) if tag.stage == "p2d" else 0,
            computed=facts.computed,
        )

    for name, (size, tag, _) in FLOWS.items():
        tell(name, size * UNIT_BYTES)
        queue.push(tag, size * UNIT_BYTES)
    sent = 0
    while chunk := queue.take(CHUNK, now_ns=sent * UNIT_NS // UNIT_BYTES):
        name = str(chunk.operation.tag.request)
        sent += chunk.length
        if chunk.last:
            ends[name] = sent / UNIT_BYTES
        elif left and chunk.operation.tag.stage == "p2d":
            tell(name, chunk.operation.length - chunk.operation.taken)
    assert sent == 9 * UNIT_BYTES
    return ends


# what the deferral of the paper is worth depends on its thresholds: with Q_1 = 1 a flow is
# raised at the last safe moment; with the example of the paper (E = 4, U = 0.5) C is raised
# at MLU 1/8, that is at once, and B is late
KNOWN = [
    ("fair", {}, {"A": 6, "C": 8, "B": 9}),
    ("sjf", {}, {"A": 2, "C": 5, "B": 9}),
    ("srpt", {}, {"A": 2, "C": 5, "B": 9}),
    ("fifo", {}, {"A": 2, "B": 6, "C": 9}),
    ("off", {}, {"A": 2, "B": 6, "C": 9}),
    ("edf", {}, {"C": 3, "B": 7, "A": 9}),
    ("edf_paper", {}, {"C": 3, "A": 7, "B": 9}),
    # C gets 3/7 of the link to its deadline, the rest is SJF: A at 2 / (4/7), then B
    ("karuna", {}, {"A": 3.5, "C": 7, "B": 9}),
    ("mfs_paper", {"mlu_base": 4.0, "mlu_top": 4.0}, {"B": 4, "C": 7, "A": 9}),
    ("mfs_paper", {}, {"C": 3, "B": 7, "A": 9}),
    ("mfs", {}, {"B": 4, "C": 7, "A": 9}),
]


@pytest.mark.parametrize(
    ("policy", "params", "ends"), KNOWN, ids=[f"{row[0]}{i}" for i, row in enumerate(KNOWN)]
)
def test_known_answer(policy: str, params: dict[str, float], ends: dict[str, float]) -> None:
    # shares are equal to within a chunk of each flow
    tolerance = 3 * CHUNK / UNIT_BYTES if policy in ("fair", "edf_paper", "karuna") else 0
    assert finishes(policy, **params) == pytest.approx(ends, abs=tolerance)


def test_deferring_meets_all_and_the_others_do_not() -> None:
    def late(ends: dict[str, float]) -> set[str]:
        return {name for name, end in ends.items() if end > LATEST[name]}

    assert late(finishes("mfs")) == set()
    assert late(finishes("mfs_paper", mlu_base=4.0, mlu_top=4.0)) == set()
    assert late(finishes("fair")) == {"B", "C"}
    assert late(finishes("sjf")) == {"B"}
    assert late(finishes("edf_paper")) == {"B"}
