# SPDX-License-Identifier: Apache-2.0
"""Layer-wise push: what is posted when, and that decode is told once, at the end.

The connector's worker and its agent are small ones with the parts that are touched; the real
ones are in test_engines_vllm.py.
"""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mfs_transport import control
from mfs_transport.engines.nixl import Agent
from mfs_transport.engines.vllm.blocks import Blocks
from mfs_transport.engines.vllm.connector import Shape, Worker, faults
from mfs_transport.engines.vllm.layerwise import Composite, Layerwise
from mfs_transport.native import lib

LAYERS = 3
BLOCKS = 10  # of each region, on both sides
NAME = "cmpl-a-0-00000001"
AT_DECODE = "cmpl-a-0-99999999"


class Wire:
    """An agent whose transfers end when the test says so."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self.posted: list[tuple[int, int]] = []  # number, layer of the tag
        self.states: dict[int, str] = {}
        self.notified: list[tuple[str, bytes]] = []
        self.released: list[int] = []
        self.aborted: list[int] = []  # of those: what waits of it is taken back
        self.stuck: set[int] = set()  # handles that cannot be released
        self.peer_is_gone = False
        self.refuses = False

    def make_prepped_xfer(
        self,
        operation: str,
        local: Any,
        local_ids: Any,
        remote: Any,
        remote_ids: Any,
        notif_msg: bytes = b"",
    ) -> int:
        pairs = list(
            zip(np.asarray(local_ids).tolist(), np.asarray(remote_ids).tolist(), strict=True)
        )
        self.made.append({"operation": operation, "pairs": pairs, "notification": notif_msg})
        return len(self.made) - 1

    def transfer(self, handle: int) -> str:
        if self.refuses:
            raise RuntimeError("not now")
        tag = control.tag_current()
        self.posted.append((handle, tag.layer if tag is not None else -1))
        self.states[handle] = "PROC"
        return "PROC"

    def check_xfer_state(self, handle: int) -> str:
        state = self.states[handle]
        if state == "GONE":
            raise RuntimeError(state)
        return state

    def get_xfer_telemetry(self, handle: int) -> str:
        return f"telemetry of {handle}"

    def send_notif(self, peer: str, notif_msg: bytes) -> None:
        if self.peer_is_gone:
            raise RuntimeError("no such peer")
        self.notified.append((peer, notif_msg))

    def release_xfer_handle(self, handle: int) -> None:
        if handle in self.stuck:
            raise RuntimeError("in use")
        self.released.append(handle)
        if lib.mfs_abort_get():
            self.aborted.append(handle)


class PushWorker:
    """The parts of NixlPushConnector's worker that layer-wise push knows."""

    device_type = "cpu"
    engine_id = "prefill"
    block_size = 16

    def __init__(self) -> None:
        self.nixl_wrapper: Any = Wire()
        self._pending_d_registrations: dict[str, Any] = {}
        self._sending_transfers: dict[str, list[Any]] = {}
        self._sending_transfers_lock = threading.Lock()
        self._push_writer_wake = threading.Event()
        self._remote_agents = {"decode": {(0, 0): "decode-agent"}}
        self.region_members: list[list[str]] = []
        self.region_names = [f"model.layers.{layer}.attn" for layer in range(LAYERS)]
        self.dst_region_num_blocks = {"prefill": [BLOCKS] * LAYERS}
        self.dst_num_blocks = {"prefill": BLOCKS}
        self.transfer_topo = SimpleNamespace(
            get_engine_info=lambda engine: SimpleNamespace(remote_block_size=16)
        )
        self.handshake: Any = None
        self.waiting: queue.Queue[Any] = queue.Queue()

    def _ensure_handshake(self, *_: Any) -> Any:
        return self.handshake

    def _do_start_push_kv(self, name: str, blocks: Any, registration: Any) -> None:
        self._xfer_blocks_for_req(name, blocks, registration)

    def _xfer_blocks_for_req(self, name: str, blocks: Any, registration: Any) -> None:
        regions = np.arange(LAYERS)[:, None] * BLOCKS
        handle = self.nixl_wrapper.make_prepped_xfer(
            "WRITE",
            "local",
            (regions + np.array(blocks[0])[None, :]).ravel(),
            "remote",
            (regions + np.array(registration["local_block_ids"][0])[None, :]).ravel(),
            notif_msg=f"{registration['request_id']}:1".encode(),
        )
        self.nixl_wrapper.transfer(handle)
        with self._sending_transfers_lock:
            self._sending_transfers.setdefault(name, []).append(handle)


REGISTRATION = {
    "request_id": AT_DECODE,
    "decode_engine_id": "decode",
    "decode_host": "h",
    "decode_port": 1,
    "decode_tp_size": 1,
    "local_block_ids": ([7, 8],),
}


@pytest.fixture
def parts() -> tuple[PushWorker, Layerwise, Wire]:
    worker = PushWorker()
    wire = worker.nixl_wrapper
    side = Worker(Shape("engine", LAYERS, 4096.0, 512))
    side.layers_are(worker.region_names)
    side.begin({"new": {NAME: (None, "prefill")}, "prefills": [NAME], "tokens": 32})
    layerwise = Layerwise(worker, side)
    assert layerwise.why_not is None
    worker.nixl_wrapper = layerwise.agent(Agent(wire, side.tag_of))
    return worker, layerwise, wire


def pairs_of(layer: int) -> list[tuple[int, int]]:
    return [(layer * BLOCKS + 2, layer * BLOCKS + 7), (layer * BLOCKS + 3, layer * BLOCKS + 8)]


def test_layers__are_posted_as_they_are_computed(parts: Any):
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    for layer in range(LAYERS):
        layerwise.computed(layer)
        assert wire.made[-1]["pairs"] == pairs_of(layer)
        assert wire.posted[-1] == (layer, layer)
    assert {one["notification"] for one in wire.made} == {b""}
    assert worker._sending_transfers == {}  # the connector has not been told of any


def test_finish__decode_is_told_once_when_all_has_arrived(parts: Any):
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    for layer in range(LAYERS):
        layerwise.computed(layer)
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    (handle,) = worker._sending_transfers[NAME]
    agent = worker.nixl_wrapper
    assert isinstance(handle, Composite)
    assert len(wire.made) == LAYERS  # nothing is sent twice
    assert agent.check_xfer_state(handle) == "PROC"
    wire.states = {0: "DONE", 1: "DONE", 2: "PROC"}
    assert agent.check_xfer_state(handle) == "PROC"
    assert wire.notified == []
    wire.states[2] = "DONE"
    assert [agent.check_xfer_state(handle) for _ in range(2)] == ["DONE", "DONE"]
    assert wire.notified == [("decode-agent", f"{AT_DECODE}:1".encode())]
    assert agent.get_xfer_telemetry(handle) == "telemetry of 2"
    agent.release_xfer_handle(handle)
    assert sorted(wire.released) == [0, 1, 2]


def test_finish__what_has_not_gone_goes_now(parts: Any):
    """A block more than at the last chunk, and a layer whose hook was not called."""
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(0)
    layerwise.computed(1)
    longer = {**REGISTRATION, "local_block_ids": ([7, 8, 9],)}
    worker._do_start_push_kv(NAME, ([2, 3, 4],), longer)
    extra = [(4, 9), (BLOCKS + 4, BLOCKS + 9), *pairs_of(2), (2 * BLOCKS + 4, 2 * BLOCKS + 9)]
    assert wire.made[-1]["pairs"] == extra
    assert wire.posted[-1] == (2, LAYERS - 1)


def test_finish__a_failed_layer_fails_the_transfer(parts: Any):
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(2)
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    (handle,) = worker._sending_transfers[NAME]
    wire.states[1] = "ERR"
    assert worker.nixl_wrapper.check_xfer_state(handle) == "ERR"
    assert wire.notified == []


def test_release__that_fails_can_be_asked_for_again(parts: Any):
    """The connector keeps the blocks of a transfer whose handle cannot be released yet."""
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(2)
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    (handle,) = worker._sending_transfers[NAME]
    wire.stuck = {1}
    with pytest.raises(RuntimeError):
        worker.nixl_wrapper.release_xfer_handle(handle)
    assert 0 not in wire.released
    wire.stuck = set()
    worker.nixl_wrapper.release_xfer_handle(handle)
    assert sorted(wire.released) == [0, 1, 2]


def test_notification__that_fails_is_not_taken_for_sent(parts: Any):
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(2)
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    (handle,) = worker._sending_transfers[NAME]
    wire.states = dict.fromkeys(range(3), "DONE")
    wire.peer_is_gone = True
    for _ in range(2):
        with pytest.raises(RuntimeError):
            worker.nixl_wrapper.check_xfer_state(handle)
    wire.peer_is_gone = False
    assert worker.nixl_wrapper.check_xfer_state(handle) == "DONE"
    assert len(wire.notified) == 1


def test_given_up__its_layers_are_aborted_at_once(parts: Any):
    """Their blocks are others' from now on: nothing of it may be sent later."""
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(2)
    wire.states = {0: "DONE", 1: "PROC", 2: "ERR"}
    wire.stuck = {2}
    before = faults.count
    layerwise.begin({}, [NAME])
    assert wire.released == wire.aborted == [0, 1]
    assert faults.count == before + 1
    layerwise.begin({}, ())
    assert faults.count == before + 1  # it is not asked for for ever


def test_errors__a_layer_that_cannot_be_posted_goes_with_the_rest(parts: Any):
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(0)
    wire.refuses = True
    before = faults.count
    layerwise.computed(1)
    assert faults.count == before + 1
    wire.refuses = False
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    assert wire.made[-1]["pairs"] == [*pairs_of(1), *pairs_of(2)]
    assert wire.released == [1]  # the one that was made in vain


def test_errors__ours_at_the_end_send_the_request_whole(parts: Any, monkeypatch: Any):
    worker, layerwise, wire = parts
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(0)

    def broken(*_: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(layerwise, "compose", broken)
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    assert wire.made[-1]["pairs"] == [pair for layer in range(LAYERS) for pair in pairs_of(layer)]
    assert wire.made[-1]["notification"] == f"{AT_DECODE}:1".encode()
    wire.states[0] = "DONE"
    layerwise.begin({}, ())
    assert wire.released == [0]


def test_registration__that_comes_late_sends_the_layers_before(parts: Any):
    worker, layerwise, wire = parts
    layerwise.begin({NAME: ([2, 3],)}, ())
    layerwise.computed(0)
    assert worker._push_writer_wake.is_set()  # who hears of registrations is woken
    worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    layerwise.computed(1)
    assert [one["pairs"] for one in wire.made] == [pairs_of(0), pairs_of(1)]


@pytest.mark.parametrize("why", ["no registration", "handshake", "block size", "several ranks"])
def test_whole__when_layers_cannot_be_sent(parts: Any, why: str):
    worker, layerwise, wire = parts
    if why != "no registration":
        worker._pending_d_registrations[AT_DECODE] = REGISTRATION
    if why == "handshake":
        worker.handshake = object()
    elif why == "block size":
        worker.block_size = 32
    elif why == "several ranks":
        worker._remote_agents["decode"][(0, 1)] = "another"
    layerwise.begin({NAME: ([2, 3],)}, ())
    for layer in range(LAYERS):
        layerwise.computed(layer)
    assert wire.made == []
    worker._do_start_push_kv(NAME, ([2, 3],), REGISTRATION)
    (one,) = wire.made
    assert one["pairs"] == [pair for layer in range(LAYERS) for pair in pairs_of(layer)]
    assert one["notification"] == f"{AT_DECODE}:1".encode()


def test_why_not__connectors_that_do_not_push():
    side = Worker(Shape("engine", LAYERS, 4096.0, 512))
    assert Layerwise(SimpleNamespace(), side).why_not == "this connector does not push"
    on_device = PushWorker()
    on_device.device_type = "cuda"  # type: ignore[misc]
    assert Layerwise(on_device, side).why_not == "KV is in device memory"


# --- blocks of a prompt, chunk by chunk ---


def step(new: Any = (), cached: Any = (), resumed: Any = (), **tokens: int) -> SimpleNamespace:
    return SimpleNamespace(
        scheduled_new_reqs=[SimpleNamespace(req_id=n, block_ids=b) for n, b in new],
        scheduled_cached_reqs=SimpleNamespace(
            req_ids=[n for n, _ in cached],
            new_block_ids=[b for _, b in cached],
            resumed_req_ids=set(resumed),
        ),
        num_scheduled_tokens=tokens,
    )


def prompt(name: str, tokens: int, **params: Any) -> SimpleNamespace:
    return SimpleNamespace(
        request_id=name,
        kv_transfer_params=params,
        num_prompt_tokens=tokens,
        num_computed_tokens=0,
    )


def test_blocks__of_the_last_chunk_are_all_blocks():
    blocks = Blocks(lambda groups: groups)
    one, other = prompt("a", 40, do_remote_decode=True), prompt("b", 40)
    blocks.arrived(one)
    blocks.arrived(other)  # it stays here: nothing to push
    new = [("a", ([1],)), ("b", ([9],))]
    assert blocks.last_chunks(step(new=new, a=16, b=16)) == {}
    one.num_computed_tokens = other.num_computed_tokens = 16
    assert blocks.last_chunks(step(cached=[("a", ([2],)), ("b", None)], a=16, b=16)) == {}
    one.num_computed_tokens = 32
    assert blocks.last_chunks(step(cached=[("a", ([3],))], a=8)) == {"a": ([1, 2, 3],)}
    assert blocks.last_chunks(step(cached=[("a", ([4],))], a=1)) == {}  # once


def test_blocks__after_preemption_are_the_new_ones():
    blocks = Blocks(lambda groups: groups)
    one = prompt("a", 32, do_remote_decode=True)
    blocks.arrived(one)
    blocks.last_chunks(step(new=[("a", ([1],))], a=16))
    again = step(cached=[("a", ([5, 6],))], resumed=["a"], a=32)
    assert blocks.last_chunks(again) == {"a": ([5, 6],)}
