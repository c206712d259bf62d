# SPDX-License-Identifier: Apache-2.0
"""A request's way through a wrapped connector: what is told of it, and what its transfers carry."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from small_connector import (
    CONFIG,
    LAYERS,
    SCHEDULER,
    VLLM_CONFIG,
    WORKER,
    FastPort,
    Hybrid,
    Metadata,
    Small,
    facts,
    on_ranks,
    output,
    request,
    transfers,
)

from mfs_transport import control
from mfs_transport.engines.vllm import connector as sides
from mfs_transport.engines.vllm import interface, planning
from mfs_transport.native import NEVER, lib, now_ns

pytest_plugins = ("small_connector",)


# --- a request's way ---


def test_prefill__registered_queued_handed_on_and_forgotten(scheduler: Any):
    name = "cmpl-a-0-00000001"
    scheduler.on_new_request(
        request(name, {"do_remote_decode": True}, {"mfs_deadline_ms": 5000, "mfs_slo_class": "x"})
    )
    seen = facts(name)
    left_ms = (seen.deadline_ns - now_ns()) / 1e6
    assert 4000 < left_ms <= 5000
    assert (seen.layers, seen.flags & lib.MFS_REQUEST_COMPUTED) == (LAYERS, 0)
    waits, params = scheduler.request_finished_all_groups(request(name), ([1, 2],))
    assert waits
    assert params["remote_block_ids"] == [1, 2]
    assert 0 < params["mfs_left_ms"] <= left_ms
    scheduler.build_connector_meta(output())
    assert facts(name).flags & lib.MFS_REQUEST_COMPUTED
    scheduler.update_connector_output(transfers(sending={name}))
    assert facts(name) is None


def test_prefill__without_kv_to_deliver_is_forgotten_at_once(scheduler: Any):
    scheduler.on_new_request(request("b", {"mfs_deadline_ms": 5000}))
    scheduler.request_finished_all_groups(request("b"), ([],))
    assert facts("b") is None


def test_prefill__without_a_deadline_adds_nothing_to_the_answer(scheduler: Any):
    scheduler.on_new_request(request("c"))
    _, params = scheduler.request_finished_all_groups(request("c"), ([1],))
    assert params == {"remote_block_ids": [1]}


def test_prefill__its_prompt_is_computed_when_the_last_step_of_it_ends(scheduler: Any):
    scheduler.on_new_request(request("s", {"do_remote_decode": True, "mfs_deadline_ms": 9000}))
    scheduler.on_new_request(request("t", {"do_remote_decode": True, "mfs_deadline_ms": 9000}))
    unit = scheduler._mfs_side.unit
    whole_ns = facts("s").layer_ns
    scheduler.build_connector_meta(output(s=60))
    scheduler.take_events()
    scheduler.on_new_request(request("u", {"do_remote_decode": True, "mfs_deadline_ms": 9000}))
    assert [one.name for one in unit.queue] == ["s", "t", "u"]
    scheduler.build_connector_meta(output(before={"s": 60}, s=20, t=10))
    assert 0 < facts("s").layer_ns < whole_ns  # the queue knows that less is left
    scheduler.take_events()
    scheduler.build_connector_meta(output(before={"s": 80, "t": 10}, s=20, t=10))
    assert not facts("s").flags & lib.MFS_REQUEST_COMPUTED
    scheduler.take_events()
    scheduler.build_connector_meta(output())
    assert facts("s").flags & lib.MFS_REQUEST_COMPUTED
    assert [one.name for one in unit.queue] == ["t", "u"]  # those behind it are next


def test_prefill__one_that_only_generates_is_told_to_nobody(scheduler: Any):
    scheduler.on_new_request(request("v", {"mfs_deadline_ms": 9000}))
    step = scheduler.build_connector_meta(output(v=100, other=1))
    assert getattr(step, interface.MESSAGE)["prefills"] == ["v"]
    step = scheduler.build_connector_meta(output(before={"v": 100, "other": 101}, v=1, other=1))
    assert getattr(step, interface.MESSAGE) == {"tokens": 2}
    assert not hasattr(scheduler.build_connector_meta(output()), interface.MESSAGE)


def test_prefill__preempted_before_its_first_token_it_computes_again(scheduler: Any):
    scheduler.on_new_request(request("w", {"mfs_deadline_ms": 9000}))
    scheduler.build_connector_meta(output(w=64))
    step = scheduler.build_connector_meta(output(before={"w": 0}, w=64))
    assert getattr(step, interface.MESSAGE)["prefills"] == ["w"]


def test_decode__hands_nothing_on(scheduler: Any):
    """Its answer names blocks of its own for a next turn, whose deadline is another."""
    scheduler.on_new_request(request("x", {"do_remote_prefill": True, "mfs_left_ms": 700}))
    _, params = scheduler.request_finished_all_groups(request("x"), ([1],))
    assert params == {"remote_block_ids": [1]}
    assert facts("x") is None


def test_decode__whose_kv_did_not_come_is_on_no_way(scheduler: Any):
    scheduler.on_new_request(request("y", {"do_remote_prefill": True, "mfs_left_ms": 700}))
    scheduler.update_connector_output(transfers(failed_recving={"y"}))
    assert facts("y") is None


def test_decode__time_left_counts_from_its_arrival_here(scheduler: Any):
    scheduler.on_new_request(
        request("d", {"do_remote_prefill": True, "mfs_left_ms": 700}, {"mfs_deadline_ms": 9000})
    )
    seen = facts("d")
    assert seen.flags & lib.MFS_REQUEST_COMPUTED
    assert 0 < (seen.deadline_ns - now_ns()) / 1e6 <= 700
    waited = request("d2", {"do_remote_prefill": True, "mfs_left_ms": 700})
    waited.arrival_time -= 0.5  # with the API server, before the engine's core took it
    scheduler.on_new_request(waited)
    assert 0 < (facts("d2").deadline_ns - now_ns()) / 1e6 <= 200
    scheduler.update_connector_output(transfers(recving={"d", "d2"}))
    assert facts("d") is None
    assert scheduler.calls[-1] == "output ['d', 'd2']"


def test_decode__late_already(scheduler: Any):
    scheduler.on_new_request(request("e", {"do_remote_prefill": True, "mfs_left_ms": -50}))
    assert facts("e").deadline_ns < now_ns()


def test_multi__a_request_is_forgotten_when_the_last_connector_is_done(scheduler: Any):
    other = interface.wrap(Small)(VLLM_CONFIG, SCHEDULER, CONFIG)
    one = request("o", {"do_remote_decode": True, "mfs_deadline_ms": 5000})
    for child in (scheduler, other):
        child.on_new_request(one)
    other.request_finished(one, [])  # it keeps nothing of it
    assert facts("o") is not None
    scheduler.request_finished_all_groups(one, ([1],))
    assert facts("o") is not None
    scheduler.update_connector_output(transfers(sending={"o"}))
    assert facts("o") is None
    assert other._mfs_side.unit._batch == {}
    other.shutdown()


def test_multi__one_connector_hands_the_deadline_on(scheduler: Any):
    """MultiConnector ends the engine when two answers have a key in common."""
    other = interface.wrap(Small)(VLLM_CONFIG, SCHEDULER, CONFIG)
    for _ in range(2):  # an id that comes again hands on again
        one = request("z", {"do_remote_decode": True, "mfs_deadline_ms": 5000})
        for child in (scheduler, other):
            child.on_new_request(one)
        _, first = scheduler.request_finished_all_groups(one, ([1],))
        _, second = other.request_finished(one, [1])
        assert ["mfs_left_ms" in params for params in (first, second)] == [True, False]
        for child in (scheduler, other):
            child.update_connector_output(transfers(sending={"z"}))
        assert facts("z") is None
    other.shutdown()


def test_arrived__an_id_that_comes_again_is_one_request(scheduler: Any):
    for left_ms in (900, 5000):
        scheduler.on_new_request(request("p", {"mfs_deadline_ms": left_ms}))
    assert (facts("p").deadline_ns - now_ns()) / 1e6 > 4000
    scheduler.request_finished_all_groups(request("p"), ([],))
    assert facts("p") is None


def test_wrong_deadline__is_said_in_one_line_and_served(
    scheduler: Any, capsys: pytest.CaptureFixture[str]
):
    scheduler.on_new_request(request("f", {"mfs_deadline_ms": "soon"}))
    line = capsys.readouterr().err.strip()
    assert line.startswith("mfs: request f: mfs_deadline_ms 'soon'")
    assert "\n" not in line
    assert scheduler.calls == ["new f"]
    assert facts("f").deadline_ns == NEVER


def test_wrong_deadlines__of_a_flood_few_are_said(
    scheduler: Any, capsys: pytest.CaptureFixture[str]
):
    for index in range(100):
        scheduler.on_new_request(request(f"g{index}", {"mfs_deadline_ms": -1}))
    assert len(capsys.readouterr().err.splitlines()) == sides.COMPLAINTS


# --- tags and layers ---


def through_pickle(scheduler: Any, step: Any) -> Any:
    return pickle.loads(pickle.dumps(scheduler.build_connector_meta(step)))


def test_tags__a_pull_carries_the_request_of_this_engine(scheduler: Any, worker: Any):
    name = "cmpl-h-0-11111111"
    scheduler.on_new_request(request(name, {"do_remote_prefill": True, "mfs_left_ms": 900}))
    scheduler.recv = {name: "another-name-at-prefill"}
    worker.bind_connector_metadata(through_pickle(scheduler, output()))
    worker.start_load_kv()
    key = lib.mfs_request_key(name.encode())
    agent = worker.connector_worker.nixl_wrapper
    assert agent.posted == [(key, "p2d")]
    # a push names the request as decode knows it: the same but for the random end
    agent.transfer(
        agent.make_prepped_xfer("WRITE", 1, [0], 2, [0], notif_msg=b"cmpl-h-0-22222222:1")
    )
    agent.transfer(
        agent.make_prepped_xfer("WRITE", 1, [0], 2, [0], notif_msg=b"cmpl-unknown-0-22222222:1")
    )
    agent.transfer(agent.make_prepped_xfer("WRITE", 1, [0], 2, [0], notif_msg=b"\xff\xfe"))
    assert agent.posted[1:] == [(key, "p2d"), None, None]


def test_tags__a_fetch_by_prefill_is_reuse(scheduler: Any, worker: Any):
    scheduler.on_new_request(request("i", {"do_remote_decode": True, "mfs_deadline_ms": 900}))
    scheduler.recv = {"i": "i"}
    worker.bind_connector_metadata(through_pickle(scheduler, output()))
    worker.start_load_kv()
    assert worker.connector_worker.nixl_wrapper.posted[0][1] == "kv_reuse"


def test_layers__progress_is_published_for_the_batch(scheduler: Any, worker: Any):
    for name in ("j", "k"):
        scheduler.on_new_request(request(name, {"mfs_deadline_ms": 9000}))
    worker.bind_connector_metadata(through_pickle(scheduler, output(j=100)))
    worker.wait_for_layer_load("model.layers.0.attn")
    worker.wait_for_layer_load("model.layers.1.attn")
    worker.wait_for_save()
    assert (facts("j").layer_now, facts("k").layer_now) == (1, 0)
    assert worker._mfs_side.estimates.samples == 1
    deadline_ns = facts("j").deadline_ns
    assert 0 < (deadline_ns - now_ns()) / 1e6 <= 9000


def test_layers__the_most_pressing_of_the_batch_is_told_to_the_collectives(
    scheduler: Any, worker: Any
):
    for name, left_ms in (("l", 9000), ("m", 500), ("n", 100)):
        scheduler.on_new_request(request(name, {"mfs_deadline_ms": left_ms}))
    worker.bind_connector_metadata(through_pickle(scheduler, output(l=10, m=20)))
    worker.wait_for_layer_load("model.layers.1.attn")
    assert control.batch_current() == (lib.mfs_request_key(b"m"), 1)
    worker.wait_for_save()
    assert control.batch_current()[0] == lib.MFS_REQUEST_NONE


@pytest.mark.parametrize(("ranks", "token_bytes"), [(1, 0), (2, 16384), (8, 28672)])
def test_collectives__bytes_of_a_ring_of_two_all_reduces(ranks: int, token_bytes: int):
    assert interface.collective_token_bytes(on_ranks(ranks)) == token_bytes


def test_collectives__their_time_goes_with_the_layer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sides, "Planned", FastPort)
    scheduler = interface.wrap(Hybrid)(on_ranks(2), SCHEDULER, CONFIG)
    worker = interface.wrap(Small)(on_ranks(2), WORKER, CONFIG)
    try:
        scheduler.on_new_request(request("o", {"mfs_deadline_ms": 9000}))
        assert facts("o").collective_ns == 100 * 16384  # of its prompt, at 1 GB/s
        worker.bind_connector_metadata(through_pickle(scheduler, output(o=60)))
        worker.wait_for_layer_load("model.layers.0.attn")
        assert facts("o").collective_ns == 60 * 16384  # of what the step computes
    finally:
        worker.shutdown()
        scheduler.shutdown()


@pytest.mark.parametrize(
    ("timeout", "extra", "hold_s"),
    [
        (None, None, 7.5),  # a quarter of the lease, 30 s unless told
        (None, {"kv_lease_duration": 120}, 30),
        (None, {"kv_lease_duration": 4000, "decoder_kv_blocks_ttl": 2000}, 120),
        ("8", {}, 2),
        ("soon", {"kv_lease_duration": None}, 120),  # vLLM says what is wrong with it
        ("-1", {"kv_lease_duration": "60"}, 15),
    ],
)
def test_held__well_below_the_time_after_which_vllm_gives_up(
    timeout: str | None, extra: Any, hold_s: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("VLLM_NIXL_ABORT_REQUEST_TIMEOUT", raising=False)
    if timeout is not None:
        monkeypatch.setenv("VLLM_NIXL_ABORT_REQUEST_TIMEOUT", timeout)
    transfers = SimpleNamespace(engine_id="engine", kv_connector_extra_config=extra)
    config = SimpleNamespace(**{**vars(VLLM_CONFIG), "kv_transfer_config": transfers})
    assert interface.hold_s(config) == hold_s
    scheduler = interface.wrap(Hybrid)(config, SCHEDULER, CONFIG)
    try:
        scheduler.on_new_request(request("h", {"mfs_deadline_ms": 9000}))
        assert facts("h").hold_ns == hold_s * 1e9
    finally:
        scheduler.shutdown()


def test_collectives__none_on_one_rank(scheduler: Any, worker: Any):
    scheduler.on_new_request(request("p", {"mfs_deadline_ms": 9000}))
    worker.bind_connector_metadata(through_pickle(scheduler, output(p=100)))
    worker.wait_for_layer_load("model.layers.0.attn")
    assert facts("p").collective_ns == 0


def test_worker__of_another_host_registers_by_the_time_left(worker: Any):
    meta = Metadata()
    message = {"new": {"far": (800.0, "decode"), "undated": (None, "decode")}}
    setattr(meta, interface.MESSAGE, message)
    worker.bind_connector_metadata(meta)
    assert 0 < (facts("far").deadline_ns - now_ns()) / 1e6 <= 800
    assert facts("undated") is None
    setattr(meta, interface.MESSAGE, {"gone": ["far"]})
    worker.bind_connector_metadata(meta)
    assert facts("far") is None


def test_plan__is_worked_out_once_a_step(scheduler: Any, monkeypatch: pytest.MonkeyPatch):
    worked_out = []
    replan = control.Egress.replan

    def counted(self: Any, at_ns: int | None = None) -> None:
        worked_out.append(type(self).__name__)
        replan(self, at_ns)

    monkeypatch.setattr(control.Egress, "replan", counted)
    for index in range(50):
        scheduler.on_new_request(request(f"plan-{index}", {"mfs_deadline_ms": 5000}))
        assert facts(f"plan-{index}") is not None  # known at once
    assert worked_out == []
    scheduler.build_connector_meta(output())
    scheduler.build_connector_meta(output())
    assert worked_out == ["Planned"]


def test_plan__takes_a_share_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch):
    clock = 100.0
    monkeypatch.setattr(planning.time, "monotonic", lambda: clock)
    worked_out = []

    def slow(self: Any, at_ns: int | None = None) -> None:
        nonlocal clock
        worked_out.append(clock)
        clock += 0.01

    monkeypatch.setattr(control.Egress, "replan", slow)
    plan = planning.Planned(control.default_host())
    for _ in range(1000):
        plan.replan()
        plan.settle()
        clock += 0.001
    taken, passed = 0.01 * len(worked_out), clock - 100.0
    assert 0.08 < taken / passed <= 0.11
    plan.settle()  # what was asked for last is not forgotten
    clock += 1.0
    before = len(worked_out)
    plan.settle()
    assert len(worked_out) == before + 1


def test_steps__teach_the_time_of_a_layer(scheduler: Any):
    for _ in range(3):
        scheduler.build_connector_meta(output(any=64))
        scheduler.take_events()
    assert scheduler._mfs_side.estimates.samples == 3


def test_steps__that_compute_nothing_teach_nothing(scheduler: Any):
    """An engine that waits for KV makes thousands of them."""
    assert scheduler.take_events() == ["events of its own"]
    side = scheduler._mfs_side
    for _ in range(1000):
        scheduler.build_connector_meta(output())
        scheduler.take_events()
    assert (len(side._steps), side.estimates.samples) == (0, 0)
    scheduler.build_connector_meta(output())
    scheduler.build_connector_meta(output(any=64))  # under way at the same time
    scheduler.take_events()
    assert side.estimates.samples == 0
    scheduler.take_events()
    assert side.estimates.samples == 1


def test_steps__whose_end_nobody_tells_are_not_kept_for_ever(scheduler: Any):
    for _ in range(1000):
        scheduler.build_connector_meta(output(any=64))
    assert len(scheduler._mfs_side._steps) <= sides.STEPS


def test_requests__thousands_leave_nothing_behind(scheduler: Any, worker: Any):
    """Delivered, aborted while they wait, aborted while they are computed, or pulled."""
    before = control.default_host().requests()
    for index in range(2000):
        name = f"many-{index}-0-{index:08x}"
        decodes = index % 4 == 3
        kind = {"do_remote_prefill": True} if decodes else {"do_remote_decode": True}
        one = request(name, {**kind, "mfs_deadline_ms": 5000})
        scheduler.on_new_request(one)
        scheduler.recv = {name: f"at-prefill-{index}"} if decodes else {}
        if index % 4 != 1:  # 1: aborted before it was scheduled
            tokens = {} if decodes else {name: 100 if index % 4 == 0 else 50}
            worker.bind_connector_metadata(scheduler.build_connector_meta(output(**tokens)))
            worker.start_load_kv()
            worker.wait_for_layer_load("model.layers.0.attn")
            worker.wait_for_save()
            done = {name} if decodes else set()
            scheduler.update_connector_output(transfers(recving=done))
            scheduler.take_events()
        waits = index % 4 == 0
        scheduler.request_finished_all_groups(one, ([1] if waits else [],))
        if waits:
            scheduler.update_connector_output(transfers(sending={name}))
    scheduler.recv = {}
    worker.bind_connector_metadata(scheduler.build_connector_meta(output()))
    scheduler.take_events()
    assert control.default_host().requests() == before
    side, other = scheduler._mfs_side, worker._mfs_side
    kept = [side.active, side.unit.queue, side.unit.sending, side.unit._batch, side.coming.sending]
    kept += [side._steps, side._new, side._gone, sides._carriers, sides._handed_on]
    kept += [other.kinds, other.by_base, other.aliases, other.own, other.batch.names]
    assert [len(one) for one in kept] == [0] * len(kept)
