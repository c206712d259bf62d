# SPDX-License-Identifier: Apache-2.0
"""An urgent transfer beside others on one port: plain NIXL and NIXL under MFS, in turn.

Two hosts (network namespaces, HTB-shaped 1 Gbit/s both ways), NIXL over UCX's TCP:

    process    an urgent write 50 ms after 8 background writes of the same process
    beside     an urgent write while another process keeps 8 background writes posted
    four       the same beside three such processes

All go to the same peer host. `alone` is the urgent write on the idle port. The rate is that
of all bytes over the whole episode (process) or of background and urgent bytes while the
urgent one is under way and 0.5 s before (the others). Rounds are interleaved: plain, MFS,
plain, MFS, ...

    python bench/contend.py --pairs 7 --json out/contend.json
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mfs_transport as mfs
from mfs_transport import results
from mfs_transport.engines.nixl import Agent
from mfs_transport.native import UCX_SHIM
from mfs_transport.testbed import network
from mfs_transport.testbed.worker import Channel

MIB = 1 << 20
LINK_BPS = 125e6
BACKGROUND = 8
BACKGROUND_BYTES = 64 * MIB
SYSTEMS = ("plain", "mfs")
SCENES = {"process": 0, "beside": 1, "four": 3}  # processes in the background


# --- a process with an agent ---


class Party:
    """Sender or receiver, driven by JSON lines on a socket."""

    def __init__(self, name: str, channel: Channel) -> None:
        from nixl._api import nixl_agent, nixl_agent_config

        self.channel = channel
        config = nixl_agent_config(enable_prog_thread=False, backends=["UCX"])
        self.agent = Agent(nixl_agent(name, config))
        self.data = np.full(BACKGROUND * BACKGROUND_BYTES + 64 * MIB, 7, np.uint8)
        self.agent.register_memory([(self.data.ctypes.data, self.data.nbytes, 0, "")], "DRAM")
        self.count = 0

    def metadata(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": self.agent.get_agent_metadata().hex(), "at": self.data.ctypes.data}

    def connect(self, order: dict[str, Any]) -> dict[str, Any]:
        self.peer = self.agent.add_remote_agent(bytes.fromhex(order["metadata"]))
        if isinstance(self.peer, bytes):
            self.peer = self.peer.decode()
        self.at = order["at"]
        self.wait(self.post(0, MIB, "first", None))
        return {}

    def post(self, offset: int, size: int, name: str, ttft_s: float | None) -> Any:
        local = self.agent.get_xfer_descs([(self.data.ctypes.data + offset, size, 0)], "DRAM")
        remote = self.agent.get_xfer_descs([(self.at + offset, size, 0)], "DRAM")
        handle = self.agent.initialize_xfer("WRITE", local, remote, self.peer)
        self.count += 1
        request = mfs.register(f"{os.getpid()}-{name}-{self.count}", ttft_s=ttft_s)
        self.agent.tag(handle, request, "p2d")
        self.agent.transfer(handle)
        return handle

    def done(self, handle: Any) -> bool:
        state = self.agent.check_xfer_state(handle)
        if state == "ERR":
            raise OSError("a transfer failed")
        if state == "DONE":
            self.agent.release_xfer_handle(handle)
        return bool(state == "DONE")

    def wait(self, handle: Any) -> None:
        while not self.done(handle):
            time.sleep(0.0001)

    def urgent(self, order: dict[str, Any]) -> dict[str, Any]:
        begun = time.monotonic()
        self.wait(self.post(BACKGROUND * BACKGROUND_BYTES, order["bytes"], "urgent", 1.0))
        return {"seconds": time.monotonic() - begun}

    def process(self, order: dict[str, Any]) -> dict[str, Any]:
        """The scene of one process: background, then the urgent one, until all is done."""
        start = time.monotonic()
        handles = [
            self.post(i * BACKGROUND_BYTES, BACKGROUND_BYTES, "background", 60.0)
            for i in range(BACKGROUND)
        ]
        while time.monotonic() < start + 0.05:
            handles = [handle for handle in handles if not self.done(handle)]
            time.sleep(0.0001)
        posted = time.monotonic()
        urgent = self.post(BACKGROUND * BACKGROUND_BYTES, order["bytes"], "urgent", 1.0)
        finished = None
        while handles or finished is None:
            if finished is None and self.done(urgent):
                finished = time.monotonic()
            handles = [handle for handle in handles if not self.done(handle)]
            time.sleep(0.0001)
        total = BACKGROUND * BACKGROUND_BYTES + order["bytes"]
        return {
            "seconds": finished - posted,
            "rate_Bps": total / (time.monotonic() - start),
        }

    def background(self, _: dict[str, Any]) -> dict[str, Any]:
        """Keep the port full until told; bytes that are done since `mark`."""

        def post(i: int) -> Any:
            return self.post(i * BACKGROUND_BYTES, 8 * MIB, "background", 60.0)

        handles = [post(i) for i in range(BACKGROUND)]
        self.channel.send({})
        begun, completed, ended = time.monotonic(), 0, False
        while handles:
            if not ended and self.channel.ended():
                message = self.channel.receive()
                if message["order"] == "mark":
                    begun, completed = time.monotonic(), 0
                else:
                    ended, seconds, counted = True, time.monotonic() - begun, completed
            again = []
            for i, handle in enumerate(handles):
                if not self.done(handle):
                    again.append(handle)
                else:
                    completed += 8 * MIB
                    if not ended:
                        again.append(post(i))
            handles = again
            time.sleep(0.0001)
        return {"rate_Bps": counted / seconds}

    def serve(self) -> None:
        orders = {
            "metadata": self.metadata,
            "connect": self.connect,
            "urgent": self.urgent,
            "process": self.process,
            "background": self.background,
        }
        while True:
            while not self.channel.ended():
                self.agent.get_new_notifs()  # progress: transfers of others end here
                time.sleep(0.0002)
            message = self.channel.receive()
            if message["order"] == "end":
                os._exit(0)
            self.channel.send(orders[message["order"]](message))


# --- the bench ---


class Process:
    def __init__(self, name: str, place: network.Place, system: str, folder: str) -> None:
        ours, theirs = socket.socketpair()
        env = {
            **os.environ,
            "UCX_TLS": "tcp",
            "UCX_NET_DEVICES": place.device,
            "NIXL_LOG_LEVEL": "ERROR",
            "OMP_NUM_THREADS": "1",
            "NIXL_UCX_DEEPBIND": "0",
            "MFS_SEGMENT": f"{folder}/{place.name}-{system}",
        }
        env.pop("MFS_ENABLE", None)
        if system == "mfs":
            env |= {"MFS_ENABLE": "1", "LD_PRELOAD": str(UCX_SHIM)}
            env.setdefault("UCX_TCP_SNDBUF", "512k")  # as `mfs run` does
        self.process = subprocess.Popen(
            [*place.command, sys.executable, __file__, "--party", name, str(theirs.fileno())],
            env=env,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.file = ours.makefile("rw")

    def tell(self, order: str, **more: Any) -> None:
        self.file.write(json.dumps({"order": order, **more}) + "\n")
        self.file.flush()

    def hear(self) -> dict[str, Any]:
        line = self.file.readline()
        if not line:
            raise OSError("a process of the bench has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, order: str, **more: Any) -> dict[str, Any]:
        self.tell(order, **more)
        return self.hear()


def measure(senders: list[Process], scene: str, size: int) -> dict[str, float]:
    urgent, others = senders[0], senders[1 : 1 + SCENES[scene]]
    alone = urgent.ask("urgent", bytes=size)["seconds"]
    if scene == "process":
        answer = urgent.ask("process", bytes=size)
        return {"alone_s": alone, "contended_s": answer["seconds"], "rate_Bps": answer["rate_Bps"]}
    for other in others:
        other.ask("background")
    time.sleep(0.5)  # the port is full, and its speed is known
    for other in others:
        other.tell("mark")
    time.sleep(0.5)
    begun = time.monotonic()
    contended = urgent.ask("urgent", bytes=size)["seconds"]
    span = 0.5 + time.monotonic() - begun
    for other in others:
        other.tell("stop")
    rate = sum(other.hear()["rate_Bps"] for other in others) + size / span
    return {"alone_s": alone, "contended_s": contended, "rate_Bps": rate}


def inside(pairs: int, scenes: list[str], size: int, json_path: Path | None) -> None:
    console = Console()
    hosts = network.Namespaces(LINK_BPS)
    places = [hosts.add("sender"), hosts.add("receiver")]
    senders: dict[str, list[Process]] = {}
    receivers = []
    for system in SYSTEMS:
        receiver = Process(f"receiver-{system}", places[1], system, hosts.folder)
        receivers.append(receiver)  # its channel's end would end it
        target = receiver.ask("metadata")
        senders[system] = [
            Process(f"sender{i}-{system}", places[0], system, hosts.folder)
            for i in range(1 + max(SCENES[scene] for scene in scenes))
        ]
        for sender in senders[system]:
            sender.ask("connect", **target)
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
    for scene in scenes:
        for _ in track(range(pairs), description=scene, console=console):
            for system in SYSTEMS:
                one = measure(senders[system], scene, size)
                rounds.setdefault((scene, system), []).append(one)
    records = [summary(scene, system, runs) for (scene, system), runs in rounds.items()]
    console.print(table(records))
    if json_path:
        results.write(json_path, records, size_bytes=size)
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


def summary(scene: str, system: str, runs: list[dict[str, float]]) -> dict[str, Any]:
    alone = statistics.median(run["alone_s"] for run in runs)
    times = sorted(run["contended_s"] for run in runs)
    return {
        "scene": scene,
        "system": system,
        "pairs": len(runs),
        "alone_ms": 1e3 * alone,
        "contended_ms": 1e3 * statistics.median(times),
        "contended_min_ms": 1e3 * times[0],
        "contended_max_ms": 1e3 * times[-1],
        "ratio": statistics.median(run["contended_s"] / run["alone_s"] for run in runs),
        "rate_MBps": statistics.median(run["rate_Bps"] for run in runs) / 1e6,
    }


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(box=None, padding=(0, 2, 0, 0))
    view.add_column("scene")
    view.add_column("system")
    for heading in ("alone ms", "contended ms", "times alone", "MB/s"):
        view.add_column(heading, justify="right")
    for one in records:
        view.add_row(
            one["scene"],
            one["system"],
            f"{one['alone_ms']:.0f}",
            f"{one['contended_ms']:.0f} "
            f"({one['contended_min_ms']:.0f}–{one['contended_max_ms']:.0f})",
            f"{one['ratio']:.2f}",
            f"{one['rate_MBps']:.1f}",
        )
    return view


@click.command(help=__doc__)
@click.option("--pairs", default=7, show_default=True, help="Rounds of each system.")
@click.option(
    "--scene",
    "scenes",
    multiple=True,
    type=click.Choice(list(SCENES)),
    default=list(SCENES),
    help="Which; all if not given.",
)
@click.option("--size", default=16, show_default=True, help="MiB of the urgent write.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Results as JSON.")
@click.option("--inside", "is_inside", is_flag=True, hidden=True)
def main(
    pairs: int, scenes: tuple[str, ...], size: int, json_path: Path | None, is_inside: bool
) -> None:
    if is_inside:
        inside(pairs, list(scenes), size * MIB, json_path)
    reason = network.why_not_namespaces()
    if reason:
        sys.exit(f"this bench needs network namespaces: {reason}")
    command = [sys.executable, *sys.argv, "--inside"]
    sys.exit(subprocess.run([*network.enter_command(), *command], check=False).returncode)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--party"]:
        with contextlib.suppress(EOFError):
            Party(sys.argv[2], Channel(int(sys.argv[3]))).serve()
        os._exit(0)
    main()
