# SPDX-License-Identifier: Apache-2.0
"""Emulated hosts that know nothing of each other but a key, for test_contacts.py.

python contacts_hosts.py nixl|nccl          in namespaces of its own: prints what the agents know
python contacts_hosts.py party DESCRIPTOR   a host of `nccl`, by JSON lines
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benches
from nccl import toolbox

from mfs_transport.exchange import launcher
from mfs_transport.testbed import agents, network
from mfs_transport.testbed.nccl_net import Net, keep
from mfs_transport.testbed.worker import Channel

MOST_S = 60.0  # that anything here may take
PAUSE_S = 0.02
MFS = [sys.executable, "-m", "mfs_transport"]


def wait_until(true: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + MOST_S
    while not true():
        if time.monotonic() > ends:
            raise OSError(f"not in {MOST_S:g} s: {what}")
        time.sleep(PAUSE_S)


class Hosts:
    """A, B and C on one bridge."""

    def __init__(self) -> None:
        made = network.Namespaces(125e6)
        self.places = {name: made.add(name) for name in "ABC"}
        self.folder = Path(made.folder)
        self.key = agents.make_key(self.folder)
        self.process = benches.load("_process")

    def environment(self, name: str) -> dict[str, str]:
        made: dict[str, str] = self.process.environment("eth0", str(self.folder / name))
        made["MFS_PEERS"], made["MFS_AGENT_KEY_FILE"] = "connections", str(self.key)
        return made

    def start(self, name: str, command: list[str], *, mfs: bool) -> Any:
        """A process at that host, with all of it or without anything of ours."""
        env = self.environment(name)
        if not mfs:
            env = {one: text for one, text in env.items() if not one.startswith("MFS_")}
        place = self.places[name]
        return self.process.Process(name, place, command, env, enabled=False, shim=False)

    def state(self, name: str) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            path = launcher.state_path(str(self.folder / name))
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        return {}

    def knows(self, name: str, other: str) -> dict[str, Any] | None:
        """What a host's agent knows of another one, with its ports."""
        address = self.places[other].address
        for one in self.state(name).get("peers", []):
            if one["address"].removeprefix("::ffff:") == address and one["ports"] > 0:
                return dict(one)
        return None

    def met(self, name: str) -> bool:
        return [one["known_by"] for one in self.state(name).get("peers", [])] == ["connection"]

    def contacts(self, name: str) -> dict[str, dict[str, Any]]:
        names = {place.address: other for other, place in self.places.items()}
        return {
            names[one["address"].removeprefix("::ffff:")]: one
            for one in self.state(name).get("contacts") or []
        }


def nixl() -> dict[str, Any]:
    """A reads of B, which has the shim as well, and of C, which has nothing of ours."""
    hosts = Hosts()
    party = [sys.executable, str(benches.BENCH / "_hosts_party.py")]
    started = {
        name: hosts.start(
            name,
            [*([*MFS, "run", "--"] if name != "C" else []), *party, name, "{descriptor}"],
            mfs=name != "C",
        )
        for name in hosts.places
    }
    told = {name: one.ask("hello") for name, one in started.items()}
    peers = {name: (told[name]["metadata"], told[name]["at"]) for name in "BC"}
    started["A"].ask("meet", peers=peers)
    wait_until(lambda: hosts.knows("A", "B") and hosts.knows("B", "A"), "they find each other")
    wait_until(lambda: all(hosts.met(name) for name in "AB"), "both by the connection")
    wait_until(lambda: hosts.contacts("A").get("C", {}).get("asked", 0) > 2, "C is asked")
    found = {name: hosts.state(name) for name in "AB"}
    by = {name: hosts.contacts(name) for name in "AB"}
    # an agent that was killed, and another one of its host, which no program starts
    before = hosts.state("B")["pid"]
    os.kill(before, signal.SIGKILL)
    again = agents.Agents()
    wait_until(lambda: not launcher.is_running(str(hosts.folder / "B")), "it is dead")
    again.start(hosts.places["B"], hosts.environment("B"))
    wait_until(lambda: hosts.state("B").get("pid") not in (None, before), "it has begun")
    wait_until(lambda: hosts.knows("B", "A"), "the new one finds A")
    return {"states": found, "contacts": by, "again": hosts.knows("B", "A")}


def nccl() -> dict[str, Any]:
    """B connects to A by the plug-in, whose UCX no shim sees."""
    hosts = Hosts()
    made = agents.Agents()
    started = {}
    for name in "AB":
        made.start(hosts.places[name], hosts.environment(name))
        started[name] = hosts.start(
            name, [sys.executable, __file__, "party", "{descriptor}"], mfs=True
        )
    handle = started["A"].ask("listen")["handle"]
    started["B"].tell("connect", handle=handle)
    started["A"].ask("accept")
    started["B"].hear()
    wait_until(lambda: hosts.knows("A", "B") and hosts.knows("B", "A"), "they find each other")
    wait_until(lambda: all(hosts.met(name) for name in "AB"), "both by the connection")
    return {
        "states": {name: hosts.state(name) for name in "AB"},
        "contacts": {name: hosts.contacts(name) for name in "AB"},
    }


class Party:
    """A rank; between two orders its engine goes on, as under NCCL's threads."""

    def __init__(self) -> None:
        os.environ.update(MFS_NCCL_UCX=str(toolbox.libucp()), NCCL_SOCKET_IFNAME="eth0")
        self.net = Net(toolbox.PLUGIN)
        self.listener, self.handle = self.net.listen()

    def go_on(self) -> None:
        self.net.accept(self.listener)  # nobody comes

    def _until(self, call: Callable[[], Any]) -> dict[str, Any]:
        found: list[Any] = []
        wait_until(lambda: found.append(call()) or found[-1], "a connection")
        return {}

    def listen(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"handle": self.handle.hex()}

    def accept(self, _: dict[str, Any]) -> dict[str, Any]:
        return self._until(lambda: self.net.accept(self.listener))

    def connect(self, order: dict[str, Any]) -> dict[str, Any]:
        handle = keep(bytes.fromhex(order["handle"]))
        return self._until(lambda: self.net.connect(handle))


def party(descriptor: int) -> None:
    channel, made = Channel(descriptor), Party()
    with contextlib.suppress(EOFError):
        while True:
            while not channel.ended():
                made.go_on()
                time.sleep(0.0001)
            order = channel.receive()
            channel.send(getattr(made, order["order"])(order))


if __name__ == "__main__":
    if sys.argv[1] == "party":
        party(int(sys.argv[2]))
    else:
        print(json.dumps({"nixl": nixl, "nccl": nccl}[sys.argv[1]]()), flush=True)
    os._exit(0)  # pid 1 of its namespaces: everything else ends with it
