# SPDX-License-Identifier: Apache-2.0
"""The segment that the processes of one host share, as Python sees it.

What is registered in it, the queues of all processes of the host read without a message or a
system call. A `Host` is attached to it; a `HostCopy` is a picture of a file, to be looked at.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import checked, config
from .native import InputError, check, encoded, ffi, lib, policies, shown, text


class Host:
    """The segment that the processes of one host share.

    Without a path: the process-wide one, by MFS_SEGMENT, which the shim of this process
    uses as well. With a path: that file (made if it is not there), to be closed by `close`.
    In a child that is forked it attaches anew at its first use.
    """

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._over: set[int] = set()  # keys of finished requests that could not be dropped yet
        self._attach()

    def _attach(self) -> None:
        if self._path is None:
            self._host = lib.mfs_host_get()
            if not self._host:
                raise OSError("no memory for a segment")
        else:
            out = ffi.new("struct mfs_host **")
            check(lib.mfs_host_open(encoded(self._path, "segment"), out), f"segment {self._path}")
            self._host = out[0]
        self._process = os.getpid()

    @property
    def handle(self) -> Any:
        if self._host is None:
            raise InputError("the host segment is closed")
        if self._process != os.getpid():  # the parent's is private and empty here
            self._attach()
        return self._host

    @property
    def path(self) -> str:
        """The segment's file; "" when it is private to this process."""
        return text(lib.mfs_host_path(self.handle))

    @property
    def reason(self) -> str:
        """Why it is private, though a file was asked for; "" otherwise."""
        return text(lib.mfs_host_reason(self.handle))

    @property
    def policy(self) -> str:
        """The policy of every queue on this host; may be set while they run."""
        return text(lib.mfs_host_policy(self.handle).name)

    @policy.setter
    def policy(self, name: str) -> None:
        if lib.mfs_host_set_policy(self.handle, encoded(name, "policy")) < 0:
            names = ", ".join(row.name for row in policies())
            raise InputError(f"policy {shown(name)}: one of {names}")

    def counters(self, *, process: bool = False) -> dict[str, int]:
        """Counters of the whole host, or of this process alone."""
        own = checked.truth(process, "process")
        read = lib.mfs_count_process if own else lib.mfs_count_total
        return {
            text(lib.mfs_counter_name(index)): int(read(self.handle, index))
            for index in range(lib.MFS_COUNT_LAST)
        }

    def requests(self) -> int:
        """Requests that are registered now."""
        return int(lib.mfs_request_count(self.handle))

    def drop(self, key: int) -> None:
        """Forget a request. While a stopped process holds the segment's lock nothing can be
        dropped: then it is tried again with the next that is dropped or published."""
        self._over.add(key)
        self.drop_again()

    def keep(self, keys: Iterable[int]) -> None:
        """These are registered anew: those that could not be dropped yet are not dropped."""
        self._over.difference_update(keys)

    def drop_again(self) -> None:
        for key in list(self._over):
            if lib.mfs_request_drop(self.handle, key) == -errno.EAGAIN:
                return
            self._over.discard(key)

    def ports(self) -> list[str]:
        """NICs whose ports have carried traffic on this host."""
        return sorted({name for i in range(lib.MFS_PORTS_MAX) if (name := self.port_at(i))})

    def port_at(self, index: int) -> str:
        """Name of the port at `index` of the segment; "" if none is there."""
        name = ffi.new("char[]", lib.MFS_PORT_NAME_MAX + 1)
        found = lib.mfs_port_name_at(self.handle, index, name) == 0
        return text(name) if found else ""

    @contextmanager
    def _port(self, name: str, direction: int) -> Iterator[Any]:
        """The port of a NIC, to look at; None: nothing has gone in that direction."""
        port = encoded(name, "port")
        if name not in self.ports():
            known = ", ".join(self.ports()) or "none so far"
            raise InputError(f"port {shown(name)}: there is none of this name; ports: {known}")
        out = ffi.new("struct mfs_port **")
        result = lib.mfs_port_find(self.handle, port, direction, out)
        if result == -errno.ENOENT:
            yield None
            return
        check(result, f"port {name!r}")
        try:
            yield out[0]
        finally:
            lib.mfs_port_close(out[0])

    def egress_rate_Bps(self, name: str, *, at_most: bool = False) -> int:
        """Learned or configured bandwidth of a NIC's egress port; 0 while unknown, as
        before its first transfer. at_most: what it may be if the estimate is low."""
        return self._rate_Bps(name, lib.MFS_EGRESS, checked.truth(at_most, "at_most"))

    def _rate_Bps(self, name: str, direction: int, at_most: bool) -> int:
        with self._port(name, direction) as port:
            if not port:
                return 0  # nothing has gone in that direction
            margin = lib.mfs_port_rate_margin(port) if at_most else 1.0
            return int(margin * lib.mfs_port_rate_Bps(port))

    def own_rate_Bps(self, name: str | None, direction: int) -> int:
        """What a port of the host carries at most; 0 while unknown. name None: the port of this
        process's traffic. Where nothing here says which that is, another process may move the
        data, and which port it uses is not known here: then it is the fastest one's."""
        known = self.ports()
        wanted = config.own_port() if name is None else name
        unsaid = name is None and wanted == config.UNSAID_PORT
        names = known if unsaid else [one for one in known if one == wanted]
        return max((self._rate_Bps(one, direction, True) for one in names), default=0)

    def stalled(self, name: str) -> int:
        """Destinations of a NIC's traffic, in either direction and of all processes, that take
        no bytes now: what waits for them is held back, and transfers to others go on."""
        total = 0
        for direction in (lib.MFS_EGRESS, lib.MFS_INGRESS):
            with self._port(name, direction) as port:
                total += int(lib.mfs_port_stalled(port)) if port else 0
        return total

    def close(self) -> None:
        if self._path is not None and self._host is not None:
            lib.mfs_host_close(self._host)
        self._host = None

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HostCopy(Host):
    """What a segment's file says, as it was when this was made: to be read. It attaches to nothing
    and changes nothing, and shows what the last process has left when nobody uses the file."""

    def __init__(self, path: str) -> None:
        super().__init__(path)

    def _attach(self) -> None:
        out = ffi.new("struct mfs_host **")
        result = lib.mfs_host_open_copy(encoded(self._path or "", "segment"), out)
        check(result, f"segment {self._path}")
        self._host = out[0]
        self._process = os.getpid()

    @property
    def path(self) -> str:
        return self._path or ""


_default_host: Host | None = None
_default_lock = threading.Lock()


def default_host() -> Host:
    """The process-wide host."""
    global _default_host
    with _default_lock:
        if _default_host is None:
            _default_host = Host()
        return _default_host


def given_or_default(host: Host | None) -> Host:
    """The host that a caller gave, or the process-wide one."""
    if host is None:
        return default_host()
    checked.one_of(host, Host, "host")
    return host
