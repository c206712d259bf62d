# SPDX-License-Identifier: Apache-2.0
"""The C library as Python sees it: error codes become exceptions, names become numbers.

Everything else in the package goes through here, so `ffi` and `lib` have one owner.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    from ._mfs import ffi as ffi
    from ._mfs import lib as lib
except ImportError as error:
    raise ImportError(
        f"mfs-transport's C libraries do not load ({error}); install its wheel anew: "
        "pip install --force-reinstall FILE.whl, or scripts/setup in a checkout"
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

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


MOST_SHOWN = 500  # characters of a message

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 80


def shown(value: object) -> str:
    """A value as a message names it: its repr, cut where it is long."""
    try:
        return one_line(_brief.repr(value))
    except Exception:  # of an int of 5,000 digits, or an object whose repr is broken
        return f"a {type(value).__name__}"


def one_line(message: str) -> str:
    """What can be printed anywhere, on one line, its middle left out where it is long."""
    line = " ".join(message.split()).encode(errors="backslashreplace").decode()
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    if len(line) > MOST_SHOWN:
        half = MOST_SHOWN // 2
        line = f"{line[:half]} … {line[-half:]}"
    return line


def encoded(value: object, what: str) -> bytes:
    """A text for C; InputError if it is none, or has a NUL or half a surrogate pair in it."""
    if isinstance(value, str) and "\0" not in value:
        try:
            # bytes of a variable that are not UTF-8 come as half pairs, and go back as they were
            return value.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            pass
    raise InputError(f"{what} {shown(value)}: a text without NUL and half surrogate pairs")


def check(result: int, what: str) -> int:
    """Pass a result of 0 or more on; raise OSError with the text of -errno otherwise."""
    if result < 0:
        raise OSError(-result, one_line(f"{what}: {os.strerror(-result)}"))
    return result


def text(pointer: object) -> str:
    """A C string, "" for NULL."""
    return ffi.string(pointer).decode(errors="replace") if pointer else ""


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
    except (KeyError, TypeError):
        raise InputError(f"stage {shown(stage)}: one of {', '.join(STAGES)}") from None


@dataclass(frozen=True)
class PolicyRow:
    name: str
    help: str


def policies() -> list[PolicyRow]:
    """Every policy, in the order of the C table."""
    rows = []
    index = 0
    while policy := lib.mfs_policy_at(index):
        rows.append(PolicyRow(text(policy.name), text(policy.help)))
        index += 1
    return rows


def policy(name: str) -> object:
    """The C policy of that name."""
    found = lib.mfs_policy_find(encoded(name, "policy"))
    if not found:
        names = ", ".join(row.name for row in policies())
        raise InputError(f"policy {shown(name)}: one of {names}")
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
    variable = encoded(name, "variable")
    result = lib.mfs_config_check(variable, encoded(value, name), message, len(message))
    if result == 0:
        return
    if message[0] != b"\0":
        raise InputError(text(message))
    raise InputError(f"{shown(name)}: there is no such variable; `mfs info` lists them")


def config_number(name: str, value: str) -> int | None:
    """What `value` is as a number (a truth value is 0 or 1, a time nanoseconds); None: nothing
    that the variable `name` allows."""
    out = ffi.new("uint64_t *")
    variable = encoded(name, "variable")
    return int(out[0]) if lib.mfs_config_number(variable, encoded(value, name), out) == 0 else None


def config_gone(name: str) -> str | None:
    """What to do instead of setting a variable that is no more; None: there was none."""
    return text(lib.mfs_config_gone(encoded(name, "variable"))) or None
