# SPDX-License-Identifier: Apache-2.0
"""The slack of a host over HTTP, for routers and engines on other hosts.

    GET /slack                       all ports, over the usual deadlines
    GET /slack?by=0.05,0.2           over these, in seconds from now
    GET /slack?bytes=67108864        and when so many bytes can have left at the earliest

The answer is JSON (`slack.Slack.as_dict`), status 200 also where no process uses the segment:
`segment.state` says so, and there are no ports. A query that cannot be understood is 400, another
path 404, each with one line that says what is expected. A look takes a few milliseconds of a core,
so answers within LOOK_S of one another are of one look.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..native import InputError, one_line, shown
from . import slack

PATH = "/slack"
LOOK_S = 0.01
IDLE_S = 30.0  # a client that says nothing for so long is let go
MOST_CLIENTS = 256  # at a time, each with a thread; who comes then is let go at once
MOST_DEADLINES = 64
MOST_QUERY = 2048  # characters
EXPECTED = f"{PATH}?by=SECONDS,SECONDS,...&bytes=N, both of them optional"


def deadlines(text: str) -> tuple[float, ...]:
    """Spans in seconds, as a query and the command line give them."""
    parts = text.split(",")
    if len(parts) > MOST_DEADLINES:
        raise InputError(f"by: {len(parts)} deadlines; at most {MOST_DEADLINES}")
    found = []
    for part in parts:
        try:
            value = float(part) if part.isascii() and "_" not in part else math.nan
        except ValueError:
            value = math.nan
        if not 0 < value <= slack.MOST_S:
            raise InputError(f"by {shown(part)}: seconds from now, more than 0, as 0.05,0.2")
        found.append(value)
    return tuple(found)


def size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InputError(f"bytes {shown(text)}: a whole number")
    if not 0 < int(text) <= slack.MOST_BYTES:
        raise InputError(f"bytes {shown(text)}: 1 to {slack.MOST_BYTES}")
    return int(text)


def parse(query: str) -> tuple[tuple[float, ...], int | None]:
    """The grid and the size that are asked for."""
    grid: tuple[float, ...] = slack.GRID_S
    wanted = None
    seen: set[str] = set()
    if len(query) > MOST_QUERY:
        raise InputError(f"a query of {len(query)} characters; at most {MOST_QUERY}")
    try:
        pairs = urllib.parse.parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, max_num_fields=8, errors="strict"
        )
    except (ValueError, UnicodeError):
        pairs = [] if query == "" else [(query, "")]
    for name, value in pairs:
        if name in seen:
            raise InputError(f"{name} is there twice; {EXPECTED}")
        seen.add(name)
        if name == "by":
            grid = deadlines(value)
        elif name == "bytes":
            wanted = size(value)
        else:
            raise InputError(f"query {shown(name)}: {EXPECTED}")
    return grid, wanted


class Server(ThreadingHTTPServer):
    """segment: its file; "": the default place. Nothing need be there, at first or at any time."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: str, port: int, segment: str) -> None:
        if ":" in address:
            self.address_family = socket.AF_INET6
        self.segment = segment
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)
        self._lock = threading.Lock()
        self._found: slack.Slack | None = None
        self._looked_s = -math.inf
        try:
            super().__init__((address, port), Handler)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"address {address}, port {port}: {reason}") from None

    def server_bind(self) -> None:
        """As the base's, which also asks for the host's name: of a server that may not answer."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Without a bound a crowd takes all descriptors, and then no look at the segment is had."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    @property
    def url(self) -> str:
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}{PATH}"

    def found(self) -> slack.Slack:
        with self._lock:
            now_s = time.monotonic()
            if self._found is None or now_s - self._looked_s >= LOOK_S:
                self._found = slack.slack(self.segment)
                self._looked_s = now_s
            return self._found

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news, and nothing else comes here: see do_GET."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path != PATH:
            self.reply(404, {"error": f"path {shown(path)}: {EXPECTED}"})
            return
        try:
            grid, wanted = parse(query)
        except InputError as error:
            self.reply(400, {"error": one_line(str(error))})
            return
        try:
            answer = self.server.found().as_dict(grid, wanted)
        except Exception as error:  # whatever it is, the next one is answered
            self.reply(500, {"error": one_line(f"{type(error).__name__}: {error}")})
            return
        self.reply(200, answer)

    def reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode() + b"\n"
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True
