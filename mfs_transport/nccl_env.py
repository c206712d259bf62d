# SPDX-License-Identifier: Apache-2.0
"""What NCCL has to find in a program's environment; the launcher and the engines set it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from .native import NCCL_PLUGIN
from .ucx_env import LIBRARIES, SYSFS, has_verbs, rdma_devices


def wheel_ucx() -> Path | None:
    """libucp of the libucx package, which the loader does not find by itself."""
    spec = importlib.util.find_spec("libucx")
    for place in (spec and spec.submodule_search_locations) or ():
        library = Path(place) / "lib" / "libucp.so.0"
        if library.is_file():
            return library
    return None


def find_plugin(name: str, environ: Mapping[str, str]) -> Path | None:
    """The file that NCCL opens for an entry of NCCL_NET_PLUGIN: a path, the name of a file that
    the loader finds, or the X of libnccl-net-X.so."""
    if "/" in name:
        return Path(name) if os.path.isfile(name) else None
    own = environ.get("LD_LIBRARY_PATH", "")
    folders = [*(Path(folder) for folder in own.split(":") if folder), *LIBRARIES]
    for file in (name, f"libnccl-net-{name}.so"):
        for folder in folders:
            if (folder / file).is_file():
                return folder / file
    return None


def nccl_environment(
    environ: Mapping[str, str], changes: Mapping[str, str], sysfs: Path = SYSFS
) -> dict[str, str]:
    """Make NCCL load our net plug-in, or fail: by itself it falls back without a word.

    A plug-in or network that the user chose stays; an empty variable is none. Our plug-in, if it
    is loaded, has to find the libucx package, unless the host has RDMA devices and that package
    no verbs: then it looks for a better one itself.
    """
    if not NCCL_PLUGIN.is_file():
        return {}
    plugin, network = environ.get("NCCL_NET_PLUGIN"), environ.get("NCCL_NET")
    found = {}
    if not plugin and network in (None, "", "MFS"):
        found = {"NCCL_NET_PLUGIN": str(NCCL_PLUGIN), "NCCL_NET": "MFS"}
    ucx = wheel_ucx()
    if (
        ucx
        and not {**environ, **changes}.get("MFS_NCCL_UCX")
        and (has_verbs(ucx) or not rdma_devices(sysfs))
    ):
        found["MFS_NCCL_UCX"] = str(ucx)
    return found
