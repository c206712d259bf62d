# SPDX-License-Identifier: Apache-2.0
"""The judge of a sweep, on rows whose verdict is known."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from mfs_transport.sim import study
from mfs_transport.sim.point import Point


def rows(policy: str, curve: dict[float, float], noise: float = 0.0) -> list[dict[str, Any]]:
    return [
        {
            "cluster": "c",
            "model": "m",
            "workload": "w",
            "slo": "3x",
            "enforcement": "global",
            "estimate_error": 0.0,
            "utilisation": load / 2,
            "policy": policy,
            "load": load,
            "rate": 10 * load,
            "seed": seed,
            "attainment": value + noise * (seed - 1),
        }
        for load, value in curve.items()
        for seed in range(3)
    ]


OURS = rows("mfs", {1.0: 0.95, 2.0: 0.8, 3.0: 0.6}, 0.01)


@pytest.mark.parametrize(
    ("theirs", "noise", "word"),
    [(0.5, 0.01, "better"), (0.9, 0.01, "worse"), (0.8, 0.01, "even"), (0.75, 0.1, "even")],
)
def test_verdicts(theirs: float, noise: float, word: str):
    # the noise of ours is 0.01: seed by seed the difference is exact where theirs is the same
    (one,) = study.verdicts(OURS + rows("edf", {2.0: theirs}, noise))
    assert (one.load, one.other, one.word) == (2.0, "edf", word)


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [(0.9, 1.0, "better"), (1.1, 1.0, "worse"), (1.0, 1.0005, "even")],
)
def test_verdicts__of_a_time_less_is_better(ours: float, theirs: float, word: str):
    both = [{**row, "ttft_p99_s": ours + 0.1 * row["seed"]} for row in OURS]
    both += [{**row, "ttft_p99_s": theirs + 0.1 * row["seed"]} for row in rows("edf", {2.0: 0.8})]
    (one,) = study.verdicts(both, measure="ttft_p99_s")
    assert (one.word, one.measure) == (word, "ttft_p99_s")
    assert one.apart.mean == pytest.approx((theirs - ours) / (theirs + 0.1))
    assert study.verdicts(both, measure="ttft_slos_p99") == []  # of an older build


def test_verdicts__the_ceiling_is_no_rival():
    assert study.verdicts(OURS + rows("inf", {2.0: 1.0})) == []


def test_summary__ratios():
    fair = rows("fair", {1.0: 0.9, 2.0: 0.6, 3.0: 0.2})
    (one,) = study.summaries(OURS + fair + rows("karuna", {1.0: 0.9, 2.0: 0.8}))
    # fair attains half at 2.25; ours there 0.75
    assert one.half == pytest.approx(0.75 / 0.5)
    assert (one.best, one.best_load) == (pytest.approx(3.0), 3.0)
    # ours 90 % at 1 + 0.05 / 0.15 = 1.33 (seed 1); karuna and fair at 1
    assert one.goodput["karuna"].mean == pytest.approx(4 / 3, rel=0.01)
    assert one.goodput["karuna"].count == 3
    assert one.utilisation == pytest.approx(0.5)


def test_bests__of_each_policy_with_and_without_the_hopeless_rule():
    attained = {
        ("edf", "edf"): (0.5, 0.7),
        ("edf+h", "edf+h"): (0.6, 0.7),
        ("edf", "edf, collectives first"): (0.9, 0.2),
        ("fair+h", "fair+h"): (0.4, 0.4),
    }
    edf, fair = study.bests(
        (Point(policy=policy, label=name, load=load), value)
        for (policy, name), values in attained.items()
        for load, value in enumerate(values)
    )
    assert (edf.policy, edf.name, edf.variants) == ("edf", "edf+h", 3)
    assert (edf.untuned, edf.score) == (pytest.approx(0.6), pytest.approx(0.65))
    assert (fair.policy, fair.name, fair.score) == ("fair", "fair+h", 0.4)
    assert math.isnan(fair.untuned)
    out = io.StringIO()
    Console(file=out, width=200).print(study.tuned([edf, fair]))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[1:] == [
        ["edf", "3", "0.600", "0.650", "edf+h"],
        ["fair", "1", "0.400", "fair+h"],
        ["all", "4"],
    ]


def test_tables__name_the_losses():
    others = rows("edf", {2.0: 0.9}) + rows("fifo", {2.0: 0.1})
    found = study.verdicts(OURS + others)
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(study.counts(found))
    console.print(study.losses(found))
    lines = out.getvalue().splitlines()
    assert any(line.split()[:4] == ["edf", "attained", "0", "0"] for line in lines)
    assert any("edf" in line and "-0.100" in line and "c, m, w" in line for line in lines)
    assert not any("fifo" in line and "-" in line for line in lines)
