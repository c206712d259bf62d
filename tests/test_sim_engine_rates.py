# SPDX-License-Identifier: Apache-2.0
"""Rates and finish times of the simulator's net against exact rationals, and known answers."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
import sim_reference as reference
from sim_reference import Flow

from mfs_transport.native import InputError
from mfs_transport.sim import engine


def simulated(capacity: list[int], flows: list[Flow]) -> engine.FlowsOutcome:
    return engine.flows(
        capacity,
        [flow.route for flow in flows],
        [float(flow.size) for flow in flows],
        start_s=[float(flow.start) for flow in flows],
        tier=[flow.tier for flow in flows],
        level=[flow.level for flow in flows],
        key=[flow.key for flow in flows],
    )


def draw(seed: int, *, tiers: tuple[int, ...], together: bool) -> tuple[list[int], list[Flow]]:
    """Ports of 2 to 5 hosts, sometimes with links between; whole numbers, so that ties happen."""
    rng = random.Random(seed)
    hosts = rng.randint(2, 5)
    capacity = [rng.randint(1, 6) for _ in range(2 * hosts + 2)]
    flows = []
    for _ in range(rng.randint(1, 14)):
        source, target = rng.randrange(hosts), rng.randrange(hosts)
        middle = rng.choice([[], [], [2 * hosts], [2 * hosts, 2 * hosts + 1]])
        flows.append(
            Flow(
                [source, *middle, hosts + target],
                Fraction(rng.randint(1, 12)),
                Fraction(0 if together else rng.randint(0, 8), 2),
                rng.choice(tiers),
                rng.randint(0, 2),
                rng.randint(0, 3),
            )
        )
    return capacity, flows


@pytest.mark.parametrize(
    "tiers", [(1,), (1, 2, 3), (0,), (0, 1), (0, 1, 2)], ids=lambda tiers: "tiers" + str(tiers)
)
def test_rates_are_those_of_exact_rationals(tiers: tuple[int, ...]) -> None:
    for seed in range(300):
        capacity, flows = draw(seed, tiers=tiers, together=True)
        exact = reference.rates(capacity, dict(enumerate(flows)))
        found = simulated(capacity, flows).rates_Bps
        wanted = [float(exact[number]) for number in range(len(flows))]
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-8), f"seed {seed}"


@pytest.mark.parametrize(
    "tiers", [(1,), (1, 2, 3), (0,), (0, 1), (0, 1, 2)], ids=lambda tiers: "tiers" + str(tiers)
)
def test_finish_times_are_those_of_exact_rationals(tiers: tuple[int, ...]) -> None:
    """Flows come and go: only what a change reaches is worked out anew, with the same result."""
    for seed in range(120):
        capacity, flows = draw(1000 + seed, tiers=tiers, together=False)
        exact = [float(end) for end in reference.finishes(capacity, flows)]
        assert simulated(capacity, flows).finish_s == pytest.approx(exact, rel=1e-8), f"seed {seed}"


def test_two_flows_of_one_link() -> None:
    assert engine.flows([1e9], [[0], [0]], [1e9, 2e9]).finish_s == pytest.approx([2.0, 3.0])


def test_parking_lot() -> None:
    found = engine.flows([1e9, 1e9], [[0], [1], [0, 1]], [1e9, 1e9, 2e9]).finish_s
    assert found == pytest.approx([2.0, 2.0, 3.0])
    found = engine.flows([1e9, 1e9], [[0], [1], [0, 1]], [1e9, 1e9, 3e9]).finish_s
    assert found == pytest.approx([2.0, 2.0, 4.0])


def test_strict_priority_leaves_the_rest_to_be_shared() -> None:
    # egress 0 is 4, ingress 1..3; the first has 3 of it by its ingress, two others share 1
    routes = [[0, 1], [0, 2], [0, 3]]
    assert engine.max_min([4, 3, 9, 9], routes, level=[0, 1, 1]) == pytest.approx([3, 0.5, 0.5])
    assert engine.max_min([4, 3, 9, 0.25], routes, level=[0, 1, 1]) == pytest.approx(
        [3, 0.75, 0.25]
    )


def test_key_order_gives_all_to_the_first_that_can_use_it() -> None:
    routes = [[0, 2], [0, 3], [1, 2], [1, 3]]
    assert engine.max_min([1] * 4, routes, level=0, key=[0, 1, 2, 3]) == pytest.approx([1, 0, 0, 1])
    assert engine.max_min([1] * 4, routes, level=0, key=[3, 0, 1, 2]) == pytest.approx([0, 1, 1, 0])


def test_receivers_share_what_senders_order() -> None:
    # two senders prefer receiver 2, which takes half of each; what they have left goes on
    routes = [[0, 2], [1, 2], [1, 3], [0, 4]]
    found = engine.flows([1] * 5, routes, 1.0, tier=0, key=[0, 1, 2, 3], enforcement="sender")
    assert found.rates_Bps == pytest.approx([0.5] * 4)
    assert engine.max_min([1] * 5, routes, key=[0, 1, 2, 3]) == pytest.approx([1, 0, 1, 0])


@pytest.mark.parametrize("tier", [0, 1])
def test_sender_order_is_its_own_definition(tier: int) -> None:
    """Each flow has the least of what its egress offers and the level of its ingress."""
    rng = random.Random(tier)
    hosts = 6
    for _ in range(40):
        ends = [(rng.randrange(hosts), rng.randrange(hosts)) for _ in range(25)]
        keys = [rng.randrange(9) for _ in ends]
        routes = [[a, hosts + b] for a, b in ends]
        found = engine.flows(
            [1.0] * 2 * hosts, routes, 1.0, tier=tier, key=keys, enforcement="sender"
        ).rates_Bps
        if tier == 1:  # no order to keep: plain sharing
            assert found == pytest.approx(engine.max_min([1.0] * 2 * hosts, routes), abs=1e-7)
            continue
        load = [sum(r for r, e in zip(found, ends, strict=True) if e[1] == b) for b in range(hosts)]
        level = [
            max([r for r, e in zip(found, ends, strict=True) if e[1] == b], default=0.0)
            for b in range(hosts)
        ]
        left = [1.0] * hosts
        for flow in sorted(range(len(ends)), key=lambda f: (keys[f], f)):
            source, target = ends[flow]
            full = load[target] >= 1 - 1e-3
            wanted = min(left[source], level[target] if full else 1.0)
            assert found[flow] == pytest.approx(wanted, abs=1e-3)  # where turns end
            left[source] = max(0.0, left[source] - found[flow])


def test_nothing_idles_that_a_flow_could_use() -> None:
    rng = np.random.default_rng(5)
    hosts, count = 24, 400
    ends = rng.integers(0, hosts, (count, 2))
    routes = [[int(a), hosts + int(b)] for a, b in ends]
    capacity = rng.integers(1, 5, 2 * hosts).astype(float)
    for tier in (0, 1, rng.integers(0, 4, count)):
        found = engine.flows(capacity, routes, 1.0, tier=tier, key=rng.integers(0, 9, count))
        used = np.zeros(2 * hosts)
        for route, rate in zip(routes, found.rates_Bps, strict=True):
            used[route] += rate
        assert np.all(used <= capacity * (1 + 1e-9))
        full = used >= capacity * (1 - 1e-9)
        assert all(full[route].any() for route in routes)


def test_cost_does_not_grow_with_what_is_elsewhere() -> None:
    """Pairs of hosts that share nothing: the work for a flow is the same in a large cluster."""

    def work(pairs: int, tier: int) -> float:
        rng = np.random.default_rng(1)
        routes = [[pair, pairs + pair] for pair in range(pairs) for _ in range(20)]
        outcome = engine.flows(
            np.ones(2 * pairs),
            routes,
            rng.uniform(1, 2, 20 * pairs),
            start_s=rng.uniform(0, 20, 20 * pairs),
            tier=tier,
            key=rng.integers(0, 99, 20 * pairs),
        )
        return outcome.visited / len(routes)

    for tier in (0, 1):
        assert work(400, tier) <= 1.2 * work(20, tier)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(InputError, match="known links"):
        engine.flows([1.0], [[0, 1]], 1.0)
    for capacity, size, start_s in ((-1.0, 1.0, 0.0), (np.nan, 1.0, 0.0), (1.0, np.inf, 0.0)):
        with pytest.raises(InputError, match="size above 0"):
            engine.flows([capacity], [[0]], size, start_s=start_s)
    with pytest.raises(InputError, match="start 0 or more"):
        engine.flows([1.0], [[0]], 1.0, start_s=np.inf)
    with pytest.raises(InputError, match="enforcement 'both': one of global"):
        engine.flows([1.0], [[0]], 1.0, enforcement="both")
