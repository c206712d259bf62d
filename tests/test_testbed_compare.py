# SPDX-License-Identifier: Apache-2.0
"""`mfs testbed compare`, small: two prefill hosts of four ranks and two NICs, a decode host."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mfs_transport.testbed import network

pytest.importorskip("nixl", reason="NIXL is not installed")
reason = network.why_not_namespaces()
pytestmark = pytest.mark.skipif(reason is not None, reason=f"no namespaces: {reason}")

CLUSTER = """
units = 1
unit_hosts = 2
decode_hosts = 1
gpu = "rtx3090"
gpus_per_host = 4
nics_per_host = 2
link_Gbps = 100
groups = 4
models = ["mixtral-8x7b"]
"""


def command(folder: Path, *options: str, requests: int = 30) -> list[str]:
    cluster = folder / "small.toml"
    cluster.write_text(CLUSTER)
    return [
        *(sys.executable, "-m", "mfs_transport", "testbed", "compare"),
        *("--cluster", str(cluster), "--seeds", "1", "--warmup", "0"),
        *("--requests", str(requests), "--time-scale", "2"),
        *("--results", str(folder / "kept.jsonl"), *options),
    ]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)


def test_compare__every_byte_once_and_the_simulators_figure_beside(tmp_path: Path):
    ways = ("--fetch", "push", "--deliver", "pull")
    files = ("--json", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.png"))
    done = run(*command(tmp_path, "--policies", "off,mfs", *files))
    assert done.returncode == 0, done.stderr
    assert "every byte arrived once, and unchanged" in done.stdout
    document = json.loads((tmp_path / "r.json").read_text())
    off, mfs = document["results"]
    assert (off["policy"], mfs["policy"]) == ("off", "mfs")
    for row, details in zip((off, mfs), document["details"], strict=True):
        assert 0.0 <= row["attainment"] <= 1.0
        assert 0.0 <= row["predicted_attainment"] <= 1.0
        assert row["collective_mean_s"] > 0.0
        assert isinstance(row["cpu_bound"], bool)
        assert details["bytes"] == details["bytes_expected"] > 0
        assert details["mismatches"] == 0
        assert details["counters"]["tagged"] > 0
    assert (tmp_path / "r.png").stat().st_size > 10_000
    again = run(*command(tmp_path, "--policies", "off,mfs"))  # nothing is run a second time
    assert "2 runs, 0 of them to do" in again.stdout
    other = run(*command(tmp_path, "--policies", "mfs", *ways, requests=8))
    assert other.returncode == 0, other.stderr
    assert "every byte arrived once, and unchanged" in other.stdout


def test_compare__hosts_agree_by_their_agents(tmp_path: Path):
    pytest.importorskip("nacl", reason="PyNaCl is not installed")
    log = tmp_path / "log"
    options = ("--policies", "mfs", "--exchange", "--log", str(log))
    done = run(*command(tmp_path, *options, requests=8))
    assert done.returncode == 0, done.stderr + log.read_text()
    assert "every byte arrived once, and unchanged" in done.stdout
    assert "exchange" in kept(tmp_path)
    # it is another run than one in which each host decides alone
    alone = run(*command(tmp_path, "--policies", "mfs", requests=8))
    assert "1 runs, 1 of them to do" in alone.stdout


def test_compare__hosts_are_chosen_by_what_they_say(tmp_path: Path):
    ways = ("--fetch", "push", "--deliver", "pull")
    choices = ("--store-choice", "draw,fit", "--decode-choice", "fit")
    files = ("--json", str(tmp_path / "r.json"))
    done = run(*command(tmp_path, "--policies", "mfs", *ways, *choices, *files, requests=8))
    assert done.returncode == 0, done.stderr
    assert "every byte arrived once, and unchanged" in done.stdout
    assert "other choices of hosts against the first" in done.stdout
    document = json.loads((tmp_path / "r.json").read_text())
    names = [row["policy"] for row in document["results"]]
    assert names == ["mfs, decode fit", "mfs, fit, decode fit"]
    for details in document["details"]:
        asked = details["choices"]  # faults: on a busy machine an answer may take too long
        assert asked["chosen"] + asked["turns"] >= 8


def test_compare__links_that_serve_classes(tmp_path: Path):
    """Urgent bytes are in the first queue of ports, both those of the plug-in and NIXL's."""
    options = ("--policies", "mfs", "--classes", "--log", str(tmp_path / "log"))
    done = run(*command(tmp_path, *options, requests=8))
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
    assert "links serve classes" in done.stdout
    assert "every byte arrived once, and unchanged" in done.stdout
    (row,) = map(json.loads, kept(tmp_path).splitlines())
    first, *_, last = row["details"]["class_bytes"]
    assert first > 0 < last
    # it is another run than one on links that do not
    alone = run(*command(tmp_path, "--policies", "mfs", requests=8))
    assert "1 runs, 1 of them to do" in alone.stdout


def kept(folder: Path) -> str:
    """Of the runs that are over."""
    path = folder / "kept.jsonl"
    return path.read_text() if path.exists() else ""


def ranks(mark: str) -> dict[int, str]:
    """Processes with this mark in their environment: pid, command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if line:
                    found[int(folder.name)] = line
        except OSError:
            continue
    return found


def started(arguments: list[str], mark: str) -> subprocess.Popen[str]:
    """A test bed whose first run is under way, as its progress says."""
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"BED_MARK": mark},
    )
    assert process.stderr
    for line in process.stderr:
        if "run 1 of" in line:
            break
    return process


def test_compare__what_a_killed_agent_leaves_is_no_result(tmp_path: Path):
    pytest.importorskip("nacl", reason="PyNaCl is not installed")
    mark = f"testbed-{os.getpid()}-agent"
    process = started(command(tmp_path, "--policies", "mfs", "--exchange", requests=8), mark)
    pid = next(pid for pid, line in ranks(mark).items() if "mfs_transport agent" in line)
    os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"the agent of host \w+ was killed by SIGKILL", errors)
    assert not kept(tmp_path)


@pytest.mark.parametrize("victim", ["prefill 1", "decode 0"])
def test_compare__a_killed_rank_ends_it_and_leaves_nothing(tmp_path: Path, victim: str):
    mark = f"testbed-{os.getpid()}-{victim}"
    process = started(command(tmp_path, "--policies", "mfs"), mark)
    pid = next(pid for pid, line in ranks(mark).items() if f"testbed.worker {victim}" in line)
    os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"host {victim.replace(' ', '')} was killed by SIGKILL" in errors
    until = time.monotonic() + 30
    while ranks(mark) and time.monotonic() < until:
        time.sleep(0.02)
    assert not ranks(mark)
    assert not kept(tmp_path)
