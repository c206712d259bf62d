# SPDX-License-Identifier: Apache-2.0
"""Wrapping a connector: all is handed on, and errors of ours end with us."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from small_connector import CONFIG, SCHEDULER, VLLM_CONFIG, Hybrid, Metadata, Small, facts, request

from mfs_transport.engines.vllm import interface

pytest_plugins = ("small_connector",)


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
