# SPDX-License-Identifier: Apache-2.0
"""A trace in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

A track a port and a track a request. On both a flow is a slice from when it had something to send
until its last byte had left the queue, with a mark where its level changed, and one where that byte
was acknowledged:

    process "port mlx5_0 out"     cmpl-17 p2d 3  |-------o------|  i
    process "request cmpl-17"     p2d 3          |-------o------|  i
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..native import lib, text
from .recording import COMPLETED, LEFT, QUEUED, Recording, deadline, name_of

BATCH = 20000  # lines that are joined at a time


@dataclass
class Flow:
    """Its lines, but for what is different in each: kind, time, level."""

    tails: list[str]
    began_ns: int


def stamp(time_ns: int) -> str:
    """Microseconds."""
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"


class Exporter:
    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        events = recording.events
        self.since_ns = int(events["time_ns"][0]) if len(events) else 0
        self.stages = [text(lib.mfs_stage_name(stage)) for stage in range(lib.MFS_STAGE_P2D + 1)]
        self.tracks: dict[Any, int] = {}
        self.named: list[str] = []  # lines that name tracks
        self.open: dict[Any, list[Flow]] = {}  # under way, by all that tells flows apart
        self.flows = 0

    def _track(self, key: Any, name: str) -> int:
        found = self.tracks.get(key)
        if found is None:
            found = 1 + len(self.tracks)
            self.tracks[key] = found
            self.named.append(
                json.dumps(
                    {"ph": "M", "name": "process_name", "pid": found, "args": {"name": name}}
                )
            )
        return found

    def _begin(self, key: Any, request: str, due_ns: int | None, time_ns: int) -> Flow:
        pid, port, direction, key_of, stage, layer = key
        self.flows += 1
        way = "in" if direction else "out"
        place = self._track((port, direction), f"port {self.recording.port(port).name} {way}")
        tails = [self._tail(f"{request or '(untagged)'} {self.stages[stage]} {layer}", place)]
        if request:
            track = self._track(key_of, f"request {request}")
            tails.append(self._tail(f"{self.stages[stage]} {layer}", track))
        if due_ns is not None:
            due = f',"due_ms":{(due_ns - time_ns) / 1e6:.3f}'
            tails = [tail.replace('"args":{', f'"args":{{"pid":{pid}{due},', 1) for tail in tails]
        return Flow(tails, time_ns)

    def _tail(self, name: str, track: int) -> str:
        return (
            f'"cat":"flow","name":{json.dumps(name)},"pid":{track},"tid":0,"id":{self.flows},'
            '"args":{"level":'
        )

    def lines(self) -> Iterator[str]:
        """One event each, in the order of time."""
        columns = (
            *("time_ns", "kind", "pid", "port", "direction", "request", "stage", "layer"),
            *("level", "bytes_left", "bytes_sent", "deadline_ns", "name"),
        )
        last_ns = self.since_ns
        gone: dict[Any, list[Flow]] = {}  # that have left, and are not acknowledged
        told = bool((self.recording.events["kind"] == COMPLETED).any())
        for row in zip(*(self.recording.events[one].tolist() for one in columns), strict=True):
            time_ns, kind, *key, level, left, sent, due_ns, name = row
            found = self.open.setdefault(tuple(key), [])
            last_ns = time_ns
            at = stamp(time_ns - self.since_ns)
            rest = f'{level},"left":{left},"sent":{sent}}}}}'
            if kind == COMPLETED:
                waits = gone.get(tuple(key))
                for tail in waits.pop(0).tails if waits else ():
                    yield f'{{"ph":"i","s":"p","ts":{at},{tail}{rest}'
                continue
            if kind == QUEUED or not found:
                flow = self._begin(tuple(key), name_of(name, key[3]), deadline(due_ns), time_ns)
                found.append(flow)
                for tail in flow.tails:
                    yield f'{{"ph":"b","ts":{at},{tail}{rest}'
                if kind == QUEUED:
                    continue
            for tail in found[0].tails:
                yield f'{{"ph":"{"e" if kind == LEFT else "n"}","ts":{at},{tail}{rest}'
            if kind == LEFT:
                flow = found.pop(0)
                if told:
                    gone.setdefault(tuple(key), []).append(flow)
        for key, flows in self.open.items():  # that still wait
            del key
            for flow in flows:
                for tail in flow.tails:
                    yield f'{{"ph":"e","ts":{stamp(last_ns - self.since_ns)},{tail}-1}}}}'


def chrome(recording: Recording) -> Iterator[str]:
    """The file, piece by piece."""
    exporter = Exporter(recording)
    yield '{"displayTimeUnit":"ms","traceEvents":[\n'
    batch: list[str] = []
    for line in exporter.lines():
        batch.append(line)
        if len(batch) == BATCH:
            yield ",\n".join(batch) + ",\n"
            batch = []
    yield ",\n".join([*batch, *exporter.named]) + "\n]}\n"
