# SPDX-License-Identifier: Apache-2.0
"""The program that `mfs doctor` starts: moves bytes, and tells what the shim saw of it.

    python -m mfs_transport.diagnose.transfer RESULT.json

It moves them with NIXL, or with UCX where NIXL is not installed, from one memory of this
process to another, once by a put and once by a get, and compares them. It exits 0 whether or
not that worked; the result says so. Both parties live in one process without threads, so
nothing here waits for anyone else.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..host import default_host

BYTES = 256 * 1024  # too many to go straight on, and soon done even on a port that is paced
TIMEOUT_S = 30.0


class Failure(Exception):
    """Why the bytes could not be moved."""


class Memory:
    """BYTES bytes that can be compared."""

    def __init__(self, content: bytes) -> None:
        self.buffer = ctypes.create_string_buffer(content, BYTES)
        self.address = ctypes.addressof(self.buffer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Memory) and self.buffer.raw == other.buffer.raw

    __hash__ = None  # type: ignore[assignment]


def wait_for(done: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not done():
        if time.monotonic() > until:
            raise Failure(f"{what} was not done after {TIMEOUT_S:.0f} s")


# --- NIXL ---


def nixl_move(pairs: list[tuple[str, Memory, Memory]]) -> None:
    """Move with two agents: (operation, local, remote) each."""
    from nixl._api import nixl_agent, nixl_agent_config

    settings = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
    here, there = nixl_agent("mfs-doctor-a", settings), nixl_agent("mfs-doctor-b", settings)

    def describe(memory: Memory) -> list[tuple[int, int, int]]:
        return [(memory.address, BYTES, 0)]

    registered: list[tuple[Any, Any]] = []
    try:
        for _, local, remote in pairs:
            for agent, memory in ((here, local), (there, remote)):
                where = [(memory.address, BYTES, 0, "")]
                registered.append((agent, agent.register_memory(where, "DRAM")))
        name = here.add_remote_agent(there.get_agent_metadata())
        for operation, local, remote in pairs:
            handle = here.initialize_xfer(
                operation,
                here.get_xfer_descs(describe(local), "DRAM"),
                here.get_xfer_descs(describe(remote), "DRAM"),
                name,
            )
            state = [here.transfer(handle)]

            def done(handle: Any = handle, state: list[str] = state) -> bool:
                if state[0] == "PROC":
                    there.get_new_notifs()  # lets the passive side make progress
                    state[0] = here.check_xfer_state(handle)
                return state[0] != "PROC"

            wait_for(done, f"a NIXL {operation}")
            if state[0] != "DONE":
                raise Failure(f"a NIXL {operation} ended as {state[0]}")
            here.release_xfer_handle(handle)
    finally:
        for agent, handle in registered:
            agent.deregister_memory(handle)


# --- UCX itself ---

# Structs of ucp.h: their sizes grow with versions, but a mask says which fields count, and
# those used here have kept their places since API 1.0. Room for the rest is zero.
ROOM = 64  # words
FEATURE_RMA = 1 << 1


def _struct(*words: int) -> Any:
    return (ctypes.c_uint64 * ROOM)(*words)


class Ucx:
    """A context with two workers, and an endpoint from the first to the second."""

    def __init__(self) -> None:
        # as in a program that is linked to UCX: its symbols are looked up in the whole
        # process, where what is preloaded comes first
        self.lib = ctypes.CDLL(None)
        self.context = ctypes.c_void_p()
        self.call("init_version", 1, 0, _struct(1, FEATURE_RMA), None, ctypes.byref(self.context))
        self.workers = [ctypes.c_void_p(), ctypes.c_void_p()]
        for worker in self.workers:
            self.call("worker_create", self.context, _struct(), ctypes.byref(worker))
        address, length = ctypes.c_void_p(), ctypes.c_size_t()
        here, there = self.workers
        self.call("worker_get_address", there, ctypes.byref(address), ctypes.byref(length))
        self.endpoint = ctypes.c_void_p()
        self.call("ep_create", here, _struct(1, address.value or 0), ctypes.byref(self.endpoint))

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.lib, f"ucp_{name}")(*arguments)
        if ctypes.c_int8(status).value != 0:
            raise Failure(f"ucp_{name}: {self.text(status)}")

    def text(self, status: int) -> str:
        self.lib.ucs_status_string.restype = ctypes.c_char_p
        return str(self.lib.ucs_status_string(ctypes.c_int8(status)).decode())

    def progress(self) -> None:
        for worker in self.workers:
            self.lib.ucp_worker_progress(worker)

    def wait(self, request: int | None, what: str) -> None:
        """Until a request of UCX is complete: NULL is, a small negative number is an error."""
        if request is None:
            return
        if request > 2**64 - 256:
            raise Failure(f"{what}: {self.text(request - 2**64)}")
        status = [1]
        handle = ctypes.c_void_p(request)

        def done() -> bool:
            self.progress()
            status[0] = ctypes.c_int8(self.lib.ucp_request_check_status(handle)).value
            return status[0] != 1  # UCS_INPROGRESS

        wait_for(done, what)
        self.lib.ucp_request_free(handle)
        if status[0] != 0:
            raise Failure(f"{what}: {self.text(status[0])}")

    def move(self, operation: str, local: Memory, remote: Memory) -> None:
        memh, rkey = ctypes.c_void_p(), ctypes.c_void_p()
        packed, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.call("mem_map", self.context, _struct(3, remote.address, BYTES), ctypes.byref(memh))
        self.call("rkey_pack", self.context, memh, ctypes.byref(packed), ctypes.byref(size))
        self.call("ep_rkey_unpack", self.endpoint, packed, ctypes.byref(rkey))
        post = getattr(self.lib, f"ucp_{operation}_nbx")
        post.restype = self.lib.ucp_ep_flush_nbx.restype = ctypes.c_void_p
        address = ctypes.c_uint64(remote.address)
        buffer = ctypes.c_void_p(local.address)
        first = post(self.endpoint, buffer, ctypes.c_size_t(BYTES), address, rkey, _struct())
        self.wait(first, f"a UCX {operation}")
        self.wait(self.lib.ucp_ep_flush_nbx(self.endpoint, _struct()), "a UCX flush")
        self.lib.ucp_rkey_destroy(rkey)
        self.lib.ucp_rkey_buffer_release(packed)
        self.call("mem_unmap", self.context, memh)

    def close(self) -> None:
        self.lib.ucp_ep_close_nbx.restype = ctypes.c_void_p
        self.wait(self.lib.ucp_ep_close_nbx(self.endpoint, _struct()), "closing")
        for worker in self.workers:
            self.lib.ucp_worker_destroy(worker)
        self.lib.ucp_cleanup(self.context)


def ucx_library() -> str | None:
    """The libucx wheel's, or the system's."""
    spec = importlib.util.find_spec("libucx")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("lib/libucp.so.0"):
            return str(path)
    return ctypes.util.find_library("ucp")


def ucx_move(library: str, pairs: list[tuple[str, Memory, Memory]]) -> str:
    """Move with UCX alone; its version."""
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    ucx = Ucx()
    ucx.lib.ucp_get_version_string.restype = ctypes.c_char_p
    for operation, local, remote in pairs:
        ucx.move({"WRITE": "put", "READ": "get"}[operation], local, remote)
    ucx.close()
    return str(ucx.lib.ucp_get_version_string().decode())


# --- what is told ---


def nixl_version() -> str | None:
    """None: it is not installed."""
    from importlib import metadata

    try:
        import nixl._api
    except ImportError:
        return None
    del nixl
    for name in ("nixl", "nixl-cu12", "nixl-cu13"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "of unknown version"


def probe() -> dict[str, Any]:
    written, read = os.urandom(BYTES), os.urandom(BYTES)
    pairs = [
        ("WRITE", Memory(written), Memory(bytes(BYTES))),
        ("READ", Memory(bytes(BYTES)), Memory(read)),
    ]
    result: dict[str, Any] = {"mover": "", "bytes": 0, "verified": False, "error": ""}
    try:
        version = nixl_version()
        library = None if version else ucx_library()
        if version:
            result["mover"] = f"NIXL {version}"
            nixl_move(pairs)
        elif library:
            result["mover"] = "UCX"
            result["mover"] = f"UCX {ucx_move(library, pairs)}"
    except Exception as error:  # whatever NIXL raises is what the doctor reports
        result["error"] = f"{type(error).__name__}: {error}".removeprefix("Failure: ")
    else:
        if result["mover"]:
            result["bytes"] = len(pairs) * BYTES
            result["verified"] = all(local == remote for _, local, remote in pairs) and (
                pairs[0][2].buffer.raw == written and pairs[1][1].buffer.raw == read
            )
    host = default_host()
    result["segment"] = host.path
    result["segment_reason"] = host.reason
    result["counters"] = host.counters(process=True)
    result["loaded"] = "/libmfs_ucx.so" in Path("/proc/self/maps").read_text()
    return result


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(probe()))
    sys.stdout.flush()
    os._exit(0)  # the result is written: a crash in a destructor of others changes nothing
