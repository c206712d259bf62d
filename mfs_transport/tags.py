# SPDX-License-Identifier: Apache-2.0
"""What traffic belongs to: tags of what a thread posts, and the batch that a process computes.

A tag is a request, a stage and a layer, and holds for the thread in a block. NCCL sends
collectives from threads of its own, which no block reaches: these belong to the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import checked
from .native import InputError, encoded, ffi, lib, shown, stage_number, text
from .requests import Request, facts_read, key_of


@contextmanager
def tag(request: Request | str | None, stage: str, layer: int = 0) -> Iterator[None]:
    """Tag all traffic that this thread posts inside the block.

    request: a Request, the name under which any process of the host registered it, or
    None (the traffic belongs to no request, but its stage is known).
    """
    with tag_set(tag_make(request, stage, layer)):
        yield


def tag_make(request: Request | str | None, stage: str, layer: int = 0) -> Any:
    """A tag as a value that can be kept with a transfer and used again (`tag_set`)."""
    value = ffi.new("struct mfs_tag *")
    if isinstance(request, Request):
        value.request = request.key
    elif isinstance(request, str):
        value.request = key_of(request)
    elif request is not None:
        raise InputError(f"request {shown(request)}: a Request, a name, or None")
    value.stage = stage_number(stage)
    value.layer = checked.whole(layer, "layer")
    return value


def tag_is(value: Any) -> bool:
    """It is what `tag_make` returns."""
    return isinstance(value, ffi.CData) and ffi.typeof(value) == ffi.typeof("struct mfs_tag *")


@contextmanager
def tag_set(value: Any) -> Iterator[None]:
    """Make `value` (of `tag_make`, or None) the current tag of this thread for the block."""
    before = ffi.new("struct mfs_tag *", lib.mfs_tag_get())
    try:
        lib.mfs_tag_set(value if value is not None else ffi.NULL)
    except TypeError:
        raise InputError(f"tag {shown(value)}: what tag_make returned, or None") from None
    try:
        yield
    finally:
        lib.mfs_tag_set(before)


@contextmanager
def peer_set(name: str) -> Iterator[None]:
    """What this thread posts inside the block goes to the peer of this name, for `mfs dump` and the
    log: an endpoint that is used for the first time is called so. "": nobody knows."""
    before = text(lib.mfs_peer_get())
    lib.mfs_peer_set(encoded(name, "peer"))
    try:
        yield
    finally:
        lib.mfs_peer_set(encoded(before, "peer"))


@contextmanager
def abort() -> Iterator[None]:
    """Transfers that this thread cancels inside the block are given up.

    What waits of them is not sent any more, so that it cannot come behind what their memory
    is used for next. It works by the shim's requests: whatever cancels them may be called
    (NIXL's release_xfer_handle, ucp_request_cancel). Without the shim nothing is different.
    """
    before = bool(lib.mfs_abort_get())
    lib.mfs_abort_set(True)
    try:
        yield
    finally:
        lib.mfs_abort_set(before)


def tag_current() -> Any:
    """A copy of this thread's current tag, or None if it has none."""
    value = ffi.new("struct mfs_tag *", lib.mfs_tag_get())
    return value if value.request or value.stage else None


def batch(requests: Iterable[Request | str] | Request | str | None, layer: int = 0) -> None:
    """Tell what this process computes now: its collectives belong to that, until the next call.

    requests: those of the batch, by object or by name; of several the one with the earliest
    deadline counts (what is known of a name is read from the segment; one that is unknown has no
    deadline).
    None or an empty list: the process computes nothing that is known. Cheap enough for every
    layer of a step: some microseconds, no system call.
    """
    if requests is None:
        several: list[Request | str] = []
    elif isinstance(requests, Request | str):
        several = [requests]
    else:
        several = checked.several(requests, "requests")
    key = lib.MFS_REQUEST_NONE
    if len(several) == 1:
        key = _key(several[0])
    elif several:
        facts = ffi.new("struct mfs_facts[]", len(several))
        for index, request in enumerate(several):
            facts_read(request, facts + index)
        key = _key(several[lib.mfs_plan_collective(facts, len(several))])
    lib.mfs_batch_set(key, checked.whole(layer, "layer"))


def batch_current() -> tuple[int, int]:
    """Key of the request (0: none) and layer, as `batch` told last in this process."""
    value = lib.mfs_batch_get()
    return int(value.request), int(value.layer)


def _key(request: Request | str) -> int:
    return request.key if isinstance(request, Request) else key_of(request)
