# SPDX-License-Identifier: Apache-2.0
"""What vLLM calls in each of its processes (entry point `vllm.general_plugins`).

Does nothing unless MFS_ENABLE is set, as under `mfs run`. Then: the shim is put in front of
UCX before NIXL opens it (no LD_PRELOAD is needed), NCCL is told where our plug-in is, and
vLLM's connectors are wrapped. Whatever goes wrong is one line, and vLLM serves as without us.
"""

from __future__ import annotations

import ctypes
import os

from ...config import flag
from ...native import UCX_SHIM
from ...nccl_env import nccl_environment
from ...ucx_env import modules_environment

_library: ctypes.CDLL | None = None


def enabled() -> bool:
    return flag("MFS_ENABLE")


def ucx_is_open() -> bool:
    """A libucp was loaded before us: what is bound to it passes the shim by."""
    with open("/proc/self/maps") as maps:
        return any("libucp" in line for line in maps)


def load_shim() -> str | None:
    """Put the shim in the global scope; one line when that is of no use."""
    global _library
    with open("/proc/self/maps") as maps:
        if UCX_SHIM.name in maps.read():
            return None  # preloaded, as by `mfs run`
    if ucx_is_open():
        return (
            "UCX was loaded before the plug-in: NIXL's transfers are put in order by the agent's "
            "proxy, which costs more, and others not at all. "
            "Start vLLM with `mfs run --`"
        )
    _library = ctypes.CDLL(str(UCX_SHIM), mode=ctypes.RTLD_GLOBAL)
    return None


def prepare_environment() -> None:
    """What NIXL, UCX and NCCL have to find. What the user set stays."""
    os.environ["NIXL_UCX_DEEPBIND"] = "0"  # 1 makes NIXL's calls pass the shim by
    os.environ.update(modules_environment(os.environ))
    os.environ.update(nccl_environment(os.environ, {}))


def register() -> None:
    """The entry point. May be called several times."""
    if not enabled():
        return
    from .connector import say

    try:
        import vllm

        from . import release
        from .interface import install

        found = release.of(vllm)
        if found.line and not flag("MFS_VLLM_UNTESTED"):
            say(found.line)
        if not found.acts and not flag("MFS_VLLM_UNTESTED"):
            install(wrapping=False)
            return
        prepare_environment()
        trouble = load_shim()
        if trouble:
            say(trouble)
        install()
    except Exception as error:
        say(f"{type(error).__name__}: {error}; vLLM serves as without mfs-transport")
