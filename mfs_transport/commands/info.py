# SPDX-License-Identifier: Apache-2.0
"""`mfs info`: versions, libraries, settings with their sources, policies, the segment."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import classes, config_page, installation
from ..config import Settings, resolve
from ..engines.vllm.estimate import DEFAULT_BPS, default_layer_s, read_reports
from ..exchange import launcher
from ..native import InputError, lib, policies
from ..observe import health
from ..observe.far import far_ports
from ..observe.segment import Look, look

if TYPE_CHECKING:
    from ..terminal import Table

SCHEMA_VERSION = 1


def gather(settings: Settings, segment: Look) -> dict[str, Any]:
    """Everything, as --json gives it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": installation.versions(),
        "libraries": {
            path.name: {"path": str(path), "there": path.is_file()}
            for path in installation.libraries()
        },
        "settings": [
            {
                "name": setting.name,
                "type": setting.row.type,
                "value": setting.value,
                "source": setting.source,
                "default": setting.row.default,
                "help": setting.row.help,
            }
            for setting in settings.rows
        ],
        "settings_file": str(settings.file) if settings.file else None,
        "remarks": list(settings.remarks),
        "policies": [dataclasses.asdict(row) for row in policies()],
        "classes": classes_as_dicts(settings),
        "segment": segment_as_dict(segment),
        "far_ports": far_as_dicts(segment),
        "peers": peers_as_dicts(segment),
    }


def classes_as_dicts(settings: Settings) -> list[dict[str, Any]]:
    """Of MFS_CLASSES; none where it is not set, or cannot be used, which the remarks say."""
    text = settings["MFS_CLASSES"].value
    try:
        rows = classes.table(text)
        answers = classes.answers(settings["MFS_CLASSES_ANSWERS"].value, text)
    except InputError:
        rows = []
    return [
        {
            **dataclasses.asdict(row),
            "traffic_class": row.traffic_class,
            "answers": row.dscp == (rows[-1].dscp if answers is None else answers),
        }
        for row in rows
    ]


def segment_as_dict(segment: Look) -> dict[str, Any]:
    """With what the system says of the devices of each port; 0: nothing."""
    links = {port.name: int(lib.mfs_port_link_Bps(port.name.encode())) for port in segment.ports}
    return {**segment.as_dict(), "link_Bps": links}


def far_as_dicts(segment: Look) -> list[dict[str, Any]] | None:
    """Ports of other hosts; None: this host has no agent."""
    ports = far_ports(str(segment.path)) if segment.state == "live" else None
    return None if ports is None else [dataclasses.asdict(port) for port in ports]


def peers_as_dicts(segment: Look) -> list[dict[str, Any]] | None:
    """Hosts that this one agrees with, and how they were found; None: this host has no agent."""
    state = launcher.state_of(str(segment.path)) if segment.state == "live" else None
    if state is None:
        return None
    wanted = ("address", "port", "known_by")
    return [{name: one.get(name) for name in wanted} for one in state.get("peers", [])]


# --- for people ---


def _class_lines(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Who has which class, and over what."""
    if len(rows) == 1:
        return [("all", f"DSCP {rows[0]['dscp']}: over TCP; InfiniBand and RoCE by `mfs run`")]
    lines = []
    for row in rows:
        levels = f"level {row['first_level']}"
        if row["last_level"] is None:
            levels += " and all behind it"
        read = ", and what others read" if row["answers"] else ""
        lines.append((levels, f"DSCP {row['dscp']}: puts over TCP{read}"))
    return lines


def _version_lines(versions: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("mfs-transport", versions["mfs_transport"]), ("Python", versions["python"])]
    if versions["libmfs"] != versions["mfs_transport"]:
        lines.insert(1, ("its libmfs.so", f"{versions['libmfs']}: install the package anew"))
    for copy in versions["ucx"]:
        version = copy["version"] or "does not load"
        lines.append((f"UCX, {copy['where']}", f"{version}  {copy['path']}"))
    if not versions["ucx"]:
        lines.append(("UCX", "not found"))
    for title, key in (("NIXL", "nixl"), ("CUDA", "cuda"), ("NCCL", "nccl")):
        found = ", ".join(f"{name} {version}" for name, version in versions[key].items())
        lines.append((title, found or "not found"))
    return lines


def _segment_lines(segment: dict[str, Any]) -> list[tuple[str, str]]:
    words = {
        "none": "not there; the first process makes it",
        "idle": "nobody is attached; what the last process left is kept when the next comes",
        "live": "in use",
        "unusable": segment["reason"],
    }
    lines = [("file", segment["path"]), ("state", words[segment["state"]])]
    if segment["state"] == "live":
        lines += [("policy", segment["policy"]), ("requests", str(segment["requests"]))]
    lines += [(name, str(value)) for name, value in segment["counters"].items()]
    if segment["state"] == "live":
        for name, rate in segment["egress_Bps"].items():
            state = f"{rate / 1e6:.1f} MB/s out" if rate else "not known yet"
            link = segment["link_Bps"][name]
            state += f", of a link of {link / 1e6:.0f} MB/s" if link else ""
            count = segment["stalled"][name]
            if count:
                who = "1 destination takes" if count == 1 else f"{count} destinations take"
                state += f"; {who} no bytes"
            lines.append((f"port {name}", state))
    return lines


def far_table(ports: list[dict[str, Any]]) -> Table:
    """What this host wants of other hosts' ports, and which of it they let through."""
    from ..terminal import NOTHING, Column, Table

    table = Table(
        Column("port", left=True, fold=True),
        *(Column(one) for one in ("level", "laxity ms", "waits MB", "in flight MB")),
        *(Column(one) for one in ("limit: level", "laxity ms", "ends ms")),
    )
    for port in ports:
        limit = port["limit"]
        waits = port["level"] is not None
        table.add_row(
            port["name"],
            str(port["level"]) if waits else NOTHING,
            f"{port['span_ms']:.1f}" if waits else NOTHING,
            f"{port['waiting_bytes'] / 1e6:.1f}",
            f"{port['inflight_bytes'] / 1e6:.1f}",
            *(
                (str(limit["level"]), f"{limit['span_ms']:.1f}", f"{limit['ends_ms']:.1f}")
                if limit
                else (NOTHING,) * 3
            ),
        )
    return table


def _peer_lines(peers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    words = {
        "name": "named by MFS_PEERS",
        "connection": "found by a connection",
        "itself": "has found this host",
    }
    return [
        (f"{one['address']}:{one['port']}", words.get(one["known_by"], "known")) for one in peers
    ]


def _health_lines(found: Look) -> list[tuple[str, str]]:
    """What goes wrong, or has."""
    lines = [("late", line) for line in health.late(found)]
    return lines + [("warned", health.told(one)) for one in found.warned]


def grid(rows: Sequence[tuple[str, ...]]) -> Table:
    """The last column is of words."""
    from ..terminal import Column, Table

    last = len(rows[0]) - 1
    columns = (Column("", left=True, fold=index == last) for index in range(last + 1))
    table = Table(*columns, heading=False)
    for row in rows:
        table.add_row(*row)
    return table


def show(report: dict[str, Any], found: Look) -> None:
    """Print it as tables."""
    from rich.padding import Padding
    from rich.text import Text

    from ..terminal import make_console

    console = make_console()

    def table(title: str, rows: list[tuple[str, ...]]) -> None:
        console.print(Text(title, style="bold"))
        console.print(Padding(grid(rows), (0, 0, 0, 2)))
        console.print()

    def source(setting: dict[str, Any]) -> str:
        if setting["source"] == "file":
            return str(report["settings_file"])
        return str(setting["source"])

    table("Versions", list(_version_lines(report["versions"])))
    libraries = report["libraries"].values()
    table(
        "Libraries",
        [
            (one["path"], "" if one["there"] else "MISSING: install the package anew")
            for one in libraries
        ],
    )
    table(
        "Settings",
        [
            (one["name"], one["value"] or '""', source(one), one["help"])
            for one in report["settings"]
        ],
    )
    if report["remarks"]:
        table("Remarks", [(remark,) for remark in report["remarks"]])
    if report["classes"]:
        table("Traffic classes", list(_class_lines(report["classes"])))
    table("Policies", [(one["name"], one["help"]) for one in report["policies"]])
    table("Segment of this host", list(_segment_lines(report["segment"])))
    if report["far_ports"]:
        console.print(Text("Ports of other hosts", style="bold"))
        console.print(Padding(far_table(report["far_ports"]), (0, 0, 0, 2)))
        console.print()
    if report["peers"]:
        table("Hosts that agree with this one", list(_peer_lines(report["peers"])))
    if lines := _health_lines(found):
        table("What went wrong", list(lines))


# --- what moves ---


def gather_live(segment: Look) -> dict[str, Any]:
    """The segment, and what the engines of this host have learned of times and bandwidth."""
    return {
        "schema_version": SCHEMA_VERSION,
        "segment": segment_as_dict(segment),
        "far_ports": far_as_dicts(segment),
        "peers": peers_as_dicts(segment),
        "engines": read_reports(segment.path),
    }


def _engine_lines(engine: dict[str, Any]) -> list[tuple[str, str]]:
    rate = engine["port_Bps"]
    port = f"{rate / 1e6:.1f} MB/s" if rate else f"not known yet; {DEFAULT_BPS / 1e6:.0f} MB/s"
    lines = [
        ("engine", f"{engine['engine']}, pid {engine['pid']}"),
        ("KV", f"{engine['layers']} layers, {engine['kv_token_bytes']:g} bytes a token"),
        ("port", port),
    ]
    for tokens, seconds in engine["layer_s"]:
        lines.append((f"layer, {tokens} tokens", f"{1e3 * seconds:.3f} ms"))
    if not engine["layer_s"]:
        default = default_layer_s(1000)
        lines.append(("layer, 1000 tokens", f"not known yet; {1e3 * default:.3f} ms"))
    return lines


def show_live(report: dict[str, Any], found: Look) -> Any:
    """As something that rich prints."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text("Segment of this host", style="bold")]
    parts.append(grid(_segment_lines(report["segment"])))
    if report["far_ports"]:
        title = Text("Ports of other hosts", style="bold")
        parts += [Text(""), title, far_table(report["far_ports"])]
    if report["peers"]:
        title = Text("Hosts that agree with this one", style="bold")
        parts += [Text(""), title, grid(_peer_lines(report["peers"]))]
    if lines := _health_lines(found):
        parts += [Text(""), Text("What went wrong", style="bold"), grid(lines)]
    for engine in report["engines"]:
        parts += [Text(""), Text("Estimates", style="bold"), grid(_engine_lines(engine))]
    return Group(*parts)


def live(place: str, as_json: bool) -> None:
    """Once for programs and pipes; on a terminal every second until Ctrl-C."""
    from rich.live import Live

    from ..terminal import make_console

    if as_json:
        click.echo(json.dumps(gather_live(look(place)), indent=2))
        return
    console = make_console()
    if not console.is_terminal:
        found = look(place)
        console.print(show_live(gather_live(found), found))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console) as screen:
        while True:
            found = look(place)
            screen.update(show_live(gather_live(found), found))
            time.sleep(1.0)


@click.command(name="info", short_help="Versions, libraries, settings, policies.")
@click.option("--live", "as_live", is_flag=True, help="What moves: segment, engines' estimates.")
@click.option("--json", "as_json", is_flag=True, help="For programs; see schema_version.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/configuration.md.")
def command(as_live: bool, as_json: bool, as_markdown: bool) -> None:
    """Versions, where the libraries are, every setting with its source, the policies.

    When processes of this host share a segment: its policy, requests and counters as well.

    \b
    Example:
      mfs info
      mfs info --live
      mfs info --json | jq '.settings[] | select(.source != "default")'
    """
    if as_markdown:
        click.echo(config_page.markdown(), nl=False)
        return
    settings = resolve(lenient=True)
    if as_live:
        live(settings["MFS_SEGMENT"].value, as_json)
        return
    found = look(settings["MFS_SEGMENT"].value)
    report = gather(settings, found)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        show(report, found)
