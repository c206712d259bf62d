# SPDX-License-Identifier: Apache-2.0
"""A simulated cluster made small: ratios stay, and results are those of the cluster."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mfs_transport import InputError
from mfs_transport.sim import engine
from mfs_transport.sim import point as points
from mfs_transport.sim.point import Point
from mfs_transport.testbed import compare, modelled, outcome
from mfs_transport.testbed.modelled import Scale

POINT = Point(
    cluster="paper-testbed", policy="off", rate=16.0, seed=3, warmup=5, measured=60, enforcement=""
)
SCALE = Scale(time=7.0, link_Bps=40e6)


def test_make__ratios_of_bytes_and_times_are_the_clusters():
    one = modelled.make(POINT, SCALE)
    real = one.case.model
    assert one.case.setting.cluster.link_Bps == 12.5e9  # of each of two NICs
    for job in one.jobs[:10]:
        there = engine.compute_s(real, [job.new], [job.cached])
        assert job.compute_s == pytest.approx(7.0 * there)
        kv = real.kv_bytes_per_token_layer * real.layers / real.groups * job.tokens / 2
        there, here = kv / 12.5e9, job.shard_bytes / one.setting.payload_Bps
        assert here == pytest.approx(7.0 * there, rel=0.05)  # whole lines
    assert len(one.setting.processes) == 16  # of 8 hosts
    assert one.setting.unit_ranks == 2
    assert all(job.exchange_bytes % (128 * 4) == 0 for job in one.jobs)


def test_predict__is_in_the_clusters_seconds_whatever_the_scale():
    said = modelled.make(POINT, SCALE).predict().result
    there = dataclasses.replace(POINT, policy="fair", enforcement="global")
    whole = points.run(there).result
    for name in ("attainment", "ttft_mean_s", "ttft_p99_s", "collective_mean_s"):
        assert said[name] == pytest.approx(whole[name], rel=1e-6)


def test_make__policies_are_those_that_ship():
    for policy in modelled.POLICIES:
        modelled.make(dataclasses.replace(POINT, policy=policy, measured=2), SCALE)
    with pytest.raises(InputError, match="policy 'varys': one of off, fair"):
        modelled.make(dataclasses.replace(POINT, policy="varys"), SCALE)


def test_make__hosts_that_agree_are_simulated_so():
    point = dataclasses.replace(POINT, policy="mfs", measured=3)
    alone, agreed = (
        modelled.make(point, Scale(exchange=exchange)).case.options for exchange in (False, True)
    )
    assert (alone.enforcement, agreed.enforcement) == ("chunks", "chunks+exchange")
    assert alone.chunk_bytes == agreed.chunk_bytes == 16384
    assert alone.window_bytes == agreed.window_bytes == 131072


def test_make__what_a_host_cannot_hold_is_refused():
    point = dataclasses.replace(POINT, workload="lognormal:131072:0.1")
    with pytest.raises(InputError, match=r"one transfer would have .* MiB"):
        modelled.make(point, Scale(time=100.0, link_Bps=1e9))


def seen(one: modelled.Modelled, **more: object) -> outcome.Outcome:
    """As if each request had taken twice its target, but for the first measured one."""
    slo = np.array([job.slo_s for job in one.jobs])
    ttft = 2 * slo
    ttft[5] = slo[5] / 2
    hosts = dict.fromkeys(one.setting.processes, 1000)
    return outcome.Outcome(
        *("off", 3, 0.0, 0.0, 0.0, 0.0, 0.7, 10, 5.0, 1.0, len(slo), 0),
        *(list(ttft), list(slo), {"chunks": 12, "calls": 5}),
        **{"sent_bytes": hosts, "received_bytes": hosts, "units": [0] * len(slo), **more},
    )


def test_measure__has_the_simulators_fields_of_the_measured_requests():
    one = modelled.make(POINT, SCALE)
    run = compare.kept(one, seen(one, given_up=[4, 6]), POINT)
    assert tuple(run.result) == points.FIELDS
    assert run.result["attainment"] == pytest.approx(1 / 60)
    assert run.result["shed"] == 1  # the other one was of the warm-up
    assert run.result["collective_mean_s"] == pytest.approx(0.1)
    assert len(run.details["ttft_s"]) == 60
    assert run.details["ttft_s"][0] == pytest.approx(one.case.slo_s[5] / 2, abs=1e-5)
    assert run.details["predicted_attainment"] == one.predict().result["attainment"]
    assert run.details["cpu_bound"] is False


def test_port_line__shares_of_the_link_in_the_clusters_seconds():
    one = modelled.make(POINT, SCALE)
    line = [(0.0, 0), (0.5, 20_000_000), (1.5, 20_000_000)]
    assert compare.port_line(one, seen(one, port_line=line)) == [(0.0714, 1.0), (0.2143, 0.0)]


def test_faults__bytes_that_are_lost_doubled_or_changed():
    one = modelled.make(POINT, SCALE)
    right = outcome.expected_bytes(one.setting, one.jobs)
    for more, says in (
        ({"bytes": right}, []),
        ({"bytes": right - 1}, ["bytes came"]),
        ({"bytes": right, "mismatches": 2}, ["2 transfers have wrong contents"]),
        ({"bytes": right, "counters": {"faults": 1}}, ["1 internal faults"]),
    ):
        run = compare.kept(one, dataclasses.replace(seen(one), **more), POINT)
        found = compare.faults([{**run.details, **run.result}])
        assert len(found) == len(says)
        assert all(text in line for text, line in zip(says, found, strict=True))


def test_collective_times__from_the_last_to_begin_to_the_last_to_end():
    spans = [[(0, 0, 1.0, 3.0), (0, 1, 4.0, 5.0)], [(0, 0, 2.0, 2.5), (0, 1, 4.0, 6.0)]]
    assert outcome.collective_times(spans) == [1.0, 2.0]


def test_most_exchanged__is_of_the_largest_batch():
    one = modelled.make(POINT, SCALE)
    most = modelled.most_exchanged(one.jobs, 8192)
    for first in range(len(one.jobs)):
        batch, new = [], 0
        for job in one.jobs[first:]:
            new += job.new
            if batch and new > 8192:
                break
            batch.append(job)
        assert sum(job.exchange_bytes for job in batch) <= most
