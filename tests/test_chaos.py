# SPDX-License-Identifier: Apache-2.0
"""Faults at random under real traffic: bench/chaos.py, short; and what it calls wrong."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import benches
import pytest

from mfs_transport.testbed import network

chaos, world = benches.load("_chaos_scene"), benches.load("_soak_world")


def bench(path: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    done = subprocess.run(
        [sys.executable, benches.BENCH / "chaos.py", *options, "--json", path],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert path.exists(), done.stdout + done.stderr
    return done, json.loads(path.read_text())["results"]


@pytest.mark.slow
def test_chaos__every_byte_is_right_and_all_end(tmp_path: Path) -> None:
    done, rows = bench(tmp_path / "chaos.json", "--rounds", "12", "--seed", "11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert len({(one["scene"], one["fault"]) for one in rows}) > 6
    for one in rows:
        assert (one["problem"], one["hang"], one["wrong_bytes"]) == ("", False, 0)
        assert one["posted_bytes"] == one["verified_bytes"] + one["failed_bytes"] > 0
        if not one["fault"].startswith("kill"):
            assert one["failed_bytes"] == 0


def test_chaos__a_round_can_be_played_again(tmp_path: Path) -> None:
    chosen = ("--scene", "ucx", "--scene", "ucx-one", "--fault", "slow", "--fault", "none")
    _, (first, second) = bench(tmp_path / "all.json", "--rounds", "2", "--seed", "3", *chosen)
    _, (again,) = bench(tmp_path / "one.json", "--only", "1", "--seed", "3", *chosen)
    drawn = ("round", "scene", "fault", "policy")
    assert [again[name] for name in drawn] == [second[name] for name in drawn]
    assert first["round"] == 0


# --- what is called wrong: accounts that are made up ---


def account(**words: int) -> bytes:
    return world.ACCOUNT.pack(*(words.get(name, 0) for name in world.WORDS))


def round_of(folder: Path, fault: str, sender: bytes, receiver: bytes) -> chaos.Scene:
    accounts = world.Accounts(folder)
    accounts.path.write_bytes(sender + receiver)
    scene = chaos.Scene(
        random.Random(1),
        None,
        {},
        folder,
        folder,
        accounts,
        "ucx",
        fault,
        "mfs",  # type: ignore[arg-type]
    )
    scene.pairs["sick"] = chaos.Pair("sick", "ucx", 0, None)  # type: ignore[arg-type]
    return scene


@pytest.mark.parametrize(
    ("fault", "sender", "receiver", "said"),
    [
        (
            "down",
            {"posted_bytes": 9, "over": 1},
            {"verified_bytes": 8, "over": 1},
            "1 bytes missing",
        ),
        ("down", {"posted_bytes": 9, "failed_bytes": 9, "over": 1}, {"over": 1}, "9 failed"),
        (
            "none",
            {"posted_bytes": 8, "over": 1},
            {"wrong_bytes": 8, "over": 1},
            "8 bytes are wrong",
        ),
        ("kill-receiver", {"posted_bytes": 8}, {}, "a survivor has not ended"),
        (
            "kill-sender",
            {"posted_bytes": 8},
            {"verified_bytes": 9, "over": 1},
            "-1 bytes under way",
        ),
        ("kill-sender", {"posted_bytes": 1 << 30}, {"over": 1}, "bytes under way"),
    ],
)
def test_totals__that_break_a_promise(
    tmp_path: Path, fault: str, sender: dict[str, int], receiver: dict[str, int], said: str
) -> None:
    scene = round_of(tmp_path, fault, account(**sender), account(**receiver))
    with pytest.raises(chaos.Wrong, match=said):
        scene.totals()


@pytest.mark.parametrize(
    ("fault", "sender", "receiver", "failed"),
    [
        ("down", {"posted_bytes": 9, "over": 1}, {"verified_bytes": 9, "over": 1}, 0),
        ("kill-sender", {"posted_bytes": 9}, {"verified_bytes": 7, "over": 1}, 2),
        ("kill-receiver", {"posted_bytes": 9, "failed_bytes": 2, "over": 1}, {}, 9),
    ],
)
def test_totals__that_keep_it(
    tmp_path: Path, fault: str, sender: dict[str, int], receiver: dict[str, int], failed: int
) -> None:
    scene = round_of(tmp_path, fault, account(**sender), account(**receiver))
    assert scene.totals()["failed_bytes"] == failed


def test_clock__jumps_and_who_sleeps_until_a_moment_wakes_up(tmp_path: Path) -> None:
    """Of bench/chaos_clock.c: else a round with a jump would say nothing."""
    library, clock = tmp_path / "clock.so", tmp_path / "clock"
    source = benches.BENCH / "chaos_clock.c"
    build = ["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([*build, "-o", library, source], check=True)
    clock.write_bytes(bytes(8))
    code = (
        "import struct, sys, time\n"
        "before = time.monotonic()\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    file.write(struct.pack('q', 3600 * 10**9))\n"
        "after = time.monotonic()\n"
        "time.sleep(0.001)\n"
        "print(after - before >= 3600)"
    )
    env = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(clock)}
    done = subprocess.run(
        [sys.executable, "-c", code, clock],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr
    assert struct.unpack("q", clock.read_bytes()) == (3600 * 10**9,)
