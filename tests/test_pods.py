# SPDX-License-Identifier: Apache-2.0
"""Pods of one node share a segment: emulated ones, of several users, in namespaces of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import benches
import pytest

from mfs_transport import node as node_folder
from mfs_transport import shared_segment
from mfs_transport.observe.segment import Look, look
from mfs_transport.testbed import network, pods

REASON = pods.why_not()

pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no pods here: {REASON}")

# what runs in a pod: it attaches, says what it sees, and ends when it is told
MEMBER = """
import json, os, sys
import mfs_transport as mfs
from mfs_transport.control import default_host
from mfs_transport.observe.segment import look
host = default_host()
mfs.register(f"request-of-{os.uname().nodename}", ttft_s=60.0)
found = look(host.path) if host.path else None
report = {"path": host.path, "reason": host.reason, "pid": os.getpid(), "user": os.getuid(),
          "seen": sorted(found.processes) if found else [], "shm": os.listdir("/dev/shm")}
print(json.dumps(report), flush=True)
sys.stdin.read()
"""


class Member:
    def __init__(self, place: network.Place, segment: str) -> None:
        self.process = subprocess.Popen(
            [*place.command, sys.executable, "-c", MEMBER],
            env={**os.environ, "MFS_SEGMENT": segment, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())


def until(path: Path, count: int) -> Look:
    """The kernel gives up the lock of a process that is killed when it has ended."""
    found = look(str(path))
    while len(found.processes) != count:
        found = look(str(path))
    return found


def three_pods() -> None:
    """Inside: two users, one segment; one pod outside of the group's folder; one killed."""
    node = pods.Node(125e6)
    path = node.shared / "host"
    shared_segment.create(path, pods.GROUP)
    places = [node.add(user) for user in (0, 1, 1)]
    members = [Member(place, str(path)) for place in places]
    assert [one.told["path"] for one in members] == [str(path)] * 3
    assert [one.told["reason"] for one in members] == [""] * 3
    assert [one.told["pid"] for one in members] == [1, 1, 1]
    # each sees itself as process 1, and the others as those of other pods
    names = ["1", "1@pod0", "1@pod1"]
    assert [one.told["seen"] for one in members] == [names[:1], names[:2], names]
    found = look(str(path))
    assert sorted(found.processes) == ["1@pod0", "1@pod1", "1@pod2"]
    assert sum(found.requests.values()) == 3
    owners = [os.stat(f"/proc/{pods.first_process(one.process.pid)}").st_uid for one in members]
    assert owners == [pods.FIRST_USER, pods.FIRST_USER + 1, pods.FIRST_USER + 1]
    # without the segment's path each has its own /dev/shm
    apart = Member(node.add(0), "")
    assert apart.told["seen"] == ["1"]
    assert len(until(path, 3).processes) == 3
    # one is killed; what it has registered goes with the next that attaches or leaves
    os.kill(pods.first_process(members[1].process.pid), 9)
    assert sorted(until(path, 2).processes) == ["1@pod0", "1@pod2"]
    again = Member(places[1], str(path))
    assert again.told["seen"] == ["1", "1@pod0", "1@pod2"]
    assert sum(look(str(path)).requests.values()) == 3
    # from the node's folder, as the agent makes it, in a pod of another user
    node_folder.install(Path("/run/opt"), Path("/run/opt"), str(path))
    lines = Path("/run/opt/env").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines)
    doctor = [*places[0].command, "env", *lines, sys.executable]
    doctor += ["-m", "mfs_transport", "doctor", "--pod", "--json"]
    done = subprocess.run(doctor, capture_output=True, text=True, check=False, cwd="/")
    report = json.loads(done.stdout)
    assert report["ok"], done.stdout + done.stderr
    reasons = {check["name"]: check["reason"] for check in report["checks"]}
    assert environ["LD_PRELOAD"] in reasons["libraries"]
    assert "pods in it: 3" in reasons["segment"]
    print("all is well")
    sys.stdout.flush()
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


def test_segment__is_shared_by_pods_of_two_users() -> None:
    command = [*network.enter_command(), sys.executable, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("all is well\n"), done.stdout + done.stderr


def test_bench(tmp_path: Path) -> None:
    """bench/pods.py, short: that it runs, and what its file says."""
    pytest.importorskip("nixl")
    arguments = (
        "--pods",
        "3",
        "--users",
        "2",
        "--rounds",
        "1",
        "--size",
        "4",
        "--system",
        "shared",
    )
    document, _ = benches.measured("pods", tmp_path, *arguments)
    assert document["processes"] == ["1@pod0", "1@pod1", "1@pod2"]
    cases = {one["case"]: one for one in document["results"]}
    assert list(cases) == ["alone", "beside", "stopped", "killed", "rubbish", "after"]
    assert all(one["ms"] >= 4 * 2**20 / 125e6 * 1e3 for one in cases.values())
    assert all(0 < one["wire"] <= 1.05 for name, one in cases.items() if name != "alone")


def test_bench__shares_by_weight(tmp_path: Path) -> None:
    """bench/pods.py --weights, short: three times the io.weight, three times the bytes."""
    pytest.importorskip("nixl")
    if "0::" not in Path("/proc/self/cgroup").read_text():
        pytest.skip("no cgroups of version 2 here")
    arguments = ("--weights", "100:300", "--rounds", "1", "--by", "io.weight", "--span", "1")
    patient = {"MFS_LEASE": "5s"}  # who is late on a busy machine is waited for
    document, _ = benches.measured("pods", tmp_path, *arguments, **patient)
    (found,) = document["results"]
    assert (found["by"], found["case"], found["weights"]) == ("io.weight", "all", [100, 300])
    assert 0.65 < found["shares"][1] < 0.85


if __name__ == "__main__":
    three_pods()
