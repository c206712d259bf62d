# SPDX-License-Identifier: Apache-2.0
"""What UCX has to find in a program's environment; the launcher and the engines set it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSFS = Path("/sys")
# where the dynamic linker looks for the system's libraries
LIBRARIES = tuple(
    Path("/usr", folder)
    for folder in ("lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib", "local/lib")
)
# RDMA plug-ins that NIXL's own UCX loads: EFA's needs a library of the system's
WITHOUT_EFA = "^efa"


def rdma_devices(sysfs: Path = SYSFS) -> list[str]:
    """Of this host, by name."""
    folder = sysfs / "class" / "infiniband"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def has_verbs(libucp: Path) -> bool:
    """Was the UCX of this libucp built with verbs? Its modules lie beside it."""
    return any((libucp.resolve().parent / "ucx").glob("libuct_ib*"))


def nixl_modules() -> list[Path]:
    """Folders in which NIXL's wheels keep the modules of their own UCX."""
    found = []
    for name in ("nixl_cu12", "nixl_cu13"):
        spec = importlib.util.find_spec(name)
        for place in (spec and spec.submodule_search_locations) or ():
            found.append(Path(place).parent / f"{name}.libs" / "ucx")
    return found


def efa_clashes(
    sysfs: Path = SYSFS,
    libraries: Sequence[Path] = LIBRARIES,
    modules: Sequence[Path] | None = None,
) -> bool:
    """Would NIXL's UCX load the system's libefa beside libraries of its own?

    Then NIXL 1.5.1 crashes at exit, with or without us. A host with EFA devices needs it all the
    same.
    """
    ours = any(
        any(folder.glob("libuct_ib_efa*.so*"))
        for folder in (nixl_modules() if modules is None else modules)
    )
    system = any(any(folder.glob("libefa.so*")) for folder in libraries)
    drivers = {
        (sysfs / "class" / "infiniband" / name / "device" / "driver").resolve().name
        for name in rdma_devices(sysfs)
    }
    return ours and system and "efa" not in drivers


def modules_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Keep NIXL's UCX from what makes it crash at exit, where it would."""
    if "UCX_MODULES" in environ or not efa_clashes():
        return {}
    return {"UCX_MODULES": WITHOUT_EFA}
