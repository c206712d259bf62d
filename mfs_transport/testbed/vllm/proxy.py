# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of a prefill and a decode server, as vLLM's own example is one.

    client --request--> proxy --max_tokens 1, do_remote_decode--> prefill
                        proxy <--answer with kv_transfer_params-- prefill
                        proxy --request with kv_transfer_params--> decode --stream--> client

It knows nothing of MFS: like the example it makes kv_transfer_params anew for prefill, and
hands those of prefill's answer to decode unchanged. Deadlines travel in `vllm_xargs`, which
both servers get, or in a header, of which it hands on those that begin with x-, as routers in front
of several servers do. With `eager` both get the request at once, as layer-wise push needs it:
decode then registers its blocks while prefill still computes.

    python -m mfs_transport.testbed.vllm.proxy [ADDRESS:]PORT PREFILL:PORT DECODE:PORT [EAGER-JSON]

Without an ADDRESS only this machine reaches it. A request that is none is answered with 400, and
closes its connection; a server that does not answer as it should is 502.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ... import input_file
from ...__main__ import fail
from ...native import InputError, one_line, shown

TIMEOUT_S = 300.0
MOST_BYTES = 64 << 20  # of a request's body: a prompt of 10 million tokens
LOOPBACK = "127.0.0.1"
Address = tuple[str, int]


class BadRequest(Exception):
    """Why a client's request cannot be handed on."""


class BadAnswer(Exception):
    """What a server has answered that is of no use."""


def ask(
    address: Address, path: str, body: dict[str, Any], headers: dict[str, str]
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    headers = {**headers, "Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(body), headers)
    return connection.getresponse()


def prefilled(
    address: Address, path: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[int, bytes]:
    """That server prefills the request, and keeps its KV for who decodes; status and answer."""
    first = {
        **body,
        "max_tokens": 1,
        "stream": False,
        "kv_transfer_params": {"do_remote_decode": True, "do_remote_prefill": False},
    }
    first.pop("stream_options", None)
    answer = ask(address, path, first, headers)
    return answer.status, answer.read()


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        address: Address,
        prefill: Address,
        decode: Address,
        eager: dict[str, Any] | None = None,
    ) -> None:
        """eager: kv_transfer_params that decode gets without waiting for prefill's answer."""
        super().__init__(address, Handler)
        self.prefill, self.decode, self.eager = prefill, decode, eager

    def prefilled(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> tuple[int, bytes]:
        return prefilled(self.prefill, path, body, headers)

    def prefill_beside(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
        """The same where nobody waits for the answer: decode tells what went wrong."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            self.prefilled(path, body, headers)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news; all else is one line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"proxy: {type(error).__name__}: {one_line(str(error))}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S  # for a client that says no more
    answering = False

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.reply(200, b"{}")

    def do_POST(self) -> None:
        self.answering = False  # nothing of an answer has been sent
        try:
            self.forward(self.body(), self.handed_on())
        except BadRequest as error:
            self.close_connection = True  # who knows what of it is still to come
            self.reply(400, told(error))
        except (OSError, http.client.HTTPException, ValueError, BadAnswer) as error:
            self.close_connection = True
            if not self.answering:
                self.reply(502, told(error))

    def body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal() and len(length) < 16):
            raise BadRequest(f"Content-Length {shown(length)}: the bytes of the body")
        if int(length) > MOST_BYTES:
            raise BadRequest(f"Content-Length {length}: at most {MOST_BYTES}")
        try:
            data = self.rfile.read(int(length))
            if len(data) < int(length):
                raise BadRequest(f"the body ends after {len(data)} of {length} bytes")
            found = input_file.parse_json(input_file.decoded(data, "body"), "body")
        except OSError as error:
            raise BadRequest(f"the body did not come: {error}") from None
        except InputError as error:
            raise BadRequest(str(error)) from None
        if not isinstance(found, dict):
            raise BadRequest("body: a JSON object is expected")
        return found

    def handed_on(self) -> dict[str, str]:
        """The headers that both servers get; the request's name is among them."""
        name = self.name()
        theirs = {
            header.lower(): value
            for header, value in self.headers.items()
            if header.lower().startswith("x-") and plain(header) and plain(value)
        }
        return {**theirs, "x-request-id": name}

    def name(self) -> str:
        """The request's; it and the path are handed on, and must be such that they can."""
        if not plain(self.path) or " " in self.path:
            raise BadRequest(f"path {shown(self.path)}: printable ASCII")
        name: str = self.headers.get("X-Request-Id") or uuid.uuid4().hex
        if not plain(name):
            raise BadRequest(f"X-Request-Id {shown(name)}: printable ASCII")
        return name

    def forward(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        proxy = self.server
        if proxy.eager is not None:
            arguments = (self.path, body, headers)
            threading.Thread(target=proxy.prefill_beside, args=arguments, daemon=True).start()
            params = {**proxy.eager, "remote_request_id": headers["x-request-id"]}
        else:
            status, answer = proxy.prefilled(self.path, body, headers)
            if status != 200:
                self.reply(status, answer)
                return
            params = params_of(answer)
        answer_of_decode = ask(
            proxy.decode, self.path, {**body, "kv_transfer_params": params}, headers
        )
        self.pass_on(answer_of_decode)

    def pass_on(self, answer: http.client.HTTPResponse) -> None:
        """What decode says, as it comes."""
        self.close_connection = self.answering = True
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", "application/json"))
        self.send_header("Connection", "close")
        self.end_headers()
        while data := answer.read1(65536):
            self.wfile.write(data)
            self.wfile.flush()

    def reply(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has gone


def plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def told(error: Exception) -> bytes:
    what = str(error) if isinstance(error, BadRequest) else f"{type(error).__name__}: {error}"
    return json.dumps({"error": one_line(what)}).encode()


def params_of(answer: bytes) -> dict[str, Any]:
    """kv_transfer_params of prefill's answer; none are none."""
    try:
        found = input_file.parse_json(input_file.decoded(answer, "prefill"), "prefill")
    except InputError as error:
        raise BadAnswer(str(error)) from None
    if not isinstance(found, dict):
        raise BadAnswer(f"prefill: {shown(found)}: an object is expected")
    params = found.get("kv_transfer_params")
    if not isinstance(params, dict | None):
        raise BadAnswer(f"prefill: kv_transfer_params {shown(params)}: an object is expected")
    return params or {}


def parse(text: str, default: str = "") -> Address:
    """ADDRESS:PORT, or PORT alone where there is a default."""
    host, _, port = text.rpartition(":")
    if not (host or default) or not (port.isascii() and port.isdecimal()) or len(port) > 5:
        raise InputError(f"{shown(text)}: ADDRESS:PORT is expected")
    if int(port) > 65535:
        raise InputError(f"{shown(text)}: a port up to 65535")
    return host or default, int(port)


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) not in (3, 4):
            raise InputError("[ADDRESS:]PORT PREFILL:PORT DECODE:PORT [EAGER-JSON] are expected")
        eager = input_file.parse_json(arguments[3], "EAGER-JSON") if arguments[3:] else None
        if not isinstance(eager, dict | None):
            raise InputError("EAGER-JSON: an object is expected")
        prefill, decode = parse(arguments[1]), parse(arguments[2])
        with Proxy(parse(arguments[0], LOOPBACK), prefill, decode, eager) as proxy:
            proxy.serve_forever()
    except (InputError, OSError) as error:
        return fail(error, 2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
