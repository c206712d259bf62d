# SPDX-License-Identifier: Apache-2.0
"""`mfs bench ns3`: what it makes of a scene's lines, what it says where ns-3 is missing, and, where
it is there, one short scene of each kind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import benches
import pytest

BENCH = Path(__file__).parent.parent / "bench" / "ns3.py"
NS3 = Path("/usr/include/ns3/core-module.h").exists() and shutil.which("g++") is not None


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benches.load("ns3")


def words(*lines: str) -> list[list[str]]:
    return [line.split() for line in lines]


def test_judge__pull(bench: ModuleType):
    lines = words(
        *["put alone 0.07"] * 3,
        "put fills 9",
        *["put beside 0.1"] * 3,
        "put beside 0.21",
        "stream 25e6",
        "reads 84e6",
        "capacity 119e6",
        "datagrams 125e3",
    )
    found = bench.judge("pull", lines, [])
    assert found["collective_p99_ratio"] == pytest.approx(3.0)
    # of the 119 that they have without the puts, less the puts' 25 MB/s
    assert found["reads_share"] == pytest.approx(84 / 94)
    assert found["reads_share_of_link"] == pytest.approx(0.84)
    assert found["link_share"] == pytest.approx(0.001)


def test_judge__incast_counts_what_never_came_as_late(bench: ModuleType):
    second = int(bench.LINK_BPS)
    jobs = [
        bench.Job(0, 0.0, second, 4.0),
        bench.Job(1, 0.0, second, 30.0),
        bench.Job(2, 0.0, second, 30.0),
        bench.Job(3, 0.0, second, 30.0),
    ]
    lines = words("put 2 12.5", "put 0 4.5", "put 3 31", "datagrams 0")
    found = bench.judge("incast", lines, jobs)
    assert found["on_time"] == 0.25
    assert found["on_time_tight"] == 0.0


def test_libraries__of_whatever_version_and_build(bench: ModuleType, tmp_path: Path):
    with pytest.raises(bench.Missing, match=r"has no libns3-core\.so; apt-get install libns3-dev"):
        bench.libraries(tmp_path)
    for module in bench.NEEDED:
        for name in (f"libns3.41-{module}-optimized.so", f"libns3.41-{module}-apps-optimized.so"):
            (tmp_path / "lib").mkdir(exist_ok=True)
            (tmp_path / "lib" / name).touch()
    found = [Path(one).name for one in bench.libraries(tmp_path)]
    assert found == [f"libns3.41-{module}-optimized.so" for module in bench.NEEDED]


def test_without_ns3_it_says_what_is_missing(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(BENCH), "--prefix", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 77
    said = " ".join(done.stdout.split())
    assert said.startswith("skipped: no ns-3:")
    assert said.endswith("apt-get install libns3-dev g++, or --prefix")


@pytest.mark.long
@pytest.mark.skipif(not NS3, reason="no ns-3: apt-get install libns3-dev g++")
def test_scene__the_exchange_pays(tmp_path: Path):
    """Figures are of simulated time: the same on any machine."""
    report = tmp_path / "ns3.json"
    subprocess.run(
        [
            *(sys.executable, str(BENCH), "--case", "pull", "--variant", "local"),
            *("--variant", "exchange", "--seconds", "1", "--json", str(report)),
        ],
        check=True,
        timeout=600,
    )
    found = {row["variant"]: row for row in json.loads(report.read_text())["results"]}
    assert found["exchange"]["collective_p99_ratio"] < found["local"]["collective_p99_ratio"]
    assert found["exchange"]["link_share"] < 0.01
    assert min(row["reads_share"] for row in found.values()) > 0.8
