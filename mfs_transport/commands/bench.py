# SPDX-License-Identifier: Apache-2.0
"""mfs bench: the benches of the source tree (bench/), by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..native import PACKAGE, InputError

BENCHES = PACKAGE.parent / "bench"


def benches() -> dict[str, Path]:
    paths = sorted(BENCHES.glob("*.py"))
    return {path.stem: path for path in paths if not path.name.startswith("_")}


def first_line(path: Path) -> str:
    for line in path.read_text().splitlines():
        if line.startswith('"""'):
            return line.strip('"')
    return ""


# what follows the bench's name is its own, also --help
@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str | None, arguments: tuple[str, ...]) -> None:
    """Run a bench of the source tree; without a name, list them.

    \b
    Example:
        mfs bench contend --pairs 7 --json out/contend.json
        mfs bench ucx --help
    """
    known = benches()
    if not known:
        raise InputError("bench: the benches are in the source tree; install it with -e")
    if name is None:
        for bench, path in known.items():
            click.echo(f"{bench:10}{first_line(path)}")
        return
    if name not in known:
        raise InputError(f"bench {name!r}: one of {', '.join(known)}")
    sys.stdout.flush()
    # become the bench: its signals, status and output are its own
    os.execv(sys.executable, [sys.executable, str(known[name]), *arguments])
