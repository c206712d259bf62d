# SPDX-License-Identifier: Apache-2.0
"""`mfs agent`: this host and its peers agree on what goes first."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..config import resolve
from ..exchange import launcher, seal
from ..native import InputError, config_number
from ..terminal import NOTHING, Column, Table, make_console, number

MOST_SILENT = 4  # addresses that are named
NOT_THERE = "no agent runs for this segment; `mfs run` starts one where MFS_PEERS is set"


def peer_table(peers: list[dict[str, Any]]) -> Table:
    table = Table(
        Column("peer", left=True),
        Column("known by", left=True),
        *(Column(one) for one in ("heard s ago", "there and back ms", "least ms")),
        *(Column(one, 1) for one in ("its ports", "claims")),
        Column("limits"),
    )
    for one in peers:
        table.add_row(
            f"{one['address']}:{one['port']}",
            one.get("known_by", NOTHING),
            number(one["heard_s"], ".1f"),
            number(one["rtt_us"] / 1e3 or None, ".2f"),
            number(one["base_us"] / 1e3 or None, ".2f"),
            str(one["ports"]),
            str(one["claims"]),
            str(one["limits"]),
        )
    return table


def contact_line(contacts: list[dict[str, Any]]) -> str:
    """Where connections lead, and where nobody answers."""
    others = [one for one in contacts if not one["own"]]
    silent = sorted(
        f"{one['address']}:{one['port']} ({', '.join(one['by'])})"
        for one in others
        if not one["agent"]
    )
    line = f"connections lead to {len(others)} addresses of other hosts"
    if not silent:
        return line
    more = f" and {len(silent) - MOST_SILENT} others" if len(silent) > MOST_SILENT else ""
    return f"{line}; no agent with our key at {', '.join(silent[:MOST_SILENT])}{more}"


def show(state: dict[str, Any]) -> None:
    console = make_console()
    share = 100 * state["cpu_seconds"] / max(state["seconds"], 1e-9)
    counts = state["counts"]
    console.print(
        f"agent {state['pid']}, policy {state['policy']}: {state['workers']} workers here, "
        f"{len(state['peers'])} peers; {share:.1f} % of a core"
    )
    if state["peers"]:
        console.print(peer_table(state["peers"]))
    console.print(
        f"datagrams: {counts['sent']:,} sent, {counts['received']:,} received, "
        f"{counts['malformed']:,} malformed, {counts['stale']:,} stale"
    )
    console.print(
        f"verdicts of requests: {counts['verdicts_told']:,} told, "
        f"{counts['verdicts_held']:,} held of what others told"
    )
    if state.get("contacts") is not None:
        console.print(contact_line(state["contacts"]))
    for line in state["said"]:
        console.print(line)


@click.command(name="agent", short_help="Agree with other hosts on what goes first.")
@click.option("--new-key", is_flag=True, help="Print a key for MFS_AGENT_KEY_FILE; run nothing.")
@click.option("--once", is_flag=True, help="Show what the agent that runs here knows.")
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
@click.option("--stays", is_flag=True, help="Go on when no program uses the segment.")
def command(new_key: bool, once: bool, as_json: bool, stays: bool) -> None:
    """The agent of this host: one for each segment, which `mfs run` starts where MFS_PEERS is set.

    It tells the agents of MFS_PEERS what waits here for their ports, and what may be sent to the
    ports of this host, by datagrams under the key of MFS_AGENT_KEY_FILE. It ends when no program
    uses the segment any more. docs/hosts.md says what that is for and what it costs.

    \b
    Example:
      mfs agent --new-key > /etc/mfs/key && chmod 600 /etc/mfs/key
      export MFS_PEERS=decode-0,decode-1 MFS_AGENT_KEY_FILE=/etc/mfs/key
      mfs run -- python my_server.py
      mfs agent --once
    """
    if new_key:
        click.echo(seal.new_key(), nl=False)
        return
    settings = resolve(lenient=once or as_json)
    if once or as_json:
        state = launcher.state_of(settings["MFS_SEGMENT"].value)
        if as_json:
            click.echo(json.dumps(state, indent=1))
        elif state:
            show(state)
        if state is None:
            click.echo(f"mfs: {NOT_THERE}", err=True)
            sys.exit(1)
        return
    rate = config_number("MFS_PORT_RATE", settings["MFS_PORT_RATE"].value)
    given = launcher.options(settings, float(rate or 0), stays=stays)
    if not launcher.run(given, lambda line: click.echo(f"mfs agent: {line}", err=True)):
        raise InputError("an agent of this segment runs already: mfs agent --once")
