# SPDX-License-Identifier: Apache-2.0
"""The scenes of bench/stall.py: one of four receivers is ill, on emulated hosts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nccl
import ucx

from mfs_transport.native import NCCL_PLUGIN
from mfs_transport.testbed import network

ROOT = Path(__file__).resolve().parent.parent
HOSTS = ("sender", "receiver1", "receiver2", "receiver3", "sick")
RANKS = (*HOSTS, "sender")  # the last one only where the stuck traffic is another process's
SLOW_TIMES = 10
BYTES = 1 << 20  # of a transfer
DEPTH = {"tcp": 8, "nccl": 4}  # transfers under way to a receiver
URGENT_BYTES = 16 << 20
LOADED_S = 0.3  # all is well
SETTLE_S = 1.0  # one is ill: until the state is steady


@dataclass(frozen=True)
class Case:
    scene: str
    operation: str
    stuck: str  # the process that sends to the sick one; "" where there is none
    transport: str


class Ranks:
    """The processes of a scene; bench/stall_world.h says what they are told."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.command = command
        self.process = subprocess.Popen(
            command,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.hear()

    def hear(self) -> list[float]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench/stall.py: a scene has died: {shlex.join(self.command)}")
        return [float(word) for word in line.split() if word != "ok"]

    def ask(self, letter: str) -> list[float]:
        assert self.process.stdin
        self.process.stdin.write(letter)
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)  # also those that are stopped
        self.process.wait()


class Cluster:
    """The emulated hosts, and the programs that run on them."""

    def __init__(self, link_Bps: float) -> None:
        self.hosts = network.Namespaces(link_Bps)
        self.places = {name: self.hosts.add(name) for name in HOSTS}
        self.folder = folder = Path(self.hosts.folder)
        self.runs = 0
        includes = ("-isystem", str(ucx.wheel("include")), f"-I{ROOT / 'csrc'}")
        library = ucx.wheel("lib")
        world = ("stall_world.c", "nccl_world.c", "../csrc/nccl/inner.c")
        for name, sources, more in (
            ("stall_ucx", ("ucx_tag.c",), (library / "libucp.so.0", f"-Wl,-rpath,{library}")),
            ("stall_nccl", (), ()),
        ):
            command = [*shlex.split(os.environ.get("CC", "gcc")), "-std=c11", "-D_GNU_SOURCE"]
            command += ["-O2", "-pthread", *includes, f"-I{ROOT / 'bench'}"]
            command += [str(ROOT / "bench" / one) for one in (f"{name}.c", *world, *sources)]
            command += [*map(str, more), "-o", str(folder / name), "-ldl"]
            subprocess.run(command, check=True)

    def start(self, case: Case, system: str) -> Ranks:
        self.runs += 1
        mfs = system != "plain"
        device = {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "eth0"}
        depth = str(DEPTH[case.transport])
        if case.transport == "nccl":
            command = ["stall_nccl", str(NCCL_PLUGIN), case.stuck, depth, str(BYTES)]
            env = nccl.environment("", self.folder, **device, NCCL_SOCKET_IFNAME="eth0")
            env["MFS_ENABLE"] = "1" if mfs else "0"
        else:
            errors = "errors" if case.scene == "down-errors" else "none"
            command = ["stall_ucx", case.operation, case.stuck, errors, depth, str(BYTES)]
            command += [str(URGENT_BYTES if case.scene == "urgent" else BYTES)]
            env = ucx.environment(device, self.folder, mfs=mfs)
        if mfs:
            env["MFS_POLICY"] = system
        env["WORLD_NETNS"] = ",".join(RANKS)
        # a run has segments of its own: it knows nothing of the one before
        segments = (f"{self.folder}/{host}-{self.runs}" for host in RANKS)
        env["WORLD_SEGMENTS"] = ",".join(segments)
        return Ranks([str(self.folder / command[0]), *command[1:]], env)

    def sicken(self, scene: str, ranks: Ranks) -> None:
        if scene in ("stopped", "urgent"):
            ranks.ask("s")
        elif scene == "busy":
            ranks.ask("b")
        elif scene == "slow":
            self.hosts.slow_down(self.places["sick"], SLOW_TIMES)
        elif scene.startswith("down"):
            self.hosts.plug(self.places["sick"], up=False)

    def heal(self, scene: str) -> None:
        if scene == "slow":
            self.hosts.slow_down(self.places["sick"], 1)
        elif scene.startswith("down"):
            self.hosts.plug(self.places["sick"], up=True)
        for host in HOSTS:
            (self.folder / f"{host}-{self.runs}").unlink(missing_ok=True)

    def measure(self, case: Case, system: str, seconds: float) -> dict[str, float]:
        ranks = self.start(case, system)
        try:
            (alone,) = ranks.ask("u") if case.scene == "urgent" else (0.0,)
            ranks.ask("l")
            time.sleep(LOADED_S)
            self.sicken(case.scene, ranks)
            time.sleep(SETTLE_S)
            if case.scene == "urgent":
                (contended,) = ranks.ask("u")
                return {"alone": 1e3 * alone, "value": 1e3 * contended}
            ranks.ask("m")
            time.sleep(seconds)
            took, healthy, sick = ranks.ask("r")
            if case.scene == "none":
                healthy += sick
            return {"value": healthy / took / 1e6, "sick": sick / took / 1e6}
        finally:
            ranks.end()
            self.heal(case.scene)
