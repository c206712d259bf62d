# SPDX-License-Identifier: Apache-2.0
"""A process of a bench: what it finds in its environment is the bench's own."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import benches
import pytest

from mfs_transport.native import UCX_SHIM
from mfs_transport.testbed.network import Place

HERE = Place("here", "127.0.0.1", "lo", ())
TELLS = """
import json, os, socket, sys
talk = socket.socket(fileno=int(sys.argv[1]))
talk.recv(1000)
names = "MFS_ENABLE MFS_POLICY MFS_SEGMENT LD_PRELOAD UCX_NET_DEVICES UCX_LOG_LEVEL".split()
talk.sendall(json.dumps({name: os.environ.get(name) for name in names}).encode() + b"\\n")
"""


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return benches.load("_process")


@pytest.mark.parametrize(("enabled", "shim"), [(False, False), (True, False), (True, True)])
def test_environment__has_no_setting_of_the_shell(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, enabled: bool, shim: bool
):
    shell = {"MFS_ENABLE": "1", "MFS_POLICY": "fifo", "LD_PRELOAD": "", "UCX_LOG_LEVEL": "fatal"}
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    env: dict[str, str] = bench.environment("lo", "/nowhere/host")
    command = [sys.executable, "-S", "-c", TELLS, bench.DESCRIPTOR]
    one: Any = bench.Process("one", HERE, command, env, enabled=enabled, shim=shim)
    try:
        told = one.ask("tell")
    finally:
        one.end()
    assert told == {
        "MFS_ENABLE": "1" if enabled else None,
        "MFS_POLICY": None,
        "MFS_SEGMENT": "/nowhere/host",
        "LD_PRELOAD": str(UCX_SHIM) if shim else None,
        "UCX_NET_DEVICES": "lo",
        "UCX_LOG_LEVEL": "fatal",
    }


def test_process__that_has_died_is_named(bench: ModuleType):
    env: dict[str, str] = bench.environment("lo", "/nowhere/host")
    one: Any = bench.Process("one", HERE, ["true"], env, enabled=False, shim=False)
    for _ in range(2):  # an answer that does not come, and an order that cannot go
        with pytest.raises(OSError, match="the process of one has died"):
            one.ask("tell")
        one.process.wait()
    one.end()


def test_process__that_hangs_is_named(bench: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benches.load("_talk"), "SILENT_S", 0.05)
    env: dict[str, str] = bench.environment("lo", "/nowhere/host")
    one: Any = bench.Process("one", HERE, ["sleep", "1000"], env, enabled=False, shim=False)
    try:
        with pytest.raises(OSError, match=r"one has said nothing for 0\.05 s"):
            one.ask("tell")
    finally:
        one.end()
