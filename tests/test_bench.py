# SPDX-License-Identifier: Apache-2.0
"""The benches run, and their figures have the shape that readers rely on. No speed is asserted."""

from __future__ import annotations

import json
import os
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


def test_contend(tmp_path: Path) -> None:
    pytest.importorskip("nixl", reason="NIXL is not installed")
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    path = tmp_path / "contend.json"
    done = mfs("bench", "contend", "--pairs", "1", "--scene", "beside", "--json", str(path))
    assert done.returncode == 0, done.stderr
    document = json.loads(path.read_text())
    assert document["schema_version"] == 1
    assert [one["system"] for one in document["results"]] == ["plain", "mfs"]
    for one in document["results"]:
        assert one["scene"] == "beside"
        assert one["pairs"] == 1
        # 16 MiB cannot be faster than the link, nor moved at more than its rate
        assert one["alone_ms"] >= 16 * 2**20 / 125e6 * 1e3
        assert one["contended_ms"] >= 16 * 2**20 / 125e6 * 1e3
        assert 0 < one["rate_MBps"] < 130
    assert not os.path.exists("/run/netns/sender")
