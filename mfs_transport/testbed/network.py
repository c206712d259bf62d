# SPDX-License-Identifier: Apache-2.0
"""Emulated hosts: network namespaces on one bridge, or loopback.

    host ns: eth0 (HTB: egress port) ==veth== bridge port (HTB: ingress port)

With `classes` each of those ports has a queue for each DSCP, and one with a smaller index is served
before all others, as NICs and switches do that are told to.

Everything is made inside a network, mount and process namespace of the demo's own
(`enter_command`), so that it is gone with the demo's last process, however that ends.
As an ordinary user a user namespace comes first. Where neither is allowed, `Loopback`
puts all hosts on 127.0.0.1, and the shim's own pacer is the bottleneck.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..native import InputError

PREFIX = "198.18.0."  # reserved for benchmarks of networks
CONGESTION_CONTROL = "cubic"  # Linux's own choice
FIRST_QUEUE = 10  # number of a port's first queue, where it has several; tc reads them as hex


@dataclass(frozen=True)
class Place:
    """Where a host's process runs."""

    name: str
    address: str
    device: str  # for UCX_NET_DEVICES
    command: tuple[str, ...]  # goes in front of the process's own


def find_tools() -> None:
    """`ip` and `tc` lie where an ordinary user's PATH may not lead."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    more = [place for place in ("/usr/sbin", "/sbin") if place not in places]
    os.environ["PATH"] = os.pathsep.join([*places, *more])


def run(*command: str) -> str:
    """What it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def queue_bytes(device: str, inside: Sequence[str] = ()) -> list[int]:
    """What each queue of a port with classes has sent, the first one first."""
    shown = run(*inside, "tc", "-s", "class", "show", "dev", device)
    leaves = re.findall(r"class htb 1:(\w+) parent 1:1 .*?\n Sent (\d+) bytes", shown)
    return [int(sent) for _, sent in sorted(leaves, key=lambda leaf: int(leaf[0], 16))]


def enter_command() -> list[str]:
    """Prefix that runs a command in namespaces of its own; all of it dies with its child."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not_namespaces() -> str | None:
    """None if namespaces can be used here, else the reason they cannot."""
    find_tools()
    for tool, package in (("unshare", "util-linux"), ("ip", "iproute2"), ("tc", "iproute2")):
        if not shutil.which(tool):
            return f"{tool} is missing (apt-get install {package})"
    trial = (
        "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip netns add trial && "
        "ip link add veth0 type veth peer name eth0 netns trial && "
        "ip link add bridge0 type bridge && ip link set veth0 master bridge0 && "
        "tc qdisc add dev veth0 root handle 1: htb default 1"
    )
    done = subprocess.run(
        [*enter_command(), "sh", "-ec", trial], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"unshare ended with {done.returncode}"


class Namespaces:
    """Hosts as network namespaces. To be used inside `enter_command`."""

    kind = "network namespaces, HTB-shaped ports"
    paced = False

    def __init__(self, link_Bps: float, classes: Sequence[int] = ()) -> None:
        """classes: DSCP values, the first one served first; what has another one goes with the
        last. None: one queue a port."""
        find_tools()
        self._link_Bps = link_Bps
        self._classes = list(classes)
        self._count = 0
        self._ports: dict[str, str] = {}  # of the bridge, by the host's name
        self._reaches = False
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.mkdir("/run/netns")
        os.mkdir("/run/mfs")
        self.folder = "/run/mfs"  # for segments: gone with the mount namespace
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "fabric", "type", "bridge")
        run("ip", "link", "set", "fabric", "up")

    def add(self, name: str) -> Place:
        self._count += 1
        address = PREFIX + str(self._count)
        port = self._ports[name] = f"port{self._count}"
        inside = ["ip", "netns", "exec", name]
        run("ip", "netns", "add", name)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", port, "master", "fabric", "up")
        run(*inside, "ip", "link", "set", "lo", "up")
        run(*inside, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        self._never_pause(inside)
        self._shape([], port)
        self._shape(inside, "eth0")
        return Place(name, address, "eth0", tuple(inside))

    def _never_pause(self, inside: list[str]) -> None:
        """After a pause Linux's TCP has no more than 10 packets on their way at first, and a
        receiver that has not read them keeps the acknowledgement for 40 ms: meanwhile the link
        stands idle. BBR, where it is the machine's choice, sends no faster than it was seen to
        arrive before, though the link is free now. RDMA, which these links stand for, knows
        none of it."""
        route = [*inside, "ip", "route", "change", f"{PREFIX}0/24", "dev", "eth0"]
        quick = ("quickack", "1", "initcwnd", "1000")
        try:
            run(*route, *quick, "congctl", CONGESTION_CONTROL)
        except OSError:  # the kernel has none of that name
            run(*route, *quick)

    def reach(self) -> str:
        """Address by which the calling process's own network reaches the hosts."""
        address = PREFIX + "254"
        if not self._reaches:
            run("ip", "address", "add", f"{address}/24", "dev", "fabric")
            self._reaches = True
        return address

    def sent_bytes(self, place: Place) -> int:
        """That have come from its port to the switch so far, with headers."""
        port = self._ports[place.name]
        for line in Path("/proc/net/dev").read_text().splitlines():
            name, _, words = line.partition(":")
            if name.strip() == port:
                return int(words.split()[0])
        raise OSError(f"{port}: no such device")

    def slow_down(self, place: Place, times: float) -> None:
        """Its link carries so many times less from now on, both ways; 1: as much as any."""
        self._class([], self._ports[place.name], "change", times)
        self._class([*place.command], place.device, "change", times)

    def plug(self, place: Place, *, up: bool) -> None:
        """Its link is up, or down: nothing comes through, and nobody is told."""
        run("ip", "link", "set", self._ports[place.name], "up" if up else "down")

    def _shape(self, inside: list[str], device: str) -> None:
        tc = [*inside, "tc"]
        leaves = [f"1:{FIRST_QUEUE + index:x}" for index in range(len(self._classes))] or ["1:1"]
        rest = leaves[-1].removeprefix("1:")
        run(*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", rest)
        self._class(inside, device, "add", 1)
        if self._classes:
            self._queues(tc, device, leaves)
        for leaf in leaves:
            run(*tc, "qdisc", "add", "dev", device, "parent", leaf, "bfifo", "limit", "1m")

    def _queues(self, tc: list[str], device: str, leaves: list[str]) -> None:
        """What HTB lends of the port's rate goes to the least `prio` that has something; of its own
        each queue has next to nothing."""
        most = f"{round(self._link_Bps * 8)}bit"
        for prio, leaf in enumerate(leaves):
            limits = ["rate", "8kbit", "ceil", most, "burst", "32k", "cburst", "32k"]
            limits += ["prio", str(prio), "quantum", "3000"]
            place = ["dev", device, "parent", "1:1", "classid", leaf]
            run(*tc, "class", "add", *place, "htb", *limits)
        by = ["filter", "add", "dev", device, "parent", "1:"]
        for dscp, leaf in list(zip(self._classes, leaves, strict=True))[:-1]:
            match = ["match", "ip", "dsfield", f"{dscp << 2:#x}", "0xfc"]
            run(*tc, *by, "protocol", "ip", "prio", "1", "u32", *match, "flowid", leaf)
        every = ["match", "u32", "0", "0"]
        run(*tc, *by, "protocol", "arp", "prio", "2", "u32", *every, "flowid", leaves[0])

    def _class(self, inside: list[str], device: str, verb: str, times: float) -> None:
        rate = f"{round(self._link_Bps * 8 / times)}bit"
        limits = ["rate", rate, "ceil", rate, "burst", "32k", "cburst", "32k"]
        place = ["dev", device, "parent", "1:", "classid", "1:1"]
        run(*inside, "tc", "class", verb, *place, "htb", *limits)


class Loopback:
    """All hosts on 127.0.0.1; what a host sends and fetches is paced by the shim."""

    kind = "loopback, paced by the shim itself"
    paced = True

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def add(self, name: str) -> Place:
        return Place(name, "127.0.0.1", "lo", ())


Network = Namespaces | Loopback


def check_link(link_mbit: float) -> float:
    """Mbit/s of an emulated port as bytes per second."""
    if not 1 <= link_mbit <= 10_000:
        raise InputError(f"link {link_mbit!r}: from 1 to 10000 Mbit/s")
    return link_mbit * 125e3
