# SPDX-License-Identifier: Apache-2.0
"""How UCX comes into a process: preloaded shim or one opened by Python, several copies."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from ucx import toolbox


def libucp() -> Path:
    place = toolbox.wheel("lib")
    if not place:
        pytest.skip("no libucx wheel")
    return place / "libucp.so.0"


def libucp_of_nixl() -> Path:
    """The UCX in NIXL's wheel: another release, under names of its own."""
    spec = importlib.util.find_spec("nixl_cu12")
    site = Path(spec.origin).parent.parent if spec and spec.origin else None
    found = sorted((site / "nixl_cu12.libs").glob("libucp-*")) if site else []
    if not found:
        pytest.skip("NIXL's own UCX is not installed")
    return found[0]


def run(*arguments: str, preload: bool, plugins: list[Path]) -> dict[str, int]:
    stats = toolbox.folder() / f"copies-{preload}-{len(plugins)}"
    stats.unlink(missing_ok=True)
    env = toolbox.environment(
        preload=preload,
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        UCX_LOG_LEVEL="error",
        MFS_ENABLE="1",
        MFS_POLICY="mfs",
        MFS_STATS=str(stats),
    )
    script = toolbox.HERE / "copies.py"
    output = toolbox.run([sys.executable, script, *arguments, *map(str, plugins)], env)
    assert len(output.split()) == 2 * len(plugins)
    counts: dict[str, int] = json.loads(stats.read_text().splitlines()[-1])
    assert counts["faults"] == 0
    return counts


def test_local_plugin_with_preload() -> None:
    counts = run(preload=True, plugins=[toolbox.plugin(libucp(), "own")])
    assert counts["calls"] == counts["deferred"] == 2


def test_local_plugin_after_global_shim() -> None:
    plugins = [toolbox.plugin(libucp(), "own")]
    counts = run("--global", str(toolbox.SHIM), preload=False, plugins=plugins)
    assert counts["calls"] == counts["deferred"] == 2


def test_two_copies_each_with_its_own() -> None:
    plugins = [toolbox.plugin(libucp(), "own"), toolbox.plugin(libucp_of_nixl(), "nixl")]
    counts = run(preload=True, plugins=plugins)
    assert counts["calls"] == counts["deferred"] == 4
