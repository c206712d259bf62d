# SPDX-License-Identifier: Apache-2.0
"""Building the C programs of these tests, and running them with the shim in the way."""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from mfs_transport.ucx_env import modules_environment

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGE = ROOT / "mfs_transport"
SHIM = PACKAGE / "libmfs_ucx.so"
CC = shlex.split(os.environ.get("CC", "gcc"))
CFLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-g", "-O2", "-pthread", "-Wno-deprecated-declarations"),
    *("-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"),
]


def wheel(part: str) -> Path | None:
    """A folder of the libucx wheel (include, lib, bin)."""
    spec = importlib.util.find_spec("libucx")
    places = (spec and spec.submodule_search_locations) or ()
    return next((Path(p) / part for p in places if (Path(p) / part).is_dir()), None)


def include() -> list[str]:
    folder = wheel("include")
    return [f"-I{ROOT / 'csrc'}", *(["-isystem", str(folder)] if folder else [])]


@functools.cache
def folder() -> Path:
    place = Path(tempfile.mkdtemp(prefix="mfs-ucx-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def compile_(output: Path, *arguments: str | Path) -> Path:
    if not output.exists():
        command = [*CC, *CFLAGS, *include(), "-o", str(output), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    return output


@functools.cache
def fake_ucp() -> Path:
    """libucp.so.0, the one that sends nothing, in a folder of its own."""
    place = folder() / "fake"
    place.mkdir(exist_ok=True)
    library = ["-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libucp.so.0"]
    return compile_(place / "libucp.so.0", *library, HERE / "fake_ucp.c")


@functools.cache
def shim(sanitizer: str = "") -> Path:
    """Folder of libmfs.so and libmfs_ucx.so, built with -fsanitize=... if one is named."""
    if not sanitizer:
        return PACKAGE
    place = folder() / sanitizer.replace(",", "-")
    place.mkdir(exist_ok=True)
    flags = ["-shared", "-fPIC", "-fvisibility=hidden", f"-fsanitize={sanitizer}"]
    quiet = ["-Wno-unknown-warning-option", "-Wno-tsan"]  # a fence of the sequence lock; gcc alone
    flags += quiet if sanitizer == "thread" else []
    rpath = "-Wl,-rpath,$ORIGIN"
    core = sorted(p for floor in ("core", "host") for p in (ROOT / "csrc" / floor).glob("*.c"))
    compile_(place / "libmfs.so", *flags, "-Wl,-soname,libmfs.so", *core, "-lm")
    ucx = sorted((ROOT / "csrc" / "ucx").glob("*.c"))
    compile_(
        place / "libmfs_ucx.so",
        *flags,
        rpath,
        "-Wl,-soname,libmfs_ucx.so",
        *ucx,
        f"-L{place}",
        "-lmfs",
        "-ldl",
    )
    return place


PARTS = ("queue", "flush", "request", "express", "close", "forms", "abort", "faults", "port")
SOURCES = {
    "order": [
        *("order.c", "allocations.c"),
        *(f"order_{part}.c" for part in PARTS),
    ],
    "queued": ["queued.c"],
    "far": ["far.c", "pair.c"],
    "contacts": ["contacts.c"],
    "classes": ["classes.c", "pair.c"],
    "conformance": [
        *("conformance.c", "pair.c"),
        *(f"conformance_{part}.c" for part in ("data", "request", "forms", "end", "thread")),
    ],
}


@functools.cache
def program(name: str, libucp: Path, sanitizer: str = "", *, tags: bool = False) -> Path:
    """SOURCES[name], linked to that libucp, for LD_PRELOAD of the shim. tags: linked to libmfs
    as well. With a sanitizer it is linked to the shim itself, in front of libucp: what is
    preloaded would come before the sanitizer's runtime."""
    place = shim(sanitizer)
    flags = [f"-fsanitize={sanitizer}"] if sanitizer else []
    libraries = ["-Wl,--no-as-needed", "-lmfs_ucx"] if sanitizer else []
    libraries += ["-lmfs"] if tags or sanitizer else []
    place_of_ucx = hashlib.sha256(str(libucp).encode()).hexdigest()[:8]
    key = "-".join((name, place_of_ucx, sanitizer, "tags" if tags else ""))
    return compile_(
        folder() / key,
        *flags,
        *(HERE / source for source in SOURCES[name]),
        f"-L{place}",
        *libraries,
        str(libucp),
        f"-Wl,-rpath,{place}",
        f"-Wl,-rpath,{libucp.parent}",
    )


@functools.cache
def plugin(libucp: Path, key: str) -> Path:
    """plugin.c as a shared object that is linked to that libucp by its path."""
    library = ["-shared", "-fPIC", "-fvisibility=hidden", f"-Wl,-rpath,{libucp.parent}"]
    library += ["-Wl,--allow-shlib-undefined"]
    return compile_(folder() / f"plugin-{key}.so", *library, HERE / "plugin.c", str(libucp))


SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    # UCX itself is not instrumented, and its hook on munmap deadlocks with TSan's own calls
    "TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'}:ignore_noninstrumented_modules=1",
    "UCX_MEM_MMAP_HOOK_MODE": "none",
}


def environment(*, preload: bool = True, **variables: str) -> dict[str, str]:
    """A clean one: no MFS_ or UCX_ variable of the caller's; **variables on top."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_", "LD_"))}
    if preload:
        clean["LD_PRELOAD"] = str(SHIM)
    segment = str(folder() / f"segment-{os.getpid()}")
    return {**clean, **modules_environment({}), "MFS_SEGMENT": segment, **variables}


def run(command: list[str | Path], env: dict[str, str], timeout: float = 60) -> str:
    """Its standard output; fails with what it said when it does not exit with 0."""
    done = subprocess.run(
        [str(part) for part in command],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    said = f"{shlex.join(map(str, command))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout
