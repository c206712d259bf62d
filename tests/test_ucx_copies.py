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


def output_of(*arguments: str, preload: bool, plugins: list[Path], **more: str) -> str:
    env = toolbox.environment(
        preload=preload,
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        UCX_LOG_LEVEL="error",
        **more,
    )
    script = toolbox.HERE / "copies.py"
    return toolbox.run([sys.executable, script, *arguments, *map(str, plugins)], env)


def run(*arguments: str, preload: bool, plugins: list[Path]) -> dict[str, int]:
    stats = toolbox.folder() / f"copies-{preload}-{len(plugins)}"
    stats.unlink(missing_ok=True)
    more = {"MFS_ENABLE": "1", "MFS_POLICY": "mfs", "MFS_STATS": str(stats)}
    output = output_of(*arguments, preload=preload, plugins=plugins, **more)
    assert len(output.splitlines()) == 2 * len(plugins)
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


@pytest.mark.parametrize("enable", ["1", "0"])
def test_closed_and_another_in_its_place(enable: str) -> None:
    """Calls from the same addresses, of a plug-in with another UCX: they go to that one."""
    own, nixl = toolbox.plugin(libucp(), "own"), toolbox.plugin(libucp_of_nixl(), "nixl")
    plugins = [own, nixl, own, nixl]
    output = output_of("--close", preload=True, plugins=plugins, MFS_ENABLE=enable)
    versions, places = zip(*(line.split() for line in output.splitlines()), strict=True)
    assert versions[:2] == versions[2:]
    assert versions[0] != versions[1]
    assert len(set(places)) < len(places), f"each was loaded at another place: {places}"


def test_closed_with_its_worker_left() -> None:
    """Its copy of UCX stays as long as a worker of it is known, and harms nobody."""
    plugins = [toolbox.plugin(libucp(), "own"), toolbox.plugin(libucp_of_nixl(), "nixl")] * 2
    more = {"MFS_ENABLE": "1", "PLUGIN_LEAVES": "1"}
    output = output_of("--close", preload=True, plugins=plugins, **more)
    versions = [line.split()[0] for line in output.splitlines()]
    assert versions[:2] == versions[2:]
    assert versions[0] != versions[1]
