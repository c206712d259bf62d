# SPDX-License-Identifier: Apache-2.0
"""Starts the servers and the proxy, waits until they answer, and ends them.

A server that ends while others wait for it is an error that shows the last lines it
printed; nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...ucx_env import modules_environment
from ..network import Namespaces, Network, Place
from . import cost, tuning, venv

START_S = 600.0  # a busy machine of two cores takes minutes
HTTP_PORT = 8000
SIDE_PORT = 5600
PROXY_PORT = 8100
TAIL = 12  # lines of a dead server's output that are shown

Progress = Callable[[str], None]
CONNECTORS = {"pull": "NixlConnector", "push": "NixlPushConnector"}


class ServerDied(RuntimeError):
    """A server has gone; the message ends with what it said last."""


@dataclass(frozen=True)
class Options:
    """How the servers are started."""

    mode: str = "pull"  # or push
    mfs: bool = True  # MFS_ENABLE=1; False: stock vLLM
    link_Bps: float = 6.25e6
    batch_tokens: int = 512  # longer prompts are prefilled in chunks
    most_tokens: int = 4096
    sequences: int = 16
    kv_cache_gib: int = 1
    variables: dict[str, str] = field(default_factory=dict)  # MFS_..., for instance
    cost: bool = False  # the plug-in's hooks are timed
    connector: str = ""  # kv_connector; "": NIXL's for the mode
    extra_config: dict[str, Any] = field(default_factory=dict)  # kv_connector_extra_config
    middleware: str = ""  # of the API server, by its import path
    idle_rest_s: float = tuning.IDLE_REST_S  # of an engine that only waits for KV


@dataclass
class Server:
    name: str
    place: Place
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        return self.place.address, self.port

    def last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-TAIL:])

    def check(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise ServerDied(
                f"the {self.name} server ended with status {code}; it said last:\n"
                + self.last_lines()
            )


class Cluster:
    """Prefill and decode server. A context manager: leaving it ends every process."""

    def __init__(self, network: Network, folder: Path, options: Options, number: int = 0) -> None:
        """number: of this cluster, when several are on one network."""
        self.network = network
        self.folder = folder
        self.options = options
        self.number = number
        self.servers: dict[str, Server] = {}
        self.helpers: list[Server] = []
        self.address = ""  # of this process, once started
        self.paths = venv.site(folder / "site")

    def segment(self, name: str) -> str:
        """The host segment of that server's host."""
        return f"{self.network.folder}/{name}{self.number}/host"

    def cost_folder(self, name: str) -> Path:
        return self.folder / f"cost-{name}{self.number}"

    def environment(self, name: str, place: Place, index: int) -> dict[str, str]:
        options = self.options
        link = round(options.link_Bps)
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MFS_", "LD_PRELOAD", "PYTHON"))
        }
        ours = {
            "PYTHONPATH": os.pathsep.join(self.paths),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "VLLM_CPU_KVCACHE_SPACE": str(options.kv_cache_gib),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_LOGGING_COLOR": "0",
            tuning.IDLE_REST: str(options.idle_rest_s),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TMPDIR": self.network.folder,  # sockets between its processes, gone with the network
            "NIXL_LOG_LEVEL": "ERROR",
            "UCX_TLS": "tcp",
            "UCX_NET_DEVICES": place.device,
            "VLLM_NIXL_SIDE_CHANNEL_HOST": place.address,
            "VLLM_NIXL_SIDE_CHANNEL_PORT": str(SIDE_PORT + index),
            **modules_environment(os.environ),
        }
        if options.mfs:
            ours |= {
                "MFS_ENABLE": "1",
                "MFS_SEGMENT": self.segment(name),
                "MFS_PORT": place.device,
                "MFS_PORT_RATE": str(round(0.95 * link)),
                **({"MFS_PACE": str(link)} if self.network.paced else {}),
                **options.variables,
            }
        if options.cost:
            ours[cost.FOLDER] = str(self.cost_folder(name))
            self.cost_folder(name).mkdir(parents=True, exist_ok=True)
        return {**kept, **ours}

    def command(self, place: Place, role: str, port: int) -> list[str]:
        options = self.options
        transfer = {
            "kv_connector": options.connector or CONNECTORS[options.mode],
            "kv_role": f"kv_{role}",
            "kv_buffer_device": "cpu",
            "engine_id": engine_of(role, port),
            "kv_connector_extra_config": {
                "num_threads": 0,
                "kv_lease_duration": 120,
                **options.extra_config,
            },
        }
        return [
            *place.command,
            *(str(venv.python()), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self.folder / "model"), "--served-model-name", "tiny"),
            *("--host", place.address, "--port", str(port)),
            *("--dtype", "bfloat16", "--enforce-eager", "--no-enable-prefix-caching"),
            *("--max-model-len", str(options.most_tokens)),
            *("--max-num-seqs", str(options.sequences)),
            *("--max-num-batched-tokens", str(options.batch_tokens)),
            *("--kv-transfer-config", json.dumps(transfer)),
            *(("--middleware", options.middleware) if options.middleware else ()),
        ]

    def make_model(self, say: Progress) -> None:
        if (self.folder / "model" / "made.json").is_file():
            return
        say("making the model")
        done = subprocess.run(
            [
                *(str(venv.python()), "-m", "mfs_transport.testbed.vllm.model"),
                str(self.folder / "model"),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(self.paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"the model could not be made: {done.stderr.strip()[-400:]}")

    def start(self, say: Progress) -> None:
        """Start both servers and wait until they answer; `say` hears what goes on."""
        roles = (("prefill", "producer"), ("decode", "consumer"))
        places = [self.network.add(f"{name}{self.number}") for name, _ in roles]
        self.start_at([(*one, place) for one, place in zip(roles, places, strict=True)], say)

    def start_at(self, servers: Sequence[tuple[str, str, Place]], say: Progress) -> None:
        """The same for servers with these names, roles and places."""
        self.make_model(say)
        self.address = reach(self.network)
        for index, (name, role, place) in enumerate(servers):
            os.makedirs(Path(self.segment(name)).parent, mode=0o700, exist_ok=True)
            self.launch(name, place, role, index + len(servers) * self.number)
        self.wait(say)

    def launch(self, name: str, place: Place, role: str, index: int) -> None:
        port = HTTP_PORT + index
        environment = self.environment(name, place, index)
        self.spawn(name, place, port, self.command(place, role, port), environment)

    def spawn(
        self, name: str, place: Place, port: int, command: list[str], environment: dict[str, str]
    ) -> None:
        log = self.folder / f"{name}{self.number}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.servers[name] = Server(name, place, port, process, log)

    def start_proxy(self, *, eager: bool = False) -> tuple[str, int]:
        """Start the proxy where this process is; its address."""
        place = Place("proxy", self.address, "lo", ())
        port = PROXY_PORT + self.number
        prefill, decode = (self.servers[name].address for name in ("prefill", "decode"))
        command = [
            *(sys.executable, "-m", "mfs_transport.testbed.vllm.proxy"),
            *(f"{host}:{port}" for host, port in ((place.address, port), prefill, decode)),
        ]
        if eager:
            server = self.servers["prefill"]
            params = {
                "do_remote_prefill": True,
                "do_remote_decode": False,
                "remote_engine_id": engine_of("producer", server.port),
                "remote_host": server.place.address,
                "remote_port": SIDE_PORT + server.port - HTTP_PORT,
                "tp_size": 1,
            }
            command.append(json.dumps(params))
        self.spawn("proxy", place, port, command, dict(os.environ))
        limit = time.monotonic() + 30
        while not healthy((place.address, port)):
            self.servers["proxy"].check()
            if time.monotonic() > limit:
                raise ServerDied("the proxy does not answer")
            time.sleep(0.1)
        server = self.servers.pop("proxy")
        self.helpers.append(server)
        return server.address

    def wait(self, say: Progress) -> None:
        begun = time.monotonic()
        while True:
            waiting = [one for one in self.servers.values() if not healthy(one.address)]
            for one in waiting:
                one.check()
            if not waiting:
                return
            elapsed = time.monotonic() - begun
            names = " and ".join(one.name for one in waiting)
            if elapsed > START_S:
                raise ServerDied(
                    f"{names} did not answer within {START_S:.0f} s; it said last:\n"
                    + waiting[0].last_lines()
                )
            say(f"waiting for {names}, {elapsed:.0f} s")
            time.sleep(1.0)

    def cpu_s(self) -> dict[str, float]:
        """Processor time that each server has used so far, with all its processes."""
        groups = {server.process.pid: name for name, server in self.servers.items()}
        used = dict.fromkeys(self.servers, 0.0)
        for place in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                words = place.read_text().rpartition(")")[2].split()
                if (name := groups.get(int(words[2]))) is not None:
                    used[name] += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
        return used

    def rest(self) -> None:
        """Stop all its processes until `wake`: servers that wait poll, and others are measured."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for server in [*self.servers.values(), *self.helpers]:
            if not group_ended(server.process):
                os.killpg(server.process.pid, number)

    def stop(self, name: str, number: int = signal.SIGTERM) -> None:
        """End one server with all its processes."""
        end(self.servers.pop(name), number)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.wake()
        self._signal(signal.SIGTERM)  # all at once, then wait
        for server in [*self.servers.values(), *self.helpers]:
            end(server, signal.SIGTERM)
        self.servers.clear()
        self.helpers.clear()


def engine_of(role: str, port: int) -> str:
    """The engine's name, which no other server on this network has."""
    return f"{role}{port - HTTP_PORT}"


def end(server: Server, number: int) -> None:
    """End a server with all its processes: by `number`, and by SIGKILL if that does not help."""
    for sending, patience in ((number, 15.0), (signal.SIGKILL, 10.0)):
        if group_ended(server.process):
            break
        os.killpg(server.process.pid, sending)
        limit = time.monotonic() + patience
        while not group_ended(server.process) and time.monotonic() < limit:
            time.sleep(0.05)


def group_ended(process: subprocess.Popen[bytes]) -> bool:
    """No process of its session's group is left."""
    if process.poll() is not None:
        with contextlib.suppress(ChildProcessError):  # ours as well when we are the first process
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                pass
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


def healthy(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reach(network: Network) -> str:
    """The address from which this process reaches the hosts."""
    if not isinstance(network, Namespaces):
        return "127.0.0.1"
    return network.reach()
