# SPDX-License-Identifier: Apache-2.0
"""Receivers whose processes look around late, by `mfs bench late`: real NIXL, namespaces.
The bench itself compares what has come with what was sent."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import benches
import pytest
from click.testing import CliRunner

from mfs_transport.testbed import network


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benches.load("late")


def run(rate_Bps: float, **more: float) -> dict[str, Any]:
    return {"rate_Bps": rate_Bps, "moved_bytes": 100, "arrived_bytes": 110, **more}


def test_record__of_ucx_alone_in_the_same_round(bench: ModuleType):
    point = bench.Point("stopped", "put", 5.0)
    rounds = [
        {"off": run(100.0), "known": run(50.0, after_Bps=25.0)},
        {"off": run(50.0), "known": run(50.0, after_Bps=50.0)},
        {"off": run(80.0), "known": run(64.0, after_Bps=96.0)},
    ]
    one = bench.record(point, "known", rounds, 100.0)
    assert (one["case"], one["way"], one["look_ms"], one["rounds"]) == ("stopped", "put", 5.0, 3)
    assert one["share_of_link"] == 0.5
    names = [f"ratio_to_off{end}" for end in ("", "_least", "_most")]
    assert [one[name] for name in names] == [0.8, 0.5, 1.0]
    names = [f"after_stop_ratio{end}" for end in ("", "_least", "_most")]
    assert [one[name] for name in names] == [1.0, 0.5, 1.5]
    assert (one["moved_bytes"], one["arrived_bytes"]) == (300, 330)


def test_record__without_ucx_alone(bench: ModuleType):
    one = bench.record(bench.Point("late", "get", 5.0), "known", [{"known": run(50.0)}], 100.0)
    assert one["ratio_to_off"] is None
    assert one["after_stop_ratio"] is None


@pytest.mark.parametrize("looks", ["", "5,,10", "5;10", "0", "-1", "nan", "2000"])
def test_looks__that_cannot_be(looks: str, bench: ModuleType):
    done = CliRunner().invoke(bench.main, ["--looks", looks])
    assert done.exit_code == 2
    assert "milliseconds from 0.05 to 1000, with commas" in " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.nixl
@pytest.mark.parametrize(
    ("case", "way", "variant"), [("stopped", "put", "learned"), ("late", "get", "off")]
)
def test_scene__all_that_was_moved_has_come(case: str, way: str, variant: str, tmp_path: Path):
    pytest.importorskip("nixl", reason="NIXL is not installed")
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    arguments = ("--case", case, "--way", way, "--variant", variant, "--looks", "5")
    short = ("--rounds", "1", "--seconds", "0.5")
    document, _ = benches.measured("late", tmp_path, *arguments, *short)
    (one,) = document["results"]
    assert (one["case"], one["way"], one["variant"], one["look_ms"]) == (case, way, variant, 5.0)
    assert (
        one["moved_bytes"] >= 2 * 8 * 2**20
    )  # what is posted when it is told to stop ends as well
    assert one["arrived_bytes"] >= one["moved_bytes"]  # with headers
    assert one["share_of_link"] > 0
    assert one["ratio_to_off"] == (1.0 if variant == "off" else None)
    assert (one["after_stop_ratio"] is None) == (case == "late")
