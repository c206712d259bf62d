# SPDX-License-Identifier: Apache-2.0
"""The simulator as a whole: closed forms, an independent program, known answers, invariants."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from sim_reference_mfs import MfsReference
from sim_reference_serving import Reference

from mfs_transport.native import InputError
from mfs_transport.sim import engine
from mfs_transport.sim.engine import Cluster, Model, Options, Requests, simulate

# layers, KV bytes, all-reduce payload of a layer, dispatch and combine, active parameters
MODELS = {
    "llama3-8b": (32, 4096, 2 * 8192, 0, 8e9, 4096),
    "llama3-70b": (80, 4096, 2 * 16384, 0, 70.6e9, 8192),
    "mixtral-8x7b": (32, 4096, 0, 2 * 16384, 12.9e9, 4096),
    "mixtral-8x22b": (56, 4096, 0, 2 * 24576, 39e9, 6144),
    "dbrx": (40, 4096, 0, 2 * 49152, 36e9, 6144),
    "grok-2": (64, 4096, 0, 2 * 32768, 115e9, 8192),
    "qwen3-coder-480b": (62, 4096, 0, 2 * 98304, 35e9, 12288),
    "deepseek-v3": (61, 1152, 2 * 14336, 2 * 114688, 37e9, 16384),
}
EVERY = list(engine.POLICIES)


def model_of(name: str, hosts: int = 1, groups: int = 8) -> Model:
    layers, kv, reduce, spread, active, wide = MODELS[name]
    return Model(
        layers, groups, kv, reduce, spread, 2 * active / layers, 2 * wide, hosts * 8 * 312e12
    )


def load(
    cluster: Cluster, model: Model, count: int, rate: float, seed: int = 0, slo: float = 3.0
) -> Requests:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate, count))
    tokens = np.maximum(16, rng.lognormal(7, 1, count)).astype(np.int64)
    prefix = (tokens * rng.uniform(0, 0.99, count) * (rng.random(count) < 0.8)).astype(np.int64)
    alone = [
        engine.closed_form_ttft_s(cluster, model, int(n), int(p))
        for n, p in zip(tokens, prefix, strict=True)
    ]
    return Requests(
        arrival, tokens, prefix, arrival + slo * np.array(alone), None, rng.random(count)
    )


BUSY = Cluster(units=4, unit_hosts=2, decode_hosts=6, link_Bps=8e9)
ALONE = Cluster(units=6, unit_hosts=1, decode_hosts=5, link_Bps=3e9)


def busy(
    policy: str = "mfs",
    seed: int = 0,
    count: int = 150,
    cluster: Cluster = BUSY,
    **options: object,
) -> engine.Outcome:
    model = model_of("mixtral-8x22b", 2)
    requests = load(cluster, model, count, 40, seed)
    return simulate(cluster, model, requests, Options(policy, **options))  # type: ignore[arg-type]


# --- one request alone ---


@pytest.mark.parametrize("hosts", [1, 2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_a_lone_request_takes_what_the_closed_form_says(name: str, hosts: int) -> None:
    cluster = Cluster(units=2, unit_hosts=hosts, decode_hosts=3)
    for groups in (8, MODELS[name][0]):
        model = model_of(name, hosts, groups)
        for tokens, prefix in ((4000, 2500), (1000, 0), (30000, 29000)):
            form = engine.closed_form_ttft_s(cluster, model, tokens, prefix)
            requests = Requests(
                np.array([2.0]), np.array([tokens]), np.array([prefix]), np.array([np.inf])
            )
            # in the paper's order collectives come first, then fetches, nearest group first
            found = simulate(cluster, model, requests, Options("mfs_paper")).ttft_s[0]
            assert found == pytest.approx(form, rel=1e-9), (groups, tokens)
            dated = dataclasses.replace(requests, deadline_s=np.array([2 + 3 * form]))
            found = simulate(cluster, model, dated).ttft_s[0]
            if hosts == 1:
                assert found == pytest.approx(form, rel=1e-9), (groups, tokens)
            else:  # a fetch that blocks the next group may go before the collective, and does
                assert 0.8 * form < found <= form * (1 + 1e-9), (groups, tokens)


def test_a_lone_request_under_fair_sharing_gets_all_groups_at_once() -> None:
    cluster, model = Cluster(2, 1, 2, link_Bps=1e9), model_of("llama3-8b")
    requests = Requests(np.array([0.0]), np.array([4000]), np.array([2500]), np.array([9.0]))
    form = engine.closed_form_ttft_s(cluster, model, 4000, 2500, together=True)
    found = simulate(cluster, model, requests, Options("fair")).ttft_s[0]
    assert found == pytest.approx(form, rel=1e-9)
    assert found > engine.closed_form_ttft_s(cluster, model, 4000, 2500)


def test_without_a_network_only_computing_takes_time() -> None:
    model = model_of("dbrx", 2)
    requests = Requests(np.array([1.0]), np.array([4000]), np.array([2500]), np.array([9.0]))
    found = simulate(BUSY, model, requests, Options("inf")).ttft_s[0]
    assert found == pytest.approx(8 * engine.compute_s(model, [1500], [2500]))


# --- an independent program ---


CLUSTERS = {
    "alone": Cluster(2, 1, 2, link_Bps=2e9),
    "pairs": Cluster(2, 2, 3, store_hosts=1, link_Bps=5e9, token_budget=3000),
    "pods": Cluster(1, 4, 2, link_Bps=5e9, pod_hosts=2, oversubscription=2.0),
    "tree": Cluster(
        *(2, 1, 4, 2),
        link_Bps=2e9,
        pod_hosts=2,
        oversubscription=2.0,
        zone_hosts=4,
        zone_oversubscription=5.0,
        spread_hosts=1,
    ),
}


def reference(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cluster", [CLUSTERS[name] for name in names], ids=names)


@pytest.mark.parametrize("policy", ["fair", "fifo", "sjf", "srpt", "edf"])
@reference(*CLUSTERS)
def test_an_independent_program_finds_the_same(policy: str, cluster: Cluster) -> None:
    model = model_of("mixtral-8x7b", cluster.unit_hosts, groups=4)
    for seed in range(3):
        requests = load(cluster, model, 14, 25, seed)
        wanted = np.array(Reference(cluster, model, requests, policy).run()) - requests.arrival_s
        found = simulate(cluster, model, requests, Options(policy)).ttft_s
        apart = 1e-3 if policy == "srpt" else 1e-6  # of equally many bytes rounding says which
        assert found == pytest.approx(wanted, rel=apart), f"seed {seed}"


@reference("alone", "pairs", "pods")
def test_an_independent_program_finds_the_same_under_mfs(cluster: Cluster) -> None:
    """But for looks at what is served, which are up to 1 ms late, and at those given up, of whom
    bytes leave elsewhere, too, and what follows from one."""
    model = model_of("mixtral-8x7b", cluster.unit_hosts, groups=4)
    for seed in range(1, 4):
        requests = load(cluster, model, 14, 25, seed)
        wanted = np.array(MfsReference(cluster, model, requests, "mfs").run()) - requests.arrival_s
        found = simulate(cluster, model, requests, Options(patience=0)).ttft_s
        apart = 1e-6 if cluster.unit_hosts < 2 else 0.01
        assert found == pytest.approx(wanted, rel=apart), f"seed {seed}"


@pytest.mark.parametrize(
    "options", [Options("srpt"), Options("varys"), Options(level_order="srpt")], ids=str
)
def test_what_is_left_counts_when_somebody_comes(options: Options) -> None:
    """1 GB/s; 1,000 MB at 0 s, of which 400 are left when 500 come at 0.6 s."""
    requests = Requests(
        np.array([0.0, 0.6]), np.array([1000, 500]), np.zeros(2, dtype=np.int64), np.full(2, 9.0)
    )
    cluster, model = Cluster(1, 1, 1, link_Bps=1e9), Model(1, 1, 1e6)
    for hopeless in (None, True):
        outcome = simulate(
            cluster, model, requests, dataclasses.replace(options, hopeless=hopeless)
        )
        assert outcome.ttft_s == pytest.approx([1.0, 0.9])


def test_lstf_counts_what_is_left_to_fetch_when_somebody_comes() -> None:
    """1 GB/s: the first is due at 9 s and fetches for 1 s; at 0.6 s it could wait until 8.6, the
    one that comes until 8.3; from 0.9 s on both until 8.6, so they take turns."""
    requests = Requests(
        np.array([0.0, 0.6]),
        np.array([1001, 501]),
        np.array([1000, 500]),
        np.array([9.0, 8.8]),
        None,
        np.full(2, 0.99),
    )
    cluster = Cluster(2, 1, 2, store_hosts=1, link_Bps=1e9)
    outcome = simulate(cluster, Model(1, 1, 1e6), requests, Options("lstf"))
    assert outcome.unit.tolist() == [0, 1]
    assert outcome.fetch_done_s == pytest.approx([1.5, 1.3], abs=5e-3)


def test_llf_looks_at_what_is_served() -> None:
    """The same bytes as above: in turn, one interval each, the two have the same laxity left."""
    requests = Requests(
        np.array([0.0, 0.6]), np.array([1000, 500]), np.zeros(2, dtype=np.int64), np.full(2, 9.0)
    )
    cluster, model = Cluster(1, 1, 1, link_Bps=1e9), Model(1, 1, 1e6)
    outcome = simulate(cluster, model, requests, Options("llf_oracle", interval_s=1e-3))
    assert outcome.ttft_s == pytest.approx([1.5, 0.9], abs=3e-3)


# --- known answers: one link of rate 1 (docs/scheduler.md) ---


@pytest.mark.parametrize(
    ("tier", "key", "ends"),
    [
        ([1, 1, 1], [0, 0, 0], [6, 9, 8]),  # fair
        ([0, 0, 0], [2, 4, 3], [2, 9, 5]),  # smallest first
        ([1, 1, 0], [0, 0, 7], [7, 9, 3]),  # the explicit deadline first, the rest share
        ([0, 0, 0], [9, 6, 7], [9, 4, 7]),  # by latest finish: all are met
    ],
)
def test_three_flows_on_one_link(tier: list[int], key: list[int], ends: list[int]) -> None:
    found = engine.flows([1.0], [[0]] * 3, [2.0, 4.0, 3.0], tier=tier, key=key)
    assert found.finish_s == pytest.approx(ends)


# --- what holds for every policy and everybody who may enforce it ---


@pytest.mark.parametrize(
    ("policy", "enforcement"),
    [
        (policy, enforcement)
        for policy in EVERY
        for enforcement in engine.ENFORCEMENTS
        if not enforcement.startswith("chunks") or policy in engine.CHUNKS_POLICIES
    ],
)
def test_all_bytes_arrive_and_times_are_in_order(policy: str, enforcement: str) -> None:
    model = model_of("mixtral-8x22b", 2)
    requests = load(BUSY, model, 80, 40)
    outcome = simulate(BUSY, model, requests, Options(policy, enforcement=enforcement))
    assert np.all(np.isfinite(outcome.ttft_s))
    assert np.all(outcome.fetch_done_s >= requests.arrival_s)
    assert np.all(outcome.compute_start_s >= requests.arrival_s)
    assert np.all(outcome.compute_done_s > outcome.compute_start_s)
    first_token = outcome.ttft_s + requests.arrival_s
    assert np.all(first_token >= outcome.compute_done_s)
    assert outcome.earliness_s == pytest.approx(requests.deadline_s - first_token)
    assert np.all(outcome.port_utilisation <= 1 + 1e-9)
    kv = 4096 * 56
    wanted = kv * float(requests.tokens.sum() + requests.prefix.sum())
    wanted += sum(
        2 * engine.collective_bytes(model, tokens, 2) * 8
        for tokens in (requests.tokens - requests.prefix).tolist()
    )
    assert outcome.bytes_moved == pytest.approx(wanted, rel=1e-9)
    no_network = 8 * np.array(
        [
            engine.compute_s(model, [n - p], [p])
            for n, p in zip(requests.tokens, requests.prefix, strict=True)
        ]
    )
    assert np.all(outcome.ttft_s >= no_network * (1 - 1e-9))


@pytest.mark.parametrize("policy", EVERY)
def test_the_same_input_gives_the_same_bits(policy: str) -> None:
    first, second = busy(policy), busy(policy)
    for field in dataclasses.fields(first):
        if field.name == "seconds":
            continue
        one, other = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(one, other), field.name
    assert not np.array_equal(first.ttft_s, busy(policy, seed=1).ttft_s)


def test_every_byte_of_a_link_is_counted() -> None:
    """Utilisation is over the time of arrivals: long after the flows, it has all their bytes."""
    cluster, model = Cluster(1, 1, 1, store_hosts=1), model_of("llama3-8b")
    requests = Requests(
        np.array([0.0, 100.0]),
        np.array([5000, 1]),
        np.array([2000, 0]),
        np.array([9.0, 200.0]),
        None,
        np.array([0.99, 0.0]),
    )
    used = simulate(cluster, model, requests).port_utilisation * 25e9 * 100
    kv = 4096 * 32
    assert used == pytest.approx([5000 * kv, 0, 2000 * kv, 2000 * kv, 5000 * kv, 0])


def test_ours_attains_more_than_the_others_near_the_knee() -> None:
    model = model_of("mixtral-8x22b", 2)
    requests = load(BUSY, model, 600, 32, 3)
    slo = requests.deadline_s - requests.arrival_s

    def attained(policy: str) -> float:
        return float(np.mean(simulate(BUSY, model, requests, Options(policy)).ttft_s <= slo))

    ours = attained("mfs")
    assert ours <= attained("inf")
    assert all(ours > attained(policy) for policy in ("fair", "fifo", "edf", "srpt"))


def test_the_hopeless_go_last() -> None:
    model = model_of("llama3-8b")
    requests = load(ALONE, model, 200, 60, slo=1.05)
    without = simulate(ALONE, model, requests, Options("edf"))
    with_rule = simulate(ALONE, model, requests, Options("edf", hopeless=True))
    assert not without.given_up.any()
    assert with_rule.given_up.sum() > 20
    slo = requests.deadline_s - requests.arrival_s
    late = with_rule.ttft_s > slo
    assert np.mean(late[with_rule.given_up]) > 0.9
    assert np.mean(~late) > np.mean(without.ttft_s <= slo)


def test_wrong_estimates_change_the_order_and_not_the_work() -> None:
    exact, wrong = busy(), busy(estimate_error=(0.3, 1))
    assert wrong.bytes_moved == pytest.approx(exact.bytes_moved)
    assert not np.array_equal(exact.ttft_s, wrong.ttft_s)


# --- what an engine could do besides ---


@pytest.mark.parametrize(
    "option",
    [
        {"unit_order": "edf"},
        {"decode_choice": "slack"},
        {"store_choice": "slack"},
        {"recompute": True},
        {"batching": "deadline", "batch_slack_s": 0.01},
        {"routing": "prefix"},
        {"level_order": "fair"},
        {"level_order": "srpt"},
        {"inherit": False},
        {"hopeless": False},
        {"patience": 1},
        {"promote_interval_s": 0.05},
    ],
    ids=str,
)
def test_options_make_a_difference_and_lose_nothing(option: dict[str, object]) -> None:
    small = dataclasses.replace(BUSY, token_budget=4000)  # more waits than one batch takes
    plain, other = busy(cluster=small), busy(cluster=small, **option)  # type: ignore[arg-type]
    assert np.all(np.isfinite(other.ttft_s))
    assert not np.array_equal(plain.ttft_s, other.ttft_s)


def test_a_batch_is_computed_together() -> None:
    """a and b, behind one that computes for 50 ms, compute 100 ms together and have 130 ms from
    then on; c behind them has 240: none is hopeless. As on the wire:
    test_unit__a_batch_is_computed_together."""
    cluster = Cluster(1, 1, 1, link_Bps=1e15, token_budget=2)
    model = Model(1, 1, 1.0, linear_flop_per_token_layer=1.0, flops=20.0, mfu_max=1.0, mfu_half=0.0)
    model = dataclasses.replace(model, elementwise=0.0)

    def run(due_s: float) -> engine.Outcome:
        requests = Requests(
            np.array([0.0, 0.01, 0.01, 0.01]),
            np.array([1, 1, 1, 2]),
            np.zeros(4, dtype=np.int64),
            0.05 + np.array([0.24, due_s, due_s, 0.24]),
        )
        return simulate(cluster, model, requests)

    outcome = run(0.13)
    assert outcome.compute_done_s == pytest.approx([0.05, 0.15, 0.15, 0.25])
    assert not outcome.given_up.any()
    assert run(0.09).given_up.tolist() == [False, True, True, False]


def test_shedding_gives_up_the_largest_so_that_others_are_in_time() -> None:
    """One sender, 10 tokens of KV a second: 60 due at 6.5 s, 30 at 7 s, 30 at 8 s. In order of
    deadline only the first is in time; without it both others are."""
    model = model_of("llama3-8b", groups=1)
    cluster = Cluster(1, 1, 1, link_Bps=10 * 4096 * 32)
    requests = Requests(
        np.array([0.0, 0.001, 0.002]),
        np.array([60, 30, 30]),
        np.zeros(3, dtype=np.int64),
        np.array([6.5, 7.0, 8.0]),
    )

    def in_time(shed: bool) -> list[bool]:
        outcome = simulate(cluster, model, requests, Options(shed=shed))
        return (outcome.ttft_s + requests.arrival_s <= requests.deadline_s).tolist()

    assert in_time(False) == [True, False, False]
    assert in_time(True) == [False, True, True]


def test_who_was_given_up_does_not_wait_for_ever() -> None:
    """One sender, 10 tokens of KV a second, and each second a request of 10 that has 8 s: the port
    is never idle. The first one, of 60 due at 1 s, is given up at once; with patience for 3 times
    its target it goes at 4 s, which nobody else is late for."""
    count = 30
    requests = Requests(
        np.arange(count + 1) * 1.0,
        np.array([60] + [10] * count),
        np.zeros(count + 1, dtype=np.int64),
        np.arange(count + 1) + np.array([1.0] + [8.0] * count),
    )
    cluster = Cluster(1, 1, 1, link_Bps=10 * 4096 * 32)

    def ttft(patience: int | None) -> tuple[float, bool]:
        outcome = simulate(
            cluster, model_of("llama3-8b", groups=1), requests, Options(patience=patience)
        )
        late = outcome.ttft_s + requests.arrival_s > requests.deadline_s
        assert outcome.given_up.tolist() == [True] + [False] * count
        return float(outcome.ttft_s[0]), bool(late[1:].any())

    last, _ = ttft(0)
    assert last > count
    assert ttft(20) == ttft(None) != ttft(19)  # as on the wire
    bounded, others_late = ttft(3)
    assert 9 < bounded < 12
    assert not others_late


def test_a_request_inherits_the_urgency_of_those_behind_it() -> None:
    """Two units fetch from one store: the first request of unit 0 has all the time in the world,
    but one that is due soon waits behind it."""
    cluster = Cluster(2, 1, 1, store_hosts=1, link_Bps=1e9, token_budget=1)
    requests = Requests(
        np.zeros(3),
        np.array([20_100, 20_300, 100]),
        np.array([20_000, 20_000, 0]),
        np.array([99.0, 9.0, 4.0]),
        None,
        np.full(3, 0.99),
    )

    def fetched(inherit: bool) -> list[float]:
        outcome = simulate(cluster, model_of("llama3-8b"), requests, Options(inherit=inherit))
        assert outcome.unit.tolist() == [0, 1, 0]
        return outcome.fetch_done_s.tolist()

    first, second, _ = fetched(True)
    assert first < second
    first, second, _ = fetched(False)
    assert first > second


@pytest.mark.parametrize(("link_Bps", "waits"), [(2e11, False), (5e10, True)])
def test_a_short_collective_does_not_wait_for_a_fetch(link_Bps: float, waits: bool) -> None:
    """Unit 1 waits for KV from a host of unit 0 and is due first. Unit 0's collective is an eighth
    of its group's time, or, with slower links, two fifths: then it goes by its latest finish."""
    cluster = Cluster(2, 2, 1, link_Bps=link_Bps, token_budget=1)
    model = model_of("mixtral-8x22b", 2, groups=1)
    requests = Requests(
        np.zeros(2),
        np.array([4_000, 100_100]),
        np.array([0, 100_000]),
        np.array([99.0, 9.0]),
        None,
        np.zeros(2),
    )
    outcome = simulate(cluster, model, requests, trace=True)
    assert outcome.store_host.tolist() == [-1, 0]
    assert outcome.fetch_done_s[1] > outcome.compute_start_s[0] + engine.compute_s(model, 4_000, 0)
    ends = outcome.trace[outcome.trace["unit"] == 0]
    names = [engine.TRACE_KINDS.index(f"collective_{what}") for what in ("start", "end")]
    begin, end = (float(ends[ends["kind"] == kind]["time_s"][0]) for kind in names)
    alone = engine.collective_bytes(model, 4_000, 2) / link_Bps
    assert (end - begin > 1.1 * alone) == waits


def test_a_prefix_at_home_is_not_fetched() -> None:
    outcome = busy(routing="prefix")
    assert np.sum(outcome.store_host < 0) > np.sum(busy().store_host < 0)


def test_edf_units_serve_the_more_urgent_first() -> None:
    cluster, model = Cluster(1, 1, 1, token_budget=1), model_of("llama3-70b")
    requests = Requests(
        np.array([0.0, 0.01, 0.02]),
        np.array([4000] * 3),
        np.zeros(3, dtype=np.int64),
        np.array([9.0, 9.0, 1.0]),
    )
    plain = simulate(cluster, model, requests)
    other = simulate(cluster, model, requests, Options(unit_order="edf"))
    assert np.argsort(plain.compute_start_s).tolist() == [0, 1, 2]
    assert np.argsort(other.compute_start_s).tolist() == [0, 2, 1]


# --- the trace ---


def test_the_trace_tells_the_whole_way_of_a_request() -> None:
    model = model_of("mixtral-8x22b", 2)
    requests = load(BUSY, model, 30, 40)
    outcome = simulate(BUSY, model, requests, trace=True)
    events = outcome.trace
    assert np.all(np.diff(events["time_s"]) >= 0)
    kind = {name: number for number, name in enumerate(engine.TRACE_KINDS)}
    request = int(np.argmax(requests.prefix))
    own = events[events["request"] == request]
    first = own[own["kind"] == kind["first_token"]]["time_s"]
    assert first == pytest.approx([requests.arrival_s[request] + outcome.ttft_s[request]])
    for stage, hosts in ((1, 2), (3, 2)):
        for what in ("flow_start", "flow_end"):
            flows = own[(own["kind"] == kind[what]) & (own["stage"] == stage)]
            assert sorted(flows["group"].tolist()) == sorted(list(range(8)) * hosts)
    assert len(simulate(BUSY, model, requests).trace) == 0


# --- the call ---


def test_progress_is_told_and_can_end_the_run() -> None:
    told: list[tuple[int, float]] = []
    model = model_of("mixtral-8x22b", 2)
    requests = load(BUSY, model, 600, 40)
    simulate(BUSY, model, requests, progress=lambda done, now: told.append((done, now)))
    assert len(told) > 1
    assert told == sorted(told)
    with pytest.raises(KeyboardInterrupt):
        simulate(BUSY, model, requests, progress=lambda done, now: True)
    with pytest.raises(ZeroDivisionError):
        simulate(BUSY, model, requests, progress=lambda done, now: bool(done // 0))


def test_other_threads_go_on_meanwhile() -> None:
    model = model_of("mixtral-8x22b", 2)
    requests = load(BUSY, model, 3000, 40)
    outcomes: list[engine.Outcome] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(simulate(BUSY, model, requests)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(outcomes[0].ttft_s, outcomes[1].ttft_s)


def test_nothing_to_do_takes_nothing() -> None:
    empty = np.zeros(0)
    requests = Requests(empty, empty.astype(np.int64), empty.astype(np.int64), empty)
    assert len(simulate(BUSY, model_of("dbrx", 2), requests).ttft_s) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "best"}, "policy 'best': one of fair"),
        ({"enforcement": "nobody"}, "enforcement 'nobody': one of global"),
        ({"levels": 3}, "levels 3: 4 to 31"),
        ({"unit_order": "lifo"}, "unit_order 'lifo': one of fifo, edf"),
        ({"promote_interval_s": -1.0}, "promote_interval_s -1.0: 0 or more"),
        ({"classes": 37}, "classes 37: 1 to 36"),
        ({"replicas": 1.5}, "replicas 1.5: a whole number"),
        ({"patience": -1}, "patience -1: 0 or more"),
        ({"patience": 2.5}, "patience 2.5: a whole number"),
        ({"pressure_delay_s": float("nan")}, "pressure_delay_s nan: 0 or more"),
        ({"window_bytes": 100}, "window_bytes 100: 0, or 128 to 1073741824"),
        ({"chunk_bytes": 100}, "chunk_bytes 100: 0, or 128 to 4194304"),
        ({"limits_lost": 1.0}, "limits_lost 1.0: 0 or more, less than 1"),
        ({"grant_bytes": -1}, "grant_bytes -1: 0 or more"),
        ({"estimate_error": (1.5, 0)}, "estimate_error 1.5"),
    ],
)
def test_wrong_options_are_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        busy(**change) if "policy" not in change else busy(str(change["policy"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prefix": np.array([0, 7])}, "request 1: prefix: 0 to tokens - 1"),
        ({"arrival_s": np.array([1.0, 0.5])}, "request 1: arrival_s: in order"),
        ({"tokens": np.array([0, 7])}, "request 0: tokens"),
        ({"store_draw": np.array([0.0, 1.0])}, "store_draw"),
        ({"deadline_s": np.array([5.0])}, "deadline_s has shape"),
        ({"prefix": np.zeros(3, dtype=np.int64)}, "prefix has shape"),
    ],
)
def test_wrong_requests_are_named(change: dict[str, object], words: str) -> None:
    good = Requests(np.array([0.0, 1.0]), np.array([7, 7]), np.array([0, 6]), np.array([9.0, 9.0]))
    with pytest.raises(InputError, match=words):
        simulate(BUSY, model_of("dbrx", 2), dataclasses.replace(good, **change))  # type: ignore[arg-type]
