# SPDX-License-Identifier: Apache-2.0
"""The files that `--json` of demo, benches and simulator writes (json_report.py), read again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import input_file, json_report
from ..native import InputError, shown

MOST_BYTES = 256 << 20
Row = dict[str, Any]


@dataclass(frozen=True)
class Document:
    path: Path
    environment: dict[str, Any]
    argv: list[str]
    rows: list[Row]
    more: dict[str, Any]  # what else is in it, by name

    @property
    def command(self) -> str:
        """As it can be given again."""
        return repeat(self.argv)

    @property
    def title(self) -> str:
        """mfs demo, mfs bench contend, mfs sim compare; the file's name if it says none."""
        words = self.command.split()
        kept = words[:1]
        most = 3 if words[1:2] in (["bench"], ["sim"], ["testbed"]) else 2
        for word in words[1:most]:
            if word.startswith("-"):
                break
            kept.append(word)
        return " ".join(kept) or self.path.name


def repeat(argv: Sequence[str]) -> str:
    """The command line of sys.argv: a bench is called by `mfs bench`, others by `mfs`."""
    if not argv:
        return ""
    program, rest = Path(argv[0]), list(argv[1:])
    if program.suffix == ".py" and program.parent.name == "bench":
        words = ["mfs", "bench", program.stem, *rest]
    elif program.name in ("mfs", "__main__.py"):
        module = program.parent.name
        own = program.name == "mfs" or module == "mfs_transport"
        words = (
            ["mfs", *rest] if own else ["python", "-m", f"mfs_transport.testbed.{module}", *rest]
        )
    else:
        words = [program.name, *rest]
    if "--inside" in words:  # how the demo calls itself
        at = words.index("--inside")
        del words[at : at + 2]
    return shlex.join(words)


def _field(where: str, found: dict[str, Any], name: str, kind: type) -> Any:
    value = found.get(name)
    if not isinstance(value, kind):
        wanted = "a list" if kind is list else "an object"
        raise InputError(
            f"{where}: {name} {shown(value)}: {wanted} is expected; give a file that --json of "
            "mfs demo, mfs bench or mfs sim has written"
        )
    return value


def read(path: Path) -> Document:
    """InputError: it is no such file."""
    where = f"report {path}"
    found = input_file.parse_json(input_file.text(path, where, MOST_BYTES), where)
    if not isinstance(found, dict):
        raise InputError(f"{where}: a JSON object is expected")
    version = found.get("schema_version")
    if version != json_report.SCHEMA_VERSION:
        raise InputError(
            f"{where}: schema_version {shown(version)}: this version reads "
            f"{json_report.SCHEMA_VERSION}"
        )
    rows = _field(where, found, "results", list)
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{where}: results: objects are expected")
    argv = [str(word) for word in _field(where, found, "argv", list)]
    environment = _field(where, found, "environment", dict)
    known = ("schema_version", "environment", "argv", "results")
    more = {name: value for name, value in found.items() if name not in known}
    return Document(path, environment, argv, rows, more)
