# SPDX-License-Identifier: Apache-2.0
"""mfs bench: the benches, by name: bench/ of the checkout, or what the wheel has of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..native import PACKAGE, InputError
from ..terminal import Column, Table, make_console


def benches() -> dict[str, Path]:
    # beside a package that is installed lies what others have called bench
    inside = PACKAGE / "bench"
    paths = sorted((inside if inside.is_dir() else PACKAGE.parent / "bench").glob("*.py"))
    return {path.stem: path for path in paths if not path.name.startswith("_")}


def first_line(path: Path) -> str:
    for line in path.read_text().splitlines():
        if line.startswith('"""'):
            return line.strip('"')
    return ""


def complete(_context: click.Context, _argument: click.Parameter, begun: str) -> list[str]:
    return [name for name in benches() if name.startswith(begun)]


# what follows the bench's name is its own, also --help
@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", required=False, shell_complete=complete)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str | None, arguments: tuple[str, ...]) -> None:
    """Run a bench; without a name, list them. Those in C are compiled first, with gcc or CC.

    \b
    Example:
        mfs bench contend --pairs 7 --json out/contend.json
        mfs bench ucx --help
    """
    known = benches()
    if not known:
        raise InputError("bench: this installation has none; install the package anew")
    if name is None:
        listed = Table("bench", Column("what it measures", fold=True), heading=False)
        for bench, path in known.items():
            listed.add_row(bench, first_line(path))
        make_console().print(listed)
        return
    if name not in known:
        raise InputError(f"bench {name!r}: one of {', '.join(known)}")
    sys.stdout.flush()
    # become the bench: its signals, status and output are its own
    os.execv(sys.executable, [sys.executable, str(known[name]), *arguments])
