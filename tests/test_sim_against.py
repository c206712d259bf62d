# SPDX-License-Identifier: Apache-2.0
"""Tables of changes and ratios, of rows whose figures are known."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from mfs_transport.sim import against

CASE = {"cluster": "c", "model": "m", "workload": "w/x", "slo": "3x", "enforcement": "global"}


def rows(policy: str, curve: dict[float, float], ttft_s: float = 1.0) -> list[dict[str, Any]]:
    return [
        {**CASE, "policy": policy, "load": load, "rate": 10 * load, "seed": seed, "changes": {}}
        | {"attainment": value + 0.01 * seed, "ttft_mean_s": ttft_s * (2 + seed)}
        | {"ttft_p99_s": 3 * ttft_s}
        for load, value in curve.items()
        for seed in (-1, 0, 1)
    ]


def lines(table: Table) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return [line.split() for line in out.getvalue().splitlines()]


def line_of(table: Table, policy: str) -> list[str]:
    (found,) = [line for line in lines(table) if line and line[0] == policy]
    return found


def test_cases__by_what_was_changed_of_the_cluster():
    one = {**rows("mfs", {0.5: 0.8})[0], "changes": {"link_Gbps": 50}}
    found = against.cases([*rows("mfs", {0.5: 0.8}), one])
    assert list(found) == ["c, m, x, SLO 3x, global", "c, m, x, SLO 3x, global, link_Gbps 50"]
    assert [len(group) for group in found.values()] == [3, 1]


def test_changes__seed_by_seed():
    both = rows("fair", {0.5: 0.4}, 2.0) + rows("mfs", {0.5: 0.55}, 1.0)
    mfs = line_of(against.changes(both, "fair"), "mfs")
    # +15 points on each seed; half the TTFT on each, though seeds differ by three times
    assert mfs[1:5] == ["0.5", "0.550", "2", "s"]
    assert mfs[5:] == ["-50.0", "±", "0.0", "-50.0", "±", "0.0", "+15.0", "±", "0.0"]
    assert line_of(against.changes(both, "fair"), "fair")[1:] == ["0.5", "0.400", "4", "s"]


def test_changes__beyond_what_nobody_can():
    known = rows("equal", {0.5: 0.4}, 3.0) + rows("mfs", {0.5: 0.5}, 2.0)
    known += rows("inf", {0.5: 1.0}, 1.0)
    # beyond inf: 2, 4, 6 s and 1, 2, 3 s
    mfs = line_of(against.changes(known, "equal", "inf"), "mfs")
    assert mfs[-5:] == ["2", "s", "2.00", "±", "0.00"]
    assert line_of(against.changes(known, "equal", "inf"), "equal")[-2:] == ["4", "s"]


def test_ratios__at_the_same_load_and_at_the_same_attainment():
    ours = rows("mfs", {0.5: 1.0, 0.7: 0.9, 0.9: 0.6, 1.0: 0.2})
    theirs = rows("karuna", {0.5: 0.9, 0.6: 0.6, 0.9: 0.4, 1.0: 0.05})
    # where karuna attains a tenth: 1.0 / 0.9 and 0.6 / 0.4
    assert against.attained_over(ours, theirs) == pytest.approx([1 / 0.9, 1.5])
    # 0.8: ours at 0.7 + 0.2 / 3, theirs at 0.5 + 0.1 / 3
    assert against.rate_over(ours, theirs, 0.8) == pytest.approx((0.7 + 0.2 / 3) / (0.5 + 0.1 / 3))
    found = line_of(against.ratios(ours + theirs, "mfs"), "c,")
    assert "karuna" in found
    assert found[found.index("karuna") + 1 :][:3] == ["1.11", "-", "1.50"]


@pytest.mark.parametrize("target", [0.99, 0.01])
def test_rate_over__says_nothing_beyond_the_loads_that_were_run(target: float):
    ours, theirs = rows("mfs", {0.5: 0.9, 1.0: 0.5}), rows("karuna", {0.5: 0.8, 1.0: 0.4})
    assert against.rate_over(ours, theirs, target) != against.rate_over(ours, theirs, target)
