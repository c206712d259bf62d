# SPDX-License-Identifier: Apache-2.0
"""Layer-wise P2D: each layer's KV is pushed as soon as it is computed (MFS_LAYERWISE=1).

NixlPushConnector writes a request's KV once, after its prefill. Here stage 3 overlaps the
last chunk of the prefill, and MFS has something to defer:

    layer        0     1     2     3   | finished
    WRITE        0.....1.....2.....3...|..rest.....done -> notification to decode
    one after:                         |  0 1 2 3 ......... notification

Nothing of the connector's reckoning is repeated. For each request it is asked once, as it
computes its last chunk, to make its whole transfer; a stand-in for the agent (`Recorder`)
takes down the descriptors and makes no transfer. Their share of a layer is posted when that
layer is done. When the connector makes the transfer in earnest it gets a `Composite`: what
has gone, and the rest. Decode is notified when all of it has arrived, by a notification of
its own, since NIXL's goes with one transfer alone.

A request is sent whole, as without this, if decode's registration or handshake has not come
by its last chunk, if prefill and decode differ in layout or number of ranks, or if KV is not
in host memory (then a layer would have to be waited for on the device).

This file knows NixlPushConnector's worker, as interface.py knows the connectors' interface.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...tags import tag
from .connector import Worker, base_id, faults

Ids = Any  # numpy array of descriptor numbers


@dataclass
class Plan:
    """The whole transfer of a request, as the connector would make it."""

    local_side: Any
    local_ids: Ids
    remote_side: Any
    remote_ids: Ids
    peer: str
    regions: Ids  # of each descriptor
    sent: Ids = field(default_factory=lambda: np.zeros(0, bool))
    handles: list[Any] = field(default_factory=list)
    layers: int = 0  # that have gone


class Composite:
    """One transfer to the connector: parts that were posted layer by layer, and the rest."""

    def __init__(self, agent: Any, plan: Plan, rest: Any, notification: bytes) -> None:
        self.agent = agent
        self.plan = plan
        self.rest = rest
        self.notification = notification
        self.notified = False
        self.parts = [*plan.handles, *([rest] if rest is not None else [])]

    def state(self) -> str:
        states = [self.agent.check_xfer_state(part) for part in self.parts]
        bad = [state for state in states if state not in ("DONE", "PROC")]
        if bad:
            return str(bad[0])
        if "PROC" in states:
            return "PROC"
        if not self.notified:
            self.agent.send_notif(self.plan.peer, notif_msg=self.notification)
            self.notified = True
        return "DONE"

    def release(self) -> None:
        """Raises when a part cannot be released yet: the connector asks again."""
        while self.parts:
            self.agent.release_xfer_handle(self.parts[-1])
            self.parts.pop()


class Recorder:
    """The agent as the connector sees it. Passes all on but what is named above."""

    def __init__(self, agent: Any, layerwise: Layerwise) -> None:
        self._agent = agent
        self._layerwise = layerwise
        self._recording = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def record(self, make: Callable[[], None]) -> list[tuple[Any, ...]]:
        """Arguments of the prepared transfers that `make` asks for; none of them is made."""
        self._recording.made = []
        try:
            make()
            return list(self._recording.made)
        finally:
            self._recording.made = None

    def make_prepped_xfer(
        self,
        operation: str,
        local_side: Any,
        local_ids: Ids,
        remote_side: Any,
        remote_ids: Ids,
        notif_msg: bytes = b"",
        *arguments: Any,
        **options: Any,
    ) -> Any:
        given = (operation, local_side, local_ids, remote_side, remote_ids, notif_msg)
        made = getattr(self._recording, "made", None)
        if made is not None:
            made.append(given)
            return given
        composite = self._layerwise.composite(given) if operation == "WRITE" else None
        if composite is not None:
            return composite
        return self._agent.make_prepped_xfer(*given, *arguments, **options)

    def transfer(self, handle: Any, *arguments: Any, **options: Any) -> Any:
        if getattr(self._recording, "made", None) is not None:
            return "PROC"
        if isinstance(handle, Composite):
            return self._agent.transfer(handle.rest) if handle.rest is not None else "PROC"
        return self._agent.transfer(handle, *arguments, **options)

    def check_xfer_state(self, handle: Any) -> Any:
        if isinstance(handle, Composite):
            return handle.state()
        return self._agent.check_xfer_state(handle)

    def get_xfer_telemetry(self, handle: Any) -> Any:
        """Of a composite: that of its last part, the connector's statistics want one."""
        if isinstance(handle, Composite):
            handle = handle.parts[-1]
        return self._agent.get_xfer_telemetry(handle)

    def release_xfer_handle(self, handle: Any) -> Any:
        if isinstance(handle, Composite):
            return handle.release()
        return self._agent.release_xfer_handle(handle)


class Layerwise:
    """Of one prefill worker. Called from its main thread, but for `composite`."""

    def __init__(self, worker: Any, side: Worker) -> None:
        self.worker = worker
        self.side = side
        self.recorder: Recorder | None = None
        self.plans: dict[str, Plan | None] = {}  # None: it is sent whole
        self.blocks: Mapping[str, Any] = {}
        self.layers_sent = 0
        self._abandoned: list[Any] = []  # handles that no connector knows of
        self._lock = threading.Lock()
        self._regions: list[list[int]] | None = None  # of each layer

    @property
    def why_not(self) -> str | None:
        """None if layers can be pushed by this worker, else the reason."""
        worker = self.worker
        needed = ("_pending_d_registrations", "_xfer_blocks_for_req", "_sending_transfers")
        if not all(hasattr(worker, name) for name in needed):
            return "this connector does not push"
        if getattr(worker, "device_type", "cpu") != "cpu":
            return "KV is in device memory"
        return None

    def agent(self, agent: Any) -> Recorder:
        self.recorder = Recorder(agent, self)
        return self.recorder

    # --- a step ---

    def begin(self, blocks: Mapping[str, Any], gone: Iterable[str]) -> None:
        self.blocks = blocks
        if blocks:
            self.worker._push_writer_wake.set()
        with self._lock:
            for name in gone:
                plan = self.plans.pop(name, None)
                if plan is not None:  # given up before the connector asked for its transfer
                    self._abandoned += plan.handles
            abandoned, self._abandoned = self._abandoned, []
        for handle in abandoned:
            self._give_up(handle)

    def _give_up(self, handle: Any) -> None:
        """At once, while it is under way too: the engines use its blocks for others now. One
        that cannot be released is released by NIXL when nobody holds it any more."""
        assert self.recorder is not None
        try:
            self.recorder.release_xfer_handle(handle)
        except Exception as error:
            faults.note("ending a layer's transfer", error)

    def computed(self, layer: int) -> None:
        """The batch has computed that layer."""
        for name, blocks in self.blocks.items():
            try:
                self._advance(name, blocks, layer)
            except Exception as error:  # what has not gone goes when the connector asks for it
                faults.note("pushing a layer", error)
                self.plans.setdefault(name, None)

    def _advance(self, name: str, blocks: Any, layer: int) -> None:
        if name not in self.plans:
            plan = self._plan(name, blocks)
            if plan is None:
                # decode may register while later layers compute: the thread that hears
                # of it sleeps until it is woken
                self.worker._push_writer_wake.set()
                return
            with self._lock:
                self.plans[name] = plan
        plan = self.plans[name]
        while plan is not None and plan.layers <= layer:
            self._push(name, plan)

    def _push(self, name: str, plan: Plan) -> None:
        """Post the next layer that has not gone."""
        assert self.recorder is not None
        agent = self.recorder._agent
        mine = np.isin(plan.regions, self._regions_of(plan.layers)) & ~plan.sent
        if mine.any():
            with tag(name, "p2d", plan.layers):
                handle = agent.make_prepped_xfer(
                    "WRITE",
                    plan.local_side,
                    plan.local_ids[mine],
                    plan.remote_side,
                    plan.remote_ids[mine],
                )
                try:
                    agent.transfer(handle)
                except Exception:
                    agent.release_xfer_handle(handle)
                    raise
            plan.handles.append(handle)
            plan.sent |= mine
            self.layers_sent += 1
        plan.layers += 1

    def _members(self) -> list[list[str]]:
        """Names of the layers in each region of the connector's descriptors."""
        worker = self.worker
        return list(worker.region_members) or [[name] for name in worker.region_names]

    def _regions_of(self, layer: int) -> list[int]:
        if self._regions is None:
            self._regions = [[] for _ in range(self.side.shape.layers)]
            for region, names in enumerate(self._members()):
                for name in names:
                    index = self.side.layer_index.get(name)
                    if index is not None:
                        self._regions[index].append(region)
        return self._regions[layer]

    def _plan(self, name: str, blocks: Any) -> Plan | None:
        """Ask the connector for the whole transfer; None: not yet, or not at all."""
        worker = self.worker
        assert self.recorder is not None
        registration = next(
            (
                one
                for key, one in list(worker._pending_d_registrations.items())
                if key == name or base_id(key) == base_id(name)
            ),
            None,
        )
        if registration is None:
            return None
        engine = registration["decode_engine_id"]
        waits = worker._ensure_handshake(
            engine,
            registration["decode_host"],
            registration["decode_port"],
            registration["decode_tp_size"],
        )
        if waits is not None:
            return None
        if worker.transfer_topo.get_engine_info(engine).remote_block_size != worker.block_size:
            self.plans[name] = None
            return None
        made = self.recorder.record(lambda: worker._do_start_push_kv(name, blocks, registration))
        with worker._sending_transfers_lock:
            worker._sending_transfers.pop(name, None)  # the recorded one, which was not made
        peers = list(worker._remote_agents[engine].values())
        members = self._members()
        alike = bool(members) and all(len(names) == 1 for names in members)
        if len(made) != 1 or len(peers) != 1 or not alike:
            self.plans[name] = None
            return None
        _, local_side, local_ids, remote_side, remote_ids, _ = made[0]
        sizes = worker.dst_region_num_blocks[worker.engine_id]
        ends = np.cumsum(sizes or [worker.dst_num_blocks[worker.engine_id]] * len(members))
        local_ids = np.asarray(local_ids)
        return Plan(
            local_side,
            local_ids,
            remote_side,
            np.asarray(remote_ids),
            peers[0],
            np.searchsorted(ends, local_ids, side="right"),
            np.zeros(len(local_ids), bool),
        )

    # --- when the connector makes the transfer ---

    def composite(self, given: tuple[Any, ...]) -> Composite | None:
        """What stands for the transfer that the connector asks for; None: it is made as it is.

        When we err it goes whole: what has gone already then goes once more, as it was.
        """
        plan = None
        try:
            plan = self.plan_for(given[-1])
            return self.compose(plan, given) if plan is not None else None
        except Exception as error:
            faults.note("the rest of a request", error)
            if plan is not None:
                with self._lock:
                    self._abandoned += plan.handles
            return None

    def plan_for(self, notification: bytes) -> Plan | None:
        name = self.side.name_of(notification.decode(errors="replace").rpartition(":")[0])
        with self._lock:
            plan = self.plans.pop(name, None) if name else None
        return plan if plan is not None and plan.handles else None

    def compose(self, plan: Plan, given: tuple[Any, ...]) -> Composite:
        """What has gone as it is still wanted, and the rest of what is asked for now."""
        assert self.recorder is not None
        operation, local_side, local_ids, remote_side, remote_ids, notification = given
        gone = set(
            zip(
                plan.local_ids[plan.sent].tolist(), plan.remote_ids[plan.sent].tolist(), strict=True
            )
        )
        pairs = zip(np.asarray(local_ids).tolist(), np.asarray(remote_ids).tolist(), strict=True)
        left = np.array([pair not in gone for pair in pairs], bool)
        rest = None
        if left.any():
            name = self.side.name_of(notification.decode(errors="replace").rpartition(":")[0])
            with tag(name, "p2d", self.side.shape.layers - 1):
                rest = self.recorder._agent.make_prepped_xfer(
                    operation,
                    local_side,
                    np.asarray(local_ids)[left],
                    remote_side,
                    np.asarray(remote_ids)[left],
                )
        return Composite(self.recorder._agent, plan, rest, notification)
