# SPDX-License-Identifier: Apache-2.0
"""The gate in a NIXL agent's proxy: its transfers go in pieces, each in its turn on the port.

For what no shim schedules: NIXL's backends other than UCX, and UCX where the shim is not in the
way. A gate is a sender of the host's port (csrc/core/sender.h), as the shim's workers are, so it
has their order, window, share and pace, and keeps them beside the other processes'.

    transfer -- pieces --> sender: the best one, when the port has room --> NIXL's transfer
                             ^                                                   |
                             +------ done: check_xfer_state of NIXL ------------+

A piece is posted, and its end is seen, inside the engine's own calls of the agent: no thread of
ours touches NIXL. The notification goes with the last piece, which waits until all others are
done; so it says, as before, that the whole is there.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from ..config import flag, own_port, string
from ..host import default_host
from ..native import UCX_SHIM, InputError, check, encoded, ffi, lib
from ..tags import abort
from .cut import Piece

WHOLE = (1 << 63) - 1  # a piece is what the queue hands out
PIECE_CHUNKS = 1  # of the port: a piece costs NIXL and us more than a chunk does the shim
# what lies on this host's disks uses no port
LOCAL = frozenset(("POSIX", "GDS", "GDS_MT", "GUSLI"))


def shim_is_in_the_way() -> bool:
    """The calls of NIXL's UCX go through the shim, as far as can be told."""
    if os.environ.get("NIXL_UCX_DEEPBIND", "0").lower() in ("1", "y", "yes", "on", "true"):
        return False
    with open("/proc/self/maps") as maps:
        return any(UCX_SHIM.name in line for line in maps)


def mode() -> str:
    """auto, always or never."""
    return string("MFS_NIXL_GATE") if flag("MFS_ENABLE") else "never"


def wanted(backend: str, chosen: str, shim: Callable[[], bool]) -> bool:
    """Is a transfer by that backend the gate's?"""
    if chosen != "auto":
        return chosen == "always"
    return not shim() if backend == "UCX" else backend not in LOCAL


_said: set[str] = set()


def failed(error: Exception) -> None:
    """An error of ours: counted, said once each kind; the transfer goes as without a gate."""
    lib.mfs_count(default_host().handle, lib.MFS_COUNT_FAULTS, 1)
    line = f"mfs: the gate before NIXL: {type(error).__name__}: {error}; passed on as it was"
    if line not in _said:
        _said.add(line)
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


@dataclass(eq=False)
class Transfer:
    """One transfer of the engine: what NIXL made of it, and its pieces."""

    whole: Any  # NIXL's own handle
    pieces: list[Piece]
    direction: int
    peer: str
    notification: bytes
    state: str = "NEW"  # NEW, PROC, DONE, ERR; WHOLE: NIXL has it
    left: int = 0  # pieces that are not done
    operations: Any = None  # struct mfs_op[] of this posting
    error: Exception | None = None
    posted_ns: int = 0  # CLOCK_MONOTONIC
    post_ns: int = 0  # that posting took
    done_ns: int = 0

    @property
    def bytes(self) -> int:
        return sum(piece.size for piece in self.pieces)


class Handle:
    """Stands for NIXL's handle of a transfer that is cut, with all of its attributes."""

    def __init__(self, gate: Gate, transfer: Transfer) -> None:
        self.gate, self._transfer = gate, transfer

    def __getattr__(self, name: str) -> Any:
        if name in ("gate", "_transfer"):
            raise AttributeError(name)
        return getattr(self._transfer.whole, name)

    def __repr__(self) -> str:
        return f"<{len(self._transfer.pieces)} pieces of {self._transfer.whole!r}>"

    def release(self) -> None:
        self.gate.release(self._transfer)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.gate.give_up(self._transfer)


@dataclass(eq=False)
class Flight:
    """A piece that NIXL has."""

    transfer: Transfer
    handle: Any
    bytes: int


class Lane:
    """A direction of the port. The gate's lock is held in all of it."""

    def __init__(self, agent: Any, port: str, direction: int) -> None:
        self._agent = agent
        self._host = default_host().handle
        out = ffi.new("struct mfs_sender **")
        joined = lib.mfs_sender_join(self._host, encoded(port, "port"), direction, ffi.NULL, out)
        check(joined, f"port {port}")
        self.sender = out[0]
        self._chunk = ffi.new("struct mfs_chunk *")
        self._peers: dict[str, Any] = {}
        self._waiting: dict[int, tuple[Transfer, int]] = {}  # by the address of its operation
        self._turns: list[tuple[Transfer, int, int]] = []  # last ones that wait for the others
        self._flying: list[Flight] = []

    def peer(self, name: str) -> Any:
        if name not in self._peers:
            destination = ffi.new("struct mfs_destination *")
            check(lib.mfs_sender_open(self.sender, destination, ffi.NULL), f"peer {name}")
            self._peers[name] = destination
        return self._peers[name]

    def piece_bytes(self) -> int:
        return PIECE_CHUNKS * max(4096, int(lib.mfs_sender_chunk(self.sender)) & ~4095)

    def push(self, transfer: Transfer, tag: Any) -> int:
        """Queue its pieces, or post a single one at once. 0, or -errno with none of it queued."""
        to = self.peer(transfer.peer)
        count = len(transfer.pieces)
        if count == 1 and self._at_once(transfer, to):
            return 0
        now_ns = lib.mfs_now_ns()
        transfer.operations = ffi.new("struct mfs_op[]", count)
        for index, piece in enumerate(transfer.pieces):
            operation = ffi.addressof(transfer.operations, index)
            operation.length = piece.size
            error = int(lib.mfs_sender_push(self.sender, operation, to, tag, now_ns))
            if error:
                self.take_back(transfer)
                return error
            self._waiting[address(operation)] = (transfer, index)
        lib.mfs_count(self._host, lib.MFS_COUNT_DEFERRED, count)
        return 0

    def _at_once(self, transfer: Transfer, to: Any) -> bool:
        size = transfer.pieces[0].size
        if self._waiting or lib.mfs_sender_express(self.sender, to, size, WHOLE) != 0:
            return False
        lib.mfs_count(self._host, lib.MFS_COUNT_STRAIGHT, 1)
        self._post(transfer, 0, size)
        return True

    def move(self) -> None:
        """See what is done, and post what may go."""
        for flight in [*self._flying]:
            try:
                state = self._agent.check_xfer_state(flight.handle)
            except Exception as error:
                self._fail(flight.transfer, error)
                state = "ERR"
            if state != "PROC" and flight in self._flying:  # it may have been given up just now
                self._flying.remove(flight)
                self._landed(flight, state)
        turns, self._turns = self._turns, []
        for turn in turns:
            self._post(*turn)
        while (
            self._waiting
            and lib.mfs_sender_next(self.sender, WHOLE, lib.mfs_now_ns(), self._chunk) == 0
        ):
            transfer, index = self._waiting.pop(address(self._chunk.op))
            self._post(transfer, index, int(self._chunk.length))

    def _post(self, transfer: Transfer, index: int, size: int) -> None:
        last = index == len(transfer.pieces) - 1
        notification = transfer.notification if last else b""
        if transfer.state == "ERR":
            self._done(transfer, size)
            return
        if notification and transfer.left > 1:
            self._turns.append((transfer, index, size))
            return
        alone = len(transfer.pieces) == 1
        try:
            handle = transfer.whole if alone else transfer.pieces[index].make(notification)
            # no tag here: a tag is for a shim, and what is ordered once is enough
            state = self._agent.transfer(
                handle, *([notification] if alone and notification else [])
            )
        except Exception as error:
            self._fail(transfer, error)
            self._done(transfer, size)
            return
        lib.mfs_count(self._host, lib.MFS_COUNT_CHUNKS, 1)
        flight = Flight(transfer, handle, size)
        if state == "PROC":
            self._flying.append(flight)
        else:
            self._landed(flight, state)

    def _landed(self, flight: Flight, state: str) -> None:
        transfer = flight.transfer
        if flight.handle is not transfer.whole:
            with contextlib.suppress(Exception):  # of a failed one NIXL may say so again
                self._agent.release_xfer_handle(flight.handle)
        if state != "DONE":
            self._fail(transfer, None)
        self._done(transfer, flight.bytes)
        transfer.left -= 1
        if transfer.left == 0 and transfer.state == "PROC":
            transfer.state = "DONE"
            transfer.done_ns = lib.mfs_now_ns()

    def _done(self, transfer: Transfer, size: int) -> None:
        lib.mfs_sender_done(self.sender, self.peer(transfer.peer), size, lib.mfs_now_ns())

    def _fail(self, transfer: Transfer, error: Exception | None) -> None:
        transfer.state = "ERR"
        transfer.error = transfer.error or error
        self.take_back(transfer)

    def take_back(self, transfer: Transfer) -> None:
        """Nothing of it waits any more."""
        now_ns = lib.mfs_now_ns()
        for index in range(len(transfer.pieces) if transfer.operations is not None else 0):
            operation = ffi.addressof(transfer.operations, index)
            if self._waiting.pop(address(operation), None) is not None:
                lib.mfs_sender_remove(self.sender, operation, now_ns)
        for turn in [one for one in self._turns if one[0] is transfer]:
            self._turns.remove(turn)
            self._done(transfer, turn[2])

    def cancel(self, transfer: Transfer) -> None:
        """The same, and NIXL cancels what it has of it."""
        self.take_back(transfer)
        for flight in [one for one in self._flying if one.transfer is transfer]:
            self._flying.remove(flight)
            if flight.handle is not transfer.whole:
                with contextlib.suppress(Exception), abort():
                    self._agent.release_xfer_handle(flight.handle)
            self._done(transfer, flight.bytes)

    def follow(self) -> None:
        lib.mfs_sender_follow(self.sender)

    def close(self) -> None:
        for transfer, _ in [*self._waiting.values()]:
            self.take_back(transfer)
        for destination in self._peers.values():
            lib.mfs_sender_close(self.sender, destination)
        lib.mfs_sender_leave(self.sender)


def address(operation: Any) -> int:
    return int(ffi.cast("uintptr_t", operation))


class Gate:
    """The gate of one agent."""

    def __init__(self, agent: Any, port: str | None = None) -> None:
        self._agent = agent
        self._port = own_port() if port is None else port
        self._lock = threading.RLock()
        self._lanes: dict[int, Lane] = {}
        self._version = -1
        self._orders = True
        self._untagged = ffi.new("struct mfs_tag *")

    def _lane(self, direction: int) -> Lane:
        if direction not in self._lanes:
            self._lanes[direction] = Lane(self._agent, self._port, direction)
        return self._lanes[direction]

    def orders(self) -> bool:
        """Is there an order at all? A change of the policy is seen here."""
        host = default_host()
        version = int(lib.mfs_host_settings_version(host.handle))
        if version != self._version:
            self._version, self._orders = version, host.policy != "off"
            for lane in self._lanes.values():
                lane.follow()
        return self._orders

    def piece_bytes(self, operation: str) -> int:
        with self._lock:
            return self._lane(direction_of(operation)).piece_bytes()

    def handle(
        self, whole: Any, pieces: list[Piece], operation: str, peer: str, notification: bytes
    ) -> Handle:
        return Handle(self, Transfer(whole, pieces, direction_of(operation), peer, notification))

    # --- what the engine calls ---

    def transfer(self, handle: Handle, tag: Any, notification: bytes) -> str:
        transfer = handle._transfer
        with self._lock:
            if transfer.state == "PROC":
                raise InputError("a transfer that is in progress cannot be posted again")
            transfer.notification = notification or transfer.notification
            transfer.error, transfer.left = None, len(transfer.pieces)
            transfer.posted_ns, transfer.state = lib.mfs_now_ns(), "PROC"
            if not self.orders() or not self._push(transfer, tag):
                transfer.state = "WHOLE"
                return self._agent.transfer(transfer.whole, transfer.notification)  # type: ignore[no-any-return]
            self.move()
            transfer.post_ns = lib.mfs_now_ns() - transfer.posted_ns
            return self.state(handle, moved=True)

    def _push(self, transfer: Transfer, tag: Any) -> bool:
        host = default_host().handle
        lane = self._lane(transfer.direction)
        if lane.push(transfer, self._untagged if tag is None else tag) != 0:
            lib.mfs_count(host, lib.MFS_COUNT_FAULTS, 1)
            return False
        lib.mfs_count(host, lib.MFS_COUNT_CALLS, 1)
        lib.mfs_count(host, lib.MFS_COUNT_BYTES, transfer.bytes)
        lib.mfs_count(host, lib.MFS_COUNT_TAGGED, int(tag is not None))
        return True

    def state(self, handle: Handle, *, moved: bool = False) -> str:
        transfer = handle._transfer
        if transfer.state in ("WHOLE", "NEW"):  # NEW: NIXL says what it says then
            return self._agent.check_xfer_state(transfer.whole)  # type: ignore[no-any-return]
        if not moved:
            self.move()
        if transfer.error is not None:
            raise transfer.error
        return transfer.state

    def move(self) -> None:
        with self._lock:
            for lane in self._lanes.values():
                lane.move()

    def release(self, transfer: Transfer) -> None:
        self.give_up(transfer)
        with abort():
            self._agent.release_xfer_handle(transfer.whole)

    def give_up(self, transfer: Transfer) -> None:
        """What waits of it is not sent any more."""
        with self._lock:
            if transfer.state == "PROC":
                transfer.state = "ERR"
                self._lane(transfer.direction).cancel(transfer)

    def telemetry(self, handle: Handle) -> Any:
        """As NIXL's: microseconds from the posting on, for the whole."""
        transfer = handle._transfer
        if transfer.state == "WHOLE":
            return self._agent.get_xfer_telemetry(transfer.whole)
        ago_ns = lib.mfs_now_ns() - transfer.posted_ns
        return SimpleNamespace(
            startTime=(time.time_ns() - ago_ns) // 1000,
            postDuration=transfer.post_ns // 1000,
            xferDuration=max(0, transfer.done_ns - transfer.posted_ns) // 1000,
            totalBytes=transfer.bytes,
            descCount=len(transfer.pieces),
        )

    def close(self) -> None:
        with self._lock:
            for lane in self._lanes.values():
                lane.close()
            self._lanes.clear()


def direction_of(operation: str) -> int:
    """A write leaves by our egress; what is read comes in by our ingress."""
    return int(lib.MFS_INGRESS if operation == "READ" else lib.MFS_EGRESS)
