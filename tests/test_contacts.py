# SPDX-License-Identifier: Apache-2.0
"""Hosts find each other by their connections: nothing is configured but a key and a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nccl import toolbox

from mfs_transport.testbed import network

pytestmark = [pytest.mark.slow, pytest.mark.root]


def scene(name: str) -> dict[str, Any]:
    """tests/contacts_hosts.py, in namespaces of its own."""
    reason = network.why_not_namespaces()
    if reason:
        pytest.skip(f"no namespaces: {reason}")
    program = Path(__file__).parent / "contacts_hosts.py"
    done = subprocess.run(
        [*network.enter_command(), sys.executable, str(program), name],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def known_by(state: dict[str, Any]) -> list[str]:
    return [one["known_by"] for one in state["peers"]]


@pytest.mark.nixl
def test_nixl__by_the_sockets_of_ucx():
    """A host without an agent is no peer of anybody's, and a new agent finds what is there."""
    pytest.importorskip("nixl", reason="NIXL is not installed")
    found = scene("nixl")
    for name in "AB":
        assert known_by(found["states"][name]) == ["connection"]
        assert found["states"][name]["counts"]["malformed"] == 0
    contacts = found["contacts"]["A"]
    assert contacts["B"]["by"] == ["UCX"]
    assert contacts["B"]["agent"]
    assert contacts["C"]["by"] == ["UCX"]
    assert not contacts["C"]["agent"]
    assert set(found["contacts"]["B"]) == {"A"}
    assert found["again"]["known_by"] == "connection"


@pytest.mark.skipif(toolbox.libucp() is None, reason="no libucx")
def test_nccl__by_the_handshake():
    found = scene("nccl")
    for name, other in ("AB", "BA"):
        assert known_by(found["states"][name]) == ["connection"]
        assert found["contacts"][name][other]["by"] == ["NCCL"]
