# SPDX-License-Identifier: Apache-2.0
"""Emulated pods of one node: namespaces of their own, several users, one shaped port.

    pod: eth0 ==veth== bridge of the node -- uplink (HTB: the node's port) ==veth== peer: eth0

A pod has its own network, process, mount, IPC, cgroup, UTS and user namespace and its own /dev/shm,
and runs as one of the node's users, in a group that all pods are in. What it shares with the others
is the node's port and the folder `shared`. `Node` is to be used by root, inside
`network.enter_command`; pod.py enters pods.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from ..native import PACKAGE
from . import network
from .network import Place, run

GROUP = 64000  # in which all pods are
FIRST_USER = 100000  # of the node, for the first pod


def why_not() -> str | None:
    """None if pods can be emulated here, else the reason they cannot."""
    if os.geteuid() != 0:
        return "pods of several users take root"
    reason = network.why_not_namespaces()
    if reason:
        return reason
    trial = ["unshare", "--user", "--pid", "--ipc", "--uts", "--mount", "--cgroup"]
    trial += ["--fork", "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to `path` that other users cannot pass."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def open_up(paths: list[Path], stash: Path) -> None:
    """Let other users reach these, in this mount namespace alone: what hides them is covered by an
    empty folder in which they appear again."""
    hidden = [path for path in dict.fromkeys(paths) if closed_folder(path)]
    kept = []
    for number, path in enumerate(hidden):
        place = stash / str(number)
        place.mkdir(parents=True)
        run("mount", "--bind", str(path), str(place))
        kept.append(place)
    for path, place in zip(hidden, kept, strict=True):
        closed = closed_folder(path)
        if closed:
            run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(closed))
        path.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", str(place), str(path))


class Node:
    """A node with one port of `link_Bps`, and a host at the other end of its cable."""

    def __init__(self, link_Bps: float) -> None:
        network.find_tools()
        self._link_Bps = link_Bps
        self._pods: list[str] = []
        run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
        os.mkdir("/run/netns")
        # what a pod's Python needs; the package may lie elsewhere
        own = [Path(sys.base_prefix), Path(sys.prefix), PACKAGE.parent]
        open_up([path.resolve() for path in own], Path("/run/kept"))
        os.mkdir("/run/mfs")
        self.shared = Path("/run/mfs")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "link", "set", "bridge", "up")
        run("ip", "netns", "add", "peer")
        run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "eth0", "netns", "peer")
        run("ip", "link", "set", "uplink", "master", "bridge", "up")
        self._inside("peer", 254)
        rate = f"{round(link_Bps * 8)}bit"
        limits = ["rate", rate, "ceil", rate, "burst", "32k", "cburst", "32k"]
        run("tc", "qdisc", "add", "dev", "uplink", "root", "handle", "1:", "htb", "default", "1")
        place = ["dev", "uplink", "parent", "1:", "classid", "1:1"]
        run("tc", "class", "add", *place, "htb", *limits)
        run("tc", "qdisc", "add", "dev", "uplink", "parent", "1:1", "bfifo", "limit", "1m")

    def _inside(self, name: str, number: int) -> Place:
        inside = ["ip", "netns", "exec", name]
        address = f"{network.PREFIX}{number}"
        run(*inside, "ip", "link", "set", "lo", "up")
        run(*inside, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        return Place(name, address, "eth0", tuple(inside))

    def peer(self) -> Place:
        """The host at the other end, which is no pod."""
        return Place("peer", f"{network.PREFIX}254", "eth0", ("ip", "netns", "exec", "peer"))

    def add(self, user: int, io_weight: int = 0) -> Place:
        """One more pod, as the `user`-th user of the node. Its name is its host name. io_weight: of
        the cgroup that it sees; 0: it sees the node's."""
        number = len(self._pods)
        name = f"pod{number}"
        self._pods.append(name)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", name, "master", "bridge", "up")
        place = self._inside(name, number + 1)
        enter = [sys.executable, str(Path(__file__).with_name("pod.py")), name]
        enter += [str(FIRST_USER + user), str(GROUP), str(io_weight)]
        return Place(name, place.address, place.device, (*place.command, *enter))

    def sent_bytes(self) -> int:
        """That have left by the node's port ever, with their headers."""
        command = ["tc", "-s", "class", "show", "dev", "uplink"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(shown.partition(" Sent ")[2].split()[0])

    def sent_by_pod(self) -> dict[str, int]:
        """Bytes that each pod has handed to its cable ever."""
        lines = Path("/proc/net/dev").read_text().splitlines()[2:]
        counters = {name.strip(): rest for name, _, rest in (one.partition(":") for one in lines)}
        return {name: int(counters[name].split()[0]) for name in self._pods}


def first_process(launcher: int) -> int:
    """The pid, on the node, of the process that `Place.command` has started: the pod's process 1.
    `launcher`: that of the command itself."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    if not children:
        raise OSError(f"process {launcher} has started none")
    return int(children[-1])
