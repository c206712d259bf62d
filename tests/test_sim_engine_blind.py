# SPDX-License-Identifier: Apache-2.0
"""Baselines that know less than ours, and choices by what ports can still be given: by hand.

Sizes are in MB, links carry 1 MB/s, computing takes no time; a token is 1 MB of KV.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from mfs_transport.native import InputError
from mfs_transport.sim.engine import Cluster, Model, Options, Outcome, Requests, simulate

INSTANT = Model(1, 1, 1e6)
FUNNEL = Cluster(1, 1, 1, link_Bps=1e6)  # one unit and one decode host: a single way
# two groups that compute for a second each, however many tokens
SLOW = Model(2, 2, 1e6, linear_flop_per_token_layer=1e-9, mfu_max=1, mfu_half=1e9, elementwise=0)
FAR = 1000.0


def deliver(
    options: Options, *requests: tuple[float, int, float], classes: Sequence[int] = ()
) -> Outcome:
    """(arrival, MB, deadline from its arrival) of each, which only has its KV to deliver."""
    arrival = np.array([one[0] for one in requests])
    made = Requests(
        arrival,
        np.array([one[1] for one in requests]),
        np.zeros(len(requests), dtype=np.int64),
        arrival + np.array([one[2] for one in requests]),
        np.array(classes) if classes else None,
    )
    return simulate(FUNNEL, INSTANT, made, options)


# --- slack_srpt ---


@pytest.mark.parametrize(
    ("due", "ends"),
    [
        (FAR, (12, 2)),  # it has time: the smaller goes first
        (15.0, (10, 11)),  # less than twice what it takes: by deadline, in front
        (5.0, (12, 2)),  # it cannot be in time: by size again
    ],
)
def test_slack_srpt__who_can_just_be_in_time_goes_first(
    due: float, ends: tuple[float, float]
) -> None:
    found = deliver(Options("slack_srpt"), (0, 10, due), (1, 2, FAR))
    assert found.ttft_s == pytest.approx(ends, abs=0.02)


def test_slack_srpt__becomes_urgent_while_it_waits() -> None:
    """The first has to go from 14 - 2 * 4 s on, but for 5 ms; under srpt it is the last of all."""
    requests = ((0, 4, 14.0), (0, 3, FAR), (2, 3, FAR), (4, 3, FAR), (6, 3, FAR))
    found = deliver(Options("slack_srpt"), *requests)
    assert found.ttft_s == pytest.approx((10, 3, 8, 9, 10), abs=0.02)
    found = deliver(Options("srpt"), *requests)
    assert found.ttft_s == pytest.approx((16, 3, 4, 5, 6), abs=0.02)


# --- sizes that are known as a distribution only: here half are of 1 MB, half of 10 MB ---


@pytest.mark.parametrize(
    ("arrival", "ends"),
    [
        # after 5 MB of 10 there are 5 for an end; a new one brings an end for 2, (1 + 1) / 1
        (5.0, (11, 1)),
        (8.5, (10, 2.5)),  # after 8.5 there are 1.5
    ],
)
def test_gittins__by_what_an_end_costs(arrival: float, ends: tuple[float, float]) -> None:
    found = deliver(Options("gittins"), (0, 10, FAR), (arrival, 1, FAR))
    assert found.ttft_s == pytest.approx(ends, abs=0.02)


def test_gittins__two_large_ones_take_turns_until_one_shows_its_size() -> None:
    """10 and 10, one of 1 to know of: at first an end costs (3 + 0) / 1 of three alike, and after
    the first MB 9, so each gets its first MB before another goes on."""
    found = deliver(Options("gittins"), (0, 10, FAR), (0, 10, FAR), (0, 1, FAR))
    assert found.ttft_s == pytest.approx((12, 21, 3), abs=0.05)


@pytest.mark.parametrize("arrival", [5.0, 8.5])
def test_sept__of_a_stage_in_order_of_arrival(arrival: float) -> None:
    found = deliver(Options("sept"), (0, 10, FAR), (arrival, 1, FAR))
    assert found.ttft_s == pytest.approx((10, 11 - arrival))


def test_sept__the_stage_that_is_smaller_on_average_first() -> None:
    """At 2 s unit 0 has computed and has 14 of 16 MB to send, when unit 1 begins to fetch 2 MB from
    the same host."""
    requests = Requests(
        np.array([0.0, 2.0]),
        np.array([8, 4]),
        np.array([0, 1]),
        np.array([FAR, FAR]),
        None,
        np.array([0.0, 0.0]),
    )
    cluster = Cluster(2, 1, 2, link_Bps=2e6)
    found = simulate(cluster, SLOW, requests, Options("sept"))
    assert found.store_host.tolist() == [-1, 0]
    assert found.fetch_done_s[1] == pytest.approx(3)
    found = simulate(cluster, SLOW, requests, Options("fifo"))
    assert found.fetch_done_s[1] > 5


# --- wfq ---


@pytest.mark.parametrize(
    ("weight", "ends"), [(4.0, (10, 16)), (1.0, (16, 16)), (7.0, (64 / 7, 16))]
)
def test_wfq__shares_by_class(weight: float, ends: tuple[float, float]) -> None:
    options = Options("wfq", class_weight=weight)
    found = deliver(options, (0, 8, FAR), (0, 8, FAR), classes=(0, 1))
    assert found.ttft_s == pytest.approx(ends)


def test_wfq__of_one_class_is_fair() -> None:
    requests = ((0, 8, FAR), (1, 3, 5.0), (2, 4, 9.0))
    fair = deliver(Options("fair"), *requests)
    for classes in ((), (3, 3, 3)):
        found = deliver(Options("wfq"), *requests, classes=classes)
        assert found.ttft_s == pytest.approx(fair.ttft_s)


@pytest.mark.parametrize("classes", [(-1, 0), (0, 64)])
def test_wfq__classes_that_are_none(classes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="slo_class: from 0 to 63"):
        deliver(Options("wfq"), (0, 8, FAR), (0, 8, FAR), classes=classes)


# --- choices by what ports can still be given ---


@pytest.mark.parametrize("enforcement", ["global", "chunks"])
@pytest.mark.parametrize(
    ("choice", "due_s", "store"),
    [
        *(("draw", 50.1, 0), ("slack", 50.1, 0), ("room", 50.1, 3), ("fit", 50.1, 0)),
        *(("draw", 10.1, 0), ("slack", 10.1, 0), ("room", 10.1, 3), ("fit", 10.1, 3)),
    ],
)
def test_store_choice__where_nobody_becomes_late(
    choice: str, due_s: float, store: int, enforcement: str
) -> None:
    """Host 3 has 100 MB to send, due in 899 s; host 0 has 5, due in 5.5 s. 3 MB that are due 4 s
    before their request can be given to host 3 at any time, and to host 0 if they have 8 s."""
    requests = Requests(
        np.array([0.0, 0.0, 0.1]),
        np.array([101, 6, 4]),
        np.array([100, 5, 3]),
        np.array([FAR, 11.5, due_s]),
        None,
        np.array([0.5, 0.05, 0.05]),
    )
    found = simulate(
        Cluster(3, 1, 1, store_hosts=2, link_Bps=1e6), INSTANT, requests,
        Options("mfs", store_choice=choice, enforcement=enforcement),
    )  # fmt: skip
    assert found.unit.tolist() == [0, 1, 2]
    assert found.store_host.tolist() == [3, 0, store]


@pytest.mark.parametrize(("choice", "decode"), [("bytes", 1), ("room", 0), ("fit", 1)])
def test_decode_choice__where_nobody_becomes_late(choice: str, decode: int) -> None:
    requests = Requests(
        np.array([0.0, 0.0, 0.1]),
        np.array([100, 5, 3]),
        np.zeros(3, dtype=np.int64),
        np.array([FAR, 5.5, 50.1]),
    )
    cluster = Cluster(3, 1, 2, link_Bps=1e6)
    found = simulate(cluster, INSTANT, requests, Options("mfs", decode_choice=choice))
    assert found.decode_host.tolist() == [3, 4, 3 + decode]


def test_choices_that_are_none_are_named() -> None:
    for name in ("store_choice", "decode_choice"):
        options = dataclasses.replace(Options("mfs"), **{name: "best"})
        with pytest.raises(InputError, match=f"{name} 'best': one of"):
            deliver(options, (0, 1, FAR))
