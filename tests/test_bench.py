# SPDX-License-Identifier: Apache-2.0
"""The benches run, and their figures have the shape that readers rely on. No speed is asserted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mfs_transport.testbed import network

MFS = [sys.executable, "-m", "mfs_transport"]


def mfs(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MFS, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_list() -> None:
    done = mfs("bench")
    assert done.returncode == 0
    assert {"contend", "ucx"} <= {line.split()[0] for line in done.stdout.splitlines()}


def test_unknown_bench_is_named() -> None:
    done = mfs("bench", "speed")
    assert done.returncode == 2
    assert "bench 'speed': one of" in done.stderr


def test_router(tmp_path: Path) -> None:
    path = tmp_path / "router.json"
    done = mfs("bench", "router", "--runs", "3", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    document = json.loads(path.read_text())
    assert document["schema_version"] == 1
    assert len(document["results"]) == 4
    for one in document["results"]:
        assert one["name"] in done.stdout
        assert min(one["without_us"], one["with_us"]) > 0
        assert one["cost_us"] == one["with_us"] - one["without_us"]
    assert done.stderr.count("mfs: ") == 1  # of the bad header, so it was read


def test_agents(tmp_path: Path) -> None:
    pytest.importorskip("nacl", reason="PyNaCl is not installed")
    path = tmp_path / "agents.json"
    sizes = ("--hosts", "2", "--agents", "2", "--seconds", "1")
    done = mfs("bench", "agents", *sizes, "--json", str(path))
    assert done.returncode == 0, done.stderr
    document = json.loads(path.read_text())
    assert [one["case"] for one in document["results"]] == ["incast", "all"]
    for one in document["results"]:
        assert one["changes_per_s"] > 0
        assert one["datagrams_per_s"] > 0


def test_contend(tmp_path: Path) -> None:
    pytest.importorskip("nixl", reason="NIXL is not installed")
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    path = tmp_path / "contend.json"
    systems = ("--system", "plain", "--system", "gate", "--system", "mfs")
    scene = ("--scene", "beside")
    done = mfs("bench", "contend", "--pairs", "1", *scene, *systems, "--json", str(path))
    assert done.returncode == 0, done.stderr
    document = json.loads(path.read_text())
    assert document["schema_version"] == 1
    assert [one["system"] for one in document["results"]] == ["plain", "gate", "mfs"]
    for one in document["results"]:
        assert one["scene"] == "beside"
        assert one["pairs"] == 1
        # 16 MiB cannot be faster than the link, nor moved at more than its rate
        assert one["alone_ms"] >= 16 * 2**20 / 125e6 * 1e3
        assert one["contended_ms"] >= 16 * 2**20 / 125e6 * 1e3
        assert 0 < one["rate_MBps"] < 130
    assert not os.path.exists("/run/netns/sender")


def test_ucx_contend(tmp_path: Path) -> None:
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    path = tmp_path / "ucx.json"
    options = ("--contend", "4", "--pairs", "1", "--size", "4m", "--rate", "400")
    done = mfs("bench", "ucx", *options, "--json", str(path))
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(path.read_text())["results"]
    assert one["operation"] == "contend"
    assert one["background_flows"] == 4
    for system in ("off", "mfs"):
        assert one[system] >= 4 * 2**20 / 50e6 * 1e3
        assert 0 < one[f"together_MBps_{system}"] < 60


def test_ucx_two_hosts(tmp_path: Path) -> None:
    """Server and client started apart, as on two hosts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "ucx.json"
    options = ("--operation", "put", "--min", "64k", "--max", "64k", "--pairs", "1")
    command = [*MFS, "bench", "ucx", "--listen", str(port), "--max", "64k", "--size", "64k"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        done = mfs("bench", "ucx", "--connect", f"127.0.0.1:{port}", *options, "--json", str(path))
        assert done.returncode == 0, done.stderr
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    (one,) = json.loads(path.read_text())["results"]
    assert one["size_bytes"] == 65536
    assert one["off"] > 0
    assert one["mfs"] > 0


def test_ucx_of_a_library_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of another name, and over what the environment says."""
    libucx = pytest.importorskip("libucx")
    copy = shutil.copytree(Path(libucx.__path__[0]) / "lib", tmp_path / "ucx", symlinks=True)
    # what it needs of the wheel lies beside the wheel's folder, by a path from there
    (tmp_path / "libucx_cu12.libs").symlink_to(Path(libucx.__path__[0]).parent / "libucx_cu12.libs")
    monkeypatch.setenv("UCX_TLS", "tcp")
    monkeypatch.setenv("UCX_NET_DEVICES", "lo")
    path = tmp_path / "ucx.json"
    options = ("--operation", "put", "--min", "64k", "--max", "64k", "--pairs", "1")
    how = ("--libucp", str(copy / "libucp.so.0"), "--transport", "as-set")
    done = mfs("bench", "ucx", *how, *options, "--json", str(path))
    assert done.returncode == 0, done.stderr
    (one,) = json.loads(path.read_text())["results"]
    assert one["transport"] == "as-set"
    assert min(one["off"], one["mfs"]) > 0
    done = mfs("bench", "ucx", "--libucp", str(tmp_path / "none.so"))
    assert done.returncode == 2
    assert "none.so" in done.stderr


def test_ucx_bad_input() -> None:
    done = mfs("bench", "ucx", "--min", "many")
    assert done.returncode == 2
    assert "number of bytes" in done.stderr
    done = mfs("bench", "ucx", "--connect", "somewhere")
    assert done.returncode == 2
    assert "ADDRESS:PORT" in done.stderr


@pytest.mark.parametrize(
    ("scene", "operation", "stuck", "transport"),
    [("slow", "get", "same", "tcp"), ("down", "message", "other", "nccl")],
)
def test_stall(scene: str, operation: str, stuck: str, transport: str, tmp_path: Path) -> None:
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    path = tmp_path / "stall.json"
    options = ("--rounds", "1", "--seconds", "0.4", "--policy", "fifo")
    case = ("--scene", scene, "--operation", operation, "--stuck", stuck)
    done = mfs("bench", "stall", *case, *options, "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    (one,) = json.loads(path.read_text())["results"]
    assert (one["scene"], one["transport"], one["policy"]) == (scene, transport, "fifo")
    assert one["stuck"] == stuck
    # what the healthy get fits the sender's link, and the sick one's is as the scene says
    assert 0 < one["plain"] < 130
    assert 0 <= one["mfs"] < 130
    assert one["ratio"] == pytest.approx(one["mfs"] / one["plain"])
    assert one["met"] == (one["ratio"] >= 0.95)
    for system in ("sick_plain", "sick_mfs"):
        assert one[system] == 0 if scene == "down" else 0 <= one[system] < 25


def test_stall_short_of_a_core(tmp_path: Path) -> None:
    path = tmp_path / "stall.json"
    case = ("--scene", "quota", "--transport", "shm", "--size", "4m", "--size", "64k")
    options = ("--rounds", "1", "--seconds", "0.1", "--json", str(path))
    done = mfs("bench", "stall", *case, *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text())["results"]
    found = [(one["operation"], one["size_bytes"]) for one in rows]
    assert found == [(kind, size) for kind in ("put", "get") for size in (4 << 20, 64 << 10)]
    for one in rows:
        assert one["plain"] > 0
        assert one["mfs"] > 0
        assert one["by"].startswith(("cgroup", "SIGSTOP"))


def test_stall_halves_without_a_cgroup() -> None:
    """The way that needs no cgroup: the command goes on after each stop, and its status stays."""
    halve = Path(__file__).parents[1] / "bench" / "_short.py"
    code = (
        "import signal, sys, threading\n"
        "seen = threading.Semaphore(0)\n"
        "signal.signal(signal.SIGCONT, lambda *_: seen.release())\n"
        "sys.exit(3 if all(seen.acquire(timeout=20) for _ in range(3)) else 4)"
    )
    done = subprocess.run([sys.executable, halve, sys.executable, "-c", code], check=False)
    assert done.returncode == 3


def test_stall_bad_input() -> None:
    done = mfs("bench", "stall", "--scene", "urgent", "--transport", "nccl")
    assert done.returncode == 2
    assert "no scene has all of that" in done.stderr
    done = mfs("bench", "stall", "--rate", "0")
    assert done.returncode == 2
    assert "from 1 to 10000 Mbit/s" in done.stderr
