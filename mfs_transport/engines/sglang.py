# SPDX-License-Identifier: Apache-2.0
"""SGLang's prefill and decode apart over NIXL: its plug-in (entry point `sglang.srt.plugins`).

Does nothing unless MFS_ENABLE is set. Then, in each process of SGLang: the shim goes in front of
UCX, agents that are made get the proxy around them, and what a worker thread of prefill sends
carries the tag of the request: its bootstrap room, as `room-17`, stage p2d. Whoever knows the
deadline registers it by that name on the prefill host; the room is a field of the request that
the router makes.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from ..config import flag
from ..native import lib
from ..tags import tag_make
from .nixl import wrap_agents

WORKER = "sglang.srt.disaggregation.nixl.conn.NixlKVManager.transfer_worker"


class Tagged:
    """A worker's queue: what is taken from it is what its thread sends until it takes the next."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def get(self, *arguments: Any, **options: Any) -> Any:
        chunk = self._queue.get(*arguments, **options)
        room = getattr(chunk, "room", None)
        lib.mfs_tag_set(tag_make(None if room is None else f"room-{room}", "p2d"))
        return chunk


def around_worker(worker: Any, manager: Any, queue: Any, *arguments: Any, **options: Any) -> Any:
    return worker(manager, Tagged(queue), *arguments, **options)


def register() -> None:
    """The entry point."""
    if not flag("MFS_ENABLE"):
        return
    from .vllm.connector import say
    from .vllm.plugin import load_shim, prepare_environment

    try:
        prepare_environment()
        trouble = load_shim()
        if trouble:
            say(trouble.replace("vLLM", "SGLang"))
        if importlib.util.find_spec("nixl") is None:
            return
        wrap_agents()
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType

        HookRegistry.register(WORKER, around_worker, HookType.AROUND)
    except Exception as error:
        say(f"{type(error).__name__}: {error}; SGLang serves as without mfs-transport")
