# SPDX-License-Identifier: Apache-2.0
"""The table of an NCCL net plug-in (version 12), called as NCCL calls it, without NCCL.

The declarations are those of csrc/nccl/net.h, as far as they are used here. Calls never block:
what is not ready is None, and is asked for again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cffi import FFI

HANDLE_BYTES = 128
_HOST_MEMORY = 1

DECLARATIONS = """
struct config { int traffic_class; };
struct table {
    const char *name;
    int (*init)(void **ctx, uint64_t comm_id, struct config *config, void *logger, void *profiler);
    int (*devices)(int *count);
    int (*properties)(int dev, void *properties);
    int (*listen)(void *ctx, int dev, void *handle, void **listen_comm);
    int (*connect)(void *ctx, int dev, void *handle, void **send_comm, void **device_handle);
    int (*accept)(void *listen_comm, void **recv_comm, void **device_handle);
    int (*reg)(void *comm, void *data, size_t size, int type, void **mhandle);
    int (*reg_dmabuf)(void *comm, void *data, size_t size, int type, uint64_t offset, int fd,
                      void **mhandle);
    int (*dereg)(void *comm, void *mhandle);
    int (*isend)(void *send_comm, void *data, size_t size, int tag, void *mhandle, void *phandle,
                 void **request);
    int (*irecv)(void *recv_comm, int n, void **data, size_t *sizes, int *tags, void **mhandles,
                 void **phandles, void **request);
    int (*iflush)(void *recv_comm, int n, void **data, int *sizes, void **mhandles,
                  void **request);
    int (*test)(void *request, int *done, int *sizes);
    int (*close_send)(void *send_comm);
    int (*close_recv)(void *recv_comm);
    int (*close_listen)(void *listen_comm);
};
extern struct table ncclNetPlugin_v12;
"""

ffi = FFI()
ffi.cdef(DECLARATIONS)


class Net:
    """A plug-in that is open, and one communicator of it."""

    def __init__(self, plugin: Path, communicator: int = 42, traffic_class: int = -1) -> None:
        self._library = ffi.dlopen(str(plugin))
        self._table = self._library.ncclNetPlugin_v12
        self._pointer = ffi.new("void **")
        self._size = ffi.new("size_t *")
        self._numbers = ffi.new("int[2]")
        config = ffi.new("struct config *", {"traffic_class": traffic_class})
        self._call("init", self._pointer, communicator, config, ffi.NULL, ffi.NULL)
        self._context = self._pointer[0]
        self._call("devices", self._numbers)
        if self._numbers[0] < 1:
            raise OSError(f"{plugin} has no devices")

    def _call(self, name: str, *arguments: Any) -> None:
        result = getattr(self._table, name)(*arguments)
        if result != 0:
            raise OSError(f"NCCL net plug-in: {name} returned {result}")

    def _made(self, name: str, *arguments: Any) -> Any | None:
        """What a call puts into its last argument."""
        self._pointer[0] = ffi.NULL
        self._call(name, *arguments, self._pointer)
        return self._pointer[0] or None

    # --- connecting ---

    def listen(self) -> tuple[Any, bytes]:
        """A listener, and the handle by which others find it."""
        handle = ffi.new("char[]", HANDLE_BYTES)
        listener = self._made("listen", self._context, 0, handle)
        return listener, ffi.buffer(handle)[:]

    def connect(self, handle: Any) -> Any | None:
        """`handle` (of `keep`) is the same in every call."""
        self._pointer[0] = ffi.NULL
        device = ffi.new("void **")
        self._call("connect", self._context, 0, handle, self._pointer, device)
        return self._pointer[0] or None

    def accept(self, listener: Any) -> Any | None:
        self._pointer[0] = ffi.NULL
        self._call("accept", listener, self._pointer, ffi.new("void **"))
        return self._pointer[0] or None

    def close_listen(self, listener: Any) -> None:
        self._call("close_listen", listener)

    def register(self, comm: Any, address: int, size: int) -> Any:
        return self._made("reg", comm, ffi.cast("void *", address), size, _HOST_MEMORY)

    # --- messages ---

    def send(self, comm: Any, address: int, size: int, memory: Any) -> Any | None:
        data = ffi.cast("void *", address)
        return self._made("isend", comm, data, size, 0, memory, ffi.NULL)

    def receive(self, comm: Any, address: int, size: int, memory: Any) -> Any | None:
        data = ffi.new("void **", ffi.cast("void *", address))
        self._size[0] = size
        self._numbers[0] = 0
        memories = ffi.new("void **", memory)
        return self._made("irecv", comm, 1, data, self._size, self._numbers, memories, ffi.NULL)

    def test(self, request: Any) -> int | None:
        """Bytes of a message that is complete; None: it is not."""
        self._numbers[0] = self._numbers[1] = 0
        self._call("test", request, self._numbers, self._numbers + 1)
        return int(self._numbers[1]) if self._numbers[0] else None


def keep(handle: bytes) -> Any:
    """A handle that came from elsewhere, as `connect` takes it."""
    return ffi.new("char[]", handle)
