# SPDX-License-Identifier: Apache-2.0
"""`mfs slack` of every emulated host: an address for each, over HTTP.

    python -m mfs_transport.testbed.slack_ends FOLDER NAME NAME ...

They are the servers of `mfs slack`, one for each host's segment, in one process beside the hosts:
an interpreter for each of 16 hosts would need more of two cores than the transfers do. It is in
the coordinator's network, as one for management, so answers do not wait behind the emulated links'
data. One line says who answers where, {NAME: PORT}; all of it goes when the standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

from ..engines.vllm import router
from ..observe.slack_server import Server

ADDRESS = "127.0.0.1"
START_S = 60.0


class Ends:
    """The process, until close(). One that has died is a host that does not answer."""

    def __init__(self, folder: str, names: Sequence[str], log: IO[bytes] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mfs_transport.testbed.slack_ends", folder, *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self.ports = self._ports()

    def _ports(self) -> dict[str, int]:
        assert self.process.stdout
        with contextlib.suppress(ValueError):
            if select.select([self.process.stdout], [], [], START_S)[0]:
                ports: dict[str, int] = json.loads(self.process.stdout.readline())
                return ports
        self.close()
        raise OSError("mfs slack of the emulated hosts did not start; --log FILE has its words")

    def ask(self, place: tuple[str, int], limit_s: float) -> bytes:
        """For a router: `place` has the host's name."""
        return router.ask((ADDRESS, self.ports[place[0]]), limit_s)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def main() -> None:
    folder, *names = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator ends us
    servers = {name: Server(ADDRESS, 0, f"{folder}/{name}/host") for name in names}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({name: one.server_port for name, one in servers.items()}), flush=True)
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
