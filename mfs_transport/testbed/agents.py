# SPDX-License-Identifier: Apache-2.0
"""Agents of emulated hosts, which agree on what goes first where transfers meet (docs/hosts.md)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..exchange import launcher, seal
from .network import Place

COMMAND = (sys.executable, "-m", "mfs_transport", "agent", "--stays")
MEETING_S = 20.0
SHIM = ("LD_PRELOAD", "MFS_ENABLE")  # an agent is without it


def make_key(folder: Path) -> Path:
    """A file with a key for the hosts of one run."""
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_text(seal.new_key())
    return path


def environment(place: Place, places: Iterable[Place], key: Path) -> dict[str, str]:
    """What an agent and the processes of its host have to know."""
    return {
        "MFS_PEERS": ",".join(one.address for one in places),
        "MFS_AGENT_KEY_FILE": str(key),
        "MFS_AGENT_ADDRESS": place.address,
    }


class Agents:
    """One for each host, until close()."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._states: dict[str, Path] = {}

    def start(
        self,
        place: Place,
        env: Mapping[str, str],
        command: Sequence[str] = COMMAND,
        log: IO[bytes] | None = None,
    ) -> None:
        """The environment is that of the host's processes, with environment() in it."""
        self._states[place.name] = launcher.state_path(env["MFS_SEGMENT"])
        self.processes[place.name] = subprocess.Popen(
            [*place.command, *command],
            env={name: value for name, value in env.items() if name not in SHIM},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def state(self, name: str) -> dict[str, Any]:
        """What that host's agent has written last, a second ago at most; empty: nothing yet."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self._states[name].read_text())
            return found
        return {}

    def meet(self) -> list[str]:
        """Wait until all know each other's workers. Who does not after 20 s."""
        ends = time.monotonic() + MEETING_S
        missing = list(self.processes)
        while missing and time.monotonic() < ends and not self.ended():
            time.sleep(0.2)
            missing = [name for name in missing if not self._knows_all(name)]
        return missing

    def _knows_all(self, name: str) -> bool:
        peers = self.state(name).get("peers", [])
        known: int = sum(one["ports"] > 0 for one in peers)
        return known >= len(self.processes) - 1

    def ended(self) -> dict[str, int]:
        """Those that have, and their status."""
        ended = {name: process.poll() for name, process in self.processes.items()}
        return {name: code for name, code in ended.items() if code is not None}

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
