# SPDX-License-Identifier: Apache-2.0
"""Peers by etcd: each agent enters its own address there, and reads those of all.

    etcd://HOST[:2379][,HOST...][/FOLDER]    keys /mfs/agents/HOST:PORT, or FOLDER/HOST:PORT

An entry has a lease and goes when its agent has not renewed it for LEASE_S. What is read are
addresses and nothing else: who has no key of the agents is no peer, whatever etcd says.

By the JSON gateway of etcd 3.4 and later, without TLS and passwords.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from ..native import InputError, shown

SCHEME = "etcd://"
PORT = 2379
FOLDER = "/mfs/agents"
LEASE_S = 60
WAIT_S = 3.0  # for an answer
MOST_BYTES = 1 << 20
MOST_ENTRIES = 1024
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # by no proxy


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def parse(text: str) -> tuple[list[str], str]:
    """Addresses of servers, and the folder with a slash behind it."""
    servers, slash, folder = text.removeprefix(SCHEME).partition("/")
    found = [one.strip() for one in servers.split(",") if one.strip()]
    for one in found:
        host, colon, port = one.rpartition(":") if not one.endswith("]") else (one, "", "")
        bad = any(letter.isspace() or letter in "@?#" for letter in one)
        if bad or (colon and not (host and port.isascii() and port.isdecimal())):
            raise InputError(f"MFS_PEERS {shown(text)}: etcd://HOST:PORT,HOST:PORT/FOLDER")
    if not found:
        raise InputError(f"MFS_PEERS {shown(text)}: etcd://HOST:PORT names no server")
    folder = (slash + folder).rstrip("/") or FOLDER
    return [one if _has_port(one) else f"{one}:{PORT}" for one in found], folder + "/"


def _has_port(server: str) -> bool:
    return not server.endswith("]") and ":" in server


@dataclass
class Etcd:
    """What one agent has to do with it. own: HOST:PORT, as other hosts reach it."""

    text: str
    own: str
    _lease: str = ""

    def __post_init__(self) -> None:
        self.servers, self.folder = parse(self.text)

    def _ask(self, way: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of the first server that has one. OSError: none has."""
        error = OSError("no server")
        for server in self.servers:
            request = urllib.request.Request(
                f"http://{server}/v3/{way}",
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
            )
            try:
                with DIRECT.open(request, timeout=WAIT_S) as answer:
                    found = json.loads(answer.read(MOST_BYTES))
            except (OSError, ValueError, http.client.HTTPException) as failed:
                error = OSError(f"etcd at {server}: {failed}")
                continue
            if isinstance(found, dict):
                return found
            error = OSError(f"etcd at {server}: no answer of etcd 3.4 or later")
        raise error

    def _renew(self) -> None:
        if self._lease:
            answer = self._ask("lease/keepalive", {"ID": self._lease}).get("result")
            # a lease that is over is renewed for no time
            if isinstance(answer, dict) and str(answer.get("TTL", "0")) not in ("", "0"):
                return
        self._lease = ""
        lease = str(self._ask("lease/grant", {"TTL": str(LEASE_S)}).get("ID", ""))
        entry = {"key": _b64(self.folder + self.own), "value": _b64(self.own), "lease": lease}
        self._ask("kv/put", entry)
        self._lease = lease

    def look(self) -> list[str]:
        """We are there, and who else is. OSError."""
        self._renew()
        end = self.folder[:-1] + "0"  # what follows the slash
        rows = self._ask(
            "kv/range",
            {"key": _b64(self.folder), "range_end": _b64(end), "limit": str(MOST_ENTRIES)},
        ).get("kvs", [])
        found = []
        for row in rows if isinstance(rows, list) else []:
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                found.append(base64.b64decode(row["value"], validate=True).decode())
        return found

    def leave(self) -> None:
        """Our entry goes at once, if it can."""
        with contextlib.suppress(OSError):
            if self._lease:
                self._ask("lease/revoke", {"ID": self._lease})
        self._lease = ""
