# SPDX-License-Identifier: Apache-2.0
"""NIXL agents over real UCX: the same results with the shim and without."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import pytest
from ucx import toolbox

pytestmark = [
    pytest.mark.nixl,
    pytest.mark.skipif(importlib.util.find_spec("nixl") is None, reason="NIXL is not installed"),
]

MODES = {
    "alone": {},
    "off": {"MFS_ENABLE": "1", "MFS_POLICY": "off"},
    "fifo": {"MFS_ENABLE": "1", "MFS_POLICY": "fifo"},
    "mfs": {"MFS_ENABLE": "1", "MFS_POLICY": "mfs"},
    "all": {"MFS_ENABLE": "1", "MFS_POLICY": "mfs", "MFS_TEST_SMALL": "0"},
    "deferred": {
        "MFS_ENABLE": "1",
        "MFS_POLICY": "mfs",
        "MFS_PACE": "400000000",
        "MFS_TEST_SMALL": "0",
        "MFS_WINDOW": "8k",
        "MFS_TEST_CHUNK": "4k",
    },
}


def transfer(mode: str, count: int, size: int, rounds: int) -> dict[str, Any]:
    stats = toolbox.folder() / f"nixl-{mode}-{count}"
    env = toolbox.environment(
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        NIXL_LOG_LEVEL="ERROR",
        NIXL_UCX_DEEPBIND="0",
        MFS_STATS=str(stats),
        **MODES[mode],
    )
    script = toolbox.HERE / "nixl_transfer.py"
    output = toolbox.run([sys.executable, script, str(count), str(size), str(rounds)], env)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    result["stats"] = json.loads(stats.read_text().splitlines()[-1]) if stats.exists() else {}
    assert result["notified"] == 2 * rounds
    return result


@pytest.mark.parametrize("mode", ["alone", "off", "fifo", "mfs", "deferred"])
@pytest.mark.parametrize(("count", "size"), [(1, 3_000_000), (1000, 20_000)])
def test_transfer(mode: str, count: int, size: int) -> None:
    rounds = 3
    stats = transfer(mode, count, size, rounds)["stats"]
    if mode == "alone":
        assert stats == {}, "the shim did something though it is not enabled"
        return
    assert stats["calls"] == 2 * rounds * count
    assert stats["faults"] == 0
    assert stats["bytes"] == 2 * rounds * count * size
    if mode == "off":
        assert stats["straight"] == stats["calls"]
    else:
        assert stats["deferred"] == stats["calls"]
    if mode == "deferred":
        assert stats["chunks"] == 2 * rounds * count * -(-size // 4096)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["alone", "all"])
def test_transfer_of_many(mode: str) -> None:
    """A rank's part of a long prompt: 120,000 descriptors."""
    stats = transfer(mode, 120_000, 1024, 1)["stats"]
    if mode == "all":
        assert stats["calls"] == stats["deferred"] == 240_000
        assert stats["faults"] == 0


@pytest.mark.parametrize(("policy", "first"), [("mfs", "soon"), ("edf", "soon"), ("fifo", "late")])
def test_urgent_transfer_ends_first(policy: str, first: str) -> None:
    """One endpoint, one flush for each transfer: the later and shorter one still ends first,
    and is notified first, with its data there."""
    env = toolbox.environment(
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        NIXL_LOG_LEVEL="ERROR",
        NIXL_UCX_DEEPBIND="0",
        MFS_ENABLE="1",
        MFS_POLICY=policy,
        MFS_PACE="20000000",  # the long one takes 400 ms
        MFS_WINDOW="64k",
        MFS_TEST_CHUNK="16k",
        PYTHONPATH=str(toolbox.ROOT),
    )
    output = toolbox.run([sys.executable, toolbox.HERE / "nixl_urgent.py"], env)
    orders: dict[str, list[str]] = json.loads(output.splitlines()[-1])
    assert orders["ended"][0] == orders["notified"][0] == first
