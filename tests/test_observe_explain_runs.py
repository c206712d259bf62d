# SPDX-License-Identifier: Apache-2.0
"""`mfs explain` on real runs: its sum is the time that NIXL has measured, and for the late requests
of a demo it names the cause that a reader of the whole trace finds."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from demo_run import demo
from ucx import toolbox

from mfs_transport.native import lib
from mfs_transport.observe.explain import Story, kind_of, story
from mfs_transport.observe.flows import flows
from mfs_transport.observe.recording import COMPLETED, LEFT, QUEUED, Recording
from mfs_transport.testbed.outcome import Outcome

pytestmark = [
    pytest.mark.nixl,
    pytest.mark.skipif(importlib.util.find_spec("nixl") is None, reason="NIXL is not installed"),
]

KINDS = {
    lib.MFS_STAGE_KV_REUSE: "fetch",
    lib.MFS_STAGE_COLLECTIVE: "collective",
    lib.MFS_STAGE_P2D: "deliver",
}
ORDER = ("collective", "fetch", "deliver", "wire")
TICK_NS = 500_000


def test_sum__is_the_time_of_nixl(tmp_path: Path):
    env = toolbox.environment(
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        NIXL_LOG_LEVEL="FATAL",
        NIXL_UCX_DEEPBIND="0",
        MFS_ENABLE="1",
        MFS_TRACE="1",
        MFS_PACE="10m",
        MFS_PORT_RATE="10m",
        MFS_SEGMENT=str(tmp_path / "segment"),
    )
    said = toolbox.run([sys.executable, str(toolbox.HERE / "nixl_explain.py")], env)
    env = toolbox.environment(preload=False, MFS_SEGMENT=str(tmp_path / "segment"))
    apart = []
    for index, seconds in enumerate(map(float, said.split())):
        command = [sys.executable, "-m", "mfs_transport", "explain", f"cmpl-{index}"]
        text = toolbox.run([*command, "--json", str(tmp_path / "why.json")], env)
        assert "until its last byte was acknowledged" in " ".join(text.split())
        pieces = json.loads((tmp_path / "why.json").read_text())["results"]
        assert {one["what"] for one in pieces} == {"deliver", "wire"}
        total = sum(one["end_ns"] - one["begin_ns"] for one in pieces) / 1e9
        assert 0.5 * seconds < total <= seconds
        apart.append(seconds - total)
    assert len(apart) == 3
    # NIXL looks when it is asked: of a process that has to wait for a core that may be later
    assert min(apart) <= 0.02 * float(said.split()[apart.index(min(apart))])


# --- the late requests of a demo ---


def rubric(found: Recording, name: str) -> Counter[str]:
    """Look at the trace every half millisecond: what of the request is in a queue, what is in
    flight? By counting events, not by their flows."""
    events = found.events[found.events["name"] == name.encode()]
    begin, end = int(events["time_ns"][0]), int(events["time_ns"][-1])
    open_: Counter[str] = Counter()
    time: Counter[str] = Counter()
    at = 0
    for now in range(begin, end, TICK_NS):
        while at < len(events) and events["time_ns"][at] <= now:
            kind, stage = int(events["kind"][at]), KINDS[int(events["stage"][at])]
            open_[stage] += {QUEUED: 1, LEFT: -1}.get(kind, 0)
            open_["wire"] += {LEFT: 1, COMPLETED: -1}.get(kind, 0)
            at += 1
        time[next((one for one in ORDER if open_[one] > 0), "compute")] += 1
    return time


def in_front(found: Recording, one: Story) -> str:
    """The kind of traffic of others that left while it waited longest, by bytes: counted from
    events that say that something has left."""
    assert one.longest
    events = found.events
    mine = events[events["name"] == one.request.encode()]
    under_way: Counter[tuple[int, int]] = Counter()  # of its own flows, when that began
    places = set()
    for row in mine:
        place = (int(row["port"]), int(row["direction"]))
        if row["time_ns"] <= one.longest.begin_ns:
            under_way[place] += {QUEUED: 1, COMPLETED: -1}.get(int(row["kind"]), 0)
        elif row["time_ns"] < one.longest.end_ns and row["kind"] == QUEUED:
            places.add(place)
    places |= {place for place, count in under_way.items() if count > 0}
    sums: Counter[str] = Counter()
    for row in events[(events["kind"] == LEFT) & (events["name"] != one.request.encode())]:
        place = (int(row["port"]), int(row["direction"]))
        if place in places and one.longest.begin_ns < row["time_ns"] <= one.longest.end_ns:
            sums[KINDS[int(row["stage"])]] += int(row["bytes_sent"])
    return sums.most_common(1)[0][0] if sums else ""


def check(found: Recording, outcome: Outcome) -> int:
    """How many late requests were looked at."""
    every = flows(found)
    late = 0
    for index, (ttft, slo) in enumerate(zip(outcome.ttft_s, outcome.slo_s, strict=True)):
        one = story(found, f"job-{index}", every)
        assert one.whole
        assert one.acknowledged
        assert one.late_s is not None
        # both hosts deliver; this is one of them, and what it has sent is not in later than it says
        assert one.late_s <= ttft - slo + 0.02, one.request
        if ttft <= slo:
            continue
        late += 1
        ticks = rubric(found, one.request)
        total = sum(ticks.values())
        for what, seconds in one.totals.items():
            assert ticks[what] * TICK_NS / 1e9 == pytest.approx(
                seconds, abs=0.02 * total * TICK_NS / 1e9
            ), what
        cause = max(one.totals, key=lambda name: one.totals[name])
        assert ticks[cause] >= 0.98 * max(ticks.values()), (one.request, ticks, one.totals)
        sizes: Counter[str] = Counter()
        for flow in one.beside:
            sizes[kind_of(flow)] += flow.size
        if sizes:
            first = sizes.most_common(1)[0]
            assert sizes[in_front(found, one)] == first[1], one.request
    return late


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MFS_TRACE", "1")
    return tmp_path


@pytest.mark.slow
def test_cause__of_the_late_requests_of_a_demo(folder: Path):
    found, outcome = demo(folder, "mfs", seconds=1.5, load=1.3)
    assert check(found, outcome) > 0


@pytest.mark.long
@pytest.mark.parametrize("policy", ["mfs", "fifo"])
def test_cause__of_twenty_late_requests(folder: Path, policy: str):
    found, outcome = demo(folder, policy, seconds=9.0, load=2.0)
    assert check(found, outcome) >= 20
    given_up = [one for one in flows(found) if any("given up" in row[2] for row in one.levels)]
    assert bool(given_up) == (policy == "mfs")
    assert np.all(np.diff(found.events["time_ns"]) >= 0)
