# SPDX-License-Identifier: Apache-2.0
"""`mfs dump`: what waits in the processes of this host, since when, and for what."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Group
from rich.text import Text

from ..config import resolve
from ..native import InputError
from ..observe.waits import Queue, Wait, Waits, reason, waits
from ..terminal import NOTHING, Column, Table, make_console, number

SCHEMA_VERSION = 1
OLD_S = 1.0  # what was told longer ago than this is called old
MOST = 100  # rows of all senders together


def megabytes(value: int) -> str:
    return f"{value / 1e6:,.1f}"


def heading(queue: Queue) -> Text:
    """One line: who it is, how much waits, and whether it is at work."""
    way = "out" if queue.direction == "egress" else "in"
    many = "1 flow waits" if queue.flows == 1 else f"{queue.flows:,} flows wait"
    waiting = f"{many}, {megabytes(queue.left_bytes)} MB" if queue.flows else "nothing is queued"
    parts = [f"process {queue.process}, port {queue.port} {way}: {waiting}"]
    parts.append(f"{megabytes(queue.inflight_bytes)} MB in flight")
    if queue.stalled:
        peers = "1 peer takes" if queue.stalled == 1 else f"{queue.stalled} peers take"
        parts.append(f"{peers} no bytes")
    if queue.still:
        parts.append(f"it has not looked at its queue since {queue.age_s:.1f} s")
    line = Text("; ".join(parts), style="bold")
    if queue.told_s is None:
        line.append("\nwhat waits there is not known: it has not told it")
    elif queue.told_s > OLD_S and queue.waits:
        line.append(f"\nas it told it {queue.told_s:.1f} s ago")
    return line


def table(queue: Queue, waits: list[Wait]) -> Table:
    """Oldest first."""
    made = Table(
        Column("waits s"),
        Column("request", left=True, fold=True),
        Column("stage", left=True),
        Column("layer", 2),
        Column("left MB"),
        Column("done MB", 1),
        Column("level"),
        Column("laxity s", 3),
        Column("still s", 0),
        Column("for", left=True, fold=True),
    )
    for one in waits:
        made.add_row(*cells(queue, one))
    return made


def cells(queue: Queue, one: Wait) -> tuple[str, ...]:
    name = one.request if one.named else f"({megabytes(one.inflight_bytes)} MB in flight)"
    level = NOTHING if one.level is None else str(one.level)
    return (
        f"{one.wait_s:.1f}",
        name or "(untagged)",
        one.stage if one.named else NOTHING,
        str(one.layer) if one.named else NOTHING,
        megabytes(one.left_bytes),
        megabytes(one.sent_bytes) if one.named else NOTHING,
        level,
        number(one.laxity_s, ".3f") + ("!" if one.given_up else ""),
        f"{one.still_s:.1f}",
        reason(queue, one),
    )


def screen(found: Waits, queues: list[Queue], most: int = MOST) -> Any:
    """The oldest of all, each under its sender; of the others how many there are."""
    ages = sorted((one.wait_s for queue in queues for one in queue.waits), reverse=True)
    least_s = ages[most - 1] if len(ages) >= most else 0.0
    parts: list[Any] = []
    senders = flows = room = 0
    for queue in queues:
        waits = [one for one in queue.waits if one.wait_s >= least_s][: most - room]
        room += len(waits)
        if queue.waits and not waits:
            senders, flows = senders + 1, flows + queue.flows
            continue
        if parts:
            parts.append(Text(""))
        parts.append(heading(queue))
        if waits:
            parts.append(table(queue, waits))
        others = queue.flows - sum(one.why != "flight" for one in waits)
        if others > 0 and waits:
            parts.append(Text(f"and {others:,} more that have waited for less"))
    if senders:
        more = f"and {senders:,} senders more, with {flows:,} flows that have waited for less"
        parts += [Text(""), Text(f"{more}; --rows 1000 shows more, --json all")]
    if found.left_out:
        parts += [Text(""), Text(f"and {found.left_out} senders for which there was no room")]
    return Group(*parts) if parts else Text("nothing waits")


def chosen(found: Waits, process: str | None) -> list[Queue]:
    if process is None:
        return found.queues
    names = {name for name, one in found.look.processes.items() if process in (name, str(one.pid))}
    if not names:
        there = ", ".join(sorted(found.look.processes)) or "none"
        raise InputError(f"process {process}: it does not use {found.look.path}; these do: {there}")
    return [queue for queue in found.queues if queue.process in names]


@click.command(name="dump", short_help="What waits, since when, and for what.")
@click.argument("process", metavar="[PID]", required=False)
@click.option("--rows", default=MOST, show_default=True, type=click.IntRange(1, 100_000),
              metavar="N", help="So many of the oldest flows.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same for programs, whole.")
def command(process: str | None, rows: int, as_json: bool) -> None:
    """Every flow that waits, the oldest first, of PID or of all processes of this host; and those
    of which all is in flight, where nothing is queued or their peer takes no bytes.

    `waits s`: since its oldest transfer was posted; `still s`: since something of it was sent;
    `laxity s`: the time until its deadline, less what sending the rest takes. A `!`: it was given
    up. The segment is read from outside, so a process that hangs or is stopped is shown as well,
    with the age of what it has told last. docs/operations.md reads one line by line.

    \b
    Example:
      mfs dump
      mfs dump 4711
      mfs dump --json | jq '.queues[].waits[] | select(.still_s > 5)'
    """
    found = waits(resolve(lenient=True)["MFS_SEGMENT"].value)
    if found.look.state != "live":
        why = found.look.reason or "no process uses it; start one with `mfs run -- COMMAND`"
        raise InputError(f"segment {found.look.path}: {why}")
    queues = chosen(found, process)
    if as_json:
        report = {"schema_version": SCHEMA_VERSION, "segment": str(found.look.path)}
        shown = Waits(found.look, queues, found.left_out)
        click.echo(json.dumps({**report, **shown.as_dict()}, indent=2))
    else:
        make_console().print(screen(found, queues, rows))
