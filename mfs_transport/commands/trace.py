# SPDX-License-Identifier: Apache-2.0
"""`mfs trace`: what happened to the flows of this host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.cells import cell_len

from .. import json_report
from ..config import resolve
from ..native import InputError
from ..observe.trace import Event, Trace
from ..terminal import make_console
from ._files import ResultFile
from ._trace import POLL_S, attach, export, record, recorded, view_command

COLUMNS = {"time s": 10, "due in s": 10, "event": 9, "level": 5, "stage": 10, "layer": 5}
MORE = {"left B": 11, "port": 16, "sent B": 11, "pid": 7}  # where there is room, in this order
NAME = 42  # room for the request's name, which comes last: as long as vLLM's
GAP = "  "
BEHIND = " " * 12  # of what stands in a line of its own


def columns(width: int) -> dict[str, int]:
    """Those for which there is room, but for the request."""
    chosen = dict(COLUMNS)
    for title, size in MORE.items():
        if sum(len(GAP) + one for one in (*chosen.values(), size)) + NAME > width:
            break
        chosen[title] = size
    return chosen


def follow(trace: Trace, seconds: float | None) -> Iterator[Event]:
    """Events as they come, until `seconds` are over or somebody presses Ctrl-C."""
    until = time.monotonic() + seconds if seconds is not None else None
    was_on = trace.on
    trace.on = True
    try:
        while until is None or time.monotonic() < until:
            yield from trace.read()
            time.sleep(POLL_S)
        yield from trace.read()
    except KeyboardInterrupt:
        return
    finally:
        trace.on = was_on


def heading(shown: dict[str, int]) -> str:
    return GAP.join([*(title.ljust(size) for title, size in shown.items()), "request, and why"])


def line(event: Event, since_ns: int, shown: dict[str, int], width: int) -> str:
    """One row below the heading, with the reason behind it or, where there is no room, below."""
    due = "-"
    if event.deadline_ns is not None:
        due = f"{(event.deadline_ns - event.time_ns) / 1e9:.3f}"
    moved = event.level != event.level_before
    level = f"{event.level_before}>{event.level}" if moved else str(event.level)
    cells = {
        "time s": f"{(event.time_ns - since_ns) / 1e9:.4f}",
        "due in s": due + ("!" if event.given_up else ""),
        "event": event.kind,
        "level": level,
        "stage": event.stage,
        "layer": str(event.layer),
        "left B": str(event.bytes_left),
        "port": f"{event.port} {'out' if event.direction == 'egress' else 'in'}",
        "sent B": str(event.bytes_sent),
        "pid": str(event.pid),
    }
    name = event.request or "(untagged)"
    row = GAP.join([*(cells[title].ljust(size) for title, size in shown.items()), name])
    reason = event.why_words()
    if not reason:
        return row
    whole = f"{row}{GAP}{reason}"
    return whole if cell_len(whole) <= width else f"{row}\n{BEHIND}{reason}"


@click.group(
    name="trace",
    invoke_without_command=True,
    short_help="What happened to the flows of this host.",
)
@click.option("--follow", "following", is_flag=True, help="Record, and print what comes.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), help="With --follow: stop after so long."
)
@click.option("--last", is_flag=True, help="What the processes before the present ones recorded.")
@click.option("--request", help="Only events of the request of this name.")
@click.option("--json", "json_path", type=ResultFile(), help="Write them here, too.")
@click.pass_context
def command(
    context: click.Context,
    following: bool,
    seconds: float | None,
    last: bool,
    request: str | None,
    json_path: Path | None,
) -> None:
    """When each flow was queued, promoted, sent and acknowledged, at which level, and why.

    Without --follow: what was recorded (the last 16,384 events) since recording was switched
    on, by MFS_TRACE=1 or by a --follow that is running; also when the program has ended, until
    the next one starts, and then with --last. --follow may be started before the program. `due in
    s` with a `!`: the request had been given up, being hopeless or shed. docs/trace.md explains
    every column and reason.

    \b
    Example:
      mfs trace --follow --request cmpl-17
      MFS_TRACE=1 mfs run -- python server.py  &  mfs trace --json trace.json
      mfs trace view trace.html
      mfs trace export trace-for-perfetto.json
    """
    if context.invoked_subcommand is not None:
        return
    if seconds is not None and not following:
        raise click.UsageError("--seconds goes with --follow")
    if seconds is not None and not seconds > 0:
        raise InputError(f"--seconds {seconds}: more than 0")
    if following and last:
        raise click.UsageError("--last is over: it cannot be followed")
    place = resolve(lenient=True)["MFS_SEGMENT"].value
    kept: list[Event] = []
    until = None if seconds is None else time.monotonic() + seconds
    with attach(place, until) if following else recorded(place, last) as host:
        trace = Trace(host, from_now=following)
        if following:
            events = follow(trace, seconds)
        else:
            found = trace.read()
            if not found and not trace.on:
                raise InputError(
                    f"segment {host.path}: nothing is recorded; use --follow, or start the "
                    "programs with MFS_TRACE=1"
                )
            events = iter(found)
        width = make_console().width
        shown = columns(width)
        click.echo(heading(shown))
        for event in events:
            if request is not None and event.request != request:
                continue
            kept.append(event)
            click.echo(line(event, kept[0].time_ns, shown, width))
        if trace.lost:
            click.echo(f"{trace.lost} events were overwritten before they were read", err=True)
    if json_path:
        json_report.write(json_path, [event.as_dict() for event in kept], lost=trace.lost)


command.add_command(record)
command.add_command(export)
command.add_command(view_command)
