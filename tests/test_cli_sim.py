# SPDX-License-Identifier: Apache-2.0
"""`mfs sim` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mfs_transport.sim.point import FIELDS

SMALL = ("--warmup", "10", "--requests", "60", "--load", "0.9")
SWEEP = """
model = "mixtral-8x22b"
load = [0.6, 1.2]
policy = ["fair", "mfs"]
seeds = 2
warmup = 10
measured = 60
"""


def sim(*arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mfs_transport", "sim", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """But for the time it took."""
    return {**one, "seconds": 0} == {**other, "seconds": 0}


def test_list__names_what_there_is():
    out = sim("list")
    for name in ("paper-simulation", "deepseek-v3", "llf_oracle", "sender+pressure", "unit_order"):
        assert name in out


def test_run__result_fields(tmp_path: Path):
    path = tmp_path / "r.json"
    out = sim("run", *SMALL, "--policy", "karuna+h", "--json", str(path))
    assert "attained" in out
    document = read(path)
    (row,) = document["results"]
    assert tuple(row) == FIELDS
    assert (row["policy"], row["workload"], row["seed"]) == ("karuna+h", "conversation", 0)
    assert 0 <= row["attainment"] <= 1
    assert 0 < row["ttft_p50_s"] <= row["ttft_p99_s"]
    assert row["events"] > 0
    (details,) = document["details"]
    assert details["load"] == pytest.approx(0.9)
    assert 0 < details["utilisation"] < 1


def test_compare__pictures_and_intervals(tmp_path: Path):
    path, plot = tmp_path / "c.json", tmp_path / "c.png"
    options = ("--policies", "fair,mfs", "--seeds", "2", "--jobs", "1")
    out = sim("compare", *SMALL, *options, "--plot", str(plot), "--json", str(path))
    assert "±" in out
    assert out.count("given") == 1
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = read(path)["results"]
    assert [(row["policy"], row["seed"]) for row in rows] == [
        ("fair", 0),
        ("fair", 1),
        ("mfs", 0),
        ("mfs", 1),
    ]
    alone = tmp_path / "r.json"
    sim("run", *SMALL, "--policy", "mfs", "--seed", "1", "--json", str(alone))
    assert same(read(alone)["results"][0], rows[3])


def test_sweep__resumes_after_a_kill(tmp_path: Path):
    file, store, path = tmp_path / "s.toml", tmp_path / "kept.jsonl", tmp_path / "s.json"
    file.write_text(SWEEP)
    arguments = ("sweep", str(file), "--results", str(store), "--jobs", "1")
    process = subprocess.Popen([sys.executable, "-m", "mfs_transport", "sim", *arguments])
    limit = time.monotonic() + 60
    while not (store.exists() and store.read_text().count("\n") >= 2):
        assert time.monotonic() < limit
        if process.poll() is not None:  # it was done before it could be killed
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = [json.loads(line) for line in store.read_text().splitlines() if line.endswith("}")]
    out = sim(*arguments, "--json", str(path), "--judge")
    assert f"8 points, {len(kept)} of them kept" in out
    rows = read(path)["results"]
    assert len(rows) == 8
    assert all(any(same(row, one["result"]) for row in rows) for one in kept)
    assert "against" in out
    for what in ("attained", "TTFT mean", "TTFT p99", "TTFT / SLO mean", "TTFT / SLO p99"):
        assert what in out
    assert "8 points, 8 of them kept" in sim(*arguments)
    assert "4 points, 4 of them kept" in sim(*arguments, "--only", "mfs")
    assert "variants" in sim(*arguments, "--best")
    assert "--only best: not in the file" in sim(*arguments, "--only", "best", status=2)
    assert "against fair, seed by seed" in sim(*arguments, "--changes", "--base", "fair")
    assert "beyond mfs" in sim(*arguments, "--base", "fair", "--beyond", "mfs")
    assert "over attains at 90 %" in " ".join(sim(*arguments, "--ratios").split())
    assert "policy 'inf': not in the file" in sim(*arguments, "--beyond", "inf", status=2)


def test_sweep__processes_give_what_one_does(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text(SWEEP)
    found = []
    for jobs in ("1", "2"):
        path = tmp_path / f"{jobs}.json"
        kept = str(tmp_path / f"{jobs}.jsonl")
        plot = tmp_path / f"{jobs}.png"
        more = ("--json", str(path), "--plot", str(plot))
        sim("sweep", str(file), "--jobs", jobs, "--results", kept, *more)
        assert plot.read_bytes().startswith(b"\x89PNG")
        found.append(read(path)["results"])
    assert all(same(one, two) for one, two in zip(*found, strict=True))


def test_sweep__dask(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    file, path = tmp_path / "s.toml", tmp_path / "s.json"
    file.write_text(SWEEP)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        kept = ("--results", str(tmp_path / "k.jsonl"))
        address = ("--dask", cluster.scheduler_address)
        sim("sweep", str(file), *kept, *address, "--json", str(path))
    found = read(path)["results"]
    assert len(found) == 8
    sim("sweep", str(file), "--results", str(tmp_path / "here.jsonl"), "--json", str(path))
    assert all(same(one, two) for one, two in zip(found, read(path)["results"], strict=True))


def test_explain__time_line_and_the_latest():
    out = sim("explain", *SMALL, "--request", "40")
    assert "request 40: TTFT" in out
    assert "computing of group 7" in out
    listed = sim("explain", *SMALL, "--list", "3", "--policy", "fair").splitlines()
    assert sum(line.split()[0].isdigit() for line in listed) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--policy", "best"), "policy 'best': one of fair"),
        (("run", "--cluster", "moon"), "cluster 'moon': one of"),
        (("run", "--model", "gpt"), "model 'gpt': one of"),
        (("run", "--load", "0.5", "--rate", "3"), "rate and load: only one"),
        (("run", "--set", "link"), "--set 'link': KEY=VALUE"),
        (("run", "--set", "links=3"), "unknown key 'links'"),
        (("run", "--option", "level=3"), "option 'level'"),
        (("run", "--slo", "soon"), "SLO 'soon'"),
        (("compare", "--policies", "mfs", "--base", "fair"), "--base 'fair': one of mfs"),
        (("sweep", "none.toml"), "none.toml: No such file"),
        (("explain", "--request", "-1"), "request -1: from 0"),
    ],
)
def test_errors__one_line(arguments: tuple[str, ...], says: str):
    err = sim(*arguments, status=2)
    assert says in err
    assert len(err.splitlines()) == 1


def test_sweep__a_killed_worker_is_said(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text(SWEEP.replace("measured = 60", "measured = 4000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "mfs_transport", "sim", "sweep", str(file), "--jobs", "2"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    limit = time.monotonic() + 60
    workers: list[int] = []
    while not workers:
        assert process.poll() is None
        assert time.monotonic() < limit
        workers = [
            int(one)
            for one in children.read_text().split()
            if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text()
        ]
    os.kill(workers[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was killed" in err
    assert "run the same command again" in err
