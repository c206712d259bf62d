# SPDX-License-Identifier: Apache-2.0
"""Pods that share a port by weight, for bench/pods.py: what each of them has of its bytes.

Each pod keeps 8 writes without a deadline posted. Counted are the bytes that a pod hands to its
cable, by the kernel, so what is acknowledged when does not matter.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from _pods_process import FILLED_S, PAUSE_S, Process

from mfs_transport.native import InputError
from mfs_transport.terminal import Column, Table, number, track
from mfs_transport.testbed import network, pods

MEMBERS_MAX, WEIGHT_MAX = 8, 10000
UNTAGGED: dict[str, Any] = {"name": "", "ttft_s": None}
UNDATED: dict[str, Any] = {"name": "undated", "ttft_s": None}
BY = ("MFS_WEIGHT", "io.weight")
WAYS = (  # who says the weight, what the traffic is, and whether a pod goes wrong as well
    (BY[0], "untagged", UNTAGGED, True),
    (BY[0], "no deadline", UNDATED, False),
    (BY[1], "untagged", UNTAGGED, False),
)


@dataclass(frozen=True)
class Options:
    weights: list[int]
    by: tuple[str, ...]
    rounds: int
    span_s: float  # over which bytes are counted
    faults: tuple[str, ...]
    users: int
    link_Bps: float


class Weights(click.ParamType):
    """100:300"""

    name = "A:B[:...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, list):
            return value
        try:
            return parse(value)
        except InputError as error:
            return self.fail(str(error), param, ctx)


def parse(text: str) -> list[int]:
    parts = text.split(":")
    if not all(one.isascii() and one.isdigit() and len(one) <= 5 for one in parts):
        raise InputError(f"{text!r}: weights are whole numbers with colons between, as 100:300")
    weights = [int(one) for one in parts]
    if not 2 <= len(weights) <= MEMBERS_MAX:
        raise InputError(f"{text!r}: of 2 to {MEMBERS_MAX} pods")
    if not all(1 <= one <= WEIGHT_MAX for one in weights):
        raise InputError(f"{text!r}: a weight is 1 to {WEIGHT_MAX}")
    return weights


class Scene:
    """Pods with one way of saying their weights."""

    def __init__(
        self,
        node: pods.Node,
        places: list[network.Place],
        variables: list[int],
        traffic: dict[str, Any],
        span_s: float,
    ) -> None:
        self.node, self.variables, self.traffic, self.span_s = node, variables, traffic, span_s
        self.receiver = Process(node.peer(), "shared", "/run/peer-weights")
        self.members = [
            self._start(place, weight) for place, weight in zip(places, variables, strict=True)
        ]
        self.target = self.receiver.ask("metadata")
        for member in self.members:
            member.ask("connect", **self.target)

    def _start(self, place: network.Place, weight: int) -> Process:
        """weight 0: as the cgroup says."""
        segment = str(self.node.shared / "host")
        return Process(place, "shared", segment, MFS_WEIGHT=str(weight))

    def fill(self) -> None:
        for member in self.members:
            member.ask("background", pause_s=PAUSE_S, **self.traffic)
        time.sleep(FILLED_S)

    def drain(self) -> None:
        for member in self.members:
            member.tell("stop")
        for member in self.members:
            member.hear()

    def span(self, fault: Callable[[], None] | None = None) -> dict[str, Any]:
        """What each pod sends from now on; a fault comes first."""
        names = [member.place.name for member in self.members]
        wire, wire_begun = self.node.sent_bytes(), time.monotonic()
        before, begun = self.node.sent_by_pod(), time.monotonic()
        if fault:
            fault()
        time.sleep(self.span_s)
        after, seconds = self.node.sent_by_pod(), time.monotonic() - begun
        wire = self.node.sent_bytes() - wire
        return {
            "bytes": [after[name] - before[name] for name in names],
            "wire_Bps": wire / (time.monotonic() - wire_begun),
            "seconds": seconds,
        }

    def measure(self, faults: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """What is counted in each case, by its name. It is the last pod that goes wrong."""
        victim = self.members[-1]
        self.fill()
        found = {"all": self.span()}
        if "stopped" in faults:
            found["stopped"] = self.span(lambda: victim.hit(signal.SIGSTOP))
            found["goes on"] = self.span(lambda: victim.hit(signal.SIGCONT))
        if "rubbish" in faults:
            found["rubbish"] = self.span(lambda: victim.tell("rubbish"))
            found["after"] = self.span()
        if "killed" in faults:
            found["killed"] = self.span(lambda: victim.hit(signal.SIGKILL))
            self.members.remove(victim)
            victim.end()
        self.drain()
        if "killed" in faults:
            again = self._start(victim.place, self.variables[-1])
            again.ask("connect", **self.target)
            self.members.append(again)
        return found

    def end(self) -> None:
        for process in (*self.members, self.receiver):
            process.end()


def measure_all(node: pods.Node, options: Options) -> list[dict[str, Any]]:
    records = []
    numbered = list(enumerate(options.weights))
    places = {
        BY[0]: [node.add(at % options.users) for at, _ in numbered],
        BY[1]: [node.add(at % options.users, weight) for at, weight in numbered],
    }
    for by, traffic, order, wrong in WAYS:
        if by not in options.by:
            continue
        variables = options.weights if by == BY[0] else [0] * len(options.weights)
        scene = Scene(node, places[by], variables, order, options.span_s)
        faults = options.faults if wrong else ()
        words = f"{by}, {traffic}, round"
        runs = [scene.measure(faults) for _ in track(range(options.rounds), words)]
        scene.end()
        records += summary({"by": by, "traffic": traffic}, options, runs)
    return records


def shares_of(run: dict[str, Any], weights: list[int]) -> list[float]:
    """Of each pod that has a weight here, of what these have sent together."""
    sent = run["bytes"][: len(weights)]
    return [one / sum(sent) for one in sent]


def summary(
    what: dict[str, str], options: Options, runs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """A record of each case."""
    records = []
    for case in runs[0]:
        alive = options.weights[:-1] if case in ("stopped", "killed") else options.weights
        due = [one / sum(alive) for one in alive]
        found = [shares_of(run[case], alive) for run in runs]
        shares = [statistics.median(run[at] for run in found) for at in range(len(alive))]
        off = [
            max(abs(share / wanted - 1) for share, wanted in zip(run, due, strict=True))
            for run in found
        ]
        lost = [lost_s(run["all"], run[case]) for run in runs]
        records.append(
            {
                **what,
                "case": case,
                "rounds": len(runs),
                "weights": alive,
                "shares": shares,
                "off": statistics.median(off),
                "max_off": max(off),
                "lost_ms": None if case == "all" else 1e3 * statistics.median(lost),
                "max_lost_ms": None if case == "all" else 1e3 * max(lost),
                "wire": statistics.median(run[case]["wire_Bps"] for run in runs) / options.link_Bps,
            }
        )
    return records


def lost_s(all_of: dict[str, Any], one: dict[str, Any]) -> float:
    """For how long nobody has sent, by what was sent before with nothing wrong."""
    usual_Bps = sum(all_of["bytes"]) / all_of["seconds"]
    return float(one["seconds"] - sum(one["bytes"]) / usual_Bps)


def percents(shares: list[float]) -> str:
    return " : ".join(f"{100 * one:.1f}" for one in shares)


def table(records: list[dict[str, Any]]) -> Table:
    view = Table(
        Column("weight by", left=True),
        Column("traffic", left=True),
        Column("case", left=True),
        Column("shares %", fold=True),
        *(Column(one) for one in ("off %", "lost ms", "wire %")),
    )
    for one in records:
        view.add_row(
            one["by"],
            one["traffic"],
            one["case"],
            percents(one["shares"]),
            number(100 * one["off"], ".1f"),
            number(one["lost_ms"], ".0f"),
            number(100 * one["wire"], ".1f"),
        )
    return view
