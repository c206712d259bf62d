# SPDX-License-Identifier: Apache-2.0
"""Enforcement chunks: the senders that ship, in the simulator's time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_sim_engine import ALONE, MODELS, load, model_of

from mfs_transport.native import InputError
from mfs_transport.sim import engine
from mfs_transport.sim.engine import Cluster, Model, Options, Requests, simulate

CHUNK_S, WINDOW_S = 200e-6, 2e-3
LINK_BPS = 1e9  # fast enough for chunks of 200 us
SENDING = Model(layers=1, groups=1, kv_bytes_per_token_layer=LINK_BPS / 1000)  # 1000 tokens: 1 s


def chunks(policy: str, **options: object) -> Options:
    return Options(policy, enforcement="chunks", **options)  # type: ignore[arg-type]


def sending(arrival_s: list[float], tokens: list[int], deadline_s: list[float]) -> Requests:
    """Requests of stage 3 alone."""
    none = np.zeros(len(tokens), dtype=np.int64)
    return Requests(np.array(arrival_s), np.array(tokens), none, np.array(deadline_s))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("policy", ["mfs", "mfs_paper", "edf"])
def test_a_lone_request_on_units_of_one_host_takes_what_the_closed_form_says(
    name: str, policy: str
) -> None:
    cluster, model = Cluster(units=2, unit_hosts=1, decode_hosts=3), model_of(name)
    for tokens, prefix in ((4000, 2500), (1000, 0), (30000, 29000)):
        form = engine.closed_form_ttft_s(cluster, model, tokens, prefix)
        requests = Requests(
            np.array([2.0]), np.array([tokens]), np.array([prefix]), np.array([2 + 3 * form])
        )
        found = simulate(cluster, model, requests, chunks(policy)).ttft_s[0]
        assert found == pytest.approx(form, abs=1e-6), tokens


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        ("fifo", [2, 6, 9]),
        ("sjf", [2, 9, 5]),
        ("srpt", [2, 9, 5]),
        ("edf", [9, 4, 7]),  # by deadline: all are met
        ("fair", [6, 9, 8]),
    ],
)
@pytest.mark.parametrize("receivers", [1, 3])
def test_three_flows_of_one_port(policy: str, ends: list[float], receivers: int) -> None:
    """The example of test_sim_engine.py, by the real queue."""
    cluster = Cluster(1, 1, receivers, link_Bps=LINK_BPS)
    requests = sending([0.0] * 3, [2000, 4000, 3000], [9.0, 6.0, 7.0])
    found = simulate(cluster, SENDING, requests, chunks(policy)).ttft_s
    assert found == pytest.approx(ends, abs=3 * CHUNK_S)


def test_an_urgent_request_waits_for_the_window_and_no_more() -> None:
    requests = sending([0.0, 1.0], [3000, 500], [9.0, 2.0])
    cluster = Cluster(1, 1, 2, link_Bps=LINK_BPS)
    late = simulate(cluster, SENDING, requests, chunks("edf")).ttft_s - [3.5, 0.5]
    assert WINDOW_S - 2 * CHUNK_S <= late[1] <= WINDOW_S + CHUNK_S
    assert late[0] == pytest.approx(0, abs=CHUNK_S)


def test_on_a_slow_link_smaller_chunks_let_an_urgent_request_in_sooner() -> None:
    """Of the window of two chunks, since 2 ms of the link are less."""
    requests = sending([0.0, 0.1], [3000, 500], [9.0, 2.0])
    cluster = Cluster(1, 1, 2, link_Bps=LINK_BPS / 1000)
    model = dataclasses.replace(SENDING, kv_bytes_per_token_layer=LINK_BPS / 1e6)
    for chunk_bytes in (65536, 16384):
        options = chunks("edf", chunk_bytes=chunk_bytes)
        late = simulate(cluster, model, requests, options).ttft_s[1] - 0.5
        chunk_s = chunk_bytes / cluster.link_Bps
        assert chunk_s < late <= 3 * chunk_s
    as_shipped, the_same = (
        simulate(cluster, model, requests, chunks("edf", chunk_bytes=chunk_bytes)).ttft_s
        for chunk_bytes in (0, 65536)
    )
    assert as_shipped.tolist() == the_same.tolist()


def test_a_larger_window_lets_an_urgent_request_in_later() -> None:
    requests = sending([0.0, 0.1], [3000, 500], [9.0, 2.0])
    cluster = Cluster(1, 1, 2, link_Bps=LINK_BPS / 1000)
    model = dataclasses.replace(SENDING, kv_bytes_per_token_layer=LINK_BPS / 1e6)
    for window_bytes in (131072, 524288):
        options = chunks("edf", window_bytes=window_bytes)
        late = simulate(cluster, model, requests, options).ttft_s[1] - 0.5
        window_s = window_bytes / cluster.link_Bps
        assert window_s / 2 < late <= window_s + 65536 / cluster.link_Bps


def test_a_receivers_port_is_shared_by_who_sends() -> None:
    """Four hosts of a unit send a quarter each at full speed: the port takes as long as for all."""
    cluster = Cluster(1, 4, 1, link_Bps=LINK_BPS)
    found = simulate(cluster, SENDING, sending([0.0], [1000], [9.0]), chunks("edf"), trace=True)
    assert found.ttft_s == pytest.approx([1.0], abs=CHUNK_S)
    assert found.bytes_moved == LINK_BPS
    ends = found.trace["time_s"][found.trace["kind"] == engine.TRACE_KINDS.index("flow_end")]
    assert ends == pytest.approx([1.0] * 4, abs=4 * CHUNK_S)


def test_what_waits_for_a_busy_receiver_holds_up_others_for_some_windows_only() -> None:
    """64 senders have filled their windows for one receiver, 640 chunks in all; each sees after
    three windows that the receiver is slow, and then sends to the other one."""
    requests = sending([0.0, 0.0], [1000, 1], [3.0, 9.0])
    cluster = Cluster(1, 64, 2, link_Bps=LINK_BPS)
    found = simulate(cluster, SENDING, requests, chunks("edf"))
    assert found.decode_host.tolist() == [64, 65]
    assert found.ttft_s[1] < 7 * WINDOW_S < 640 * CHUNK_S / 8
    assert found.ttft_s[0] == pytest.approx(1.0, abs=WINDOW_S)


def test_the_use_of_a_port_is_counted_to_the_last_arrival() -> None:
    requests = sending([0.0, 1.0], [3000, 500], [9.0, 9.5])
    cluster = Cluster(1, 1, 2, link_Bps=LINK_BPS)
    used = simulate(cluster, SENDING, requests, chunks("fifo")).port_utilisation
    assert used[0] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("policy", engine.CHUNKS_POLICIES)
def test_the_same_input_gives_the_same_bits(policy: str) -> None:
    model = model_of("llama3-8b")
    requests = load(ALONE, model, 60, 30)
    first, second = (simulate(ALONE, model, requests, chunks(policy)) for _ in range(2))
    for field in dataclasses.fields(first):
        if field.name != "seconds":
            one, other = getattr(first, field.name), getattr(second, field.name)
            assert np.array_equal(one, other), field.name


@pytest.mark.parametrize("policy", [one for one in engine.CHUNKS_POLICIES if one != "karuna"])
def test_fluid_and_chunks_agree_while_receivers_are_not_busy(policy: str) -> None:
    """Not karuna: the fluid one has exact rates, csrc/core's has keys."""
    model = model_of("llama3-8b")
    requests = load(ALONE, model, 300, 15)
    fluid, real = (
        np.mean(simulate(ALONE, model, requests, Options(policy, enforcement=by)).earliness_s >= 0)
        for by in ("sender", "chunks")
    )
    assert real == pytest.approx(fluid, abs=0.02)


def test_limits_that_are_lost_cost_little() -> None:
    """Each is told again; senders that are told next to nothing are as without."""
    model = model_of("llama3-8b")
    requests = load(ALONE, model, 600, 30)

    def attained(**options: object) -> float:
        by = Options("mfs", **options)  # type: ignore[arg-type]
        return float(np.mean(simulate(ALONE, model, requests, by).earliness_s >= 0))

    without = attained(enforcement="chunks")
    told = attained(enforcement="chunks+exchange")
    some = attained(enforcement="chunks+exchange", limits_lost=0.3)
    assert told > without + 0.05
    assert some > without + 0.6 * (told - without)
    assert some != told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "pdq"}, "policy 'pdq': with enforcement chunks one that csrc/core has: fair"),
        ({"policy": "inf"}, "policy 'inf': with enforcement chunks"),
        ({"policy": "edf", "hopeless": True}, "hopeless True: None with enforcement chunks"),
        ({"policy": "mfs_paper", "shed": True}, "shed True: None with enforcement chunks"),
        ({"level_order": "srpt"}, "level_order 'srpt': 'key' with enforcement chunks"),
        ({"stage_first": "p2d"}, "stage_first 'p2d': 'none' with enforcement chunks"),
        ({"promote_interval_s": 1e-3}, "promote_interval_s 0.001: 0.0 with enforcement chunks"),
    ],
)
def test_what_only_the_fluid_model_has_is_refused(change: dict[str, object], words: str) -> None:
    options = dataclasses.replace(chunks("mfs"), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=words):
        simulate(ALONE, SENDING, sending([0.0], [1000], [9.0]), options)


# --- receivers that tell their senders which ranks may send ---


def two_units_send_to_one_receiver(options: Options) -> list[float]:
    """A request of 1 s and an urgent one of 0.2 s: TTFT. Both compute for about 1 ms."""
    model = dataclasses.replace(SENDING, linear_flop_per_token_layer=1e-6)
    requests = sending([0.0, 0.5e-3], [1000, 200], [9.0, 0.3])
    outcome = simulate(Cluster(2, 1, 1, link_Bps=LINK_BPS), model, requests, options)
    assert outcome.unit.tolist() == [0, 1]
    return list(outcome.ttft_s)


def exchange(policy: str, delay_s: float) -> Options:
    return Options(policy, enforcement="chunks+exchange", pressure_delay_s=delay_s)


def test_exchange__the_urgent_one_has_the_receivers_port_to_itself() -> None:
    shared = two_units_send_to_one_receiver(chunks("edf"))
    assert shared == pytest.approx([1.2, 0.4], abs=5 * WINDOW_S)  # half of the port each
    found = two_units_send_to_one_receiver(exchange("edf", 1e-3))
    assert found == pytest.approx([1.2, 0.2], abs=5 * WINDOW_S)  # and it was never idle


def test_exchange__limits_that_come_too_late_change_nothing() -> None:
    late, later = (two_units_send_to_one_receiver(exchange("edf", s)) for s in (5e-3, 20e-3))
    assert late == later == two_units_send_to_one_receiver(chunks("edf"))


@pytest.mark.parametrize("delay_s", [0.0, 0.3e-3, 3e-3])
def test_exchange__more_deadlines_are_met(delay_s: float) -> None:
    model = model_of("llama3-8b")
    requests = load(ALONE, model, 300, 130)
    apart = np.mean(simulate(ALONE, model, requests, chunks("mfs")).earliness_s >= 0)
    told = np.mean(simulate(ALONE, model, requests, exchange("mfs", delay_s)).earliness_s >= 0)
    assert told > apart + 0.02


# --- receivers that grant their senders bytes ---


def grants(policy: str, delay_s: float, **options: object) -> Options:
    return Options(
        policy,
        enforcement="chunks+grants",
        pressure_delay_s=delay_s,
        **options,  # type: ignore[arg-type]
    )


def one_sends(megabytes: int, options: Options) -> engine.Outcome:
    requests = sending([0.0], [megabytes], [9.0])
    return simulate(Cluster(1, 1, 1, link_Bps=LINK_BPS), SENDING, requests, options)


def test_grants__what_the_way_covers_goes_without_asking() -> None:
    """3 ms of delay are 3 MB of this port."""
    found = one_sends(3, grants("edf", 3e-3))
    assert found.told == 0
    assert found.ttft_s == pytest.approx([3e-3])


@pytest.mark.parametrize(
    ("grant_bytes", "told"),
    [
        (0, 10),  # 4.2 MB: 7 chunks at once, 4.38 MB; then one whenever one has left, 1.62 MB: 9
        (500_000, 4),  # 4.5 MB: 3 at once; then 3
        (1_000_000, 2),  # 5 MB: 2 at once; then 1
        (9_000_000, 1),  # no more than what waits
    ],
)
def test_grants__the_rest_is_granted_by_quanta_in_time(grant_bytes: int, told: int) -> None:
    """Of 6 MB 3 go without asking. Quanta are granted while less than 3 MB, a quantum and 1 MB
    are ahead; so each grant is there before what was granted until then has left."""
    found = one_sends(6, grants("edf", 3e-3, grant_bytes=grant_bytes))
    assert found.told == told
    assert found.ttft_s == pytest.approx([6e-3], abs=CHUNK_S)


def test_grants__one_that_is_lost_comes_again_a_delay_later() -> None:
    found = [
        one_sends(4, grants("edf", 3e-3, grant_bytes=1_000_000, limits_lost=lost))
        for lost in (0.0, 0.5, 0.9)
    ]
    assert found[0].told == 1
    assert found[2].told > 2
    for one in found:
        assert one.ttft_s == pytest.approx([4e-3 + 3e-3 * (one.told - 1)], abs=CHUNK_S)


def test_grants__a_later_one_makes_good_for_one_that_was_lost() -> None:
    """Ten grants, as above, and none a second time: the first that arrives covers those before."""
    found = one_sends(6, grants("edf", 3e-3, limits_lost=0.3))
    assert found.told == 10
    assert found.ttft_s == pytest.approx([6e-3], abs=2 * CHUNK_S)


def test_grants__the_urgent_one_has_the_most_of_the_port() -> None:
    """Not all of it: ahead of a sender are 100 kB of the way, a quantum and 1 MB, which is 7
    chunks, and ahead of both 1.59 MB: 9 chunks. The port is never idle."""
    found = two_units_send_to_one_receiver(grants("edf", 1e-4))
    assert found == pytest.approx([1.2, 0.2 * 9 / 7], abs=WINDOW_S)


def test_grants__a_port_is_used_while_its_best_sender_is_busy_elsewhere() -> None:
    """Unit 0 has something for host 2, and then, less urgent, for host 3. Until it comes to that,
    host 3 takes what unit 1 has, though that is the least urgent of all.

    Unit 0 does not keep its order. Host 2 lets it be ahead by 2.2 MB, which is 12 chunks; each
    comes again 16 chunks later, 6 until its grant has come and a chunk has left (1 ms), and 10 in
    the window (2 ms). The other 4 of 16 go to host 3."""
    model = dataclasses.replace(SENDING, linear_flop_per_token_layer=1e-6)
    requests = sending([0.0, 2e-3, 2.001e-3], [600, 500, 500], [1.0, 2.0, 3.0])
    cluster = Cluster(2, 1, 2, link_Bps=LINK_BPS)
    outcome = simulate(cluster, model, requests, grants("edf", 1e-3))
    assert outcome.unit.tolist() == [0, 0, 1]
    assert outcome.decode_host.tolist() == [2, 3, 3]
    assert outcome.ttft_s[:2] == pytest.approx([0.6 * 16 / 12, 1.1], abs=2 * WINDOW_S)
    # host 3 gets 0.2 s of unit 0's meanwhile, and the rest of its port is unit 1's
    assert outcome.ttft_s[2] == pytest.approx(0.5 / (1 - 4 / 16), abs=5 * WINDOW_S)


@pytest.mark.parametrize("delay_s", [0.0, 0.3e-3, 3e-3])
def test_grants__more_deadlines_are_met(delay_s: float) -> None:
    model = model_of("llama3-8b")
    requests = load(ALONE, model, 300, 130)
    apart = np.mean(simulate(ALONE, model, requests, chunks("mfs")).earliness_s >= 0)
    told = np.mean(simulate(ALONE, model, requests, grants("mfs", delay_s)).earliness_s >= 0)
    assert told > apart + 0.02
