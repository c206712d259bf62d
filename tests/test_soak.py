# SPDX-License-Identifier: Apache-2.0
"""Mixed traffic for hours: bench/soak.py, short; and what it calls growth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import benches
import pytest

judge = benches.load("_soak_judge")


@pytest.mark.slow
def test_soak(tmp_path: Path) -> None:
    path, picture = tmp_path / "soak.json", tmp_path / "soak.png"
    options = ("--hours", "0.004", "--every", "1", "--json", path, "--plot", picture)
    command = [sys.executable, benches.BENCH / "soak.py", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert picture.read_bytes().startswith(b"\x89PNG")
    document = json.loads(path.read_text())
    totals = document["totals"]
    assert totals["posted_bytes"] == totals["verified_bytes"] + totals["failed_bytes"] > 0
    assert document["segment"]["alive"] == 1
    assert len(document["results"]) == 7
    again = [sys.executable, benches.BENCH / "soak.py", "--read", path]
    read = subprocess.run(again, capture_output=True, text=True, timeout=60, check=False)
    assert (read.returncode, read.stdout) == (0, done.stdout)


def samples(count: int, **grows: float) -> list[judge.Sample]:
    """One every ten seconds; `grows`: by so much from one to the next."""

    def value(name: str, at: int, start: float) -> int:
        return int(start + at * grows.get(name, 0.0))

    found = []
    for at in range(count):
        process = {
            "own_KiB": value("own_KiB", at, 9000),
            "descriptors": value("descriptors", at, 13),
            "rss_KiB": 1,
            "cpu_s": 1.0,
        }
        segment: dict[str, Any] = {use: value(use, at, 10) for use in judge.USES}
        found.append({"s": 10.0 * at, "processes": {"a": process}, "segment": segment})
    return found


@pytest.mark.parametrize(
    ("grows", "said"),
    [
        ({}, []),
        ({"own_KiB": 2.8}, []),  # 1008 KiB an hour
        ({"own_KiB": 3.0}, ["a: its own memory grows by 1080 KiB an hour"]),
        ({"descriptors": 0.01}, ["a: descriptors, 16 in the second quarter, 20 in the last"]),
        ({"senders": 0.02}, ["segment: senders, 15 in the second quarter, 22 in the last"]),
        ({"senders": 0.01}, []),  # by less than a fifth and two: they come and go
    ],
)
def test_grown(grows: dict[str, float], said: list[str]) -> None:
    assert judge.grown(samples(720, **grows), 7200) == said


def test_grown__says_nothing_of_a_short_run() -> None:
    assert judge.grown(samples(50, own_KiB=100), 500) == []


def test_left_behind() -> None:
    assert judge.left_behind({"alive": 1, "senders": 0, "requests": 0}) == []
    assert judge.left_behind({"alive": 1, "senders": 2, "requests": 0}) == [
        "segment at the end: senders 2, not 0"
    ]


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ((10, 9, 1, 0), []),
        ((10, 8, 1, 0), ["bytes: 10 in, 9 out or failed"]),
        ((10, 9, 0, 1), ["bytes: 1 are wrong"]),
    ],
)
def test_not_adding_up(totals: tuple[int, ...], said: list[str]) -> None:
    names = ("posted_bytes", "verified_bytes", "failed_bytes", "wrong_bytes")
    assert judge.not_adding_up(dict(zip(names, totals, strict=True))) == said


def test_counted_otherwise() -> None:
    use = {"bytes": 90, "passed_bytes": 10}
    assert judge.counted_otherwise(use, 100, 0) == []
    assert judge.counted_otherwise(use, 101, 0) != []
    assert judge.counted_otherwise(use, 101, 1) == []  # one was killed before it had posted
    assert judge.counted_otherwise(use, 99, 1) != []
