# SPDX-License-Identifier: Apache-2.0
"""A proxy around a NIXL agent: transfers are tagged by their handle.

    agent = mfs_transport.engines.nixl.Agent(nixl_agent("prefill", config))
    handle = agent.initialize_xfer("WRITE", local, remote, "decode", b"done")
    agent.tag(handle, request, stage="p2d", layer=3)
    agent.transfer(handle)             # the engine's own code, unchanged

An engine whose code cannot be touched gets its tags from a function instead:

    Agent(agent, tagger=lambda operation, peer, notification: tag_make("cmpl-17", "p2d"))

It is called once for every transfer that is made, and returns a tag or None. A tag that
is current when a transfer is made (`with mfs.tag(...)`) belongs to that transfer as well.

Transfers that no shim schedules (another backend than UCX, or UCX without the shim) go through a
gate (gate.py): their handle is then a Handle of ours. Everything else of the agent is passed
through.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ..native import InputError, shown
from ..requests import Request
from ..tags import abort, peer_set, tag_current, tag_is, tag_make, tag_set
from . import cut, gate

Tagger = Callable[[str, str, bytes], Any]


class Agent:
    """Stands for `agent` (a nixl_agent); see the module."""

    def __init__(self, agent: Any, tagger: Tagger | None = None) -> None:
        if tagger is not None and not callable(tagger):
            raise InputError(f"tagger {shown(tagger)}: a function, or None")
        self._agent = agent
        self._tagger = tagger
        # id(handle) -> tag. Handles are not kept alive (NIXL releases them when they are
        # garbage); an id that comes again belongs to a new handle and is set anew.
        self._tags: dict[int, Any] = {}
        self._peers: dict[int, str] = {}  # id of a handle, or of a prepared list -> remote agent
        self._mode = gate.mode()
        self._gate: gate.Gate | None = None  # made when a transfer is its
        self._shim: bool | None = None  # is it in the way of NIXL's UCX? None: not asked yet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def tag(self, handle: Any, request: Request | str | None, stage: str, layer: int = 0) -> None:
        """From now on each posting of `handle` carries this tag."""
        self._tags[id(handle)] = tag_make(request, stage, layer)

    def _made(self, handle: Any, operation: str, peer: str, notification: bytes) -> Any:
        self._named(handle, peer)
        value = self._tagger(operation, peer, notification) if self._tagger else None
        if value is None:
            value = tag_current()
        elif not tag_is(value):
            raise InputError(f"tagger returned {shown(value)}: what tag_make returns, or None")
        if value is not None:
            self._tags[id(handle)] = value
        else:
            self._tags.pop(id(handle), None)
        return handle

    def _named(self, thing: Any, peer: str | bytes) -> None:
        """What is posted with it goes to that agent."""
        name = peer.decode(errors="replace") if isinstance(peer, bytes) else str(peer)
        self._peers[id(thing)] = name.replace("\0", "")

    # --- making ---

    def initialize_xfer(
        self,
        operation: str,
        local_descs: Any,
        remote_descs: Any,
        remote_agent: str,
        notif_msg: bytes = b"",
        *args: Any,
        **options: Any,
    ) -> Any:
        handle = self._agent.initialize_xfer(
            operation, local_descs, remote_descs, remote_agent, notif_msg, *args, **options
        )
        options = {**dict(zip(("backends",), args, strict=False)), **options}
        if self._is_gated(handle, options):
            local = cut.Side(self._agent, "", local_descs, None, None)
            remote = cut.Side(self._agent, remote_agent, remote_descs, None, None)
            handle = self._cut(
                *(handle, operation, remote_agent, notif_msg),
                functools.partial(
                    cut.pieces_of_lists, self._agent, operation, local, remote, options=options
                ),
            )
        return self._made(handle, operation, remote_agent, notif_msg)

    def prep_xfer_dlist(
        self, agent_name: str, xfer_list: Any, mem_type: Any = None, *args: Any, **options: Any
    ) -> Any:
        if not self._may_gate():
            made = self._agent.prep_xfer_dlist(agent_name, xfer_list, mem_type, *args, **options)
            self._named(made, agent_name)
            return made
        strided = isinstance(xfer_list, np.ndarray) and xfer_list.shape[-1] == cut.STRIDED
        descs = xfer_list if strided else self._agent.get_xfer_descs(xfer_list, mem_type)
        handle = self._agent.prep_xfer_dlist(agent_name, descs, mem_type, *args, **options)
        return cut.Side(self._agent, agent_name, descs, mem_type, handle)

    def make_prepped_xfer(
        self,
        operation: str,
        local_xfer_side: Any,
        local_indices: Any,
        remote_xfer_side: Any,
        remote_indices: Any,
        notif_msg: bytes = b"",
        *args: Any,
        **options: Any,
    ) -> Any:
        handle = self._agent.make_prepped_xfer(
            operation,
            plain(local_xfer_side),
            local_indices,
            plain(remote_xfer_side),
            remote_indices,
            notif_msg,
            *args,
            **options,
        )
        sides = (local_xfer_side, remote_xfer_side)
        options = {**dict(zip(("backends", "skip_desc_merge"), args, strict=False)), **options}
        if all(isinstance(one, cut.Side) for one in sides) and self._is_gated(handle, options):
            indices = (local_indices, remote_indices)
            handle = self._cut(
                *(handle, operation, remote_xfer_side.peer, notif_msg),
                functools.partial(
                    cut.pieces_of_blocks, self._agent, operation, sides, indices, options=options
                ),
            )
        peer = getattr(remote_xfer_side, "peer", "") or self._peers.get(id(remote_xfer_side), "")
        handle = self._made(handle, operation, "", notif_msg)
        self._named(handle, peer)
        return handle

    def release_dlist_handle(self, handle: Any) -> Any:
        return self._agent.release_dlist_handle(plain(handle))

    # --- the gate ---

    def _may_gate(self) -> bool:
        """Can a transfer of this agent be the gate's?"""
        return any(gate.wanted(one, self._mode, self._has_shim) for one in self._backends())

    def _backends(self) -> list[str]:
        """Their names; none where the agent has no such table, as a release of another form."""
        found = getattr(self._agent, "backends", ())
        return list(found) if isinstance(found, Collection) else []

    def _has_shim(self) -> bool:
        if self._shim is None:
            self._shim = gate.shim_is_in_the_way()
        return self._shim

    def _is_gated(self, handle: Any, options: dict[str, Any]) -> bool:
        if not self._may_gate():
            return False
        backends = options.get("backends") or self._backends()
        backend = backends[0] if len(backends) == 1 else self._agent.query_xfer_backend(handle)
        return gate.wanted(backend, self._mode, self._has_shim)

    def _cut(
        self,
        handle: Any,
        operation: str,
        peer: str,
        notification: bytes,
        pieces: Callable[..., list[cut.Piece]],
    ) -> Any:
        """The transfer as the gate has it; whatever goes wrong, as NIXL has it."""
        try:
            if self._gate is None:
                self._gate = gate.Gate(self._agent)
            made = pieces(piece=self._gate.piece_bytes(operation))
            return self._gate.handle(handle, made, operation, peer, notification)
        except Exception as error:
            gate.failed(error)
            return handle

    def _moves(self) -> None:
        if self._gate is not None:
            self._gate.move()

    # --- posting and what follows ---

    def transfer(self, handle: Any, notif_msg: bytes = b"", *args: Any, **options: Any) -> Any:
        tag = self._tags.get(id(handle)) or tag_current()
        if isinstance(handle, gate.Handle):
            return handle.gate.transfer(handle, tag, notif_msg)
        with tag_set(tag), peer_set(self._peers.get(id(handle), "")):
            given = (notif_msg, *args) if notif_msg or args else ()
            return self._agent.transfer(handle, *given, **options)

    def check_xfer_state(self, handle: Any, *args: Any, **options: Any) -> Any:
        if isinstance(handle, gate.Handle):
            return handle.gate.state(handle)
        self._moves()
        return self._agent.check_xfer_state(handle, *args, **options)

    def get_xfer_telemetry(self, handle: Any, *args: Any, **options: Any) -> Any:
        if isinstance(handle, gate.Handle):
            return handle.gate.telemetry(handle)
        return self._agent.get_xfer_telemetry(handle, *args, **options)

    def get_new_notifs(self, *args: Any, **options: Any) -> Any:
        self._moves()
        return self._agent.get_new_notifs(*args, **options)

    def update_notifs(self, *args: Any, **options: Any) -> Any:
        self._moves()
        return self._agent.update_notifs(*args, **options)

    def check_remote_xfer_done(self, *args: Any, **options: Any) -> Any:
        self._moves()
        return self._agent.check_remote_xfer_done(*args, **options)

    def release_xfer_handle(self, handle: Any) -> Any:
        """Of a transfer in progress that is its end: NIXL cancels what it posted."""
        self._tags.pop(id(handle), None)
        self._peers.pop(id(handle), None)
        if isinstance(handle, gate.Handle):
            return handle.release()
        with abort():
            return self._agent.release_xfer_handle(handle)


def wrap_agents(tagger: Tagger | None = None) -> None:
    """From now on each agent that this process makes has a proxy around it.

    For an engine that makes its agent where nobody gets at it. Once in a process, before that; what
    has taken `nixl_agent` out of NIXL's module before keeps the one without.
    """
    for name in ("nixl._api", "nixl_cu12._api", "nixl_cu13._api"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        made = getattr(module, "nixl_agent", None)
        if made is None or hasattr(made, "_mfs_made"):
            continue

        def nixl_agent(*args: Any, _made: Any = made, **options: Any) -> Agent:
            return Agent(_made(*args, **options), tagger)

        nixl_agent._mfs_made = made  # type: ignore[attr-defined]
        module.nixl_agent = nixl_agent  # type: ignore[attr-defined]


def plain(side: Any) -> Any:
    """A prepared list as NIXL made it."""
    return side.handle if isinstance(side, cut.Side) else side
