# SPDX-License-Identifier: Apache-2.0
"""The C library as Python sees it: error codes become exceptions, names become numbers.

Everything else in the package goes through here, so `ffi` and `lib` have one owner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    from ._mfs import ffi as ffi
    from ._mfs import lib as lib
except ImportError as error:
    raise ImportError(
        f"mfs-transport's C libraries do not load ({error}); install the package anew: "
        "pip install --force-reinstall mfs-transport, or scripts/setup in a checkout"
    ) from error

PACKAGE = Path(__file__).parent
LIBRARY = PACKAGE / "libmfs.so"
UCX_SHIM = PACKAGE / "libmfs_ucx.so"
NCCL_PLUGIN = PACKAGE / "libnccl-net-mfs.so"

NEVER: int = lib.MFS_TIME_NEVER
STAGES = ("kv_reuse", "collective", "p2d")
_STAGE_NUMBERS = {
    "none": lib.MFS_STAGE_NONE,
    "kv_reuse": lib.MFS_STAGE_KV_REUSE,
    "collective": lib.MFS_STAGE_COLLECTIVE,
    "p2d": lib.MFS_STAGE_P2D,
}


class InputError(ValueError):
    """A value from outside that cannot be used: one line naming it and what is allowed."""


def check(result: int, what: str) -> int:
    """Pass a result of 0 or more on; raise OSError with the text of -errno otherwise."""
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
    return result


def text(pointer: object) -> str:
    """A C string, "" for NULL."""
    return ffi.string(pointer).decode() if pointer else ""


def library_version() -> str:
    """The version of the package that libmfs.so was built with."""
    return text(lib.mfs_version())


def now_ns() -> int:
    """The clock of deadlines: CLOCK_MONOTONIC in nanoseconds, shared by a host's processes."""
    return int(lib.mfs_now_ns())


def stage_number(stage: str) -> int:
    """The C enum of a stage's name."""
    try:
        return int(_STAGE_NUMBERS[stage])
    except KeyError:
        raise InputError(f"stage {stage!r}: one of {', '.join(STAGES)}") from None


@dataclass(frozen=True)
class PolicyRow:
    name: str
    help: str


def policies() -> list[PolicyRow]:
    """Every policy, in the order of the C table."""
    rows = []
    index = 0
    while policy := lib.mfs_policy_at(index):
        rows.append(PolicyRow(text(lib.mfs_policy_name(policy)), text(lib.mfs_policy_help(policy))))
        index += 1
    return rows


def policy(name: str) -> object:
    """The C policy of that name."""
    found = lib.mfs_policy_find(name.encode())
    if not found:
        names = ", ".join(row.name for row in policies())
        raise InputError(f"policy {name!r}: one of {names}")
    return found


@dataclass(frozen=True)
class ConfigRow:
    """One MFS_ variable as the table in C describes it."""

    name: str
    type: str
    default: str
    help: str


def config_rows() -> Iterator[ConfigRow]:
    index = 0
    while entry := lib.mfs_config_entry_at(index):
        default = text(getattr(entry, "def"))  # a keyword here, not in C
        yield ConfigRow(text(entry.name), text(entry.type), default, text(entry.help))
        index += 1


def config_check(name: str, value: str) -> None:
    """Raise InputError when `value` is not what the variable `name` allows."""
    message = ffi.new("char[512]")
    result = lib.mfs_config_check(name.encode(), value.encode(), message, len(message))
    if result == 0:
        return
    if message[0] != b"\0":
        raise InputError(text(message))
    raise InputError(f"{name}: there is no such variable; `mfs info` lists them")
