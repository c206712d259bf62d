# SPDX-License-Identifier: Apache-2.0
"""A tree of servers, pods and zones; where KV goes in it; units that decode themselves. Known
answers: a request of 1000 tokens is 1 GB of KV, a port has 1 GB/s, computing takes no time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mfs_transport.native import InputError
from mfs_transport.sim import engine
from mfs_transport.sim.engine import Cluster, Model, Options, Requests, simulate

SENDING = Model(layers=1, groups=1, kv_bytes_per_token_layer=1e6)
BRIEF = dataclasses.replace(SENDING, linear_flop_per_token_layer=1.0, flops=1e10)
"""Computes for a moment, so that requests that come at once go to different units."""
COMPUTING = Model(
    *(2, 2, 1e6),
    linear_flop_per_token_layer=1.0,
    flops=100.0,
    mfu_max=1.0,
    mfu_half=0.0,
    elementwise=0.0,
)
"""100 new tokens compute for a second in each of two groups."""
# prefill and decode hosts take turns: a pod has one of each, a zone two pods
TREE = Cluster(
    units=4,
    unit_hosts=1,
    decode_hosts=4,
    link_Bps=1e9,
    pod_hosts=2,
    oversubscription=4.0,  # an uplink has 2 * 1 / 4 GB/s
    zone_hosts=4,
    zone_oversubscription=16.0,  # 4 * 1 / 16
    spread_hosts=1,
)


def requests(arrival_s: list[float], tokens: int = 1000) -> Requests:
    count = len(arrival_s)
    return Requests(
        np.array(arrival_s),
        np.full(count, tokens),
        np.zeros(count, dtype=np.int64),
        np.full(count, np.inf),
    )


def one_by_one(cluster: Cluster, count: int) -> list[float]:
    """TTFT of lone requests of unit 0, whose KV goes to one decode host after the other."""
    arrival = [100.0 * at for at in range(count)]
    outcome = simulate(
        cluster, SENDING, requests(arrival), Options("fifo", decode_choice="round_robin")
    )
    assert list(outcome.unit) == [0] * count
    return [round(value, 6) for value in outcome.ttft_s]


def test_tiers__a_request_takes_what_the_thinnest_link_on_its_way_says() -> None:
    assert one_by_one(TREE, 4) == [1.0, 2.0, 4.0, 4.0]


def test_tiers__inside_a_server_nothing_takes_the_network() -> None:
    cluster = dataclasses.replace(TREE, node_hosts=2, pod_hosts=4, zone_hosts=8)
    # U0 D0 | U1 D1 are the servers of a pod, whose uplink has 4 * 1 / 4 GB/s; no zones but one
    assert one_by_one(cluster, 4) == [0.0, 1.0, 1.0, 1.0]
    cluster = dataclasses.replace(cluster, oversubscription=8.0)
    assert one_by_one(cluster, 4) == [0.0, 1.0, 2.0, 2.0]


def test_tiers__without_zones_pods_meet_in_a_core_that_never_blocks() -> None:
    assert one_by_one(dataclasses.replace(TREE, zone_hosts=0), 4) == [1.0, 2.0, 2.0, 2.0]


def test_spread__roles_of_different_size_take_turns_evenly() -> None:
    # turns: D 1/8, U 2/8, D 3/8, D 5/8, U 6/8, D 7/8
    cluster = Cluster(2, 1, 4, link_Bps=1e9, pod_hosts=3, oversubscription=6.0, spread_hosts=1)
    assert one_by_one(cluster, 4) == [1.0, 1.0, 2.0, 2.0]
    cluster = dataclasses.replace(cluster, spread_hosts=0)  # U U D | D D D
    assert one_by_one(cluster, 4) == [1.0, 2.0, 2.0, 2.0]


def test_uplinks__are_shared() -> None:
    """Two units of a pod send to two other pods: the pod's uplink of 1 GB/s is what both have."""
    cluster = Cluster(
        4, 1, 4, link_Bps=1e9, pod_hosts=4, oversubscription=4.0, zone_hosts=0, spread_hosts=2
    )
    # U0 U1 D0 D1 | U2 U3 D2 D3: requests 2 and 3 go to D2 and D3; 0 and 1 come earlier
    found = simulate(
        cluster,
        BRIEF,
        requests([0.0, 0.0, 50.0, 50.0]),
        Options("fair", decode_choice="round_robin"),
    )
    assert list(found.unit) == [0, 1, 0, 1]
    assert found.ttft_s == pytest.approx([1.0, 1.0, 2.0, 2.0], rel=1e-5)
    links = found.port_utilisation
    assert len(links) == 2 * 8 + 2 * 2
    # nothing crosses before the last arrival
    assert links[16:] == pytest.approx([0.0, 0.0, 0.0, 0.0])


def test_utilisation__of_pods_and_zones() -> None:
    found = simulate(
        TREE, SENDING, requests([0.0, 2.0, 8.0]), Options("fifo", decode_choice="round_robin")
    )
    assert list(found.unit) == [0, 0, 0]
    links = found.port_utilisation
    # in 8 s: 1 GB inside the pod, 1 GB over uplinks of 0.5 GB/s
    assert links[0] == pytest.approx(2 / 8)  # egress of unit 0
    pods, zones = links[16:24], links[24:]
    assert pods == pytest.approx([2 / 8, 0, 0, 0, 0, 2 / 8, 0, 0])  # up of 0, down of 1
    assert zones == pytest.approx([0, 0, 0, 0])
    far = simulate(
        TREE,
        SENDING,
        requests([0.0, 10.0, 20.0, 28.0]),
        Options("fifo", decode_choice="round_robin"),
    )
    # the third takes 4 s over both zones' links of 0.25 GB/s
    assert far.port_utilisation[24:] == pytest.approx([4 / 28, 0, 0, 4 / 28])


# --- which decode host ---


def test_decode_choice__nearest_and_there_the_least_loaded() -> None:
    # U0 U1 D0 D1 | U2 U3 D2 D3
    cluster = Cluster(4, 1, 4, link_Bps=1e9, pod_hosts=4, oversubscription=2.0, spread_hosts=2)
    found = simulate(cluster, BRIEF, requests([0.0] * 8), Options(decode_choice="nearest"))
    assert list(found.unit) == [0, 1, 2, 3, 0, 1, 2, 3]
    assert list(found.decode_host) == [4, 5, 6, 7, 4, 5, 6, 7]


def test_decode_choice__netkv_shares_each_tier_among_those_that_use_it() -> None:
    # U0 D0 | U1 D1; a tier of 1 GB/s and one of 1/4 GB/s
    cluster = Cluster(2, 1, 2, link_Bps=1e9, pod_hosts=2, oversubscription=4.0, spread_hosts=1)
    found = simulate(cluster, BRIEF, requests([0.0] * 5), Options(decode_choice="netkv"))
    assert list(found.unit) == [0, 1, 0, 1, 0]
    # near against far: 1, 4; 2, 4; 3, 4; 4, 4: of both the one with fewer bytes; 5, 4: far
    assert list(found.decode_host) == [2, 3, 2, 3, 3]


def test_decode_choice__netkv_counts_no_longer_what_has_arrived() -> None:
    cluster = Cluster(2, 1, 2, link_Bps=1e9, pod_hosts=2, oversubscription=1.5, spread_hosts=1)
    one_after_the_other = requests([0.0, 10.0, 20.0])
    found = simulate(cluster, BRIEF, one_after_the_other, Options(decode_choice="netkv"))
    assert list(found.decode_host) == [2, 2, 2]
    together = simulate(cluster, BRIEF, requests([0.0] * 3), Options(decode_choice="netkv"))
    # near against far: 1, 1.5; 2, 1.5: unit 1's goes to D0; 2, 3: near
    assert list(together.decode_host) == [2, 2, 2]


# --- units that decode themselves ---


def test_no_decode_hosts__there_is_no_stage_3() -> None:
    cluster = Cluster(2, 1, 0, store_hosts=1, link_Bps=1e9)
    model = dataclasses.replace(COMPUTING, layers=4, groups=4)
    asked = Requests(np.zeros(1), np.array([300]), np.array([200]), np.array([np.inf]))
    # 4 groups: 200 tokens of KV take 0.2 s, 100 new tokens compute for 1 s
    for policy in ("mfs", "mfs_paper", "fifo", "equal", "stall_opt"):
        found = simulate(cluster, model, asked, Options(policy, store_choice="stores"))
        assert found.ttft_s[0] == pytest.approx(4.2), policy
        assert list(found.decode_host) == list(found.unit) == [0]
        assert list(found.store_host) == [2]
        assert found.bytes_moved == pytest.approx(4 * 200e6)
    assert engine.closed_form_ttft_s(cluster, model, 300, 200) == pytest.approx(4.2)


def test_store_choice__only_hosts_that_store() -> None:
    cluster = Cluster(3, 1, 2, store_hosts=2, link_Bps=1e9)
    asked = dataclasses.replace(
        requests([0.0, 0.0, 0.0]),
        prefix=np.array([500, 500, 500]),
        store_draw=np.array([0.0, 0.49, 0.5]),
    )
    found = simulate(cluster, SENDING, asked, Options(store_choice="stores"))
    assert list(found.store_host) == [5, 5, 6]


# --- shares of a port that has prefixes of several requests ---

STORE = Cluster(2, 1, 0, store_hosts=1, link_Bps=1e9, token_budget=1)


def fetching(policy: str, *asked: tuple[int, int], shares: str = "renewed") -> engine.Outcome:
    """(prefix, new tokens): 1000 of the first are 1 GB a group, 100 of the second 1 s a group."""
    prefix, new = np.array(asked).T
    return simulate(
        STORE,
        COMPUTING,
        Requests(np.zeros(len(asked)), prefix + new, prefix, np.full(len(asked), np.inf)),
        Options(policy, store_choice="stores", shares=shares),
    )


def test_equal__a_request_has_one_share_and_goes_layer_by_layer() -> None:
    found = fetching("equal", (500, 100), (1000, 100))
    # 0.5 GB/s each: the first groups are there after 1 and 2 s; then all is for the second
    assert found.compute_start_s == pytest.approx([1.0, 2.0])
    assert found.fetch_done_s == pytest.approx([2.0, 3.0])
    assert found.ttft_s == pytest.approx([3.0, 4.0])
    # fair shares among flows: both groups of a request end together
    assert fetching("fair", (500, 100), (1000, 100)).compute_start_s == pytest.approx([2.0, 3.0])


def test_stall_opt__by_the_root_of_what_a_group_fetches() -> None:
    found = fetching("stall_opt", (500, 100), (2000, 100))
    # roots 1 : 2, so 1/3 and 2/3 GB/s; they want 0.5 and 2
    assert found.compute_start_s == pytest.approx([1.5, 3.0])
    assert found.fetch_done_s[0] == pytest.approx(3.0)


def test_stall_opt__nobody_has_more_than_hides_behind_his_computing() -> None:
    found = fetching("stall_opt", (500, 200), (2000, 100))
    # the first wants 0.25 GB/s; the rest is for the second
    assert found.compute_start_s == pytest.approx([2.0, 2.0 / 0.75])
    # until it is done after 4 s; then the second has all: 3 GB of its 4 have come
    assert found.fetch_done_s == pytest.approx([4.0, 5.0])


def test_stall_opt__what_is_left_goes_in_order_of_arrival() -> None:
    found = fetching("stall_opt", (500, 200), (500, 200))
    # 0.25 each and 0.5 on top for the first, whose 1 GB are there after 4/3 s
    assert found.compute_start_s[0] == pytest.approx(0.5 / 0.75)
    assert found.fetch_done_s[0] == pytest.approx(1 / 0.75)
    assert found.fetch_done_s[1] == pytest.approx(2.0)


def test_stall_opt__a_request_that_comes_later_takes_its_share() -> None:
    asked = Requests(
        np.array([0.0, 1.0]), np.array([2100, 600]), np.array([2000, 500]), np.full(2, np.inf)
    )
    found = simulate(STORE, COMPUTING, asked, Options("stall_opt", store_choice="stores"))
    # alone for 1 s, then 2/3 and 1/3: 1 GB of its first group is left
    assert found.compute_start_s == pytest.approx([2.5, 2.5])


def test_held__a_share_does_not_grow_when_another_fetch_has_ended() -> None:
    found = fetching("equal", (500, 100), (1000, 100), shares="held")
    assert found.compute_start_s == pytest.approx([1.0, 2.0])
    assert found.fetch_done_s == pytest.approx([2.0, 4.0])
    # and nobody has what is left over: 0.25 GB/s each, and 2/3 of the port
    found = fetching("stall_opt", (500, 200), (500, 200), shares="held")
    assert found.compute_start_s == pytest.approx([2.0, 2.0])
    found = fetching("stall_opt", (500, 100), (2000, 100), shares="held")
    assert found.fetch_done_s == pytest.approx([3.0, 6.0])


def test_held__who_comes_makes_shares_smaller() -> None:
    asked = Requests(
        np.array([0.0, 1.0]), np.array([2100, 600]), np.array([2000, 500]), np.full(2, np.inf)
    )
    options = Options("equal", store_choice="stores", shares="held")
    found = simulate(STORE, COMPUTING, asked, options)
    # alone for 1 s, then half: the second is done after 3 s; 2 of the first's 4 GB have come, and
    # its share stays what it is
    assert found.fetch_done_s == pytest.approx([7.0, 3.0])


# --- what does not fit ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zone_hosts": 3}, "zone_hosts 3: a multiple of pod_hosts"),
        ({"pod_hosts": 0}, "zone_hosts 4: a multiple of pod_hosts"),
        ({"node_hosts": 3}, "pod_hosts 2: a multiple of node_hosts"),
        ({"spread_hosts": 3}, "spread_hosts 3: prefill, decode and store hosts are 4, 4, 0"),
        ({"zone_oversubscription": 0.0}, "zone_oversubscription"),
        ({"node_hosts": 0}, "node_hosts 0: more than 0"),
    ],
)
def test_wrong_trees_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        simulate(dataclasses.replace(TREE, **change), SENDING, requests([0.0]))  # type: ignore[arg-type]


def test_wrong_choices_are_named() -> None:
    with pytest.raises(InputError, match="the cluster has no store_hosts"):
        simulate(TREE, SENDING, requests([0.0]), Options(store_choice="stores"))
    with pytest.raises(
        InputError, match="decode_choice 'far': one of bytes, slack, room, fit, round_robin"
    ):
        simulate(TREE, SENDING, requests([0.0]), Options(decode_choice="far"))
