# SPDX-License-Identifier: Apache-2.0
"""`mfs explain`: what a request of a real run waited for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from .. import json_report
from ..observe.explain import beside_table, story, summary
from ..terminal import make_console
from ._files import ResultFile
from ._trace import recording_of


@click.command(name="explain", short_help="Why a request was late, from the trace.")
@click.argument("request")
@click.option("--from", "file", type=click.Path(path_type=Path), help="Of `mfs trace record`.")
@click.option("--last", is_flag=True, help="What the processes before the present ones recorded.")
@click.option("--json", "json_path", type=ResultFile(), help="Write it here, too.")
def command(request: str, file: Path | None, last: bool, json_path: Path | None) -> None:
    """Where the time of REQUEST went, and what used its ports meanwhile.

    `collective`, `fetch` and `deliver`: something of it waited in a queue; `wire`: nothing did, and
    bytes of it were in flight; `compute`: neither, so it computed, or waited for its unit. `alone`
    is its bytes at the port's rate, and what it computed. `mfs sim explain` says the same of a
    simulated request.

    \b
    Example:
      MFS_TRACE=1 mfs run -- python server.py  &  mfs explain cmpl-17
      mfs explain cmpl-17 --from run.mfst
    """
    one = story(recording_of(file, last), request)
    console = make_console()
    console.print(summary(one))
    if one.beside:
        console.print()
        console.print(beside_table(one))
    if json_path:
        rows = [dataclasses.asdict(piece) for piece in one.pieces]
        beside = [dataclasses.asdict(flow) for flow in one.beside]
        known = {"due_ns": one.due_ns, "late_s": one.late_s, "given_up": one.given_up}
        json_report.write(
            json_path, rows, request=request, **known, beside=beside, summary=summary(one)
        )
