# SPDX-License-Identifier: Apache-2.0
"""Tables and pictures, of rows whose figures are known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from mfs_transport.sim import plots, report

TIMES = ("ttft_mean_s", "ttft_p50_s", "ttft_p99_s", "collective_mean_s", "earliness_mean_s")
CASE = {
    "cluster": "c",
    "model": "m",
    "workload": "w",
    "slo": "3x",
    "enforcement": "global",
    **dict.fromkeys(TIMES, 0.25),
}


def rows(policy: str, curve: dict[float, float]) -> list[dict[str, Any]]:
    return [
        {**CASE, "policy": policy, "load": load, "rate": 10 * load, "seed": seed, "shed": 3}
        | {"attainment": value + 0.01 * seed, "utilisation": load / 2}
        for load, value in curve.items()
        for seed in (-1, 0, 1)
    ]


def lines(table: Table) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return [line.split() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.0456, "45.6 ms"), (7.8e-6, "7.8 µs"), (float("inf"), "never")],
)
def test_span(seconds: float, text: str):
    assert report.span(seconds) == text


def test_compare__differences_are_paired():
    found = lines(report.compare(rows("fair", {0.5: 0.4}) + rows("mfs", {0.5: 0.8}), "fair"))
    (mfs,) = [line for line in found if line[0] == "mfs"]
    # ours 0.8 ± 4.3027 * 0.01 / sqrt(3); the difference is the same on each seed
    assert mfs[1:4] == ["0.800", "±", "0.025"]
    assert mfs[4:8] == ["+0.400", "±", "0.000", "2.00"]


def test_tails__mean_and_tail_of_each_policy_and_load():
    slos = {"ttft_slos_mean": 0.5, "ttft_slos_p50": 0.25, "ttft_slos_p99": 7.0}
    known = [{**row, **slos, "ttft_p99_s": 2.0} for row in rows("mfs", {0.7: 0.6, 0.5: 0.9})]
    table = report.tails(known + rows("of an older build", {0.7: 0.5}))
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    found = [line.split() for line in out.getvalue().splitlines()]
    times = ["250", "ms", "250", "ms", "2", "s", "0.50", "0.25", "7.00"]
    assert ["mfs", "0.5", "0.900", *times] in [line[:12] for line in found]
    assert ["mfs", "0.7", "0.600", *times] in [line[:12] for line in found]
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())
    assert "nan" not in out.getvalue()


def test_over_load__a_column_a_load():
    found = lines(report.over_load(rows("mfs", {0.5: 0.9, 0.7: 0.6}) + rows("edf", {0.7: 0.5})))
    assert found[0] == ["policy", "0.5", "0.7"]
    assert found[1:] == [["mfs", "0.900", "0.600"], ["edf", "0.500"]]


def test_goodput__ratio_seed_by_seed():
    both = rows("mfs", {1.0: 1.0, 2.0: 0.8}) + rows("edf", {1.0: 0.95, 2.0: 0.85})
    found = report.goodputs(both)
    # at seed 0 both cross 0.9 halfway
    assert found["mfs"][0] == pytest.approx(15)
    assert found["edf"][0] == pytest.approx(15)
    assert report.ratio(found["mfs"], found["edf"]).mean == pytest.approx(1, abs=0.05)
    assert report.ratio({1: 5.0}, {1: 0.0}).count == 0


def test_pictures__a_case_each(tmp_path: Path):
    path = tmp_path / "pareto.png"
    other = [{**row, "workload": "v"} for row in rows("mfs", {0.5: 0.9, 0.7: 0.6})]
    plots.attainment(rows("mfs", {0.5: 0.9}) + other, tmp_path / "p.png", "title")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    slos = {"ttft_slos_mean": 0.5, "ttft_slos_p99": 7.0}
    plots.pareto([{**row, **slos} for row in rows("mfs", {0.5: 0.9, 0.7: 0.6})] + other, path, "t")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_color__the_rule_does_not_change_it():
    assert plots.color("karuna") == plots.color("karuna+h") != plots.color("fair")
    assert plots.dashes("karuna") != plots.dashes("karuna+h")
