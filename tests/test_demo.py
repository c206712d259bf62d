# SPDX-License-Identifier: Apache-2.0
"""`mfs demo` as a user runs it: its results, its errors, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mfs_transport.testbed import network

pytest.importorskip("nixl", reason="NIXL is not installed")

DEMO = [sys.executable, "-m", "mfs_transport", "demo"]
LIMIT_S = 120

reason = network.why_not_namespaces()
needs_namespaces = pytest.mark.skipif(reason is not None, reason=f"no namespaces: {reason}")


def demo(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *options],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ | env,
        check=False,
    )


def short(folder: Path, *policies: str) -> list[str]:
    return [
        *("--seeds", "1", "--seconds", "1.5", "--load", "0.6", "--policies", ",".join(policies)),
        *("--plot", str(folder / "demo.png"), "--json", str(folder / "demo.json")),
    ]


@pytest.mark.parametrize(
    "how", [pytest.param([], marks=needs_namespaces, id="namespaces"), ["--loopback"]]
)
def test_results(tmp_path: Path, how: list[str]) -> None:
    done = demo(*short(tmp_path, "off", "mfs"), *how)
    assert done.returncode == 0, done.stderr
    assert "right checksum" in done.stdout
    assert (tmp_path / "demo.png").stat().st_size > 10_000
    document: dict[str, Any] = json.loads((tmp_path / "demo.json").read_text())
    assert document["schema_version"] == 1
    assert document["environment"]["versions"]["mfs-transport"]
    off, mfs = document["results"]
    assert (off["policy"], mfs["policy"]) == ("off", "mfs")
    for one in (off, mfs):
        assert one["seed"] == 0
        assert one["mismatches"] == 0
        assert 0.0 <= one["attainment"] <= 1.0
        assert 0.0 < one["ttft_p50_s"] <= one["ttft_p99_s"] < LIMIT_S
        assert len(one["ttft_s"]) == one["requests"]
        assert one["counters"]["faults"] == 0
        assert one["counters"]["tagged"] > 0
    assert off["bytes"] == mfs["bytes"] > 0
    assert mfs["counters"]["deferred"] > 0
    if not how:  # on loopback the pacer of the shim holds back whatever the policy
        assert off["counters"]["deferred"] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--policies", "off,best"], "policy 'best': one of off, fifo"),
        (["--policies", ""], "--policies ''"),
        (["--load", "-1"], "--load -1: from 0.01"),
        (["--link", "0"], "link 0.0: from 1"),
        (["--seeds", "0"], "--seeds 0: from 1"),
        (["--seconds", "soon"], "--seconds"),
        (["--store-choice", "best"], "--store-choice 'best': one of own, draw, slack, fit"),
        (["--store-choice", "fit"], "knows what waits where it writes: --fetch push"),
        (["--trace", "/nowhere/t.jsonl"], "trace /nowhere/t.jsonl: No such file"),
    ],
)
def test_bad_input_is_one_line_and_status_2(options: list[str], says: str) -> None:
    done = demo(*options)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_broken_trace_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"timestamp": 0, "input_length": -5, "hash_ids": []}\n')
    done = demo("--trace", str(path))
    assert done.returncode == 2
    assert f"trace {path}, line 1: input_length -5" in done.stderr


# --- killing processes ---


class Running:
    """A demo under way, found again in /proc by a mark in its environment."""

    def __init__(
        self, folder: Path, *how: str, policies: Sequence[str] = ("off", "mfs", "edf", "fifo")
    ) -> None:
        self.mark = f"DEMO_MARK={uuid.uuid4()}"
        name, value = self.mark.split("=")
        options = [*short(folder, *policies), *how]
        self.process = subprocess.Popen(
            [*DEMO, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {name: value},
        )
        assert self.process.stdout
        for line in self.process.stdout:  # the first policy is through, the next one runs
            if line.startswith("seed"):
                return
        raise AssertionError(self.process.communicate()[1])

    def processes(self) -> dict[int, str]:
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if command:  # else a zombie
                        found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def find(self, part: str) -> int:
        return next(pid for pid, command in self.processes().items() if part in command)

    def end(self) -> tuple[int, str]:
        """Exit status and stderr, once every process is gone."""
        _, errors = self.process.communicate(timeout=60)
        until = time.monotonic() + 30
        while self.processes() and time.monotonic() < until:
            time.sleep(0.02)
        assert not self.processes()
        return self.process.returncode, errors


@contextmanager
def running(folder: Path, *how: str, **more: Any) -> Iterator[Running]:
    demo_now = Running(folder, *how, **more)
    try:
        yield demo_now
    finally:
        for pid in demo_now.processes():
            os.kill(pid, signal.SIGKILL)
        demo_now.process.wait()


def leftovers() -> set[str]:
    folders = [Path("/dev/shm"), Path("/run/netns"), Path("/tmp")]
    return {
        str(path)
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if folder.name == "netns" or path.name.startswith("mfs-demo")
    }


WORKER = "mfs_transport.testbed.worker"


@needs_namespaces
@pytest.mark.parametrize(
    ("victim", "says"),
    [
        (f"{WORKER} prefill 0", "host prefill0 was killed by SIGKILL"),
        (f"{WORKER} decode 1", "host decode1 was killed by SIGKILL"),
        (f"{WORKER} store 0", "host store0 was killed by SIGKILL"),
        ("--inside", "coordinator was killed"),
    ],
)
def test_killed_process_ends_the_demo(tmp_path: Path, victim: str, says: str) -> None:
    before = leftovers()
    with running(tmp_path) as demo_now:
        pids = [pid for pid, line in demo_now.processes().items() if victim in line]
        # of `unshare … python … --inside` and its child, the child
        os.kill(max(pids), signal.SIGKILL)
        status, errors = demo_now.end()
    assert status == 1
    assert says in errors
    assert leftovers() == before


@needs_namespaces
def test_killed_starter_takes_the_demo_with_it(tmp_path: Path) -> None:
    before = leftovers()
    with running(tmp_path) as demo_now:
        demo_now.process.kill()
        status, errors = demo_now.end()
    assert status == -signal.SIGKILL
    assert "the process that started the test bed has gone" in errors
    assert leftovers() == before


@pytest.mark.parametrize("victim", [f"{WORKER} prefill 1", f"{WORKER} decode 0"])
def test_killed_host_on_loopback(tmp_path: Path, victim: str) -> None:
    before = leftovers()
    with running(tmp_path, "--loopback") as demo_now:
        os.kill(demo_now.find(victim), signal.SIGKILL)
        status, errors = demo_now.end()
    assert status == 1
    assert "was killed by SIGKILL" in errors
    assert leftovers() == before


def test_killed_slack_leaves_stores_as_they_are_drawn(tmp_path: Path) -> None:
    """The process that answers for all hosts is gone: each is said once, and nothing fails."""
    before = leftovers()
    how = ("--loopback", "--fetch", "push", "--store-choice", "slack,fit")
    with running(tmp_path, *how, policies=["mfs"]) as demo_now:
        os.kill(demo_now.find("mfs_transport.testbed.slack_ends"), signal.SIGKILL)
        status, errors = demo_now.end()
    assert status == 0, errors
    assert errors.count("mfs slack of store0") == 1
    first, second = json.loads((tmp_path / "demo.json").read_text())["results"]
    assert (first["policy"], second["policy"]) == ("mfs, slack", "mfs, fit")
    assert second["choices"]["faults"] > 0
    assert first["bytes"] == second["bytes"] > 0
    assert first["mismatches"] == second["mismatches"] == 0
    assert leftovers() == before


def test_killed_coordinator_on_loopback(tmp_path: Path) -> None:
    before = leftovers()
    with running(tmp_path, "--loopback") as demo_now:
        demo_now.process.kill()
        status, _ = demo_now.end()
    assert status == -signal.SIGKILL
    assert leftovers() == before
