# SPDX-License-Identifier: Apache-2.0
"""A bench's end of the talk with a process of its own. Orders and answers are lines of JSON."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

SILENT_S = 1200.0  # longer than any order takes: then the process hangs


class Talk:
    """What the processes of a bench have in common; name: for the error when one has died."""

    def __init__(self, name: str, ours: socket.socket) -> None:
        ours.settimeout(SILENT_S)
        self.name, self.file = name, ours.makefile("rw")

    def tell(self, order: str, **more: Any) -> None:
        try:
            self.file.write(json.dumps({"order": order, **more}) + "\n")
            self.file.flush()
        except ConnectionError:
            raise self.died() from None

    def hear(self) -> dict[str, Any]:
        try:
            line = self.file.readline()
        except TimeoutError:
            raise OSError(
                f"the process of {self.name} has said nothing for {SILENT_S:g} s"
            ) from None
        except ConnectionError:
            line = ""
        if not line:
            raise self.died()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, order: str, **more: Any) -> dict[str, Any]:
        self.tell(order, **more)
        return self.hear()

    def died(self) -> OSError:
        return OSError(f"the process of {self.name} has died")

    def close(self) -> None:
        """Of what could not be said, nothing is left."""
        with contextlib.suppress(OSError):
            self.file.close()
