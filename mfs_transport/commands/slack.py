# SPDX-License-Identifier: Apache-2.0
"""`mfs slack`: what the ports of this host can still be given by when, once or over HTTP."""

from __future__ import annotations

import contextlib
import json

import click
from rich.console import Group
from rich.text import Text

from ..config import resolve
from ..native import InputError
from ..observe import slack, slack_server
from ..terminal import NOTHING, Column, Table, make_console, number

PORT = 9655
SHOWN_S = (0.005, 0.02, 0.1, 0.5, 2.0)
STATES = {"none": "there is none yet", "idle": "no process uses it"}


def megabytes(value: int | None) -> str:
    return number(None if value is None else value / 1e6, ",.1f")


def span(span_s: float) -> str:
    return f"{1e3 * span_s:g} ms" if span_s < 1 else f"{span_s:g} s"


def table(ports: list[slack.PortSlack], grid: tuple[float, ...], size: int | None) -> Table:
    """MB that can be added, by each deadline."""
    made = Table(
        Column("port", left=True),
        Column("of MB/s", 3),
        Column("due MB", 2),
        Column("late MB", 2),
        *(Column(f"by {span(by_s)}") for by_s in grid),
        *([Column("soonest s")] if size is not None else []),
        Column("told s", 1),
    )
    for one in ports:
        made.add_row(
            f"{one.port} {'out' if one.direction == 'egress' else 'in'}",
            megabytes(one.rate_Bps or None),
            megabytes(one.first_bytes + sum(due.bytes for due in one.dues)),
            megabytes(one.late_bytes),
            *(megabytes(one.bytes_by(by_s)) for by_s in grid),
            *([number(one.soonest_s(size), ".3f")] if size is not None else []),
            NOTHING if one.told_s is None else f"{one.told_s:.2f}{' (stale)' if one.stale else ''}",
        )
    return made


def screen(found: slack.Slack, grid: tuple[float, ...], size: int | None) -> Text | Table | Group:
    look = found.look
    if look.state != "live":
        return Text(f"segment {look.path}: {look.reason or STATES[look.state]}")
    if not found.ports:
        return Text(f"segment {look.path}: no sender has joined a port yet")
    head = Text("MB that can be added without making late what is in time", style="bold")
    return Group(head, table(found.ports, grid, size))


@click.command(name="slack", short_help="What the ports can still be given by when.")
@click.option("--once", is_flag=True, help="Say it here, and end; else serve it over HTTP.")
@click.option("--json", "as_json", is_flag=True, help="With --once: for programs.")
@click.option("--by", default="", metavar="SECONDS,...",
              help="With --once: deadlines from now, instead of the usual ones.")  # fmt: skip
@click.option("--bytes", "size", default="", metavar="N",
              help="With --once: and when so many can have left at the earliest.")  # fmt: skip
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), metavar="N",
              help="Port to listen on; 0: a free one, which is printed.")  # fmt: skip
@click.option("--address", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on; 0.0.0.0: all, without any protection.")  # fmt: skip
def command(once: bool, as_json: bool, by: str, size: str, port: int, address: str) -> None:
    """Say of each port how many bytes can be added with which deadline, so that no flow that is in
    time becomes late: for a router that chooses where a request goes, or from where its KV comes.

    It is worked out from the segment, from outside: the processes pay nothing for it, and need
    not have been started yet. They tell what waits every 100 ms, and the answer says how long ago
    that was. docs/observability.md has the rule and the fields.

    \b
    Example:
      mfs slack --once --by 0.05,0.2 --bytes 67108864
      mfs slack --address 10.0.0.7 &
      curl -s 'http://10.0.0.7:9655/slack?by=0.2' | jq '.ports[] | {port, room}'
    """
    place = resolve(lenient=once)["MFS_SEGMENT"].value
    if once:
        grid = slack_server.deadlines(by) if by else slack.GRID_S if as_json else SHOWN_S
        wanted = slack_server.size(size) if size else None
        found = slack.slack(place)
        if as_json:
            click.echo(json.dumps(found.as_dict(grid, wanted), indent=2))
        else:
            make_console().print(screen(found, grid, wanted))
        return
    for name, given in (("--json", as_json), ("--by", by), ("--bytes", size)):
        if given:
            raise InputError(f"{name}: goes with --once; a client over HTTP asks for itself")
    with slack_server.Server(address, port, place) as server:
        click.echo(f"serving {server.url}")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
