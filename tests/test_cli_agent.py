# SPDX-License-Identifier: Apache-2.0
"""`mfs agent`, and `mfs run` with MFS_PEERS: real agents on loopback, a segment each."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport import verdict
from mfs_transport.exchange import launcher
from mfs_transport.exchange.seal import new_key
from mfs_transport.native import ffi, lib
from mfs_transport.observe.far import far_ports

MFS = [sys.executable, "-m", "mfs_transport"]
MOST_S = 60.0  # that anything here may take


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Host:
    """A segment, and what its agent is told."""

    def __init__(self, folder: Path, name: str, key: Path) -> None:
        folder = folder / name
        folder.mkdir(mode=0o700)
        self.segment = folder / "host"
        self.port = free_port()
        self.environ = {
            **os.environ,
            "MFS_SEGMENT": str(self.segment),
            "MFS_AGENT_KEY_FILE": str(key),
            "MFS_AGENT_ADDRESS": f"127.0.0.1:{self.port}",
        }
        self.agent: subprocess.Popen[str] | None = None

    def start(self, *peers: Host) -> None:
        self.environ["MFS_PEERS"] = ",".join(f"127.0.0.1:{one.port}" for one in (self, *peers))
        self.agent = subprocess.Popen(
            [*MFS, "agent", "--stays"], env=self.environ, text=True, stderr=subprocess.PIPE
        )

    def state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(launcher.state_path(str(self.segment)).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def wait(self, what: str) -> dict[str, Any]:
        """Until its state has something of that name, other than nothing."""
        ends = time.monotonic() + MOST_S
        while time.monotonic() < ends:
            found = self.state()
            if found.get(what):
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {what}: {self.state()}")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    key = tmp_path / "key"
    key.write_text(new_key())
    key.chmod(0o600)
    made = [Host(tmp_path, name, key) for name in ("a", "b")]
    yield made
    for one in made:
        pid = one.state().get("pid")
        if one.agent is None and pid:
            os.kill(pid, signal.SIGKILL)
        if one.agent:
            one.agent.kill()
            one.agent.wait()


def run(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MFS, *arguments], env=host.environ, capture_output=True, text=True, check=False
    )


def test_agents__find_each_other_and_each_others_workers(hosts: list[Host]):
    first, second = hosts
    first.start(second)
    second.start(first)
    with mfs.Host(str(second.segment)) as host:
        place = ffi.new("uint32_t *")
        assert lib.mfs_far_own_enter(host.handle, 4711, b"nic0", place) == 0
        second.wait("workers")
        ends = time.monotonic() + MOST_S
        while time.monotonic() < ends:
            (peer,) = first.wait("peers")["peers"]
            if peer["ports"] == 2:
                break
        assert peer["ports"] == 2
        assert peer["port"] == second.port
    shown = run(first, "agent", "--once")
    assert f"127.0.0.1:{second.port}" in shown.stdout.replace("::ffff:", "")
    assert "name" in shown.stdout
    assert "verdicts of requests: 0 told, 0 held" in shown.stdout
    assert json.loads(run(first, "agent", "--json").stdout)["peers"][0]["known_by"] == "name"
    with mfs.Host(str(first.segment)):
        assert "named by MFS_PEERS" in run(first, "info").stdout
    assert second.agent
    second.agent.send_signal(signal.SIGTERM)
    _, said = second.agent.communicate()
    assert (second.agent.returncode, said) == (0, "")
    assert not second.state()


def test_agents__agree_on_who_is_given_up(hosts: list[Host]):
    """Until the owner's agent is killed: then each host decides for itself."""
    first, second = hosts
    first.start(second)
    second.start(first)
    first.wait("peers")
    facts = ffi.new("struct mfs_facts *")

    def until(flags: int, host: mfs.Host, request: mfs.Request) -> None:
        ends = time.monotonic() + MOST_S
        while time.monotonic() < ends:
            assert lib.mfs_request_get(host.handle, request.key, facts) == 0
            if facts.flags == flags:
                return
            time.sleep(0.01)
        raise AssertionError(f"flags {facts.flags}: {second.state()}")

    with mfs.Host(str(first.segment)) as owner, mfs.Host(str(second.segment)) as follower:
        there = mfs.register("there", ttft_s=100, host=owner)
        here = mfs.register("here", ttft_s=100, host=follower)
        assert verdict.follow(here, verdict.words(there))
        there.facts.flags = lib.MFS_REQUEST_HOPELESS
        there.publish()
        until(lib.MFS_REQUEST_HOPELESS, follower, here)
        there.facts.flags = 0
        there.publish()
        until(0, follower, here)
        there.facts.flags = lib.MFS_REQUEST_SHED
        there.publish()
        until(lib.MFS_REQUEST_SHED, follower, here)
        assert first.agent
        first.agent.kill()
        until(0, follower, here)


def attended(host: Host) -> bool:
    return far_ports(str(host.segment)) is not None


def wait_until(true: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + MOST_S
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.005)


def hears(host: Host) -> None:
    """Something comes from now on."""
    came = host.wait("counts")["counts"]["received"]
    wait_until(lambda: host.wait("counts")["counts"]["received"] > came, "its peer is heard")


def test_agent__that_is_stopped_is_not_waited_for_and_comes_back(hosts: list[Host]):
    first, second = hosts
    first.start(second)
    second.start(first)
    with mfs.Host(str(second.segment)):
        second.wait("peers")
        wait_until(lambda: attended(second), "the agent is there")
        assert second.agent
        second.agent.send_signal(signal.SIGSTOP)
        wait_until(lambda: not attended(second), "nobody waits for it")
        before = second.wait("seconds")["seconds"]
        second.agent.send_signal(signal.SIGCONT)
        wait_until(lambda: attended(second), "it is there again")
        wait_until(lambda: second.wait("seconds")["seconds"] > before, "it goes on")
        hears(first)
        hears(second)
    assert second.agent.poll() is None


def test_agent__a_segment_has_one(hosts: list[Host]):
    first, second = hosts
    first.start(second)
    first.wait("pid")
    done = run(first, "agent")
    assert done.returncode == 2
    assert "runs already" in done.stderr


def test_agent__that_does_not_run_is_said(hosts: list[Host]):
    done = run(hosts[0], "agent", "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no agent runs for this segment" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MFS_PEERS", "", "MFS_PEERS: no peers are named"),
        ("MFS_PEERS", "a b", "a name or an address"),
        ("MFS_PEERS", "connections:a", "connections:10.0.0.0/8"),
        ("MFS_PEERS", "file:/no/such/file", "No such file"),
        ("MFS_AGENT_KEY_FILE", "", "mfs agent --new-key"),
        ("MFS_AGENT_KEY_FILE", "/no/such/file", "No such file"),
        ("MFS_AGENT_ADDRESS", "a:b:c:d:", "a port is a number|address"),
        ("MFS_AGENT_ADDRESS", "192.0.2.1", "address 192.0.2.1, port 9655"),
    ],
)
def test_agent__what_it_cannot_use(name: str, value: str, reason: str, hosts: list[Host]):
    host = hosts[0]
    host.environ |= {"MFS_PEERS": "127.0.0.1", name: value}
    done = run(host, "agent")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert re.search(reason, done.stderr), done.stderr


def test_agent__without_the_library(hosts: list[Host], tmp_path: Path):
    (tmp_path / "nacl").mkdir()
    (tmp_path / "nacl" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named nacl', name='nacl')\n"
    )
    host = hosts[0]
    host.environ |= {"MFS_PEERS": "127.0.0.1", "PYTHONPATH": str(tmp_path)}
    done = run(host, "agent")
    assert done.returncode == 2
    assert "pip install mfs-transport[agent]" in done.stderr


PROGRAM = """
import sys, time
import mfs_transport as mfs
from mfs_transport.control import default_host
from mfs_transport.exchange import launcher
host = default_host()
ends = time.monotonic() + 60
while not launcher.state_path(host.path).exists() and time.monotonic() < ends:
    time.sleep(0.05)
print(launcher.state_path(host.path).read_text())
"""


def test_run__starts_the_agent_that_none_is_yet(hosts: list[Host]):
    host = hosts[0]
    host.environ["MFS_PEERS"] = f"127.0.0.1:{hosts[1].port}"
    told = []
    for _ in range(2):
        done = run(host, "run", "--", sys.executable, "-c", PROGRAM)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout)["pid"])
    assert told[0] == told[1]  # the second program found it
    assert os.getpgid(told[0]) != os.getpgid(0)


def test_run__without_peers_starts_nothing(hosts: list[Host]):
    host = hosts[0]
    done = run(
        host,
        "run",
        "--",
        sys.executable,
        "-c",
        "import mfs_transport.control as c; c.default_host()",
    )
    assert done.returncode == 0
    assert not launcher.lock_path(str(host.segment)).exists()


def test_run__says_before_the_program_what_an_agent_lacks(hosts: list[Host]):
    host = hosts[0]
    host.environ |= {"MFS_PEERS": "127.0.0.1", "MFS_AGENT_KEY_FILE": ""}
    done = run(host, "run", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (2, "")
    assert "mfs agent --new-key" in done.stderr


def test_run__says_before_the_program_that_the_agents_port_is_taken(hosts: list[Host]):
    host = hosts[0]
    host.environ["MFS_PEERS"] = f"127.0.0.1:{hosts[1].port}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", host.port))
        done = run(host, "run", "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"port {host.port}: Address already in use; MFS_AGENT_ADDRESS names" in line


def test_others_use__until_the_last_process_has_gone(hosts: list[Host]):
    program = "import sys, mfs_transport.control as c; c.default_host(); print(flush=True); input()"
    user = subprocess.Popen(
        [sys.executable, "-c", program],
        env=hosts[0].environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert user.stdout
    user.stdout.readline()
    with mfs.Host(str(hosts[0].segment)) as host:
        assert launcher.others_use(host)
        user.communicate("\n")
        assert not launcher.others_use(host)
