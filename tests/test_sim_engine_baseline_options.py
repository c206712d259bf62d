# SPDX-License-Identifier: Apache-2.0
"""What somebody who wants a baseline to win would try: each option on a case with a known answer.

Host 0 is the one that all wait for: it sends stage 3 of request 0, and has the KV that request 1
fetches, whose unit is another one.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mfs_transport.native import InputError
from mfs_transport.sim import engine
from mfs_transport.sim.engine import Cluster, Model, Options, Requests, simulate
from mfs_transport.sim.interface import DEADLINE_LESS

BASELINES = [name for name in engine.POLICIES if name not in ("mfs_paper", "mfs", "inf")]
# two groups that compute for a second each, however many tokens; a token is a second of a port
MODEL = Model(2, 2, 1e6, linear_flop_per_token_layer=1e-9, mfu_max=1, mfu_half=1e9, elementwise=0)
CLUSTER = Cluster(2, 1, 2, link_Bps=2e6)
# one group, and units of two hosts whose collective takes a second for a token
SPREAD = dataclasses.replace(MODEL, layers=1, groups=1, alltoall_bytes_per_token_layer=4e6)
PAIRS = Cluster(2, 2, 1, link_Bps=1e6)


def two(options: Options, deadlines: tuple[float, float] = (100.0, 100.0)) -> engine.Outcome:
    """At 2 s request 0 is computed and has 7 of 8 s of stage 3 left to send; then request 1 begins
    to fetch, which takes 1 s. It computes for 2 s, and its stage 3 takes 4 s."""
    requests = Requests(
        np.array([0.0, 2.0]),
        np.array([8, 4]),
        np.array([0, 1]),
        np.array(deadlines),
        None,
        np.array([0.0, 0.0]),
    )
    outcome = simulate(CLUSTER, MODEL, requests, options)
    assert outcome.unit.tolist() == [0, 1]
    assert outcome.store_host.tolist() == [-1, 0]
    assert outcome.compute_done_s[0] == pytest.approx(2)
    return outcome


def fetch_first(outcome: engine.Outcome) -> bool:
    """The fetch goes before stage 3, or stage 3 before the fetch; nothing in between."""
    before, behind = (pytest.approx(then, abs=0.02) for then in (3, 10))
    assert outcome.fetch_done_s[1] in (before, behind)
    return bool(outcome.fetch_done_s[1] == before)


@pytest.mark.parametrize("policy", sorted({*BASELINES} - {"stall_opt"}))
def test_stage_first__fetches(policy: str) -> None:
    """But for stall_opt, where a fetch has no more than it can hide behind its computing."""
    for first, second in (("kv_reuse", "none"), ("collective", "kv_reuse")):
        found = two(Options(policy, stage_first=first, stage_second=second))
        assert fetch_first(found)
        assert found.ttft_s[0] == pytest.approx(10)


@pytest.mark.parametrize("policy", sorted({*BASELINES} - {"karuna"}))
def test_stage_first__stage_3(policy: str) -> None:
    for first, second in (("p2d", "none"), ("collective", "p2d")):
        found = two(Options(policy, stage_first=first, stage_second=second))
        assert not fetch_first(found)
        assert found.ttft_s[0] == pytest.approx(9)


@pytest.mark.parametrize(("first", "waits"), [("collective", False), ("kv_reuse", True)])
@pytest.mark.parametrize("policy", BASELINES)
def test_stage_first__collectives(policy: str, first: str, waits: bool) -> None:
    """A fetch of 20 s from a host whose collective takes 1 s."""
    requests = Requests(
        np.array([0.0, 0.5]),
        np.array([1, 41]),
        np.array([0, 40]),
        np.array([900.0, 900.0]),
        None,
        np.array([0.0, 0.0]),
    )
    found = simulate(PAIRS, SPREAD, requests, Options(policy, stage_first=first), trace=True)
    assert found.store_host.tolist() == [-1, 0]
    kind = {name: number for number, name in enumerate(engine.TRACE_KINDS)}
    own = found.trace[found.trace["unit"] == 0]
    begin, end = (
        float(own[own["kind"] == kind[f"collective_{what}"]]["time_s"][0])
        for what in ("start", "end")
    )
    assert begin == pytest.approx(1)
    alone = engine.collective_bytes(SPREAD, 1, 2) / 1e6
    assert alone == pytest.approx(1)
    assert end - begin == (pytest.approx(40.5, abs=0.01) if waits else pytest.approx(1))


@pytest.mark.parametrize("first", ["none", "kv_reuse", "collective", "p2d"])
def test_stage_first__the_rest_keeps_its_order(first: str) -> None:
    """At 3 s the second request begins to send for 4 s; it is due first."""
    requests = Requests(
        np.zeros(2), np.array([8, 4]), np.zeros(2, dtype=np.int64), np.array([90.0, 80.0])
    )
    for policy in ("edf_paper", "edf", "pdq", "lstf"):
        options = Options(policy, stage_first=first)
        found = simulate(Cluster(1, 1, 1, link_Bps=2e6), MODEL, requests, options)
        assert found.ttft_s == pytest.approx([13, 7]), policy


def test_stage_first__is_not_for_ours() -> None:
    for policy in ("mfs", "mfs_paper"):
        plain, other = (
            two(Options(policy, stage_first=first, deadline_less=less))
            for first, less in (("none", "nothing"), ("p2d", "stage3"))
        )
        assert np.array_equal(plain.ttft_s, other.ttft_s)


@pytest.mark.parametrize("policy", ["edf", "pdq", "lstf"])
def test_deadline_less(policy: str) -> None:
    """Request 1 is due later, but has 1 or 2 s of computing and 2 or 4 s of stage 3 to do after
    what it fetches: it goes first if as much is taken off as its deadline is later. lstf takes off
    what is left to fetch, 0.5 to 1 s, and 2 s of computing in any case."""
    later_s = (1.0, 3.5, 5.5, 7.5) if policy == "lstf" else (0.5, 2.5, 4.5, 6.5)
    least = ("nothing" if policy == "lstf" else "computing", "group", "stage3", None)
    for late_s, enough in zip(later_s, least, strict=True):
        for less in DEADLINE_LESS:
            found = two(Options(policy, deadline_less=less), (100.0, 100.0 + late_s))
            done = enough is not None and DEADLINE_LESS.index(less) >= DEADLINE_LESS.index(enough)
            assert fetch_first(found) == done, (late_s, less)


def test_a_collective_is_as_urgent_as_its_batch() -> None:
    """Requests 2 and 3 are one batch, of which the second is due first, before request 4, which
    begins to fetch for 40 s in the middle of their collective."""
    requests = Requests(
        np.array([0.0, 0.0, 0.1, 0.1, 4.2]),
        np.array([1, 3, 1, 1, 41]),
        np.array([0, 0, 0, 0, 40]),
        np.array([900.0, 900.0, 500.0, 200.0, 300.0]),
        None,
        np.zeros(5),
    )

    def ends(less: str) -> float:
        outcome = simulate(PAIRS, SPREAD, requests, Options("pdq", deadline_less=less))
        assert outcome.unit.tolist() == [0, 1, 0, 0, 1]
        assert outcome.compute_start_s[2:4] == pytest.approx([2, 2])
        return float(outcome.compute_done_s[2])

    assert ends("nothing") == pytest.approx(5)
    assert ends("computing") == pytest.approx(5)


@pytest.mark.parametrize("policy", ["varys", "sincronia"])
def test_coflow_weight(policy: str) -> None:
    """7 s to send and 8 s for it, against 1 s and 198 s."""
    assert fetch_first(two(Options(policy), (10.0, 200.0)))
    assert not fetch_first(two(Options(policy, coflow_weight="deadline"), (10.0, 200.0)))


@pytest.mark.parametrize(
    ("margin", "share"), [(0.0, 7 / 28), (0.5, 1.5 * 7 / 28), (1.0, 2 * 7 / 28)]
)
def test_karuna_margin(margin: float, share: float) -> None:
    """7 s of stage 3 that are due in 28 s get a quarter of the port, or so much more; the fetch
    has the rest."""
    found = two(Options("karuna", karuna_margin=margin), (30.0, 100.0))
    assert found.fetch_done_s[1] - 2 == pytest.approx(1 / (1 - share), rel=1e-6)


def test_interval__orders_of_coflows_are_that_old() -> None:
    """The fetch is behind all others until the next look, which is 1.5 s after the last one."""
    found = two(Options("sincronia", interval_s=1.5))
    assert found.fetch_done_s[1] == pytest.approx(3.5)


def test_wrong_options_are_named() -> None:
    for options, words in (
        (Options("edf", stage_first="first"), "stage_first 'first': one of none, kv_reuse"),
        (Options("edf", stage_second="p2d"), "stage_second 'p2d': none, or another than"),
        (Options("edf", stage_first="p2d", stage_second="p2d"), "stage_second 'p2d': none, or"),
        (Options("edf", stage_first="p2d", levels=5), "levels 5: 6 or more with stage_first"),
        (Options("edf", deadline_less="all"), "deadline_less 'all': one of nothing"),
        (Options("varys", coflow_weight="two"), "coflow_weight 'two': one of one, deadline"),
        (Options("karuna", karuna_margin=-0.5), "karuna_margin -0.5: 0 or more"),
    ):
        with pytest.raises(InputError, match=words):
            two(options)
