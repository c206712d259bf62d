# SPDX-License-Identifier: Apache-2.0
"""What the check on a GPU decides by itself: sizes, the way that channels took, busbw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import benches
import pytest

ROOT = Path(__file__).resolve().parent.parent
LOG = "vm:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[0] [send] via {}\n"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    return benches.load("nccl_gpu")


def test_sizes__both_ends_are_measured(gpu: ModuleType):
    sizes = gpu.sizes_of("Simple", 256 << 20)
    assert (sizes[0], sizes[-1]) == (8, 256 << 20)
    assert sizes == sorted(set(sizes))


def test_sizes__ll_only_as_far_as_nccl_uses_it(gpu: ModuleType):
    assert gpu.sizes_of("LL", 256 << 20)[-1] == gpu.LARGEST_LL
    assert gpu.sizes_of("LL", 8) == [8]


def test_ways__each_rank_must_say_ours(gpu: ModuleType):
    ours = LOG.format("NET/MFS/0")
    assert gpu.other_ways([ours, ours + ours], "MFS") == ""
    assert gpu.other_ways([ours, ours + LOG.format("SHM/direct/direct")], "MFS") == (
        "SHM/direct/direct"
    )
    assert gpu.other_ways([ours, LOG.format("NET/Socket/0")], "MFS") == "NET/Socket/0"
    assert gpu.other_ways([ours, "no channels"], "MFS") == "nothing"
    assert gpu.other_ways([LOG.format("NET/MFSX/0")], "MFS") == "NET/MFSX/0"


def test_busbw__as_nccl_tests_count(gpu: ModuleType):
    assert gpu.busbw("all_reduce", 4_000_000, 1.0, 4) == pytest.approx(6.0)
    assert gpu.busbw("all_to_all", 4_000_000, 1.0, 4) == pytest.approx(3.0)
    assert gpu.busbw("send_recv", 4_000_000, 1.0, 4) == pytest.approx(4.0)


def test_environment__a_rank_is_a_host_and_has_no_other_way(gpu: ModuleType):
    ours, sockets = (gpu.environment(name, "LL", 2, 1) for name in ("MFS", "Socket"))
    assert ours["NCCL_HOSTID"] != gpu.environment("MFS", "LL", 2, 0)["NCCL_HOSTID"]
    assert (ours["NCCL_NET"], sockets["NCCL_NET"]) == ("MFS", "Socket")
    assert ours["NCCL_NET_PLUGIN"].endswith("libnccl-net-mfs.so")
    assert sockets["NCCL_NET_PLUGIN"] == "none"
    assert {ours[f"NCCL_{name}_DISABLE"] for name in ("P2P", "SHM", "IB")} == {"1"}


def test_without_a_gpu__refuses():
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "nccl_gpu.py")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 77, done.stderr
    assert done.stderr.startswith("nccl_gpu: ")
