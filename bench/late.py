# SPDX-License-Identifier: Apache-2.0
"""Receivers whose processes look around late: what a sender still moves, of what UCX alone does.

Two emulated hosts (network namespaces, ports of --link), NIXL over UCX's TCP. A keeps two puts to
B, or two reads of B's memory, of 8 MiB each. B's process sleeps between two looks at its transport,
as the loop of an engine does that computes in between: a put over UCX's TCP is complete when it has
answered, and a read is served when it looks. What comes is counted by the NIC that it comes to.

Variants:

    off      UCX alone
    learned  the shim, which measures the rate of the port (MFS_PORT_RATE=0)
    known    the shim, which is told it

Cases:

    late     nothing else is wrong
    stopped  and B's process is stopped (SIGSTOP) for a second

A round measures each variant once, one after the other, in a steady state that has lasted for
1.5 s. `of off` is the median of what the variant moves of what UCX alone moves in the same round,
with the least and the most of the rounds; `after stop` what it moves in the two seconds after the
stop, of what it moved before.

    mfs bench late --json out/late.json
    mfs bench late --looks 5 --way put --case late --case stopped --rounds 3
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from _arrivals import Arrivals
from _main import begin
from _process import environment
from hosts import FILLED_S, MIB, party

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.terminal import Column, Table, help_of, make_console, number, track
from mfs_transport.testbed import inside as namespaces
from mfs_transport.testbed import network

WAYS = {"put": "WRITE", "get": "READ"}
VARIANTS = ("off", "learned", "known")
CASES = ("late", "stopped")
SIZE, DEPTH = 8 * MIB, 2
STOPPED_S, AFTER_S = 1.0, 2.0
LOOKS_MS = (0.05, 1000.0)


@dataclass(frozen=True)
class Point:
    """What a round compares the variants at."""

    case: str
    way: str
    look_ms: float


class Looks(click.ParamType):
    """How many milliseconds, with commas."""

    name = "ms,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            looks = tuple(dict.fromkeys(float(one) for one in value.split(",")))
        except ValueError:
            looks = ()
        least, most = LOOKS_MS
        if not looks or not all(least <= one <= most for one in looks):
            said = f"milliseconds from {least:g} to {most:g}, with commas"
            self.fail(f"{value!r}: {said}", param, ctx)
        return looks


# --- a scene ---


def settings(place: network.Place, segment: Path, variant: str, link_Bps: float) -> dict[str, str]:
    rates = {"learned": "0", "known": str(round(link_Bps))}
    env = environment(place.device, str(segment))
    return env | ({"MFS_PORT_RATE": rates[variant]} if variant in rates else {})


class Scene:
    """A and B under one variant."""

    def __init__(
        self, hosts: dict[str, network.Place], folder: Path, variant: str, link_Bps: float
    ) -> None:
        self.parties = {}
        for name, place in hosts.items():
            env = settings(place, folder / name, variant, link_Bps)
            self.parties[name] = party(name, place, variant, env)

    def measure(self, point: Point, seconds: float) -> dict[str, Any]:
        a, receiver = self.parties["A"], "B" if point.way == "put" else "A"
        self.meet(point.look_ms)
        everything = Arrivals(self.parties, receiver)
        a.ask("reads", of="B", bytes=SIZE, depth=DEPTH, way=WAYS[point.way])
        time.sleep(FILLED_S)
        steady = Arrivals(self.parties, receiver)
        time.sleep(seconds)
        found: dict[str, Any] = {"rate_Bps": steady.rate_Bps()}
        if point.case == "stopped":
            self.stop("B")
            after = Arrivals(self.parties, receiver)
            time.sleep(AFTER_S)
            found["after_Bps"] = after.rate_Bps()
        found["moved_bytes"] = a.ask("stop")["bytes"]
        found["arrived_bytes"] = everything.bytes()
        self.compare(receiver)
        return found

    def meet(self, look_ms: float) -> None:
        told = {name: one.ask("hello") for name, one in self.parties.items()}
        self.parties["B"].ask("look", every_s=look_ms / 1e3)
        self.parties["A"].ask("meet", peers={"B": (told["B"]["metadata"], told["B"]["at"])})

    def stop(self, name: str) -> None:
        process = self.parties[name].process
        process.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_S)
        process.send_signal(signal.SIGCONT)

    def compare(self, receiver: str) -> None:
        sender = "A" if receiver == "B" else "B"
        sent = self.parties[sender].ask("first", bytes=SIZE)["crc"]
        come = self.parties[receiver].ask("slots", of=sender * DEPTH, bytes=SIZE)["crc"]
        if come != [sent] * DEPTH:
            raise OSError("what has come is not what was sent")

    def close(self) -> None:
        for one in self.parties.values():
            one.end()


# --- all of it ---


def ratio(run: dict[str, Any], base: dict[str, Any], name: str) -> float:
    return float(run[name] / max(1.0, base["rate_Bps"]))


def spread(name: str, ratios: list[float]) -> dict[str, float | None]:
    return {
        name: statistics.median(ratios) if ratios else None,
        f"{name}_least": min(ratios, default=None),
        f"{name}_most": max(ratios, default=None),
    }


def record(
    point: Point, variant: str, rounds: list[dict[str, dict[str, Any]]], link_Bps: float
) -> dict[str, Any]:
    """rounds: what each variant has moved in them."""
    runs = [one[variant] for one in rounds]
    of_off = [ratio(one[variant], one["off"], "rate_Bps") for one in rounds if "off" in one]
    after = [ratio(run, run, "after_Bps") for run in runs if "after_Bps" in run]
    return {
        **asdict(point),
        "variant": variant,
        "rounds": len(runs),
        "share_of_link": statistics.median(run["rate_Bps"] for run in runs) / link_Bps,
        **spread("ratio_to_off", of_off),
        **spread("after_stop_ratio", after),
        "moved_bytes": sum(run["moved_bytes"] for run in runs),
        "arrived_bytes": sum(run["arrived_bytes"] for run in runs),
    }


@dataclass(frozen=True)
class Options:
    points: tuple[Point, ...]
    variants: tuple[str, ...]
    link_Bps: float
    rounds: int
    seconds: float
    json_path: Path | None


def inside(options: Options) -> None:
    console = make_console()
    made = network.Namespaces(options.link_Bps)
    hosts = {name: made.add(name) for name in "AB"}
    plan = list(itertools.product(options.points, range(options.rounds), options.variants))
    found: dict[Point, list[dict[str, dict[str, Any]]]] = {}
    for point, turn, variant in track(plan, "scenes"):
        rounds = found.setdefault(point, [])
        if turn == len(rounds):
            rounds.append({})
        folder = Path(tempfile.mkdtemp(dir=made.folder))
        scene = Scene(hosts, folder, variant, options.link_Bps)
        with contextlib.closing(scene):
            rounds[-1][variant] = scene.measure(point, options.seconds)
    records = [
        record(point, variant, rounds, options.link_Bps)
        for point, rounds in found.items()
        for variant in options.variants
    ]
    console.print(table(records))
    if options.json_path:
        more = {"link_Bps": options.link_Bps, "seconds": options.seconds}
        json_report.write(options.json_path, records, **more)
    sys.stdout.flush()


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        *(Column(one, left=True) for one in ("case", "way")),
        Column("look ms"),
        Column("variant", left=True),
        *(Column(one) for one in ("% of link", "of off", "least-most")),
        Column("after stop", 0),
    )
    for one in records:
        least, most = one["ratio_to_off_least"], one["ratio_to_off_most"]
        view.add_row(
            *(one["case"], one["way"], f"{one['look_ms']:g}", one["variant"]),
            number(100 * one["share_of_link"], ".1f"),
            number(one["ratio_to_off"], ".3f"),
            number(None, "") if least is None else f"{least:.2f}-{most:.2f}",
            number(one["after_stop_ratio"], ".2f"),
        )
    return view


def choice(option: str, name: str, of: Iterable[str], default: Iterable[str], said: str) -> Any:
    kind = click.Choice(tuple(of))
    return click.option(option, name, multiple=True, type=kind, default=tuple(default), help=said)


@click.command(help=help_of(__doc__))
@choice("--case", "cases", CASES, CASES[:1], "Which; the first if not given.")
@choice("--way", "ways", WAYS, WAYS, "Which; both if not given.")
@choice("--variant", "variants", VARIANTS, VARIANTS, "Which; all if not given.")
@click.option("--looks", "looks_ms", default="0.2,2,5,10", show_default=True, type=Looks(),
              help="Milliseconds between two looks of B's process.")  # fmt: skip
@click.option("--link", default=1000.0, show_default=True, type=click.FloatRange(1, 10_000),
              help="Mbit/s of the ports.")  # fmt: skip
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=1.5, show_default=True, type=click.FloatRange(0.2, 60),
              help="That are measured, of a run.")  # fmt: skip
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
@click.option("--inside", "entered", type=int, hidden=True)
def main(
    cases: tuple[str, ...],
    ways: tuple[str, ...],
    variants: tuple[str, ...],
    looks_ms: tuple[float, ...],
    link: float,
    rounds: int,
    seconds: float,
    json_path: Path | None,
    entered: int | None,
) -> None:
    if entered is None:
        reason = network.why_not_namespaces()
        if reason:
            sys.exit(f"this bench needs network namespaces: {reason}")
        sys.exit(namespaces.enter_as([sys.executable, *sys.argv], "the bench"))
    points = tuple(Point(*one) for one in itertools.product(cases, ways, looks_ms))
    chosen = tuple(one for one in VARIANTS if one in variants)
    link_Bps = network.check_link(link)
    namespaces.end_with(entered)
    try:
        inside(Options(points, chosen, link_Bps, rounds, seconds, json_path))
    finally:
        os.write(entered, b".")


if __name__ == "__main__":
    begin(main)
