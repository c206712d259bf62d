# SPDX-License-Identifier: Apache-2.0
"""Two NIXL programs of bench/chaos.py: one writes to and reads from the other, in bursts.

    python bench/_chaos_nixl.py ACCOUNTS SLOT SECONDS SEED PAUSE_S RECEIVERS

The arguments and the accounts are those of bench/soak_ucx.c, RECEIVERS is 1. The second program is
started by the first one, which tells it over a socket what will come and what is complete.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from nixl._api import nixl_agent, nixl_agent_config

import mfs_transport as mfs
from mfs_transport.engines.nixl import Agent

MEMORY = 4 << 20
MOST = 4  # transfers of a burst
IDLE_S = 0.0005
RECORD = 128
WORDS = ("pid", "posted", "failed", "verified", "wrong", "operations", "bursts", "connections")


class Account:
    """struct soak_account of bench/soak.h."""

    def __init__(self, path: str, slot: int) -> None:
        with Path(path).open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.at = slot * RECORD
        self.add("pid", os.getpid())

    def add(self, word: str, amount: int) -> None:
        at = self.at + 8 * (*WORDS, "over").index(word)
        (before,) = struct.unpack_from("Q", self.memory, at)
        struct.pack_into("Q", self.memory, at, before + amount)


class Gone(Exception):
    """The other program."""


class Side:
    def __init__(self, name: str, peer: socket.socket, account: Account) -> None:
        config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
        self.agent = Agent(nixl_agent(name, config))
        self.data = np.zeros(MEMORY, np.uint8)
        self.agent.register_memory([(self.data.ctypes.data, MEMORY, 0, "")], "DRAM")
        self.account = account
        self.peer = peer
        self.lines = peer.makefile("r")

    def tell(self, what: Any) -> None:
        try:
            self.peer.sendall(json.dumps(what).encode() + b"\n")
        except OSError:
            raise Gone from None

    def hear(self) -> Any:
        """NIXL moves meanwhile: nothing else is in the socket, as the two speak in turns."""
        self.peer.setblocking(False)
        while True:
            try:
                self.peer.recv(1, socket.MSG_PEEK)
                break
            except BlockingIOError:
                self.agent.get_new_notifs()
                time.sleep(IDLE_S)
            except OSError:
                break
        self.peer.setblocking(True)
        line = self.lines.readline()
        if not line:
            raise Gone
        return json.loads(line)

    def expected(self, part: dict[str, int]) -> np.ndarray[Any, Any]:
        return np.frombuffer(random.Random(part["seed"]).randbytes(part["bytes"]), np.uint8)

    def here(self, part: dict[str, int]) -> np.ndarray[Any, Any]:
        return self.data[part["offset"] : part["offset"] + part["bytes"]]

    def check(self, part: dict[str, int]) -> None:
        wrong = int(np.count_nonzero(self.here(part) != self.expected(part)))
        self.account.add("wrong", wrong)
        self.account.add("verified", part["bytes"] - wrong)


def receive(side: Side) -> None:
    metadata = side.agent.get_agent_metadata().hex()
    side.tell({"metadata": metadata, "address": side.data.ctypes.data})
    while True:
        for part in side.hear():
            if part["operation"] == "READ":
                side.here(part)[:] = side.expected(part)
        side.tell("ready")
        for part in side.hear():
            if part["completed"] and part["operation"] == "WRITE":
                side.check(part)
        side.account.add("bursts", 1)
        side.tell("checked")


class Sender:
    def __init__(self, side: Side, seed: int) -> None:
        self.side = side
        self.chance = random.Random(seed)
        card = side.hear()
        peer = side.agent.add_remote_agent(bytes.fromhex(card["metadata"]))
        self.peer = peer.decode() if isinstance(peer, bytes) else peer
        self.address = card["address"]

    def plan(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        offset = 0
        for _ in range(self.chance.randint(1, MOST)):
            size = int(8 * 2 ** self.chance.uniform(0, 17))
            parts.append(
                {
                    "operation": self.chance.choice(("WRITE", "READ")),
                    "offset": offset,
                    "bytes": size,
                    "seed": self.chance.getrandbits(32),
                    "completed": False,
                }
            )
            offset += size
        return parts

    def post(self, part: dict[str, Any], request: mfs.Request) -> Any:
        agent, side = self.side.agent, self.side
        write = part["operation"] == "WRITE"
        side.here(part)[:] = side.expected(part) if write else 0
        local, remote = (
            agent.get_xfer_descs([(at + part["offset"], part["bytes"], 0)], "DRAM")
            for at in (side.data.ctypes.data, self.address)
        )
        side.account.add("posted", part["bytes"])
        handle = agent.initialize_xfer(part["operation"], local, remote, self.peer, b"done")
        agent.tag(handle, request, "p2d")
        agent.transfer(handle)
        return handle

    def state(self, handle: Any) -> str:
        try:
            return str(self.side.agent.check_xfer_state(handle))
        except Exception:  # NIXL's own kinds: the other program has gone
            return "ERR"

    def burst(self) -> None:
        side = self.side
        parts = self.plan()
        side.tell(parts)
        side.hear()
        request = mfs.register(
            f"chaos-{os.getpid()}", ttft_s=self.chance.uniform(0.1, 20), publish=False
        )
        # where one that is stopped holds the segment's lock it has no deadline
        with contextlib.suppress(BlockingIOError):
            request.publish()
        handles: list[Any] = []
        for part in parts:
            try:
                handles.append(self.post(part, request))
            except Exception:
                handles.append(None)
        for part, handle in zip(parts, handles, strict=True):
            while handle is not None and (state := self.state(handle)) == "PROC":
                time.sleep(IDLE_S)
            part["completed"] = handle is not None and state == "DONE"
            if not part["completed"]:
                side.account.add("failed", part["bytes"])
            elif part["operation"] == "READ":
                side.check(part)
            if handle is not None:
                side.agent.release_xfer_handle(handle)
        request.finish()
        side.account.add("operations", len(parts))
        side.tell(parts)
        side.hear()
        side.account.add("bursts", 1)


def kernel_s() -> float:
    """Not through clock_gettime of the C library, whose clock may jump here."""
    return float(Path("/proc/uptime").read_text().split()[0])


def main(accounts: str, slot: str, seconds: str, seed: str, pause_s: str, _: str) -> None:
    ours, theirs = socket.socketpair()
    netns = os.environ.get("SOAK_NETNS")
    enter = ["ip", "netns", "exec", netns] if netns else []
    env = {**os.environ, "MFS_SEGMENT": os.environ.get("SOAK_SEGMENTS", "")}
    arguments = [__file__, "receive", str(theirs.fileno()), accounts, str(int(slot) + 1)]
    receiver = subprocess.Popen(
        [*enter, sys.executable, *arguments], pass_fds=[theirs.fileno()], env=env
    )
    theirs.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    account = Account(accounts, int(slot))
    side = Side("sender", ours, account)
    try:
        sender = Sender(side, int(seed))
        until = kernel_s() + float(seconds)
        while kernel_s() < until:
            sender.burst()
            time.sleep(float(pause_s) * sender.chance.uniform(0, 2))
    except Gone:
        pass
    account.add("over", 1)
    ours.shutdown(socket.SHUT_RDWR)
    receiver.wait()


def be_receiver(descriptor: str, accounts: str, slot: str) -> None:
    account = Account(accounts, int(slot))
    side = Side("receiver", socket.socket(fileno=int(descriptor)), account)
    try:
        receive(side)
    except Gone:
        account.add("over", 1)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        be_receiver(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # NIXL's own end is not what is tried here
