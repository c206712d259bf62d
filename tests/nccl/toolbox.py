# SPDX-License-Identifier: Apache-2.0
"""Building the plug-in's harness and what it is tried with, and running it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

from ucx import toolbox as ucx

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "mfs_transport"
PLUGIN = PACKAGE / "libnccl-net-mfs.so"
HARNESS = [HERE / "harness.c", *sorted(HERE.glob("scene_*.c"))]
WORLD = [ROOT / "bench" / "nccl_world.c", CSRC / "nccl" / "inner.c"]
SHARED = ("-shared", "-fPIC", "-fvisibility=hidden")


def folder() -> Path:
    place = ucx.folder() / "nccl"
    place.mkdir(exist_ok=True)
    return place


def flags(sanitizer: str) -> list[str]:
    quiet = ("-Wno-unknown-warning-option", "-Wno-tsan")  # gcc alone has the second
    return [f"-fsanitize={sanitizer}", *quiet] if sanitizer else []


@functools.cache
def harness(sanitizer: str = "") -> Path:
    return ucx.compile_(
        folder() / f"harness-{sanitizer or 'plain'}",
        *(*flags(sanitizer), f"-I{ROOT / 'bench'}", f"-I{HERE}", *HARNESS, *WORLD, "-ldl"),
    )


@functools.cache
def wire(sanitizer: str = "") -> Path:
    """The program that forges and fuzzes what goes over the wire; it sets the plug-in's clock."""
    sources = sorted(HERE.glob("wire*.c"))
    return ucx.compile_(
        folder() / f"wire-{sanitizer or 'plain'}",
        *(*flags(sanitizer), "-rdynamic", f"-I{HERE}", *sources, CSRC / "nccl" / "inner.c", "-ldl"),
    )


@functools.cache
def loop_ucp(sanitizer: str = "") -> Path:
    output = folder() / f"loop_ucp-{sanitizer or 'plain'}.so"
    return ucx.compile_(output, "-shared", "-fPIC", *flags(sanitizer), HERE / "loop_ucp.c")


def run_wire(*arguments: str | int, sanitizer: str = "", timeout: float = 100) -> str:
    """What the program printed; fails with what it said when it does not exit with 0."""
    env = ucx.environment(preload=False, **(ucx.SANITIZER_OPTIONS if sanitizer else {}))
    command = [wire(sanitizer), plugin(sanitizer), loop_ucp(sanitizer), *map(str, arguments)]
    return ucx.run(command, {**env, "NCCL_SOCKET_IFNAME": "lo"}, timeout)


def build(place: Path, *more: str) -> Path:
    """libnccl-net-mfs.so with what it opens beside it, compiled with these flags."""
    place.mkdir(exist_ok=True)
    shared = [*SHARED, *more]
    core = sorted(p for floor in ("core", "host") for p in (CSRC / floor).glob("*.c"))
    ucx.compile_(place / "libmfs.so", *shared, "-Wl,-soname,libmfs.so", *core, "-lm")
    ucx.compile_(
        place / "libmfs_nccl.so",
        *(*shared, "-Wl,-rpath,$ORIGIN", *sorted((CSRC / "nccl").glob("*.c"))),
        *(f"-L{place}", "-lmfs", "-ldl"),
    )
    abi = sorted((CSRC / "nccl" / "abi").glob("*.c"))
    return ucx.compile_(place / "libnccl-net-mfs.so", *shared, *abi, "-ldl")


@functools.cache
def plugin(sanitizer: str = "") -> Path:
    if not sanitizer:
        return PLUGIN
    return build(folder() / f"plugin-{sanitizer.replace(',', '-')}", *flags(sanitizer))


@functools.cache
def plugin_on(host: Path) -> Path:
    """For a host whose /sys is the folder `sys` there, and whose libucx package is `package`."""
    package = host / "package" / "libucp.so.0"
    defines = (f'-DSYSFS="{host / "sys"}"', f'-DMFS_LIBUCP="{package}"')
    return build(host / "plugin", *defines)


@functools.cache
def second_copy() -> Path:
    """Another copy of the plug-in, as an inner one for the gate."""
    place = folder() / "copy"
    place.mkdir(exist_ok=True)
    for name in ("libnccl-net-mfs.so", "libmfs_nccl.so", "libmfs.so"):
        shutil.copy(PACKAGE / name, place / name)
    return place / "libnccl-net-mfs.so"


@functools.cache
def inner_plugin() -> Path:
    return ucx.compile_(folder() / "inner.so", *SHARED, HERE / "inner_plugin.c")


@functools.cache
def chaos() -> Path:
    """The libucp that delays and reorders."""
    return ucx.compile_(folder() / "chaos.so", "-shared", "-fPIC", HERE / "chaos_ucp.c", "-ldl")


def libucp() -> Path | None:
    library = ucx.wheel("lib")
    return library / "libucp.so.0" if library else None


def totals(stats: Path) -> list[dict[str, int]]:
    """The last line of each process in a file of MFS_STATS."""
    rows = [json.loads(line) for line in stats.read_text().splitlines()]
    return list({row["pid"]: row for row in rows}.values())


def run(
    scene: str,
    *,
    version: int = 12,
    seed: int = 1,
    sanitizer: str = "",
    library: Path | None = None,
    timeout: float = 100,
    **variables: str,
) -> str:
    """What the ranks said; fails when the scene did."""
    command = [harness(sanitizer), library or plugin(sanitizer), version, scene, seed]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_", "LD_"))}
    env |= {
        "MFS_SEGMENT": str(folder() / f"segment-{os.getpid()}"),
        "MFS_NCCL_UCX": str(libucp()),
        "NCCL_SOCKET_IFNAME": "lo",
        "UCX_TLS": "tcp",
        "UCX_LOG_LEVEL": "fatal",
        **({**ucx.SANITIZER_OPTIONS, "HARNESS_SLOW": "1"} if sanitizer else {}),
        **variables,
    }
    done = subprocess.run(
        [str(part) for part in command],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{scene}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stderr
