# SPDX-License-Identifier: Apache-2.0
"""Settings: the command line, then the environment, then a TOML file, then the default.

    # mfs.toml
    [mfs]
    policy = "edf"
    window = "1m"

A key is the name of a variable in lower case, without MFS_. The file is the one that
MFS_CONFIG names, else ./mfs.toml, else ~/.config/mfs/mfs.toml. The table in C says which
variables there are and what each allows; nothing of it is repeated here. A process that
is started without `mfs run` reads its environment alone.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from . import input_file
from .native import (
    ConfigRow,
    InputError,
    config_check,
    config_gone,
    config_number,
    config_rows,
    encoded,
    ffi,
    lib,
    shown,
)

Source = Literal["command line", "environment", "file", "default"]

PREFIX = "MFS_"
SECTION = "mfs"
UNSAID_PORT = "default"  # its name where nothing says one
FILE_VARIABLE = "MFS_CONFIG"
# A file is for what holds from run to run: `mfs run` is what enables, and a file that
# names another file would have to be read twice.
NOT_IN_FILE = {"enable": "`mfs run` sets it", "config": "set MFS_CONFIG"}


@dataclass(frozen=True)
class Setting:
    """One variable with the value that holds, and where that comes from."""

    row: ConfigRow
    value: str
    source: Source

    @property
    def name(self) -> str:
        return self.row.name


@dataclass(frozen=True)
class Settings:
    """Every variable, in the order of the table."""

    rows: tuple[Setting, ...]
    file: Path | None  # the TOML file that was read
    remarks: tuple[str, ...]  # a line for each MFS_ variable that is unknown or not used

    def __getitem__(self, name: str) -> Setting:
        for setting in self.rows:
            if setting.name == name:
                return setting
        raise KeyError(name)


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` most likely meant."""
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)[0]


def parse_assignment(text: str) -> tuple[str, str]:
    """NAME=VALUE as a command line gives it."""
    name, equals, value = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not equals or not name:
        raise InputError(f"{shown(text)}: NAME=VALUE is expected, as in MFS_WINDOW=1m")
    return name, value


def file_path(environ: Mapping[str, str]) -> Path | None:
    """The TOML file to read; None: there is none. One that is named must be there."""
    named = environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    home = environ.get("HOME")
    places = [Path("mfs.toml"), *([Path(home) / ".config/mfs/mfs.toml"] if home else [])]
    return next((place for place in places if place.is_file()), None)


def _toml_text(value: Any, what: str) -> str:
    """A TOML value as the environment would have it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str | int | float):
        return str(value)
    raise InputError(f"{what}: a string, a number or a truth value is expected")


def read_file(path: Path) -> dict[str, str]:
    """Variables (by their full names) of the TOML file at `path`, each value checked."""
    document = input_file.toml(path, str(path))
    table = document.get(SECTION)
    if not isinstance(table, dict):
        if not document:
            return {}
        raise InputError(f"{path}: settings belong into a section [{SECTION}], which is missing")
    known = {row.name.removeprefix(PREFIX).lower(): row.name for row in config_rows()}
    known = {key: name for key, name in known.items() if key not in NOT_IN_FILE}
    values = {}
    for key, value in table.items():
        where = f"{path}: {shown(key)[1:-1]}"
        if key in NOT_IN_FILE:
            raise InputError(f"{where}: cannot be set in a file; {NOT_IN_FILE[key]}")
        if key not in known:
            raise InputError(f"{where}: {_no_such(PREFIX + key.upper(), key, known)}")
        text = _toml_text(value, where)
        try:
            config_check(known[key], text)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        values[known[key]] = text
    return values


def of_tools(name: str) -> bool:
    """A variable of the build, the scripts, the benches or the tests."""
    return bool(lib.mfs_config_of_tools(encoded(name, "variable")))


def _no_such(variable: str, name: str, names: Iterable[str]) -> str:
    """What to say of a name (of a variable, as it was given) that is not in the table."""
    instead = config_gone(variable)
    if instead:
        return f"it is gone: {instead}"
    return f"there is no such setting; did you mean {nearest(name, names)}?"


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """One line for each MFS_ variable that is not in the table."""
    names = [row.name for row in config_rows()]
    return tuple(
        f"{name}: {_no_such(name, name, names)}"
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in names and not of_tools(name)
    )


# --- one variable, as a process that starts now reads it ---


def string(name: str, environ: Mapping[str, str] | None = None) -> str:
    """A text. What cannot be used counts as unset, and the library has said so."""
    text = (os.environ if environ is None else environ).get(name, "")
    row = next(row for row in config_rows() if row.name == name)
    try:
        config_check(name, text)
    except InputError:
        return row.default
    return text or row.default


def own_port(environ: Mapping[str, str] | None = None) -> str:
    """The port that carries a process's traffic, by MFS_PORT and UCX_NET_DEVICES, and for this
    process (None) by what its transfers were seen to use: see csrc/host/port.h."""
    given = os.environ if environ is None else environ
    texts = (string("MFS_PORT", given), given.get("UCX_NET_DEVICES", ""))
    name = ffi.new("char[]", lib.MFS_PORT_NAME_MAX + 1)
    lib.mfs_port_name_of(*(text.encode(errors="surrogateescape") for text in texts), name)
    if environ is None and ffi.string(name) == UNSAID_PORT.encode():
        lib.mfs_port_own(name)
    return str(ffi.string(name).decode(errors="replace"))


def flag(name: str, environ: Mapping[str, str] | None = None) -> bool:
    """A truth value: every text that the table in C takes for one, and no other."""
    return bool(config_number(name, string(name, environ)))


def resolve(
    command_line: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    lenient: bool = False,
) -> Settings:
    """Every variable with its value and source; InputError names what cannot be used.

    lenient: a bad value in the environment counts as unset, as it does for a process that
    reads it, and is told in `remarks`; for commands that report instead of starting something.
    """
    given = dict(command_line or {})
    environ = os.environ if environ is None else environ
    rows = list(config_rows())
    names = [row.name for row in rows]
    for name, value in given.items():
        if name not in names:
            raise InputError(f"{shown(name)}: {_no_such(name, name, names)}")
        config_check(name, value)
    remarks = list(unknown_variables(environ))
    from_environment = {}
    for row in rows:
        text = environ.get(row.name)
        if not text:
            continue  # empty is unset
        try:
            config_check(row.name, text)
        except InputError as error:
            if not lenient:
                raise
            remarks.append(f"{error}; it is not used")
            continue
        from_environment[row.name] = text
    path = file_path({**environ, **given})
    from_file = read_file(path) if path else {}

    def pick(row: ConfigRow) -> Setting:
        sources: list[tuple[Source, Mapping[str, str]]] = [
            ("command line", given),
            ("environment", from_environment),
            ("file", from_file),
        ]
        for source, values in sources:
            if row.name in values:
                return Setting(row, values[row.name], source)
        return Setting(row, row.default, "default")

    return Settings(tuple(pick(row) for row in rows), path, tuple(remarks))
