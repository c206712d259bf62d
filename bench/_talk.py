# SPDX-License-Identifier: Apache-2.0
"""A bench's end of the talk with a process of its own. Orders and answers are lines of JSON."""

from __future__ import annotations

import json
import socket
from typing import Any


class Talk:
    """What the processes of a bench have in common; name: for the error when one has died."""

    def __init__(self, name: str, ours: socket.socket) -> None:
        self.name, self.file = name, ours.makefile("rw")

    def tell(self, order: str, **more: Any) -> None:
        self.file.write(json.dumps({"order": order, **more}) + "\n")
        self.file.flush()

    def hear(self) -> dict[str, Any]:
        line = self.file.readline()
        if not line:
            raise OSError(f"the process of {self.name} has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, order: str, **more: Any) -> dict[str, Any]:
        self.tell(order, **more)
        return self.hear()
