# SPDX-License-Identifier: Apache-2.0
"""Starts the emulated hosts, runs policies and seeds on them, and ends everything.

Any host that dies ends the demo with an error that names it; nobody waits for ever.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import output_file
from ..launch import preload
from ..native import UCX_SHIM
from ..ucx_env import modules_environment
from .network import Network, Place
from .schedule import Job
from .setting import RANKS, Setting

ROLES = ("prefill", "decode", "store")
START_DELAY_S = 0.15
GRACE_S = 60.0  # that a run may take beyond the time its bytes need

Progress = Callable[[float], None]


class HostDied(RuntimeError):
    """A process of the demo has gone."""


@dataclass(frozen=True)
class Outcome:
    """One policy on one seed."""

    policy: str
    seed: int
    attainment: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    collective_mean_s: float
    bytes: int
    seconds: float
    goodput_Bps: float  # bytes of requests that made their deadline, a second
    requests: int
    mismatches: int
    ttft_s: list[float]
    slo_s: list[float]
    counters: dict[str, int]


@dataclass
class Host:
    place: Place
    process: subprocess.Popen[bytes]
    socket: socket.socket
    pending: bytes = b""


def describe_end(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    if code > 128:  # of a process under `ip netns exec`
        return f"was killed by signal {code - 128}"
    return f"ended with status {code}"


class Coordinator:
    """The hosts of one demo. A context manager: leaving it ends every process."""

    def __init__(self, network: Network, setting: Setting, log: Path | None = None) -> None:
        self.network = network
        self.setting = setting
        self.hosts: dict[str, Host] = {}
        self._selector = selectors.DefaultSelector()
        self._log = output_file.open_log(log) if log else None
        self._watched: dict[int, str] = {}

    def watch(self, fd: int) -> None:
        """The end of this pipe means that whoever started us has gone."""
        self._selector.register(fd, selectors.EVENT_READ, None)

    # --- processes ---

    def environment(self, place: Place) -> dict[str, str]:
        """Of one host: our own, with the shim in the way. What the user set comes first."""
        link = round(self.setting.link_Bps)
        defaults = {
            "MFS_PORT_RATE": str(round(0.95 * link)),  # what TCP leaves of it
            # Links are 500 times slower than those that they stand for, and the smallest chunk
            # of a real one would take 2.6 ms here; a hook of the tests makes it 0.7 ms.
            "MFS_TEST_CHUNK": "16k",
            "OMP_NUM_THREADS": "1",
            "NIXL_LOG_LEVEL": "ERROR",
        }
        if self.network.paced:
            defaults["MFS_PACE"] = str(link)
        return {
            **defaults,
            **os.environ,
            **modules_environment(os.environ),
            "MFS_ENABLE": "1",
            "MFS_SEGMENT": f"{self.network.folder}/{place.name}/host",
            "LD_PRELOAD": preload(os.environ.get("LD_PRELOAD", ""), UCX_SHIM),
            "NIXL_UCX_DEEPBIND": "0",
            "UCX_TLS": "tcp",
            "UCX_NET_DEVICES": place.device,
        }

    def start(self, region_bytes: int, pool_seed: int = 2603) -> None:
        """Start every host and introduce them to each other."""
        for role in ROLES:
            for rank in range(RANKS):
                self._start_host(role, rank)
        hello = {
            "order": "hello",
            "groups": self.setting.groups,
            "region_bytes": region_bytes,
            "pool_seed": pool_seed,
        }
        answers = self.ask(self.hosts, hello, GRACE_S)
        peers = {
            "order": "peers",
            "setting": asdict(self.setting),
        }
        for name in self.hosts:
            others = {other: answers[other] for other in answers if other != name}
            self.tell([name], {**peers, "peers": others})
        self.gather(self.hosts, GRACE_S)

    def _start_host(self, role: str, rank: int) -> None:
        place = self.network.add(f"{role}{rank}")
        os.makedirs(f"{self.network.folder}/{place.name}", mode=0o700, exist_ok=True)
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [
                *place.command,
                *(sys.executable, "-m", "mfs_transport.testbed.worker"),
                *(role, str(rank), str(theirs.fileno())),
            ],
            env=self.environment(place),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log or subprocess.DEVNULL,
            stderr=self._log or None,
        )
        theirs.close()
        self.hosts[place.name] = Host(place, process, ours)
        self._selector.register(ours, selectors.EVENT_READ, place.name)

    def close(self) -> None:
        for host in self.hosts.values():
            host.process.kill()
        for host in self.hosts.values():
            host.process.wait()
            host.socket.close()
        self.hosts.clear()
        self._selector.close()
        if self._log:
            self._log.close()

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- messages ---

    def tell(self, names: Iterable[str], message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        for name in names:
            try:
                self.hosts[name].socket.sendall(line)
            except OSError:
                raise self._death(name) from None

    def gather(
        self, names: Iterable[str], limit_s: float, progress: Progress | None = None
    ) -> dict[str, dict[str, Any]]:
        """The next message of each of `names`. A host that dies meanwhile is an error."""
        begun = time.monotonic()
        waiting = set(names)
        answers: dict[str, dict[str, Any]] = {}
        while waiting:
            if time.monotonic() - begun > limit_s:
                raise HostDied(f"{', '.join(sorted(waiting))} did not answer in {limit_s:.0f} s")
            for key, _ in self._selector.select(0.1):
                if key.data is None:
                    raise HostDied("the process that started the demo has gone")
                message = self._read(key.data)
                if message is not None and key.data in waiting:
                    waiting.remove(key.data)
                    answers[key.data] = message
            if progress:
                progress(time.monotonic() - begun)
        return answers

    def ask(
        self, names: Iterable[str], message: dict[str, Any], limit_s: float
    ) -> dict[str, dict[str, Any]]:
        self.tell(names, message)
        return self.gather(names, limit_s)

    def _read(self, name: str) -> dict[str, Any] | None:
        host = self.hosts[name]
        try:
            data = host.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            raise self._death(name)
        line, found, rest = (host.pending + data).partition(b"\n")
        host.pending = rest if found else line
        if not found:
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def _death(self, name: str) -> HostDied:
        """Who began it: a host whose peer was killed soon ends with an error of its own."""
        try:
            self.hosts[name].process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return HostDied(f"host {name} closed its channel")
        ended = {name: host.process.poll() for name, host in self.hosts.items()}
        killed = {name: code for name, code in ended.items() if code and (code < 0 or code > 128)}
        first = next(iter(killed), name)
        return HostDied(f"host {first} {describe_end(ended[first] or 0)}")

    # --- runs ---

    def run(
        self, policy: str, seed: int, jobs: list[Job], progress: Progress | None = None
    ) -> Outcome:
        """Replay `jobs` under `policy`; seconds of wall-clock time so far go to progress."""
        order = {"order": "run", "policy": policy, "jobs": [asdict(job) for job in jobs]}
        self.ask(self.hosts, order, GRACE_S)
        start_ns = time.monotonic_ns() + round(START_DELAY_S * 1e9)
        self.tell(self.hosts, {"start_ns": start_ns})
        busy_s = 2 * self.setting.groups * sum(job.shard_bytes for job in jobs)
        limit_s = jobs[-1].arrival_s + 4 * busy_s / self.setting.link_Bps + GRACE_S
        active = [name for name in self.hosts if not name.startswith("store")]
        answers = self.gather(active, limit_s, progress)
        stores = [name for name in self.hosts if name.startswith("store")]
        self.tell(self.hosts, {"order": "stop"})
        answers |= self.gather(stores, GRACE_S)
        return outcome(policy, seed, self.setting, jobs, answers)


def outcome(
    policy: str, seed: int, setting: Setting, jobs: list[Job], answers: dict[str, dict[str, Any]]
) -> Outcome:
    decode = [answers[f"decode{rank}"]["result"]["first_token_s"] for rank in range(RANKS)]
    done = np.max(np.array(decode), axis=0)
    ttft = done - np.array([job.arrival_s for job in jobs])
    slo = np.array([job.slo_s for job in jobs])
    sizes = np.array([job.shard_bytes * setting.groups * RANKS for job in jobs])
    seconds = float(done.max())
    prefill = [answers[f"prefill{rank}"]["result"] for rank in range(RANKS)]
    counters: dict[str, int] = {}
    for answer in answers.values():
        for name, value in answer["counters"].items():
            counters[name] = counters.get(name, 0) + value
    return Outcome(
        policy=policy,
        seed=seed,
        attainment=float((ttft <= slo).mean()),
        ttft_mean_s=float(ttft.mean()),
        ttft_p50_s=float(np.percentile(ttft, 50)),
        ttft_p99_s=float(np.percentile(ttft, 99)),
        collective_mean_s=float(np.mean([one["collective_mean_s"] for one in prefill])),
        bytes=sum(answer["bytes"] for answer in answers.values()),
        seconds=seconds,
        goodput_Bps=float(sizes[ttft <= slo].sum() / seconds),
        requests=len(jobs),
        mismatches=sum(answer["mismatches"] for answer in answers.values()),
        ttft_s=[round(float(value), 6) for value in ttft],
        slo_s=[round(float(value), 6) for value in slo],
        counters=counters,
    )
