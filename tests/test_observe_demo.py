# SPDX-License-Identifier: Apache-2.0
"""`mfs top`, `dump`, `exporter` and the trace say of a demo run what its result says."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from demo_run import demo, recorded, segment

from mfs_transport.commands import group
from mfs_transport.native import lib
from mfs_transport.observe.explain import story
from mfs_transport.observe.flows import flows
from mfs_transport.observe.rates import Watch
from mfs_transport.observe.segment import look
from mfs_transport.observe.waits import Wait, waits
from mfs_transport.testbed.llama import Llama

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed")
from mfs_transport.observe.metrics import COUNTERS, Collector

pytestmark = [
    pytest.mark.nixl,
    pytest.mark.skipif(importlib.util.find_spec("nixl") is None, reason="NIXL is not installed"),
]

HOSTS = Llama().setting.processes
EVERY_S = 0.3


class Host:
    """What is seen of one host from outside."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.path = name, segment(folder, name)
        self.watch = Watch()
        self.metrics: list[dict[str, float]] = []  # before and behind the run
        self.done: list[int] = []  # bytes through its ports, then
        self.top_bytes = 0.0  # rates by the time between two looks
        self.at_s = 0.0
        self.waits: list[Wait] = []

    def around(self) -> None:
        samples = [one for metric in Collector(self.path).collect() for one in metric.samples]
        self.metrics.append({one.name: one.value for one in samples if not one.labels})
        ports = [one for one in samples if one.name == "mfs_port_transferred_bytes_total"]
        self.done.append(int(sum(one.value for one in ports)))
        self.top()

    def top(self) -> None:
        now_s = time.monotonic()
        _, processes = self.watch.update(look(self.path), now_s)
        for one in processes:
            self.top_bytes += (one.moved_Bps or 0.0) * (now_s - self.at_s)
        self.at_s = now_s

    def during(self) -> None:
        self.top()
        self.waits += [one for queue in waits(self.path).queues for one in queue.waits]

    def counted(self) -> Counter[str]:
        before, after = self.metrics
        totals = {name: f"mfs_{metric}_total" for name, (metric, _) in COUNTERS.items()}
        return Counter(
            {name: round(after[one] - before.get(one, 0.0)) for name, one in totals.items()}
        )


class Outside:
    def __init__(self, folder: Path) -> None:
        self.hosts = {name: Host(folder, name) for name in HOSTS}
        self.top: list[dict[str, Any]] = []  # what the command says of the first one
        self.at_s = 0.0

    def around(self) -> None:
        for host in self.hosts.values():
            host.around()

    def during(self) -> None:
        if time.monotonic() - self.at_s < EVERY_S:
            return
        self.at_s = time.monotonic()
        for host in self.hosts.values():
            host.during()
        done = CliRunner().invoke(
            group,
            ["top", "--once", "--json", "--interval", "0.1"],
            env={"MFS_SEGMENT": self.hosts["prefill0"].path},
            catch_exceptions=False,
        )
        self.top.append(json.loads(done.stdout))


def check(folder: Path, policy: str, seconds: float, load: float) -> None:
    outside = Outside(folder)
    found, outcome = demo(
        folder, policy, seconds, load, during=outside.during, around=outside.around
    )
    result = json.loads(json.dumps(asdict(outcome)))  # as in the file
    hosts = outside.hosts.values()
    names = {f"job-{index}" for index in range(result["requests"])}

    # the exporter's counters are the result's, each of them
    counted: Counter[str] = Counter()
    for host in hosts:
        counted.update(host.counted())
    assert dict(counted) == {**dict.fromkeys(counted, 0), **result["counters"]}
    assert counted["faults"] == result["counters"]["faults"] == 0
    # what went through the ports: all that was posted but what went straight, and all that arrived
    done = sum(host.done[1] - host.done[0] for host in hosts)
    assert result["bytes"] <= counted["bytes"]
    assert done <= counted["bytes"]
    if counted["straight"] == 0:
        assert done == counted["bytes"]

    # top: its rates, added up, are those bytes
    assert sum(host.top_bytes for host in hosts) == pytest.approx(counted["bytes"], rel=1e-6)
    assert {one["policy"] for one in outside.top} == {policy}
    assert max(sum(one["requests_by_state"].values()) for one in outside.top) <= result["requests"]
    assert any(port["moved_Bps"] for one in outside.top for port in one["ports"])

    # dump: every line is of a request of the run, and no longer than it was there
    seen = [one for host in hosts for one in host.waits]
    assert seen
    # of one that is over while its line is read the name is gone, and its key stands there
    index = {f"{lib.mfs_request_key(name.encode()):016x}": int(name[4:]) for name in names}
    index |= {name: int(name[4:]) for name in names}
    assert {one.request for one in seen} <= set(index)
    assert {one.request for one in seen} & names
    assert {one.stage for one in seen} <= {"kv_reuse", "collective", "p2d"}
    for one in seen:
        assert one.left_bytes + one.sent_bytes <= result["bytes"]
        assert one.wait_s <= result["ttft_s"][index[one.request]] + 1.0, one

    # the trace and explain: the same requests, in time and late, given up and not
    every = flows(found)
    assert {one.name for one in every} <= names
    for name in names & {one.name for one in every}:
        at = int(name[4:])
        told = story(found, name, every)
        assert told.late_s is not None
        # not later than its first token was, but for the time in which that was heard of
        assert told.late_s <= result["ttft_s"][at] - result["slo_s"][at] + 0.02, name
    sizes = {host.name: sum(one.size for one in flows(recorded_of(host))) for host in hosts}
    for host in hosts:
        assert sizes[host.name] <= host.counted()["bytes"], host.name
    assert sum(sizes.values()) > result["bytes"] / 2  # most of it had to wait


def recorded_of(host: Host) -> Any:
    return recorded(Path(os.path.dirname(os.path.dirname(host.path))), host.name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MFS_TRACE", "1")
    return tmp_path


@pytest.mark.slow
def test_demo__is_seen_as_its_result_says(folder: Path):
    check(folder, "mfs", seconds=1.5, load=1.3)


@pytest.mark.long
@pytest.mark.parametrize("policy", ["mfs", "fifo"])
def test_demo__a_long_one_is_seen_as_its_result_says(folder: Path, policy: str):
    check(folder, policy, seconds=9.0, load=1.3)
