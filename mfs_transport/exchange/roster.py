# SPDX-License-Identifier: Apache-2.0
"""Who the peers are: MFS_PEERS.

    decode-0,decode-1:9700,10.1.2.3,[fd00::7]:9655    names and addresses; with a port of their own
    mfs-node.mfs-system.svc                           a name: all addresses that DNS has for it
    file:/etc/mfs/peers                               a line each of the above; # begins a remark
    etcd://etcd-0:2379/mfs/agents                     who has entered itself there: etcd.py
    connections                                       where connections lead: contacts.py

Names are asked for again now and then by a thread of its own, since DNS may take its time; a file
is read again when it has changed. What cannot be had now leaves what was known.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..native import InputError, shown
from . import etcd

PORT = 9655
MOST = 256  # peers
EVERY_S = 10.0
FILE = "file:"
MOST_FILE = 1 << 20
ENDS_S = 2.0

Address = tuple[str, int]


def parse_one(text: str) -> Address:
    """HOST, HOST:PORT, ADDRESS, [ADDRESS6]:PORT."""
    text = text.strip()
    host, port = text, str(PORT)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise InputError(f"peer {shown(text)}: [ADDRESS] or [ADDRESS]:PORT")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or any(letter.isspace() or letter == "/" for letter in host):
        raise InputError(f"peer {shown(text)}: a name or an address, with :PORT if need be")
    if not port.isascii() or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise InputError(f"peer {shown(text)}: a port is a number from 1 to 65535")
    return host, int(port)


def own_address(text: str) -> Address:
    """MFS_AGENT_ADDRESS: ADDRESS, ADDRESS:PORT, :PORT or nothing."""
    if not text:
        return "", PORT
    if text.startswith(":"):
        return "", parse_one(f"any{text}")[1]
    return parse_one(text)


def parse(text: str) -> list[Address]:
    """A list with commas."""
    found = [parse_one(one) for one in text.split(",") if one.strip()]
    if len(found) > MOST:
        raise InputError(f"MFS_PEERS: {len(found)} peers, {MOST} at most")
    return found


def read_file(path: Path) -> list[Address]:
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.read(MOST_FILE).splitlines()
    return parse(",".join(line.partition("#")[0].strip() for line in lines))


def named(text: str) -> list[Address]:
    """What MFS_PEERS says, names as they stand. InputError, or OSError of the file."""
    if text.startswith(FILE):
        return read_file(Path(text.removeprefix(FILE)))
    if "://" in text:
        raise InputError(
            f"MFS_PEERS {shown(text)}: names with commas, {FILE}PATH, or {etcd.SCHEME}HOST:PORT"
        )
    return parse(text)


def resolve(peers: list[Address], family: int) -> list[Address]:
    """All addresses of all names, sorted; those without one are left out."""
    found: set[Address] = set()
    for host, port in peers:
        flags = socket.AI_V4MAPPED | socket.AI_ALL if family == socket.AF_INET6 else 0
        try:
            rows = socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, flags=flags)
        except (OSError, UnicodeError):
            continue
        found.update((str(row[4][0]), int(row[4][1])) for row in rows)
    return sorted(found)[:MOST]


def check(text: str, own: Address) -> None:
    """Can the peers be looked up by that? InputError, or OSError of the file."""
    if not text.startswith(etcd.SCHEME):
        named(text)
        return
    etcd.parse(text)
    if not own[0]:
        raise InputError(
            "MFS_AGENT_ADDRESS: others find this host by what it enters into etcd: "
            "MFS_AGENT_ADDRESS=10.0.0.1"
        )


def entered(rows: list[str]) -> list[Address]:
    """Of what stands in etcd: rubbish there is nobody."""
    found = []
    for row in rows:
        with contextlib.suppress(InputError):
            found.append(parse_one(row))
    return found[:MOST]


@dataclass
class Roster:
    """The peers' addresses, looked up by a thread that `start` begins. own: ours, for etcd."""

    text: str
    family: int
    say: Callable[[str], None]
    own: Address = ("", PORT)
    addresses: list[Address] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _said: str = ""
    _etcd: etcd.Etcd | None = None
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        if self.text.startswith(etcd.SCHEME):
            host, port = self.own
            self._etcd = etcd.Etcd(
                self.text, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            )

    def _named(self) -> list[Address]:
        return entered(self._etcd.look()) if self._etcd else named(self.text)

    def look(self) -> None:
        try:
            found = resolve(self._named(), self.family)
        except (InputError, OSError) as error:
            self._tell(f"the peers stay as they were: {error}")
            return
        if not found:
            self._tell(f"no peer has an address now: {shown(self.text)}")
            return
        self._said = ""
        self.addresses = found

    def _tell(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self.say(line)

    def start(self) -> None:
        """Nothing, where nobody is named."""
        if not self.text:
            return
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            self.look()
            if self._ended.wait(max(1.0, EVERY_S - (time.monotonic() - began))):
                break
        if self._etcd:
            self._etcd.leave()

    def end(self) -> None:
        self._ended.set()
        if self._etcd and self._thread:
            self._thread.join(ENDS_S)  # our entry there goes
