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
Everything else of the agent is passed through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..control import Request, abort, tag_current, tag_is, tag_make, tag_set
from ..native import InputError, shown

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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def tag(self, handle: Any, request: Request | str | None, stage: str, layer: int = 0) -> None:
        """From now on each posting of `handle` carries this tag."""
        self._tags[id(handle)] = tag_make(request, stage, layer)

    def _made(self, handle: Any, operation: str, peer: str, notification: bytes) -> Any:
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
        return self._made(handle, operation, remote_agent, notif_msg)

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
            local_xfer_side,
            local_indices,
            remote_xfer_side,
            remote_indices,
            notif_msg,
            *args,
            **options,
        )
        return self._made(handle, operation, "", notif_msg)

    def transfer(self, handle: Any, *args: Any, **options: Any) -> Any:
        with tag_set(self._tags.get(id(handle)) or tag_current()):
            return self._agent.transfer(handle, *args, **options)

    def release_xfer_handle(self, handle: Any) -> Any:
        """Of a transfer in progress that is its end: NIXL cancels what it posted."""
        self._tags.pop(id(handle), None)
        with abort():
            return self._agent.release_xfer_handle(handle)
