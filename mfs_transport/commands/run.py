# SPDX-License-Identifier: Apache-2.0
"""`mfs run`: start a program with the shim in the way of its transfers."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

import click

from .. import launch
from ..config import FILE_VARIABLE, parse_assignment, resolve
from ..native import InputError


def options_given(
    policy: str | None, config: str | None, assignments: tuple[str, ...]
) -> dict[str, str]:
    """--policy, --config and --set as variables; one that is given twice is refused."""
    given: dict[str, str] = {}
    pairs = [parse_assignment(text) for text in assignments]
    if policy is not None:
        pairs.append(("MFS_POLICY", policy))
    if config is not None:
        pairs.append((FILE_VARIABLE, config))
    for name, value in pairs:
        if given.setdefault(name, value) != value:
            raise InputError(f"{name}: given twice, as {given[name]!r} and {value!r}")
    return given


def execute(argv: tuple[str, ...], environ: Mapping[str, str]) -> NoReturn:
    """Become `argv`; end as a shell would (127, 126) when it cannot be started."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; a program inherits that
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], list(argv), dict(environ))
    except FileNotFoundError:
        status, reason = 127, "command not found"
    except OSError as error:
        status, reason = 126, error.strerror or str(error)
    click.echo(f"mfs: {argv[0]}: {reason}", err=True)
    sys.exit(status)


@click.command(
    name="run",
    short_help="Start a program with the shim in the way.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--policy", metavar="NAME", help="Order of chunks; `mfs info` lists the names.")
@click.option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, help="Set an MFS_ variable."
)
@click.option("--config", metavar="FILE", help="TOML file to read settings from.")
@click.option("--print-env", is_flag=True, help="Print the environment as shell code; run nothing.")
@click.argument("argv", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
def command(
    policy: str | None,
    assignments: tuple[str, ...],
    config: str | None,
    print_env: bool,
    argv: tuple[str, ...],
) -> None:
    """Start COMMAND with the shim in the way of its transfers.

    Settings come from the options here, then the environment, then a TOML file, then the
    defaults. A LD_PRELOAD of your own is kept, in its order. NCCL is told to use our net
    plug-in, unless NCCL_NET_PLUGIN or NCCL_NET is set: NCCL_NET_PLUGIN=none keeps its own.
    With MFS_PEERS the agent of this host is started, if none runs: see mfs agent.

    \b
    Example:
      mfs run --policy edf --set MFS_WINDOW=1m -- python my_nixl_program.py
      eval "$(mfs run --print-env)"      # for this shell and all it starts
    """
    settings = resolve(options_given(policy, config, assignments))
    changes = launch.environment(settings, os.environ)
    if print_env:
        if argv:
            raise InputError("--print-env runs nothing: leave the command away")
        for name, value in changes.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        return
    if not argv or not argv[0]:
        raise InputError("no command given; as in: mfs run -- python my_nixl_program.py")
    environ = {**os.environ, **changes}
    if settings["MFS_PEERS"].value:
        from ..exchange import launcher

        launcher.start_if_wanted(settings, environ)
    execute(argv, environ)
