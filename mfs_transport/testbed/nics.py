# SPDX-License-Identifier: Apache-2.0
"""An emulated host with several NICs, each with a cable of its own to one peer.

    host: eth0 (HTB: the NIC's port) ==veth== eth0 :peer
          eth1                       ==veth== eth1
          ...

To be used inside `network.enter_command`.
"""

from __future__ import annotations

import os
import subprocess
import time

from . import network
from .network import Place, run

RUNNING_S = 30.0
NETWORK = "198.19"  # reserved for benchmarks of networks; a subnet for each cable


class Host:
    """A host with `count` NICs of `link_Bps` each. Its processes are in one network namespace."""

    def __init__(self, count: int, link_Bps: float) -> None:
        network.find_tools()
        self.devices = [f"eth{number}" for number in range(count)]
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.mkdir("/run/netns")
        os.mkdir("/run/mfs")
        self.segment = "/run/mfs/host"
        for name in ("host", "peer"):
            run("ip", "netns", "add", name)
            run("ip", "netns", "exec", name, "ip", "link", "set", "lo", "up")
        for number, device in enumerate(self.devices):
            self._cable(number, device)
            self._shape(device, f"{round(link_Bps * 8)}bit")
        self._await_running()

    def _cable(self, number: int, device: str) -> None:
        ends = ["type", "veth", "peer", "name", device, "netns", "peer"]
        run("ip", "link", "add", device, "netns", "host", *ends)
        for name, last in (("host", 1), ("peer", 2)):
            inside = ["ip", "netns", "exec", name, "ip"]
            run(*inside, "address", "add", f"{NETWORK}.{number}.{last}/24", "dev", device)
            run(*inside, "link", "set", device, "up")

    def _await_running(self) -> None:
        """The kernel says up to a second later that a cable is in, and before that UCX does not use
        a device."""
        until = time.monotonic() + RUNNING_S
        for name in ("host", "peer"):
            for device in self.devices:
                while self._read(name, device, "operstate") != "up":
                    if time.monotonic() > until:
                        raise OSError(f"{device} of {name} is not up after {RUNNING_S:.0f} s")
                    time.sleep(0.02)

    def _shape(self, device: str, rate: str) -> None:
        tc = ["ip", "netns", "exec", "host", "tc"]
        limits = ["rate", rate, "ceil", rate, "burst", "16k", "cburst", "16k"]
        root = ["dev", device, "root", "handle", "1:"]
        run(*tc, "qdisc", "add", *root, "htb", "default", "1")
        place = ["dev", device, "parent", "1:", "classid", "1:1"]
        run(*tc, "class", "add", *place, "htb", *limits)
        run(*tc, "qdisc", "add", "dev", device, "parent", "1:1", "bfifo", "limit", "1m")

    def worker(self, number: int) -> Place:
        """Where the process runs whose NIC is the `number`-th."""
        command = ("ip", "netns", "exec", "host")
        address = f"{NETWORK}.{number}.1"
        return Place(f"worker{number}", address, self.devices[number], command)

    def peer(self) -> Place:
        """The host at the other end of all cables, with all of its devices."""
        devices = ",".join(self.devices)
        return Place("peer", f"{NETWORK}.0.2", devices, ("ip", "netns", "exec", "peer"))

    def sent_bytes(self) -> list[int]:
        """That have left by each NIC ever, with their headers."""
        return [int(self._read("host", device, "statistics/tx_bytes")) for device in self.devices]

    def _read(self, name: str, device: str, what: str) -> str:
        """What the kernel says of a device of a namespace."""
        command = ["ip", "netns", "exec", name, "cat", f"/sys/class/net/{device}/{what}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
