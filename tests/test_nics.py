# SPDX-License-Identifier: Apache-2.0
"""Workers of one host with a NIC each, emulated: each has a port of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import benches
import pytest

from mfs_transport.testbed import network

REASON = network.why_not_namespaces()

pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no network namespaces: {REASON}")


def test_bench(tmp_path: Path) -> None:
    """bench/nics.py, short: that it runs, and what its file says."""
    pytest.importorskip("nixl")
    arguments = (
        "--nics",
        "2",
        "--rounds",
        "1",
        "--size",
        "1",
        "--system",
        "own",
        "--system",
        "one",
    )
    document, _ = benches.measured("nics", tmp_path, *arguments)
    own, one = document["results"]
    assert own["senders"] == {"eth0": 1, "eth1": 1}  # nobody else is in the order of either
    assert one["senders"] == {"nic": 2}
    for result in (own, one):
        assert len(result["times_alone"]) == 2
        assert result["alone_ms"] >= 1e3 * 2**20 / document["link_Bps"]
        assert 0 < result["used"] <= 1.05


# in a namespace of its own: the folder has no room, and what is in it afterwards is told
FULL = """
mount -t tmpfs -o size=4k tmpfs "$0"
head -c 4096 /dev/zero >"$0/filler"
"$@" && status=0 || status=$?
ls -A "$0" | grep -vx filler && exit 9
exit $status
"""


def processes_with(mark: str) -> list[str]:
    """That have it in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environ = path.read_bytes()
        except OSError:  # it has gone, or is another user's
            continue
        if mark.encode() in environ:
            found.append(path.parent.name)
    return found


def test_bench__full_disk(tmp_path: Path) -> None:
    """The table is printed, one line says what is wrong, and nothing stays behind."""
    pytest.importorskip("nixl")
    mark = f"BENCH_TEST_MARK={tmp_path}"
    bench = [
        sys.executable,
        str(benches.BENCH / "nics.py"),
        "--nics",
        "2",
        "--rounds",
        "1",
        "--size",
        "1",
    ]
    done = subprocess.run(
        [
            *(*network.enter_command(), "sh", "-eu", "-c", FULL, str(tmp_path)),
            *(*bench, "--rounds", "1", "--size", "1", "--system", "plain"),
            *("--json", str(tmp_path / "nics.json")),
        ],
        env={**os.environ, **dict([mark.split("=", 1)])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("plain, round")]
    assert said == [f"mfs: {tmp_path}/nics.json: No space left on device"]
    assert "times alone" in done.stdout
    assert processes_with(mark) == []
