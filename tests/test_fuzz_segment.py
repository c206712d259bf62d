# SPDX-License-Identifier: Apache-2.0
"""Words of a live segment are changed at random: tests/fuzz/segment.c, and under real transfers.

pytest tests/test_fuzz_segment.py -m long      1,000 seeds, and transfers by NIXL
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-pthread", '-DMFS_VERSION="test"'),
    *("-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wshadow"),
]
SANITIZERS = {
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "tsan": ["-fsanitize=thread", "-Wno-tsan"],
}
RUN = [sys.executable, "-m", "mfs_transport", "run", "--", sys.executable, "-c"]


def compiled(folder: Path, sanitizer: str = "asan") -> Path:
    program = folder / "fuzz_segment"
    own, csrc = ROOT / "tests" / "fuzz", ROOT / "csrc"
    places = ((own, "segment*.c"), (csrc / "core", "*.c"), (csrc / "host", "*.c"))
    sources = [str(path) for place, pattern in places for path in sorted(place.glob(pattern))]
    options = [*FLAGS, *SANITIZERS[sanitizer], f"-I{ROOT / 'csrc'}"]
    subprocess.run(["gcc", *options, "-o", str(program), *sources, "-lm"], check=True)
    return program


@pytest.mark.parametrize(
    ("sanitizer", "first", "count"),
    [
        ("asan", 1, 30),
        pytest.param("asan", 10_000, 1000, marks=pytest.mark.long),
        pytest.param("tsan", 20_000, 200, marks=pytest.mark.long),
    ],
)
def test_no_word_crashes_or_stops_a_process(
    tmp_path: Path, sanitizer: str, first: int, count: int
) -> None:
    program = compiled(tmp_path, sanitizer)
    done = subprocess.run(
        [str(program), str(first), str(count)],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60 + 5 * count,
        check=False,
    )
    assert done.stdout == f"{count} seeds, 2 processes each: 0 wrong\n", done.stdout + done.stderr
    assert done.returncode == 0


# two agents of one process; what arrives is compared
TRANSFERS = """
import sys, time
import numpy as np
from nixl._api import nixl_agent, nixl_agent_config
import mfs_transport as mfs

left, right = (nixl_agent(n, nixl_agent_config(enable_prog_thread=False, backends=["UCX"]))
               for n in ("left", "right"))
size = 4 << 20
source, target = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
for agent, memory in ((left, source), (right, target)):
    agent.register_memory([(memory.ctypes.data, size, 0, "")], "DRAM")
left.add_remote_agent(right.get_agent_metadata())
describe = lambda agent, memory: agent.get_xfer_descs([(memory.ctypes.data, size, 0)], "DRAM")
until, moved = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < until:
    source[:] = np.random.default_rng(moved).integers(0, 256, size, np.uint8)
    name = f"r{moved % 50}"
    try:
        request = mfs.register(name, ttft_s=1.0, layers=8, layer_s=0.001)
        request.progress(moved % 8)
    except OSError:
        pass  # the table is what somebody has made of it
    with mfs.tag(name, stage="p2d", layer=moved % 8):
        handle = left.initialize_xfer(
            "WRITE", describe(left, source), describe(right, target), "right", b"x")
        state, limit = left.transfer(handle), time.monotonic() + 60
        while state == "PROC" and time.monotonic() < limit:
            right.get_new_notifs()
            state = left.check_xfer_state(handle)
    assert state == "DONE", state
    assert (source == target).all()
    left.release_xfer_handle(handle)
    moved += 1
print("moved", moved, flush=True)
import os; os._exit(0)  # a destructor of NIXL's wheel crashes without us as well
"""


@pytest.mark.long
@pytest.mark.nixl
@pytest.mark.skipif(not importlib.util.find_spec("nixl"), reason="NIXL is not installed")
@pytest.mark.parametrize("seed", range(1, 6))
def test_transfers_arrive_whatever_the_segment_says(tmp_path: Path, seed: int):
    program_of_changes = compiled(tmp_path)
    segment = tmp_path / "segment"
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_", "NIXL_"))}
    environ = {
        **clean,
        "MFS_SEGMENT": str(segment),
        "MFS_TRACE": "1",
        "MFS_LOG": "0",
        "UCX_TLS": "tcp",
        "UCX_NET_DEVICES": "lo",
        "NIXL_LOG_LEVEL": "FATAL",
    }
    programs = [
        subprocess.Popen(
            [*RUN, TRANSFERS, "20"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    until = time.monotonic() + 60
    while not (segment.exists() and segment.stat().st_size > 0) and time.monotonic() < until:
        time.sleep(0.01)
    changer = subprocess.Popen([str(program_of_changes), "change", str(segment), str(seed)])
    try:
        for program in programs:
            out, err = program.communicate(timeout=150)
            assert program.returncode == 0, err
            assert int(out.split()[1]) > 0
        assert changer.wait(30) == 0
    finally:
        for process in (*programs, changer):
            process.kill()
