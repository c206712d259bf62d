# SPDX-License-Identifier: Apache-2.0
"""Wrapping a connector: all is handed on, deadlines and tags are told around it.

The connector here is a small one of its own kind with the interface's methods; the factory
is one with the parts that `install` touches. The real ones are in test_engines_vllm.py.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport import control
from mfs_transport.engines.vllm import connector as sides
from mfs_transport.engines.vllm import interface, planning, plugin
from mfs_transport.native import ffi, lib

LAYERS = 2
CONFIG = SimpleNamespace(
    kv_cache_groups=[
        SimpleNamespace(
            layer_names=["model.layers.1.attn", "model.layers.0.attn"],
            kv_cache_spec=SimpleNamespace(block_size=16),
        )
    ],
    kv_cache_tensors=[SimpleNamespace(size=10 * 16 * 2048)] * LAYERS,
    num_blocks=10,
)
VLLM_CONFIG = SimpleNamespace(
    kv_transfer_config=SimpleNamespace(engine_id="engine"),
    scheduler_config=SimpleNamespace(max_num_batched_tokens=512),
    parallel_config=SimpleNamespace(tensor_parallel_size=1),
)


def on_ranks(ranks: int) -> SimpleNamespace:
    """The same with tensor parallelism and a hidden state of 4096 numbers of 2 bytes."""
    model = SimpleNamespace(get_hidden_size=lambda: 4096, dtype=SimpleNamespace(itemsize=2))
    parallel = SimpleNamespace(tensor_parallel_size=ranks)
    return SimpleNamespace(
        **{**vars(VLLM_CONFIG), "parallel_config": parallel, "model_config": model}
    )


SCHEDULER, WORKER = SimpleNamespace(name="SCHEDULER"), SimpleNamespace(name="WORKER")


class FastPort(planning.Planned):
    """Of 1 GB/s."""

    def rate_Bps(self) -> int:
        return 1_000_000_000


class Metadata:
    def __init__(self) -> None:
        self.reqs_to_recv: dict[str, Any] = {}


class Wire:
    """An agent that notes the tag of what is posted."""

    def __init__(self) -> None:
        self.posted: list[tuple[int, str] | None] = []

    def make_prepped_xfer(self, *arguments: Any, notif_msg: bytes = b"") -> object:
        del arguments, notif_msg
        return object()

    def transfer(self, handle: object) -> str:
        del handle
        tag = control.tag_current()
        stage = None if tag is None else ffi.string(lib.mfs_stage_name(tag.stage)).decode()
        self.posted.append(None if tag is None or stage is None else (tag.request, stage))
        return "PROC"


class Small:
    """A connector: notes its calls, and reads one request for each in its metadata."""

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        del vllm_config, kv_cache_config
        self.calls: list[str] = []
        self.meta: Any = None
        self.recv: dict[str, str] = {}
        if role is WORKER:
            self.connector_worker = SimpleNamespace(nixl_wrapper=Wire())

    def on_new_request(self, request: Any) -> None:
        self.calls.append(f"new {request.request_id}")

    def build_connector_meta(self, output: Any) -> Metadata:
        del output
        meta = Metadata()
        for name, other in self.recv.items():
            meta.reqs_to_recv[name] = SimpleNamespace(remote=SimpleNamespace(request_id=other))
        return meta

    def update_connector_output(self, output: Any) -> None:
        self.calls.append(f"output {sorted(output.finished_recving)}")

    def take_events(self) -> list[str]:
        return ["events of its own"]

    def request_finished(self, request: Any, blocks: list[int]) -> tuple[bool, dict[str, Any]]:
        del request
        return bool(blocks), {"remote_block_ids": blocks}

    def bind_connector_metadata(self, meta: Any) -> None:
        self.meta = meta

    def start_load_kv(self) -> None:
        for name in self.meta.reqs_to_recv:
            other = self.meta.reqs_to_recv[name].remote.request_id
            agent = self.connector_worker.nixl_wrapper
            agent.transfer(
                agent.make_prepped_xfer("READ", 1, [0], 2, [0], notif_msg=f"{other}:1".encode())
            )

    def wait_for_layer_load(self, layer: str) -> None:
        self.calls.append(f"wait {layer}")

    def save_kv_layer(self, layer: str, kv: Any, attention: Any, **options: Any) -> None:
        self.calls.append(f"save {layer} {kv} {attention} {options}")

    def wait_for_save(self) -> None:
        self.calls.append("saved")

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def only_here(self) -> str:
        return "as it was"

    @classmethod
    def layout(cls) -> str:
        return cls.__name__


class Hybrid(Small):
    def request_finished_all_groups(self, request: Any, blocks: Any) -> tuple[bool, dict[str, Any]]:
        return self.request_finished(request, blocks[0])


def request(name: str, params: Any = None, extra: Any = None, tokens: int = 100) -> SimpleNamespace:
    return SimpleNamespace(
        request_id=name,
        kv_transfer_params=params,
        sampling_params=SimpleNamespace(extra_args=extra),
        num_prompt_tokens=tokens,
        arrival_time=time.time(),
    )


def output(*, before: dict[str, int] | None = None, **scheduled: int) -> SimpleNamespace:
    """A step. before: tokens that those which are not new have computed."""
    before = before or {}
    new = [SimpleNamespace(req_id=n, num_computed_tokens=0) for n in scheduled if n not in before]
    cached = SimpleNamespace(req_ids=list(before), num_computed_tokens=list(before.values()))
    return SimpleNamespace(
        num_scheduled_tokens=scheduled, scheduled_new_reqs=new, scheduled_cached_reqs=cached
    )


def transfers(
    recving: set[str] | None = None, sending: set[str] | None = None, **more: set[str]
) -> SimpleNamespace:
    return SimpleNamespace(
        finished_recving=recving or set(), finished_sending=sending or set(), **more
    )


def facts(name: str) -> Any:
    out = ffi.new("struct mfs_facts *")
    key = lib.mfs_request_key(name.encode())
    found = lib.mfs_request_get(control.default_host().handle, key, out)
    return out if found == 0 else None


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(planning, "SHARE", 1.0)  # each step works the plan out
    made = interface.wrap(Hybrid)(VLLM_CONFIG, SCHEDULER, CONFIG)
    yield made
    made.shutdown()


@pytest.fixture
def worker() -> Iterator[Any]:
    made = interface.wrap(Small)(VLLM_CONFIG, WORKER, CONFIG)
    yield made
    made.shutdown()


# --- wrapping ---


def test_wrap__is_the_class_it_wraps_to_all_who_ask():
    wrapped = interface.wrap(Small)
    assert issubclass(wrapped, Small)
    assert (wrapped.__name__, wrapped.__module__) == ("Small", Small.__module__)
    assert wrapped.layout() == "Small"  # type: ignore[attr-defined]
    assert not hasattr(wrapped, "request_finished_all_groups")
    assert hasattr(interface.wrap(Hybrid), "request_finished_all_groups")


def test_wrap__twice_is_once():
    assert interface.wrap(interface.wrap(Small)) is interface.wrap(Small)


def test_wrap__every_method_is_handed_on(worker: Any):
    worker.bind_connector_metadata(Metadata())
    worker.wait_for_layer_load("model.layers.0.attn")
    worker.save_kv_layer("model.layers.0.attn", "kv", "attention", more=1)
    worker.wait_for_save()
    assert worker.calls == [
        "wait model.layers.0.attn",
        "save model.layers.0.attn kv attention {'more': 1}",
        "saved",
    ]
    assert worker.only_here() == "as it was"


def test_wrap__our_errors_end_with_us(scheduler: Any, capsys: pytest.CaptureFixture[str]):
    before = interface.faults.count
    scheduler.on_new_request(SimpleNamespace(request_id="no-such-fields"))
    scheduler.on_new_request(SimpleNamespace(request_id="no-such-fields"))
    assert scheduler.calls == ["new no-such-fields"] * 2
    assert interface.faults.count == before + 2
    assert capsys.readouterr().err.count("the engine goes on without it") <= 1


def test_wrap__our_errors_end_with_us_when_nobody_can_read_of_them(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch
):
    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    monkeypatch.setattr(interface.faults, "said", set())
    scheduler.on_new_request(SimpleNamespace(request_id="no-such-fields"))
    scheduler.on_new_request(request("q", {"mfs_deadline_ms": "soon"}))
    assert scheduler.calls == ["new no-such-fields", "new q"]
    assert facts("q") is not None


def test_wrap__a_tag_that_fails_costs_the_tag(worker: Any, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(worker._mfs_side, "tag_of", broken)
    before = interface.faults.count
    agent = worker.connector_worker.nixl_wrapper
    agent.transfer(agent.make_prepped_xfer("READ", 1, [0], 2, [0], notif_msg=b"x:1"))
    assert agent.posted == [None]
    assert interface.faults.count == before + 1


def test_wrap__the_connector_ends_badly_and_we_still_end(monkeypatch: pytest.MonkeyPatch):
    made = interface.wrap(Small)(VLLM_CONFIG, SCHEDULER, CONFIG)
    made.on_new_request(request("r", {"mfs_deadline_ms": 5000}))

    def broken(_: Any) -> None:
        raise RuntimeError("its own")

    monkeypatch.setattr(Small, "shutdown", broken)
    with pytest.raises(RuntimeError, match="its own"):
        made.shutdown()
    assert facts("r") is None


def test_wrap__errors_of_the_connector_are_the_engines(worker: Any, monkeypatch: Any):
    def broken(_: Any) -> None:
        raise RuntimeError("its own")

    monkeypatch.setattr(Small, "wait_for_save", broken)
    with pytest.raises(RuntimeError, match="its own"):
        worker.wait_for_save()


# --- a request's way ---


def test_prefill__registered_queued_handed_on_and_forgotten(scheduler: Any):
    name = "cmpl-a-0-00000001"
    scheduler.on_new_request(
        request(name, {"do_remote_decode": True}, {"mfs_deadline_ms": 5000, "mfs_slo_class": "x"})
    )
    seen = facts(name)
    left_ms = (seen.deadline_ns - control.now_ns()) / 1e6
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
    assert 0 < (seen.deadline_ns - control.now_ns()) / 1e6 <= 700
    waited = request("d2", {"do_remote_prefill": True, "mfs_left_ms": 700})
    waited.arrival_time -= 0.5  # with the API server, before the engine's core took it
    scheduler.on_new_request(waited)
    assert 0 < (facts("d2").deadline_ns - control.now_ns()) / 1e6 <= 200
    scheduler.update_connector_output(transfers(recving={"d", "d2"}))
    assert facts("d") is None
    assert scheduler.calls[-1] == "output ['d', 'd2']"


def test_decode__late_already(scheduler: Any):
    scheduler.on_new_request(request("e", {"do_remote_prefill": True, "mfs_left_ms": -50}))
    assert facts("e").deadline_ns < control.now_ns()


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
    assert (facts("p").deadline_ns - control.now_ns()) / 1e6 > 4000
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
    assert facts("f").deadline_ns == control.NEVER


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
    assert 0 < (deadline_ns - control.now_ns()) / 1e6 <= 9000


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
    assert 0 < (facts("far").deadline_ns - control.now_ns()) / 1e6 <= 800
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


# --- the factory ---


class Factory:
    """The parts of vLLM's KVConnectorFactory that are touched."""

    _registry: dict[str, Any]

    @classmethod
    def get_connector_class(cls, config: Any) -> Any:
        if config.kv_connector_module_path:
            return getattr(sys.modules[config.kv_connector_module_path], config.kv_connector)
        if config.kv_connector not in cls._registry:
            raise ValueError(f"Unsupported connector type: {config.kv_connector}")
        return cls._registry[config.kv_connector]()

    @classmethod
    def supports_hma_config(cls, config: Any) -> bool:
        found = cls.get_connector_class(config)
        return config.kv_connector != "MultiConnector" and issubclass(found, Hybrid)


def config_of(name: str, module: str | None = None, **extra: Any) -> SimpleNamespace:
    return SimpleNamespace(
        kv_connector=name, kv_connector_module_path=module, kv_connector_extra_config=extra
    )


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Any:
    fresh = type("Factory", (Factory,), {})
    fresh._registry = {
        "NixlConnector": lambda: Hybrid,
        "Small": lambda: Small,
        "MultiConnector": lambda: Hybrid,
    }
    name = "vllm.distributed.kv_transfer.kv_connector.factory"
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = ".".join(parts[:depth])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    sys.modules[name].KVConnectorFactory = fresh  # type: ignore[attr-defined]
    return fresh


@pytest.fixture
def installed(factory: Any) -> Any:
    interface.install()
    interface.install()
    return factory


def test_install__stock_names_are_wrapped(installed: Any):
    assert installed.get_connector_class(config_of("Small")) is interface.wrap(Small)


def test_install__multi_is_left_to_its_children(installed: Any):
    assert installed.get_connector_class(config_of("MultiConnector")) is Hybrid


def test_install__mfs_connector_wraps_by_name(installed: Any):
    found = installed.get_connector_class(config_of("MFSConnector", mfs_connector="Small"))
    assert found is interface.wrap(Small)
    assert not installed.supports_hma_config(config_of("MFSConnector", mfs_connector="Small"))
    assert installed.supports_hma_config(config_of("MFSConnector"))
    multi = config_of("MFSConnector", mfs_connector="MultiConnector")
    assert not installed.supports_hma_config(multi)
    assert installed.get_connector_class(multi) is Hybrid


def test_install__mfs_connector_of_another_module(installed: Any):
    config = config_of("MFSConnector", mfs_connector="Small", mfs_connector_module_path=__name__)
    assert installed.get_connector_class(config) is interface.wrap(Small)


def test_install__unknown_inner_connector_is_one_line(
    installed: Any, capsys: pytest.CaptureFixture[str]
):
    for _ in range(3):
        config = config_of("MFSConnector", mfs_connector="NixlConector")
        assert installed.get_connector_class(config) is interface.wrap(Hybrid)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "mfs: mfs_connector 'NixlConector': vLLM has no such connector; "
        "did you mean NixlConnector? Using NixlConnector"
    ]


def test_install__other_unknown_names_are_vllms_matter(installed: Any):
    with pytest.raises(ValueError, match="Unsupported connector type: Foo"):
        installed.get_connector_class(config_of("Foo"))


# --- releases, and the plug-in ---


def test_plugin__does_nothing_unless_enabled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MFS_ENABLE", raising=False)
    monkeypatch.setitem(sys.modules, "vllm", None)  # would not import
    plugin.register()


def test_plugin__trouble_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MFS_ENABLE", "1")
    monkeypatch.setitem(sys.modules, "vllm", None)
    plugin.register()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("vLLM serves as without mfs-transport")


def test_plugin__untested_release_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], factory: Any
):
    monkeypatch.setenv("MFS_ENABLE", "1")
    monkeypatch.delenv("NIXL_UCX_DEEPBIND", raising=False)
    sys.modules["vllm"].__version__ = "9.1.0"  # type: ignore[attr-defined]
    plugin.register()
    assert "vLLM 9.1.0 was not tested" in capsys.readouterr().err
    assert "NIXL_UCX_DEEPBIND" not in os.environ
    assert factory.get_connector_class(config_of("Small")) is Small
    named = config_of("MFSConnector", mfs_connector="Small")  # a server that is so started
    assert factory.get_connector_class(named) is Small


def test_slo__wrong_setting_is_one_line(tmp_path: Path):
    program = (
        "from mfs_transport import default_host\n"
        "from mfs_transport.engines.vllm.connector import classes_of_environment\n"
        "default_host(); print(classes_of_environment())\n"
    )
    variables = {"MFS_SLO": "tight=fast", "MFS_SEGMENT": str(tmp_path / "segment")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{}\n"
    assert done.stderr.startswith("mfs: MFS_SLO=tight=fast: each class once, as NAME=TIME")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["1", "y", "yes", "on", "true", "YES"])
def test_flags__every_word_that_the_table_takes_is_heeded(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    for name in ("MFS_ENABLE", "MFS_LAYERWISE", "MFS_VLLM_UNTESTED"):
        monkeypatch.setenv(name, value)
    assert plugin.enabled()
    assert interface.layerwise_wanted()
    installed: list[bool] = []
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="9.1.0"))
    monkeypatch.setattr(plugin, "prepare_environment", lambda: None)
    monkeypatch.setattr(plugin, "load_shim", lambda: None)
    monkeypatch.setattr(interface, "install", lambda wrapping=True: installed.append(wrapping))
    plugin.register()
    assert installed == [True]


def test_entry_point__is_declared():
    text = (Path(mfs.__file__).parent.parent / "pyproject.toml").read_text()
    assert 'mfs = "mfs_transport.engines.vllm.plugin:register"' in text
