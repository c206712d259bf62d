# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of a prefill and a decode server, as vLLM's own example is one.

    client --request--> proxy --max_tokens 1, do_remote_decode--> prefill
                        proxy <--answer with kv_transfer_params-- prefill
                        proxy --request with kv_transfer_params--> decode --stream--> client

It knows nothing of MFS: like the example it makes kv_transfer_params anew for prefill, and
hands those of prefill's answer to decode unchanged. Deadlines travel in `vllm_xargs`, which
both servers get. With `eager` both get the request at once, as layer-wise push needs it:
decode then registers its blocks while prefill still computes.

    python -m mfs_transport.testbed.vllm.proxy PORT PREFILL:PORT DECODE:PORT [EAGER-JSON]
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_S = 300.0
Address = tuple[str, int]


def ask(address: Address, path: str, body: dict[str, Any], name: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/json", "X-Request-Id": name}
    connection.request("POST", path, json.dumps(body), headers)
    return connection.getresponse()


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

    def prefilled(self, path: str, body: dict[str, Any], name: str) -> tuple[int, bytes]:
        first = {
            **body,
            "max_tokens": 1,
            "stream": False,
            "kv_transfer_params": {"do_remote_decode": True, "do_remote_prefill": False},
        }
        first.pop("stream_options", None)
        answer = ask(self.prefill, path, first, name)
        return answer.status, answer.read()


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.reply(200, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        name = self.headers.get("X-Request-Id") or uuid.uuid4().hex
        try:
            self.forward(body, name)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close_connection = True
            self.reply(502, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())

    def forward(self, body: dict[str, Any], name: str) -> None:
        proxy = self.server
        if proxy.eager is not None:
            arguments = (self.path, body, name)
            threading.Thread(target=proxy.prefilled, args=arguments, daemon=True).start()
            params = {**proxy.eager, "remote_request_id": name}
        else:
            status, answer = proxy.prefilled(self.path, body, name)
            if status != 200:
                self.reply(status, answer)
                return
            params = json.loads(answer).get("kv_transfer_params") or {}
        answer_of_decode = ask(
            proxy.decode, self.path, {**body, "kv_transfer_params": params}, name
        )
        self.pass_on(answer_of_decode)

    def pass_on(self, answer: http.client.HTTPResponse) -> None:
        """What decode says, as it comes."""
        self.close_connection = True
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


def parse(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    Proxy(
        parse(sys.argv[1]),
        parse(sys.argv[2]),
        parse(sys.argv[3]),
        json.loads(sys.argv[4]) if len(sys.argv) > 4 else None,
    ).serve_forever()
