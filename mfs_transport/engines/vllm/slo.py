# SPDX-License-Identifier: Apache-2.0
"""A deadline in a header, as routers give it, becomes the request's; its body stays as it is.

    vllm serve ... --middleware mfs_transport.engines.vllm.slo.Middleware

    MFS_TTFT_HEADERS      TTFT that is wanted, milliseconds; the first that can be used counts
    MFS_PRIORITY_HEADER   a whole number, a larger one is more pressing; a class `priority-N` of
                          MFS_SLO is for requests of priority N and above

    middleware ── a variable of the request's context ──> AsyncLLM.generate (frontend.py)
        ── extra_args of its SamplingParams ──> the engine's core: deadline.py

A header that cannot be used is as one that is not there. That is said once for each name, since
a client can send as many as it likes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

from ... import config
from ...native import shown
from . import deadline
from .connector import faults, say
from .plugin import enabled

Scope = dict[str, Any]
Channel = Callable[..., Awaitable[Any]]
App = Callable[[Scope, Channel, Channel], Awaitable[None]]
Found = dict[str, float | int]

LONGEST = 64  # bytes of a value: none that can be used has as many
_MILLISECONDS = re.compile(rb"[0-9]{1,10}(?:\.[0-9]{1,9})?")
_PRIORITY = re.compile(rb"-?[0-9]{1,10}")
_PRIORITIES = range(-(1 << 31), 1 << 31)  # Dynamo's are 32 bits

# What the headers of the request say that this task serves; None: nothing.
current: ContextVar[Found | None] = ContextVar("mfs_headers", default=None)


def milliseconds(value: bytes) -> float | None:
    """A target in a header; None when it cannot be used."""
    if len(value) > LONGEST or not _MILLISECONDS.fullmatch(value.strip(b" \t")):
        return None
    number = float(value)
    return number if 0 < number <= deadline.MOST_MS else None


def priority(value: bytes) -> int | None:
    if len(value) > LONGEST or not _PRIORITY.fullmatch(value.strip(b" \t")):
        return None
    number = int(value)
    return number if number in _PRIORITIES else None


class Headers:
    """What is read, by the names that the environment gives."""

    def __init__(self) -> None:
        names = config.string("MFS_TTFT_HEADERS").lower().split(",")
        self.ttft = [name.strip().encode() for name in names]
        self.priority = config.string("MFS_PRIORITY_HEADER").lower().strip().encode()
        self.known = frozenset((*self.ttft, self.priority))
        self.said: set[bytes] = set()

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Found | None:
        """What the headers of a request say; ASGI gives their names in lower case."""
        values: dict[bytes, bytes | None] | None = None
        for name, value in headers:
            if name in self.known:
                if values is None:
                    values = {}
                values[name] = None if name in values else value  # twice: which is meant?
        if values is None:
            return None
        found: Found = {}
        for name in self.ttft:
            number = self._one(name, values, milliseconds, "one number of milliseconds above 0")
            if number is not None:
                found[deadline.HEADER] = number
                break
        number = self._one(self.priority, values, priority, "one whole number of 32 bits")
        if number is not None:
            found[deadline.PRIORITY] = number
        return found or None

    def _one(
        self,
        name: bytes,
        values: dict[bytes, bytes | None],
        parse: Callable[[bytes], Any],
        wanted: str,
    ) -> Any:
        if name not in values:
            return None
        value = values[name]
        number = None if value is None else parse(value)
        if number is None and name not in self.said:
            self.said.add(name)
            what = (
                "it is there twice" if value is None else shown(value[:LONGEST].decode("latin-1"))
            )
            say(f"header {name.decode()}: {what}; {wanted} is expected. Such headers are ignored")
        return number


def ready() -> Headers | None:
    """Join vLLM's API server; None where MFS is switched off, or does nothing in this release."""
    if not enabled():
        return None
    try:
        from .frontend import install

        return Headers() if install() else None
    except Exception as error:
        faults.note("the middleware", error)
        return None


class Middleware:
    """ASGI, around vLLM's application."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._headers = ready()

    async def __call__(self, scope: Scope, receive: Channel, send: Channel) -> None:
        if self._headers is None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        found = None
        try:
            found = self._headers.read(scope["headers"])
        except Exception as error:
            faults.note("a header", error)
        # Also when there is nothing: a server may start this request's task out of another's,
        # and then the task has the other's context.
        token = current.set(found)
        try:
            await self.app(scope, receive, send)
        finally:
            current.reset(token)
