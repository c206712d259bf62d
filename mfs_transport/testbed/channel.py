# SPDX-License-Identifier: Apache-2.0
"""JSON lines between a host's process and the coordinator, over an inherited socket."""

from __future__ import annotations

import json
import select
import socket
from typing import Any


class Channel:
    """A host's end. That the other one is closed means that all is over: EOFError."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._pending = b""

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except ConnectionError:
            raise EOFError from None

    def receive(self) -> dict[str, Any]:
        """The next message, waiting for it."""
        while b"\n" not in self._pending:
            self._read()
        line, _, self._pending = self._pending.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def poll(self) -> list[dict[str, Any]]:
        """The messages that are there."""
        if self._readable():
            self._read()
        *lines, self._pending = self._pending.split(b"\n")
        return [json.loads(line) for line in lines]

    def ended(self) -> bool:
        """The coordinator has gone, or has something to say."""
        return b"\n" in self._pending or self._readable()

    def _readable(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError:  # it had not read all that we had sent
            data = b""
        if not data:
            raise EOFError
        self._pending += data
