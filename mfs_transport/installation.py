# SPDX-License-Identifier: Apache-2.0
"""What is installed on this machine: this package, and UCX, NIXL, CUDA and NCCL.

Nothing of the others is loaded into this process.
"""

from __future__ import annotations

import ctypes.util
import dataclasses
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import __version__, _mfs
from .native import LIBRARY, UCX_SHIM, library_version

NIXL_PACKAGES = ("nixl", "nixl-cu12", "nixl-cu13")
CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu13")
NCCL_PACKAGES = ("nvidia-nccl-cu12", "nvidia-nccl-cu13")
UCX_VERSION = """
import ctypes, sys
version = ctypes.CDLL(sys.argv[1]).ucp_get_version_string
version.restype = ctypes.c_char_p
print(version().decode())
"""


@dataclasses.dataclass(frozen=True)
class Ucx:
    """One copy of UCX on this machine."""

    where: str
    path: str
    version: str  # "" when it does not load


def packages(names: tuple[str, ...]) -> dict[str, str]:
    """Those of the Python packages that are installed, with their versions."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def module_folders(name: str) -> list[Path]:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def ucx_version(path: str) -> str:
    """As the library itself says, asked in a process of its own: UCX starts when loaded."""
    done = subprocess.run(
        [sys.executable, "-c", UCX_VERSION, path], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def ucx_copies() -> list[Ucx]:
    """The libucx wheel's, the one inside NIXL's wheel, the system's."""
    places: list[tuple[str, str]] = []
    for folder in module_folders("libucx"):
        places += [("libucx wheel", str(path)) for path in folder.glob("lib/libucp.so.0")]
    for name in ("nixl_cu12", "nixl_cu13"):
        for folder in module_folders(name):
            inside = folder.parent / f"{name}.libs"
            places += [("inside NIXL", str(path)) for path in inside.glob("libucp-*.so*")]
    system = ctypes.util.find_library("ucp")
    if system:
        places.append(("system", system))
    return [Ucx(where, path, ucx_version(path)) for where, path in places]


def cuda() -> dict[str, str]:
    """What there is of CUDA: the driver, the runtime's packages. Nothing is loaded."""
    found = packages(CUDA_PACKAGES)
    driver = Path("/proc/driver/nvidia/version")
    if driver.is_file():
        found["driver"] = driver.read_text().partition("\n")[0].removeprefix("NVRM version: ")
    elif library := ctypes.util.find_library("cuda"):
        found["driver"] = library
    return found


def nccl() -> dict[str, str]:
    found = packages(NCCL_PACKAGES)
    if library := ctypes.util.find_library("nccl"):
        found["system"] = library
    return found


def libraries() -> tuple[Path, ...]:
    """The C libraries of this package that every installation has."""
    return LIBRARY, UCX_SHIM, Path(_mfs.__file__)


def versions() -> dict[str, Any]:
    """Of this package and of what it meets."""
    return {
        "mfs_transport": __version__,
        "libmfs": library_version(),
        "python": platform.python_version(),
        "nixl": packages(NIXL_PACKAGES),
        "ucx": [dataclasses.asdict(copy) for copy in ucx_copies()],
        "cuda": cuda(),
        "nccl": nccl(),
    }
