# SPDX-License-Identifier: Apache-2.0
"""What MFS does around a KV connector, in plain values: no type of vLLM's comes in here.

    scheduler side (one)                          worker side (one a rank)
    arrived   deadline -> registered, queued
    step      message: batch, who is who   ==>    begin   tags by request
                                                  layer   progress, time of a layer
    computed, received, sent, gone         <==    the wrapped connector's own answers

A request is registered on the host of its scheduler; workers on that host find it by its
name, workers on another one register it with the time that the message says is left, and
follow its verdict (../../verdict.py).

    prefill   it computes, and its KV goes (or is fetched) to decode:  stage p2d
    decode    its KV comes from prefill:                               stage p2d
              prefill that fetches KV of an earlier turn:              stage kv_reuse
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ... import config, control, verdict
from ...native import NEVER, InputError, ffi, lib, now_ns
from . import deadline
from .batch import Batch
from .estimate import Estimates
from .planning import Planned, PlannedIngress

COMPLAINTS = 20  # lines about requests that a process writes at most
STEPS = 64  # that may be under way; an engine has a few at most
_SUFFIX = re.compile(r"-[0-9a-f]{8}$")


def say(line: str) -> None:
    """One line for the operator, where the engine's own lines go; lost when nobody can read it."""
    with contextlib.suppress(OSError, ValueError):  # a closed pipe, a closed file
        print(f"mfs: {line}", file=sys.stderr, flush=True)


def base_id(name: str) -> str:
    """A request's id without the random part that each engine puts behind it."""
    return _SUFFIX.sub("", name)


@dataclass
class Faults:
    """Errors of our own: counted, said once each kind, never handed to the engine."""

    count: int = 0
    said: set[str] = field(default_factory=set)

    def note(self, where: str, error: Exception) -> None:
        self.count += 1
        kind = f"{where} {type(error).__name__}"
        if kind not in self.said:
            self.said.add(kind)
            say(f"{where}: {type(error).__name__}: {error}; the engine goes on without it")


faults = Faults()


@dataclass(frozen=True)
class Shape:
    """What a side needs to know of the model and the engine."""

    engine: str
    layers: int
    kv_token_bytes: float  # all layers, one rank
    batch_tokens: int  # that one step computes at most
    collective_token_bytes: float = 0.0  # one layer's, that a port sends; 0: none, or not known
    hold_s: float = 0.0  # a transfer waits no longer in our queue; 0: MFS_HOLD_MAX alone

    def estimates(self) -> Estimates:
        return Estimates(self.layers, self.kv_token_bytes, self.collective_token_bytes)


@dataclass
class Active:
    """A request between its arrival and the end of its KV's way."""

    request: control.Request
    kind: str  # prefill or decode
    tokens: int
    slo_class: str
    owner: dict[str, Any]  # by what the host that decides about it is known; {}: this one does


@dataclass(frozen=True)
class Step:
    """One that computes, until its output comes."""

    begun_s: float
    tokens: int
    ends: list[str]  # requests whose prompt it completes


IDLE = Step(0.0, 0, [])

# Several connectors of a process may carry one request (MultiConnector): it is forgotten
# when the last of them is done with it, and one of them hands its deadline on: the engine
# ends when two answers have a key in common.
_carriers: Counter[str] = Counter()
_handed_on: set[str] = set()


class Scheduler:
    """Beside the engine's scheduler: deadlines, queue order, budgets between hosts."""

    def __init__(self, shape: Shape, classes: Mapping[str, deadline.Slo]) -> None:
        self.shape = shape
        self.classes = classes
        self.host = control.default_host()
        self.estimates = shape.estimates()
        self.going, self.arriving = Planned(self.host), PlannedIngress(self.host)
        self.unit, self.coming = control.Unit(self.going), control.Unit(self.arriving)
        self.active: dict[str, Active] = {}
        self.complaints = 0
        self._new: list[str] = []
        self._gone: list[str] = []
        self._steps: deque[Step] = deque(maxlen=STEPS)
        self._step_ended_s = 0.0

    # --- a request's life ---

    def arrived(
        self,
        name: str,
        kind: str,
        tokens: int,
        params: Mapping[str, Any] | None,
        extra: Mapping[str, Any] | None,
        age_s: float,
    ) -> None:
        """A request with `tokens` of prompt, `age_s` after it arrived at the engine."""
        self._learn_rate()
        shape = self.shape

        def alone_s() -> float:
            return self.estimates.alone_s(tokens, shape.batch_tokens)

        found = deadline.due(self.classes, params, extra, 1e3 * age_s, alone_s)
        if found.complaint:
            self.complain(name, found.complaint)
        now = now_ns()
        size = self.estimates.kv_bytes(tokens)
        self.gone(name)  # an id that comes again
        request = control.register(
            name,
            deadline_ns=None if found.left_ms is None else max(0, now + round(found.left_ms * 1e6)),
            arrival_ns=max(0, now - round(age_s * 1e9)),
            layers=shape.layers,
            layer_s=self.estimates.prefill_s(tokens, shape.batch_tokens) / shape.layers,
            collective_s=self.estimates.collective_s(tokens),
            p2d_layer_s=self.estimates.transfer_s(size) / shape.layers,
            hold_s=shape.hold_s,
            host=self.host,
        )
        owner = self._follow(request, params) if kind == "decode" else {}
        self.active[name] = Active(request, kind, tokens, found.slo_class, owner)
        _carriers[name] += 1
        self._new.append(name)
        if kind == "decode":
            request.update(computed=True)
            self.coming.sending.append(request)
            self.arriving.replan()
        else:
            self.unit.enqueue(request)

    def _follow(self, request: control.Request, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """The host of its prefill decides about a request whose KV comes from there."""
        try:
            if params and verdict.follow(request, params):
                return {verdict.OWNER: params[verdict.OWNER]}
        except InputError as error:
            self.complain(request.name, str(error))
        except OSError as error:
            faults.note("verdict", error)
        return {}

    def complain(self, name: str, complaint: str) -> None:
        self.complaints += 1
        if self.complaints <= COMPLAINTS:
            end = "; no more of these are shown" if self.complaints == COMPLAINTS else ""
            say(f"request {name}: {complaint}; it is served as if it had not said that{end}")

    def left_ms(self, name: str) -> float | None:
        """Time left of its deadline, which may be over; None: it has none, or is unknown."""
        active = self.active.get(name)
        if active is None or active.request.deadline_ns == NEVER:
            return None
        return (active.request.deadline_ns - now_ns()) / 1e6

    def hand_on(self, name: str, params: dict[str, Any] | None) -> None:
        """What decode has to know goes into the kv_transfer_params of prefill's answer."""
        left, active = self.left_ms(name), self.active.get(name)
        if params is None or left is None or active is None or active.kind != "prefill":
            return
        if name in _handed_on:
            return
        _handed_on.add(name)
        params[deadline.LEFT] = round(left, 3)
        params[deadline.CLASS] = active.slo_class
        params.update(verdict.words(active.request))

    def computed(self, name: str) -> None:
        """Its prompt is: those behind it in the queue compute now."""
        active = self.active.get(name)
        if active is not None and active.request in self.unit.queue:
            self.unit.computed(active.request)

    def finished(self, name: str, *, waits: bool) -> None:
        """The engine is done with it; waits: its KV is still to be delivered."""
        active = self.active.get(name)
        if active is not None and active.kind == "prefill" and waits:
            self.computed(name)
        else:
            self.gone(name)

    def gone(self, name: str) -> None:
        """Its KV has been delivered, or it was given up."""
        active = self.active.pop(name, None)
        if active is None:
            return
        self._gone.append(name)
        unit = self.coming if active.kind == "decode" else self.unit
        _carriers[name] -= 1
        if _carriers[name] > 0:
            unit.leave(active.request)
            return
        del _carriers[name]
        _handed_on.discard(name)
        unit.finish(active.request)

    # --- steps ---

    def step(self, batch: Mapping[str, int], before: Mapping[str, int]) -> dict[str, Any]:
        """The message to the workers: what they do not know yet, and the step's batch; or {}.

        batch: tokens that it computes, by request; before: those computed already.
        """
        prefills, ends = [], []
        for name, tokens in batch.items():
            active = self.active.get(name)
            if active is None or before.get(name, 0) >= active.tokens:
                continue  # it is not ours, or has its first token
            prefills.append(name)
            left = active.tokens - before.get(name, 0) - tokens
            if left <= 0:
                ends.append(name)
            seconds = self.estimates.prefill_s(left, self.shape.batch_tokens)
            active.request.update(
                layer_s=seconds / self.shape.layers,
                collective_s=self.estimates.collective_s(left),
                publish=False,
            )
        for plan in (self.going, self.arriving):
            plan.settle()
        if not (batch or self._new or self._gone):  # an engine that waits makes many of these
            self._steps.append(IDLE)
            return {}
        tokens = sum(batch.values())
        self._steps.append(Step(time.monotonic(), tokens, ends))
        new = {
            name: (self.left_ms(name), self.active[name].kind)
            for name in self._new
            if name in self.active
        }
        owners = {name: words for name in new if (words := self._owner(self.active[name]))}
        message = {
            "new": new,
            "owners": owners,
            "gone": self._gone,
            "prefills": prefills,
            "tokens": tokens,
            "collective_s": self.estimates.collective_s(tokens),
        }
        self._new, self._gone = [], []
        return {name: value for name, value in message.items() if value}

    def _owner(self, active: Active) -> dict[str, Any]:
        """For workers on other hosts."""
        return active.owner or verdict.words(active.request)

    def step_ended(self) -> None:
        """Output of the oldest step has come."""
        step = self._steps.popleft() if self._steps else IDLE
        before_s, self._step_ended_s = self._step_ended_s, time.monotonic()
        if step.tokens:
            # steps may overlap: a step's time is counted from the end of the one before
            seconds = self._step_ended_s - max(step.begun_s, before_s)
            self.estimates.layer_done(step.tokens, seconds / self.shape.layers)
            for name in step.ends:
                self.computed(name)
            self.estimates.publish(self.host.path, self.shape.engine)

    def _learn_rate(self) -> None:
        self.estimates.rate_Bps = max(self.going.rate_Bps(), self.arriving.rate_Bps())

    def close(self) -> None:
        for name in list(self.active):
            self.gone(name)


class Worker:
    """Beside a worker: tags of its transfers, progress of its layers."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.host = control.default_host()
        self.estimates = shape.estimates()
        self.kinds: dict[str, str] = {}
        self.by_base: dict[str, str] = {}
        self.aliases: dict[str, str] = {}  # id at the other engine -> name here
        self.own: dict[str, control.Request] = {}  # registered here, being another host
        self.layer_index: dict[str, int] = {}
        self.nothing = Batch(self.host)
        self.batch = self.nothing  # those that prefill in this step
        self.tokens = 0  # of all that the step computes
        self.collective_s: float | None = None  # of a layer of it; the scheduler knows the port
        self._layer_since_s = 0.0
        self._layer = -1

    def layers_are(self, names: Iterable[str]) -> None:
        """Names of the layers that hold KV, in the order of computing."""
        self.layer_index = {name: index for index, name in enumerate(names)}

    def begin(self, message: Mapping[str, Any]) -> None:
        """A step with the scheduler's message."""
        self.batch, self.tokens, self._layer = self.nothing, 0, -1
        if not message:
            return
        for name in message.get("gone", ()):
            self._forget(name)
        for name, (left, kind) in message.get("new", {}).items():
            self.kinds[name] = kind
            self.by_base[base_id(name)] = name
            if left is not None and not self._known(name):
                self.own[name] = control.register(
                    name,
                    deadline_ns=max(0, now_ns() + round(left * 1e6)),
                    layers=self.shape.layers,
                    hold_s=self.shape.hold_s,
                    host=self.host,
                )
                self._follow(name, message.get("owners", {}).get(name))
        names = [name for name in message.get("prefills", ()) if name in self.kinds]
        if names:
            self.batch = Batch(self.host, names)
        self.tokens = message.get("tokens", 0)
        self.collective_s = message.get("collective_s")

    def _follow(self, name: str, words: Mapping[str, Any] | None) -> None:
        try:
            if words:
                verdict.follow(self.own[name], words)
        except OSError as error:
            faults.note("verdict", error)

    def _known(self, name: str) -> bool:
        facts = ffi.new("struct mfs_facts *")
        return bool(
            lib.mfs_request_get(self.host.handle, lib.mfs_request_key(name.encode()), facts) == 0
        )

    def _forget(self, name: str) -> None:
        self.kinds.pop(name, None)
        if self.by_base.get(base_id(name)) == name:
            del self.by_base[base_id(name)]
        for alias in [alias for alias, own in self.aliases.items() if own == name]:
            del self.aliases[alias]
        request = self.own.pop(name, None)
        if request is not None:
            request.finish()

    # --- layers ---

    def layer(self, layer_name: str) -> None:
        """The batch begins that layer."""
        index = self.layer_index.get(layer_name)
        if index is None or not self.batch.names:
            return
        now = time.monotonic()
        if self._layer >= 0 and index == self._layer + 1:
            self.estimates.layer_done(self.tokens, now - self._layer_since_s)
        self._layer, self._layer_since_s = index, now
        seconds = self.estimates.layer_s(self.tokens) if self.estimates.samples else None
        self.batch.layer(index, seconds, self.collective_s)

    def forward_ended(self) -> None:
        self.batch.ended()
        self.batch = self.nothing

    # --- tags ---

    def alias(self, other: str, name: str) -> None:
        """`other` is the id under which the engine at the other end knows request `name`."""
        self.aliases[other] = name

    def name_of(self, other: str) -> str | None:
        """The request here to which an id in a transfer's notification belongs."""
        if other in self.kinds:
            return other
        return self.aliases.get(other) or self.by_base.get(base_id(other))

    def tag_of(self, operation: str, peer: str, notification: bytes) -> Any:
        """Tag of a transfer by its notification, `<request id>:<number>`; None: not one of ours."""
        del peer
        try:
            other = notification.decode().rpartition(":")[0]
        except UnicodeDecodeError:
            return None
        name = self.name_of(other) if other else None
        if name is None:
            return None
        fetch = operation == "READ" and self.kinds.get(name) == "prefill"
        return control.tag_make(name, "kv_reuse" if fetch else "p2d")

    def close(self) -> None:
        for name in list(self.kinds):
            self._forget(name)


def classes_of_environment() -> dict[str, deadline.Slo]:
    """MFS_SLO; no classes when it cannot be used, which the library has said."""
    return deadline.parse_classes(config.string("MFS_SLO"))
