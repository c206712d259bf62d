# SPDX-License-Identifier: Apache-2.0
"""`mfs top`: what the ports and processes of this host do, live."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from ..config import resolve
from ..observe import health
from ..observe.rates import PortNow, ProcessNow, Watch, folded
from ..observe.segment import Look, look
from ..terminal import NOTHING, Column, Table, make_console, number

SCHEMA_VERSION = 1
MOST = 20  # processes that are shown one by one where no height is known
NOTES = 3  # lines of each kind about what goes wrong
AROUND = 12  # lines of a screen that are not of processes or ports
STATES = {"none": "there is none yet", "idle": "no process uses it"}


def megabytes(value: float | None, digits: int = 1) -> str:
    return number(None if value is None else value / 1e6, f",.{digits}f")


def seconds(value: float | None) -> str:
    return number(value, ".1f") if value else NOTHING


def count(value: int) -> str:
    return f"{value:,}" if value else NOTHING


def level(value: int | None) -> str:
    return NOTHING if value is None else str(value)


def port_table(ports: list[PortNow]) -> Table:
    """Of a port the name is what is repeated, so the direction stands with it."""
    table = Table(
        Column("port", left=True),
        *(Column(one) for one in ("MB/s", "of", "in flight MB")),
        Column("window MB", 1),
        *(Column(one) for one in ("level", "waits s")),
        Column("senders waiting", 0),
        *(Column(one) for one in ("still", "since s", "stalled")),
    )
    for one in ports:
        table.add_row(
            f"{one.port} {'out' if one.direction == 'egress' else 'in'}",
            megabytes(one.moved_Bps),
            megabytes(one.rate_Bps or None, 0),
            megabytes(one.inflight_bytes),
            megabytes(one.window_bytes),
            level(one.level),
            number(one.waits_s, ".1f"),
            count(one.waiting),
            count(one.still),
            seconds(one.still_s),
            count(one.stalled),
        )
    return table


def process_table(processes: list[ProcessNow], others: int) -> Table:
    table = Table(
        Column("process", left=True),
        Column("MB/s"),
        Column("deferred/s", 0),
        *(Column(one) for one in ("in flight MB", "level", "still s", "stalled")),
        Column("faults", 1),
    )
    for one in processes:
        table.add_row(
            f"{others} others" if one.process is None else one.process,
            megabytes(one.moved_Bps),
            number(one.deferred_per_s, ",.0f"),
            megabytes(one.inflight_bytes),
            level(one.level),
            seconds(one.still_s),
            count(one.stalled),
            count(one.faults),
        )
    return table


def screen(found: Look, ports: list[PortNow], processes: list[ProcessNow], most: int) -> Any:
    if found.state != "live":
        reason = found.reason or STATES[found.state]
        return Text(f"segment {found.path}: {reason}")
    states = ", ".join(
        f"{many:,} {name.replace('_', ' ')}" for name, many in found.requests.items() if many
    )
    many_processes = "1 process" if len(processes) == 1 else f"{len(processes)} processes"
    head = f"policy {found.policy}; {many_processes}; requests: {states or 'none'}"
    shown, others = folded(processes, most)
    parts: list[Any] = [Text(head, style="bold")]
    if ports:
        parts += [Text(""), port_table(ports)]
    if shown:
        parts += [Text(""), process_table(shown, others)]
    wrong = health.late(found)[:NOTES] + [health.told(one) for one in health.recent(found, NOTES)]
    if wrong:
        parts += [Text(""), *(Text(line) for line in wrong)]
    return Group(*parts)


def report(found: Look, ports: list[PortNow], processes: list[ProcessNow]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "segment": {"path": str(found.path), "state": found.state, "reason": found.reason},
        "policy": found.policy,
        "requests_by_state": found.requests,
        "ports": [dataclasses.asdict(one) for one in ports],
        "processes": [dataclasses.asdict(one) for one in processes],
        "late": health.late(found),
        "warned": [dataclasses.asdict(one) for one in found.warned],
    }


@click.command(name="top", short_help="What ports and processes do, live.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600),
              metavar="SECONDS", help="Between two looks.")  # fmt: skip
@click.option("--once", is_flag=True, help="One interval, then end; so in a pipe in any case.")
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def command(interval: float, once: bool, as_json: bool) -> None:
    """Per port: what goes through, what is in flight, what waits, who does not move.

    `level` is that of the most urgent chunk that waits, 0 first, and `waits s` for how long
    something has been waiting, as far as this command has seen. `still`: senders that have
    something to do and do not look at their queue; `stalled`: destinations that take no bytes.
    Below stand processes that are short of a core, and what was warned of in the last minute.
    It reads the segment from outside, so it shows processes that hang as well.

    \b
    Example:
      mfs top
      mfs top --once --json | jq '.ports[] | select(.stalled > 0)'
    """
    place = resolve(lenient=True)["MFS_SEGMENT"].value
    console = make_console()
    watch = Watch()
    found = look(place)
    watch.update(found, time.monotonic())
    if once or as_json or not console.is_terminal:
        if found.state == "live":
            time.sleep(interval)
            found = look(place)
        ports, processes = watch.update(found, time.monotonic())
        if as_json:
            click.echo(json.dumps(report(found, ports, processes), indent=2))
        else:
            console.print(screen(found, ports, processes, MOST))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True) as live:
        while True:
            ports, processes = watch.update(found, time.monotonic())
            most = max(3, console.height - AROUND - len(ports))
            live.update(screen(found, ports, processes, most), refresh=True)
            time.sleep(interval)
            found = look(place)
