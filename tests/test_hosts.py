# SPDX-License-Identifier: Apache-2.0
"""Emulated hosts whose agents agree, by `mfs bench hosts`: real agents, real NIXL, namespaces.
The bench itself compares what has come with what was sent."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import benches
import pytest

from mfs_transport.testbed import network


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benches.load("hosts")


def test_computed__one_queue_by_deadline_and_caps_by_count(bench: ModuleType):
    second = int(bench.LINK_BPS)
    jobs = [bench.Job(0, 0.0, 2 * second, 10.0), bench.Job(1, 0.5, second, 1.2)]
    assert bench.computed(jobs, None) == 1.0  # the later one goes first and ends at 1.5
    assert bench.computed(jobs, 1) == 0.5  # it waits for the first
    assert bench.computed(jobs, 2) == 0.5  # half of the port gives it 2 s
    # who cannot be met goes last
    jobs = [bench.Job(0, 0.0, 2 * second, 1.0), bench.Job(1, 0.0, second, 1.0)]
    assert bench.computed(jobs, None) == 0.5


def test_arrivals__use_the_port_as_they_say(bench: ModuleType):
    jobs = bench.arrivals(0.5, 1000.0, 1)
    assert sum(job.size for job in jobs) / bench.LINK_BPS / 1000 == pytest.approx(0.5, rel=0.1)
    assert {job.sender for job in jobs} == set(range(7))


def test_shares__of_what_the_link_gives_without_the_puts(bench: ModuleType):
    found = bench.shares([118e6, 120e6], 84e6, 25e6, 80e6, 25e6)
    assert found["capacity_Bps"] == 119e6
    assert found["reads_share"] == pytest.approx(84 / 94)
    assert found["reads_share_of_link"] == pytest.approx(0.8)


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.nixl
@pytest.mark.parametrize(
    ("case", "variant"),
    [("pull", "exchange"), ("incast", "killed"), ("incast", "liar"), ("read", "all")],
)
def test_scene__all_arrives_and_the_agents_have_spoken(case: str, variant: str, tmp_path: Path):
    pytest.importorskip("nixl", reason="NIXL is not installed")
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    arguments = ("--case", case, "--variant", variant, "--rounds", "1", "--seconds", "3")
    document, said = benches.measured("hosts", tmp_path, *arguments)
    assert "too few peers" not in said
    one = document["results"][0]
    assert (one["case"], one["variant"]) == (case, variant)
    assert one["link_share"] > 0
    if case != "incast":
        assert one["collective_p99_ratio"] > 0
        assert 0 < one["reads_share"] < 1.2
        if variant == "all":  # A answers the urgent reads by its port's first queue, all others not
            assert 0.01 < one["first_class_share"] < 0.95
    else:
        assert 0 <= one["on_time"] <= 1
