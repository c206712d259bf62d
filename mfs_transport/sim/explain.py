# SPDX-License-Identifier: Apache-2.0
"""One request's time line, and what it waited for: where its TTFT went.

TTFT is cut, without gaps, into

    queue        routed, until its unit is free for its batch
    fetch        the unit is free, and KV of the next group is not there yet
    compute      groups being computed, of its whole batch
    collective   between computing of a group and its last collective byte
    deliver      the last group is complete, until the last stage 3 byte

and each flow's time is set against what it would take with its ports to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from .. import pieces as cutting
from ..native import InputError
from ..pieces import WORDS
from ..terminal import Column, Table
from . import engine
from .point import Case
from .report import span

KIND = {name: number for number, name in enumerate(engine.TRACE_KINDS)}
STAGES = ("", "fetch", "collective", "deliver")


@dataclass(frozen=True)
class Piece:
    """A stretch of the request's time in which one thing held it up."""

    what: str
    group: int
    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Story:
    """Of one request; times are absolute."""

    request: int
    arrival_s: float
    first_token_s: float
    deadline_s: float
    alone_s: float
    unit: int
    leader: int  # the first request of its batch: collectives go by its name
    pieces: tuple[Piece, ...]
    ahead: tuple[int, ...]  # of the unit's queue when it came, not complete yet
    worst: tuple[tuple[str, int, float, float], ...]
    """(stage, group, seconds, seconds on idle ports) of its flows, most delayed first."""
    longest: Piece | None  # for what moves: fetch, collective or deliver
    beside: tuple[tuple[str, int, float], ...]
    """(stage, requests, bytes) of others that used the same ports in the longest one."""

    @property
    def totals(self) -> dict[str, float]:
        return cutting.totals(self.pieces)


def _rows(trace: NDArray[np.void], kind: str) -> NDArray[np.void]:
    found: NDArray[np.void] = trace[trace["kind"] == KIND[kind]]
    return found


def _pieces(
    arrival_s: float, computes: list[tuple[float, float]], end_s: float, free_s: float
) -> Iterator[Piece]:
    """Walk the groups in order: what lies between two of them is waiting."""
    if free_s > arrival_s:
        yield Piece("queue", 0, arrival_s, free_s)
    at = max(arrival_s, free_s)
    for group, (start_s, done_s) in enumerate(computes):
        if start_s > at:
            yield Piece("fetch", group, at, start_s)
        yield Piece("compute", group, max(at, start_s), done_s)
        at = done_s
    if end_s > at:
        yield Piece("deliver", len(computes) - 1, at, end_s)


def check(case: Case, request: int) -> None:
    """InputError if there is no such request."""
    count = len(case.requests)
    if not 0 <= request < count:
        raise InputError(f"request {request}: from 0 to {count - 1}")


def story(case: Case, outcome: engine.Outcome, request: int) -> Story:
    check(case, request)
    trace = outcome.trace
    unit = int(outcome.unit[request])
    on_unit = trace[trace["unit"] == unit]
    arrival_s = float(case.requests.arrival_s[request])
    end_s = arrival_s + float(outcome.ttft_s[request])
    leader = _leader(on_unit, outcome, request)
    pieces = list(_cut(on_unit, outcome, leader, request, arrival_s, end_s))
    others = np.flatnonzero((outcome.unit == unit) & (outcome.compute_done_s > arrival_s))
    ahead = tuple(int(one) for one in others if one < request)
    every = flows(trace)
    waits = [piece for piece in pieces if piece.what in STAGES]
    longest = max(waits, key=lambda piece: piece.seconds, default=None)
    beside: tuple[tuple[str, int, float], ...] = ()
    if longest is not None:
        who = leader if longest.what == "collective" else request
        stage = STAGES.index(longest.what)
        beside = _beside(every, who, stage, longest.start_s, longest.end_s)
    return Story(
        request=request,
        arrival_s=arrival_s,
        first_token_s=end_s,
        deadline_s=float(case.requests.deadline_s[request]),
        alone_s=engine.closed_form_ttft_s(
            case.setting.cluster,
            case.model,
            int(case.requests.tokens[request]),
            int(case.requests.prefix[request]),
        ),
        unit=unit,
        leader=leader,
        pieces=tuple(pieces),
        ahead=ahead,
        worst=_worst(every, request, case.setting.cluster.link_Bps),
        longest=longest,
        beside=beside,
    )


def _leader(on_unit: NDArray[np.void], outcome: engine.Outcome, request: int) -> int:
    """Requests of a batch start together: the one whose name is in the trace."""
    same = _rows(on_unit, "compute_start")
    at = same[(same["group"] == 0) & (same["time_s"] == outcome.compute_start_s[request])]
    return int(at["request"][0]) if len(at) else request


def _cut(
    on_unit: NDArray[np.void],
    outcome: engine.Outcome,
    leader: int,
    request: int,
    arrival_s: float,
    end_s: float,
) -> Iterator[Piece]:
    mine = on_unit[on_unit["request"] == leader]
    starts = _rows(mine, "compute_start")["time_s"]
    ends = _rows(mine, "compute_end")["time_s"]
    exchanged = dict(
        zip(
            _rows(mine, "collective_end")["group"].tolist(),
            _rows(mine, "collective_end")["time_s"].tolist(),
            strict=True,
        )
    )
    earlier = outcome.compute_done_s[
        (outcome.unit == outcome.unit[request])
        & (outcome.compute_done_s <= outcome.compute_start_s[request])
    ]
    free_s = float(earlier.max(initial=-np.inf))
    plain = list(zip(starts.tolist(), ends.tolist(), strict=True))
    for piece in _pieces(arrival_s, plain, end_s, free_s):
        until = exchanged.get(piece.group - (piece.what == "fetch"))
        if piece.what in ("fetch", "deliver") and until is not None:
            middle = min(max(until, piece.start_s), piece.end_s)
            if middle > piece.start_s:
                group = piece.group - (piece.what == "fetch")
                yield Piece("collective", group, piece.start_s, middle)
            if piece.end_s > middle:
                yield Piece(piece.what, piece.group, middle, piece.end_s)
        else:
            yield piece


@dataclass(frozen=True)
class Flow:
    """One flow of the trace, from its creation to its last byte."""

    request: int
    stage: int
    group: int
    host_from: int
    host_to: int
    start_s: float
    end_s: float
    size: float


def flows(trace: NDArray[np.void]) -> list[Flow]:
    """All flows, in order of their ends."""
    begun: dict[tuple[int, int, int, int, int], tuple[float, float]] = {}
    found = []
    moved = trace[(trace["kind"] == KIND["flow_start"]) | (trace["kind"] == KIND["flow_end"])]
    names = ("kind", "request", "stage", "group", "host_from", "host_to", "time_s", "bytes")
    for kind, request, stage, group, source, target, time_s, size in moved[list(names)].tolist():
        flow = (request, stage, group, source, target)
        if kind == KIND["flow_start"]:
            begun[flow] = (time_s, size)
        elif flow in begun:
            start_s, size = begun.pop(flow)
            found.append(Flow(*flow, start_s, time_s, size))
    return found


def _worst(
    every: list[Flow], request: int, port_Bps: float
) -> tuple[tuple[str, int, float, float], ...]:
    """Of each stage and group the flow that took most longer than on idle ports."""
    found: dict[tuple[str, int], tuple[float, float]] = {}
    for flow in every:
        if flow.request != request:
            continue
        name, took, idle = (STAGES[flow.stage], flow.group), flow.end_s - flow.start_s, 0.0
        idle = flow.size / port_Bps
        if name not in found or took - idle > found[name][0] - found[name][1]:
            found[name] = (took, idle)
    order = sorted(found.items(), key=lambda item: item[1][1] - item[1][0])
    return tuple((stage, group, took, idle) for (stage, group), (took, idle) in order)


def _beside(
    every: list[Flow], request: int, stage: int, start_s: float, end_s: float
) -> tuple[tuple[str, int, float], ...]:
    """(stage, requests, bytes) of others' flows that used a port of this request's flows of
    `stage` in that time; of a flow that lasts longer, the share of its bytes by time."""
    mine = [
        flow
        for flow in every
        if flow.request == request
        and flow.stage == stage
        and flow.start_s < end_s
        and flow.end_s > start_s
    ]
    senders, receivers = {flow.host_from for flow in mine}, {flow.host_to for flow in mine}
    sums: dict[int, tuple[set[int], float]] = {}
    for flow in every:
        overlap = min(flow.end_s, end_s) - max(flow.start_s, start_s)
        if flow.request == request or overlap <= 0:
            continue
        if flow.host_from in senders or flow.host_to in receivers:
            requests, size = sums.get(flow.stage, (set(), 0.0))
            share = flow.size * overlap / (flow.end_s - flow.start_s)
            sums[flow.stage] = (requests | {flow.request}, size + share)
    return tuple((STAGES[at], len(who), size) for at, (who, size) in sorted(sums.items()))


BAR = 22  # characters of the whole time


def table(one: Story) -> Table:
    """The time line."""
    made = Table(
        *(Column(name) for name in ("from", "to", "took")),
        Column("when", 0, left=True),
        Column("waited for", fold=True),
    )
    length = max(one.first_token_s - one.arrival_s, 1e-12)
    for piece in one.pieces:
        left = round(BAR * (piece.start_s - one.arrival_s) / length)
        width = max(1, round(BAR * piece.seconds / length))
        bar = Text(" " * left + "━" * width, style=STYLES[piece.what])
        words = WORDS[piece.what].format(group=piece.group, unit=one.unit)
        times = (piece.start_s - one.arrival_s, piece.end_s - one.arrival_s, piece.seconds)
        made.add_row(*(span(time) for time in times), bar, words)
    return made


STYLES = {
    "queue": "yellow",
    "fetch": "cyan",
    "compute": "green",
    "collective": "magenta",
    "deliver": "red",
}


def summary(one: Story) -> str:
    """In words: late or not, and what took most beyond what it takes alone."""
    verdict = cutting.verdict(one.first_token_s - one.deadline_s)
    text = (
        f"request {one.request}: TTFT {span(one.first_token_s - one.arrival_s)} "
        f"({span(one.alone_s)} alone), target {span(one.deadline_s - one.arrival_s)}, {verdict}; "
        f"most of it {cutting.most(one.pieces)}. {cutting.shares(one.pieces)}."
    )
    if one.longest is not None and one.beside:
        words = WORDS[one.longest.what].format(group=one.longest.group, unit=one.unit)
        parts = (f"{stage} {size / 1e9:.2g} GB ({n})" for stage, n, size in one.beside)
        text += (
            f" It waited {span(one.longest.seconds)} for {words}; meanwhile others used the same "
            f"ports (number of requests): {', '.join(parts)}."
        )
    if one.ahead:
        text += f" {len(one.ahead)} requests were ahead of it on unit {one.unit}."
    if one.leader != one.request:
        text += f" It was computed in the batch of request {one.leader}."
    return text


def latest(case: Case, outcome: engine.Outcome) -> list[int]:
    """Measured requests, the one that missed its target by most first."""
    over = outcome.ttft_s - case.slo_s
    order = np.argsort(-over, kind="stable")
    return [int(one) for one in order if case.measured[one]]


def listing(case: Case, outcome: engine.Outcome, requests: list[int]) -> Table:
    """A line each: where the time went."""
    made = Table(
        Column("request"),
        Column("tokens", 1),
        Column("cached", 0),
        *(Column(name) for name in ("TTFT", "target", *STYLES)),
    )
    for request in requests:
        one = story(case, outcome, request)
        made.add_row(
            str(request),
            f"{int(case.requests.tokens[request]):,}",
            f"{int(case.requests.prefix[request]):,}",
            span(one.first_token_s - one.arrival_s),
            span(one.deadline_s - one.arrival_s),
            *(span(one.totals[name]) if name in one.totals else "" for name in STYLES),
        )
    return made


def delays(one: Story, most: int = 6) -> Table:
    """The flows that took most longer than on idle ports."""
    made = Table("flow", "took", "on idle ports")
    for stage, group, took, idle in one.worst[:most]:
        made.add_row(f"{stage} of group {group}", span(took), span(idle))
    return made
