# SPDX-License-Identifier: Apache-2.0
"""The environment in which a program starts with the shim in the way of its transfers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import classes
from .config import FILE_VARIABLE, Settings
from .native import UCX_SHIM, InputError
from .nccl_env import nccl_environment
from .ucx_env import modules_environment

# Runtimes that end the program when another library comes before them.
MUST_COME_FIRST = ("libasan.", "libtsan.", "liblsan.", "libhwasan.", "libclang_rt.")


def preload(before: str, library: Path) -> str:
    """LD_PRELOAD with `library` in what the user had, whose order stays.

    It comes first, since a libucp behind it must not hide it, but for the runtimes of sanitizers.
    Where the user has named it already, it stays.
    """
    for forbidden in (" ", ":"):
        if forbidden in str(library):
            raise InputError(
                f"{library}: LD_PRELOAD cannot name a path with {forbidden!r} in it; "
                "install the package elsewhere"
            )
    names = [name for name in before.replace(" ", ":").split(":") if name]
    if str(library) not in names:
        first = [Path(name).name.startswith(MUST_COME_FIRST) for name in names]
        names.insert(len(first) - first[::-1].index(True) if True in first else 0, str(library))
    return ":".join(dict.fromkeys(names))


def environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """What is added to `environ`, or changed in it."""
    if not UCX_SHIM.is_file():
        raise FileNotFoundError(2, "the shim is missing; install the package anew", str(UCX_SHIM))
    changes = {"MFS_ENABLE": "1"}
    for setting in settings.rows:
        if setting.source in ("command line", "file"):
            changes[setting.name] = setting.value
    if settings.file and FILE_VARIABLE in changes:
        changes[FILE_VARIABLE] = str(settings.file.absolute())  # the program may change folder
    changes["LD_PRELOAD"] = preload(environ.get("LD_PRELOAD", ""), UCX_SHIM)
    changes["NIXL_UCX_DEEPBIND"] = "0"  # 1 makes NIXL's calls pass the shim by
    changes.update(modules_environment(environ))
    changes.update(classes.environment(settings["MFS_CLASSES"].value, environ))
    classes.answers(settings["MFS_CLASSES_ANSWERS"].value, settings["MFS_CLASSES"].value)
    changes.update(nccl_environment(environ, changes))
    return changes
