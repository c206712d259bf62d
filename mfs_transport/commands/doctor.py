# SPDX-License-Identifier: Apache-2.0
"""`mfs doctor`: is the shim in the way of transfers? What is looked at is in diagnose/."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import click

from ..diagnose import Check, environment, nccl, pod, program, shim
from ..native import InputError

SCHEMA_VERSION = 1


def show(checks: list[Check], how: str) -> None:
    """Print it as a table."""
    from rich.text import Text

    from ..terminal import Column, Table, make_console

    console = make_console()
    console.print(Text(f"The environment {how}:"))
    table = Table(
        Column("status", left=True),
        Column("check", left=True),
        Column("reason", fold=True),
        heading=False,
    )
    styles = {"ok": "green", "FAIL": "bold red", "skipped": "yellow"}
    for check in checks:
        table.add_row(
            Text(check.status, style=styles[check.status]), Text(check.name), Text(check.reason)
        )
        if check.remedy:
            table.add_row("", "", Text(f"-> {check.remedy}", style="bold"))
    console.print(table)


@click.command(
    name="doctor",
    short_help="Prove that the shim is in the way, or say what is wrong.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--json", "as_json", is_flag=True, help="For programs; see schema_version.")
@click.option("--here", is_flag=True, help="Check the environment exactly as it is.")
@click.option("--pod", "as_pod", is_flag=True, help="Check what a pod is given: mounts and rights.")
@click.argument("argv", metavar="[nccl | -- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def command(as_json: bool, here: bool, as_pod: bool, argv: tuple[str, ...]) -> None:
    """Prove that the shim is in the way of transfers, or say what is wrong and what to do.

    Bytes are moved with NIXL (or UCX, where NIXL is not installed) inside one process, they
    are compared, and the calls that the shim saw are counted. The environment is the one you
    are in when that has MFS_ENABLE=1 (inside `mfs run`) or with --here, else the one that
    `mfs run` would make of it. With a COMMAND, that is run instead. `mfs doctor nccl` proves
    that NCCL's net plug-in loads and exports what the NCCL at hand looks for. `mfs doctor --pod`
    is for an init container: it looks at what the pod shares with its node, and moves nothing.

    Exit status 1 when a check failed.

    \b
    Example:
      mfs doctor
      mfs run --policy edf -- mfs doctor
      mfs doctor -- python my_nixl_program.py
      mfs doctor nccl
      mfs doctor --pod
    """
    if argv and not argv[0]:
        raise InputError("no command given; as in: mfs doctor -- python my_nixl_program.py")
    counters: dict[str, int]
    as_is = here or environment.check_enabled(os.environ).status == "ok"
    environ = dict(os.environ) if as_is and not argv else environment.launched(os.environ)
    if as_pod and argv:
        raise InputError("--pod checks what the pod is given, and runs nothing")
    if as_pod:
        as_is = True
        checks, counters = pod.examine(os.environ), {}
    elif argv == ("nccl",):
        environ = dict(os.environ) if as_is else environment.launched(os.environ)
        checks = nccl.examine(environ)
        counters = {}
    elif argv:
        checks, counters = program.examine(argv, environ, sys.stderr.fileno() if as_json else None)
    else:
        checks, counters = shim.examine(environ)
    healthy = (
        all(check.status != "FAIL" for check in checks)
        if argv == ("nccl",) or as_pod
        else all(check.status == "ok" for check in checks)
    )
    if as_json:
        report = {
            "schema_version": SCHEMA_VERSION,
            "ok": healthy,
            "as_is": as_is and not argv,
            "checks": [dataclasses.asdict(check) for check in checks],
            "counters": counters,
        }
        click.echo(json.dumps(report, indent=2))
    else:
        show(checks, "as it is" if as_is and not argv else "as `mfs run` makes it")
    if not healthy:
        sys.exit(1)
