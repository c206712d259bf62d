# SPDX-License-Identifier: Apache-2.0
"""Starts the emulated hosts, runs policies and seeds on them, and ends everything.

Any host that dies ends the test bed with an error that names it; nobody waits for ever.
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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import output_file
from ..launch import preload
from ..native import UCX_SHIM
from ..nccl_env import nccl_environment
from ..ucx_env import modules_environment
from . import agents, choice, exchange_nccl, exchange_nixl
from .choice import Asking, Choice
from .cpu import Usage
from .job import Job
from .network import Network, Place, queue_bytes
from .outcome import Outcome, outcome
from .router import Router, Told
from .setting import CLASSES, Setting
from .slack_ends import Ends

START_DELAY_S = 0.15
GRACE_S = 60.0  # that a run may take beyond the time its bytes need

Progress = Callable[[float], None]


class HostDied(RuntimeError):
    """A process of the test bed has gone."""


@dataclass(frozen=True)
class Run:
    """What is replayed under one policy on one seed."""

    policy: str
    seed: int
    jobs: Sequence[Job]
    compute_s: Callable[[list[Job]], float]
    """Of a group of a batch."""
    token_budget: int = 1
    """New tokens that a batch may have; it has at least one request."""
    choice: Choice = choice.USUAL
    """Of stores and decode hosts."""


@dataclass(frozen=True)
class Room:
    """Receive memory of a host, in bytes."""

    kv: int
    """For what is fetched, and for what a decode host gets."""
    exchange: int
    """What one host of a unit sends to another one for a group of a batch, at most."""


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


def split_name(name: str) -> tuple[str, str]:
    """Role and number."""
    role = name.rstrip("0123456789")
    return role, name[len(role) :]


class Coordinator:
    """The hosts of one test bed. A context manager: leaving it ends every process."""

    def __init__(self, network: Network, setting: Setting, log: Path | None = None) -> None:
        self.network = network
        self.setting = setting
        self.hosts: dict[str, Host] = {}
        self._agents = agents.Agents()
        self.ends: Ends | None = None  # of hosts that are asked
        self._asking: Asking | None = None
        self._agreeing: dict[str, dict[str, str]] = {}  # what they and their hosts have to know
        self._room = Room(0, 0)
        self._selector = selectors.DefaultSelector()
        self._log = output_file.open_log(log) if log else None

    def watch(self, fd: int) -> None:
        """The end of this pipe means that whoever started us has gone."""
        self._selector.register(fd, selectors.EVENT_READ, None)

    # --- processes ---

    def environment(self, place: Place) -> dict[str, str]:
        """Of one host: our own, with the shim in the way. What the user set comes first."""
        defaults = {
            **self._agreeing.get(place.name, {}),
            "MFS_PORT_RATE": str(round(self.setting.payload_Bps)),
            "MFS_TEST_CHUNK": str(self.setting.chunk_bytes),
            **({"MFS_WINDOW": str(self.setting.window_bytes)} if self.setting.window_bytes else {}),
            **({"MFS_CLASSES": ",".join(map(str, CLASSES))} if self.setting.classes else {}),
            "NCCL_SOCKET_IFNAME": place.device,
            "OMP_NUM_THREADS": "1",
            "NIXL_LOG_LEVEL": "ERROR",
            "UCX_LOG_LEVEL": "error",
        }
        if self.network.paced:
            defaults["MFS_PACE"] = str(round(self.setting.link_Bps))
        return {
            **defaults,
            **os.environ,
            **modules_environment(os.environ),
            **nccl_environment(os.environ, {}),
            "MFS_ENABLE": "1",
            "MFS_SEGMENT": f"{self.network.folder}/{place.name}/host",
            "LD_PRELOAD": preload(os.environ.get("LD_PRELOAD", ""), UCX_SHIM),
            "NIXL_UCX_DEEPBIND": "0",
            "UCX_TLS": "tcp",
            "UCX_NET_DEVICES": place.device,
        }

    def start(self, room: Room, pool_seed: int = 2603) -> None:
        """Start every host and introduce them to each other."""
        self._room = room
        places = [self.network.add(name) for name in self.setting.processes]
        if self.setting.exchange:
            key = agents.make_key(Path(self.network.folder))
            self._agreeing = {one.name: agents.environment(one, places, key) for one in places}
        for place in places:
            self._start_host(place)
        setting = self.setting
        ours = {"nixl": exchange_nixl, "nccl": exchange_nccl}[setting.stage2]
        exchanged = ours.region_bytes(setting.units_per_set, setting.unit_hosts, room.exchange)
        hello = {
            "order": "hello",
            "setting": asdict(setting),
            "bytes": {"kv": room.kv, "fetched": room.kv, "exchanged": exchanged},
            "pool_seed": pool_seed,
        }
        answers = self.ask(self.hosts, hello, GRACE_S)
        for name in self.hosts:
            others = {other: answers[other] for other in answers if other != name}
            self.tell([name], {"order": "peers", "peers": others})
        self.gather(self.hosts, GRACE_S)
        if self.setting.exchange:
            self._meet_by_agents(places)

    def _meet_by_agents(self, places: Sequence[Place]) -> None:
        for place in places:
            self._agents.start(place, self.environment(place), log=self._log)
        missing = self._agents.meet()
        self._check_agents()
        if missing:
            raise HostDied(f"the agents of {', '.join(missing)} did not find all the others")

    def _check_agents(self) -> None:
        for name, code in self._agents.ended().items():
            raise HostDied(f"the agent of host {name} {describe_end(code)}")

    def _start_host(self, place: Place) -> None:
        os.makedirs(f"{self.network.folder}/{place.name}", mode=0o700, exist_ok=True)
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [
                *place.command,
                *(sys.executable, "-m", "mfs_transport.testbed.worker"),
                *(*split_name(place.name), str(theirs.fileno())),
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
        if self._asking:
            self._asking.close()
        if self.ends:
            self.ends.close()
        self._agents.close()
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

    def hear(self, wait_s: float) -> list[tuple[str, dict[str, Any]]]:
        """What hosts have said, waiting for the first of it. A host that has died is an error."""
        heard = []
        for key, _ in self._selector.select(wait_s):
            if key.data is None:
                raise HostDied("the process that started the test bed has gone")
            heard += [(key.data, message) for message in self._read(key.data)]
        return heard

    def gather(self, names: Iterable[str], limit_s: float) -> dict[str, dict[str, Any]]:
        """The answer of each of `names`. A host that dies meanwhile is an error."""
        begun = time.monotonic()
        waiting = set(names)
        answers: dict[str, dict[str, Any]] = {}
        while waiting:
            if time.monotonic() - begun > limit_s:
                raise HostDied(f"{', '.join(sorted(waiting))} did not answer in {limit_s:.0f} s")
            for name, message in self.hear(0.1):
                if "event" not in message:
                    waiting.discard(name)
                    answers[name] = message
        return answers

    def ask(
        self, names: Iterable[str], message: dict[str, Any], limit_s: float
    ) -> dict[str, dict[str, Any]]:
        self.tell(names, message)
        return self.gather(names, limit_s)

    def _read(self, name: str) -> list[dict[str, Any]]:
        host = self.hosts[name]
        try:
            data = host.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        if not data:
            raise self._death(name)
        *lines, host.pending = (host.pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

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

    # --- what hosts say of their ports ---

    def asking(self) -> Asking:
        if not self._asking:
            names = self.setting.processes
            self.ends = Ends(self.network.folder, names, self._log)
            self._asking = Asking(self.ends.ask, self.setting.time_scale)
            self._asking.watch(names)
        return self._asking

    # --- runs ---

    def run(self, run: Run, progress: Progress | None = None) -> Outcome:
        """Replay it; seconds of wall-clock time so far go to progress."""
        order = {
            "order": "run",
            "policy": run.policy,
            "jobs": [asdict(job) for job in run.jobs],
        }
        self.ask(self.hosts, order, GRACE_S)
        asking = self.asking() if run.choice.asks else None
        before = asking.counts() if asking else {}
        queues = self._queue_bytes()
        start_ns = time.monotonic_ns() + round(START_DELAY_S * 1e9)
        self.tell(self.hosts, {"start_ns": start_ns})
        router = Router(
            *(self.setting, run.jobs, self._room.kv, run.compute_s, run.token_budget),
            *(run.choice, asking or choice.first),
        )
        usage = Usage()
        self._replay(router, run, start_ns, progress)
        used = usage.end()
        answers = self.ask(self.hosts, {"order": "stop"}, GRACE_S)
        self.tell(self.hosts, {"order": "next"})
        self._check_agents()
        after = asking.counts() if asking else {}
        found = outcome(
            *(run.choice.name(run.policy), run.seed, self.setting, run.jobs, router, answers, used),
            {name: after[name] - before[name] for name in after},
        )
        sent = [now - was for now, was in zip(self._queue_bytes(), queues, strict=True)]
        return replace(found, class_bytes=sent)

    def _queue_bytes(self) -> list[int]:
        """That have left each queue of the hosts' ports; none where ports have one."""
        if not self.setting.classes:
            return []
        ports = [(host.place.device, host.place.command) for host in self.hosts.values()]
        return [sum(queue) for queue in zip(*(queue_bytes(*port) for port in ports), strict=True)]

    def _replay(self, router: Router, run: Run, start_ns: int, progress: Progress | None) -> None:
        """Requests arrive when they do, until each has had its first token."""
        busy_s = 2 * self.setting.groups * sum(
            job.shard_bytes + job.fetch_bytes + job.exchange_bytes for job in run.jobs
        ) / self.setting.link_Bps + self.setting.groups * sum(job.compute_s for job in run.jobs)
        limit_s = run.jobs[-1].arrival_s + 4 * busy_s + GRACE_S
        coming = iter(run.jobs)
        following = next(coming, None)
        while not router.over:
            now_s = (time.monotonic_ns() - start_ns) / 1e9
            if now_s > limit_s:
                late = len(run.jobs) - len(router.first_token_s)
                raise HostDied(f"{late} requests had no first token after {now_s:.0f} s")
            while following and following.arrival_s <= now_s:
                self._send(router.arrive(following))
                following = next(coming, None)
            wait_s = min(0.1, following.arrival_s - now_s) if following else 0.1
            for name, message in self.hear(max(0.0, wait_s)):
                self._send(router.heard(name, message))
            if progress:
                progress(now_s)

    def _send(self, told: Told) -> None:
        for name, message in told:
            self.tell([name], message)
