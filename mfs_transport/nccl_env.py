# SPDX-License-Identifier: Apache-2.0
"""What NCCL has to find in a program's environment; the launcher and the engines set it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from .native import NCCL_PLUGIN


def wheel_ucx() -> Path | None:
    """libucp of the libucx package, which the loader does not find by itself."""
    spec = importlib.util.find_spec("libucx")
    for place in (spec and spec.submodule_search_locations) or ():
        library = Path(place) / "lib" / "libucp.so.0"
        if library.is_file():
            return library
    return None


def nccl_environment(environ: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Make NCCL load our net plug-in, or fail: by itself it falls back without a word.

    A plug-in or network that the user chose stays.
    """
    if not NCCL_PLUGIN.is_file() or "NCCL_NET_PLUGIN" in environ or "NCCL_NET" in environ:
        return {}
    found = {"NCCL_NET_PLUGIN": str(NCCL_PLUGIN), "NCCL_NET": "MFS"}
    ucx = wheel_ucx()
    if ucx and not {**environ, **changes}.get("MFS_NCCL_UCX"):
        found["MFS_NCCL_UCX"] = str(ucx)
    return found
