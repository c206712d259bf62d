# SPDX-License-Identifier: Apache-2.0
"""`mfs doctor nccl`: does the net plug-in load, and does it export what NCCL looks for?

NCCL falls back to its own networks without a word when a plug-in cannot be used. So the
plug-in is opened here as NCCL would open it, its tables and its init are looked at, and the
newest table that the NCCL at hand knows is found by the symbols it asks for.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..native import NCCL_PLUGIN
from ..nccl_env import find_plugin, nccl_environment
from ..ucx_env import SYSFS, has_verbs, rdma_devices
from . import Check

PROBE_S = 60

# In a process of its own: a library that crashes must not take the doctor along.
PROBE = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
found = {}
for version in range(12, 6, -1):
    try:
        table = ctypes.c_void_p.in_dll(library, f"ncclNetPlugin_v{version}")
    except ValueError:
        continue
    found[version] = ctypes.string_at(table.value).decode() if table.value else None
init, devices, ucx = None, -1, ""
if 12 in found:
    slots = (ctypes.c_void_p * 22).in_dll(library, "ncclNetPlugin_v12")
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint64,
                            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(slots[1])
    ctx = ctypes.c_void_p()
    init = call(ctypes.byref(ctx), 1, None, None, None)
    if init == 0:
        count = ctypes.c_int()
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int))(slots[2])(ctypes.byref(count))
        devices = count.value
        with open("/proc/self/maps") as maps:
            ucx = next((row.split()[-1] for row in maps if "/libucp" in row), "")
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(slots[20])(ctx)
with open(sys.argv[2], "w") as file:  # standard output is UCX's too
    json.dump({"tables": found, "init": init, "devices": devices, "ucx": ucx}, file)
"""


def find_nccl() -> Path | None:
    """libnccl.so.2 of the nvidia-nccl package, else the loader's."""
    try:
        spec = importlib.util.find_spec("nvidia.nccl")
    except ModuleNotFoundError:
        spec = None
    for place in (spec and spec.submodule_search_locations) or ():
        library = Path(place) / "lib" / "libnccl.so.2"
        if library.is_file():
            return library
    name = ctypes.util.find_library("nccl")
    if not name:
        return None
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    return None


def tables_wanted(library: Path) -> list[int]:
    """Versions of tables that this NCCL asks for, newest first: the names are in the file."""
    names = re.findall(rb"ncclNetPlugin_v(\d+)\0", library.read_bytes())
    return sorted({int(name) for name in names}, reverse=True)


def probe(path: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """What the plug-in at path says; "error" when it does not load."""
    with tempfile.TemporaryDirectory(prefix="mfs-doctor-") as folder:
        result = Path(folder) / "result.json"
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROBE, path, str(result)],
                env={**environ, "MFS_LOG": environ.get("MFS_LOG", "1")},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=PROBE_S,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"its init did not end within {PROBE_S} s"}
        said = " ".join(f"{done.stdout} {done.stderr}".split()[-40:])
        if done.returncode != 0 or not result.is_file():
            return {"error": said or f"the process ended with status {done.returncode}"}
        return {**json.loads(result.read_text()), "said": said}


def examine(environ: Mapping[str, str], sysfs: Path = SYSFS) -> list[Check]:
    """The checks of a program that would start under `environ`."""
    planned = {**environ, **nccl_environment(environ, {}, sysfs)}
    plugin, network = planned.get("NCCL_NET_PLUGIN", ""), planned.get("NCCL_NET", "")
    rows: list[Check] = []
    first = plugin.split(",")[0]
    if not first:
        remedy = f"start it with `mfs run`, or set NCCL_NET_PLUGIN={NCCL_PLUGIN}"
        reason = "NCCL_NET_PLUGIN is not set: NCCL does not load us"
        return [Check("plugin", "FAIL", reason, remedy)]
    file = find_plugin(first, planned)
    if file is None:
        what = "no file of that name" if "/" in first else "no such file is found by the loader"
        reason = f"NCCL_NET_PLUGIN={first}: {what}"
        return [Check("plugin", "FAIL", reason, f"name it by its path: {NCCL_PLUGIN}")]
    if os.path.realpath(file) != os.path.realpath(NCCL_PLUGIN):
        reason = f"NCCL_NET_PLUGIN={first}: not this installation's plug-in"
        rows.append(Check("plugin", "FAIL", reason, f"NCCL_NET_PLUGIN={NCCL_PLUGIN}"))
    elif len(first) > 254:
        reason = f"the path has {len(first)} characters: NCCL ignores what is longer than 254"
        rows.append(Check("plugin", "FAIL", reason, "install the package at a shorter path"))
    else:
        rows.append(Check("plugin", "ok", first if file == Path(first) else f"{first}: {file}"))
    if network == "MFS":
        rows.append(Check("network", "ok", "NCCL_NET=MFS: without the plug-in NCCL fails"))
    else:
        reason = f"NCCL_NET={network or '(not set)'}: NCCL may take another network and not say so"
        rows.append(Check("network", "FAIL", reason, "set NCCL_NET=MFS, as `mfs run` does"))
    return rows + examine_tables(str(file), planned, sysfs)


def examine_verbs(libucp: str, environ: Mapping[str, str], sysfs: Path) -> Check:
    """Does the UCX that was opened reach the RDMA devices of this host?"""
    devices = rdma_devices(sysfs)
    if not devices:
        return Check("rdma", "ok", f"UCX {libucp}; this host has no RDMA device")
    if has_verbs(Path(libucp)):
        return Check("rdma", "ok", f"UCX {libucp} has verbs for {', '.join(devices)}")
    reason = f"UCX {libucp} was built without verbs: all goes over TCP, past {', '.join(devices)}"
    if environ.get("UCX_TLS"):
        return Check("rdma", "skipped", f"{reason}; UCX_TLS is set")
    remedy = "install the system's UCX (apt-get install libucx0), or name one: MFS_NCCL_UCX"
    return Check("rdma", "FAIL", reason, remedy)


def examine_tables(plugin: str, environ: Mapping[str, str], sysfs: Path) -> list[Check]:
    found = probe(plugin, environ)
    if "error" in found:
        return [Check("load", "FAIL", str(found["error"]), f"see what it needs: ldd {plugin}")]
    tables = found["tables"]
    assert isinstance(tables, dict)
    names = ", ".join(f"v{version}" for version in tables)
    rows: list[Check] = [Check("load", "ok", f"exports {names}")]
    if found["init"] == 0:
        rows.append(Check("init", "ok", f"{found['devices']} device(s)"))
        rows.append(examine_verbs(found["ucx"], environ, sysfs))
    else:
        reason = f"init returned {found['init']}: {found['said']}"
        rows.append(Check("init", "FAIL", reason, "see above; MFS_NCCL_UCX names a libucp.so.0"))
    library = find_nccl()
    if library is None:
        rows.append(Check("nccl", "skipped", f"no NCCL is installed for {sys.executable}"))
        return rows
    wanted = tables_wanted(library)
    common = [version for version in wanted if str(version) in tables]
    if common:
        rows.append(Check("nccl", "ok", f"{library} asks for v{wanted[0]}, takes v{common[0]}"))
    else:
        asks = ", ".join(f"v{version}" for version in wanted) or "none that we know of"
        reason = f"{library} asks for {asks}; we have {names}"
        rows.append(Check("nccl", "FAIL", reason, "NCCL 2.19 or newer is needed"))
    return rows
