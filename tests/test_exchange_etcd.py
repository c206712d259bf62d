# SPDX-License-Identifier: Apache-2.0
"""Peers by etcd: a gateway of the test's own, and a real etcd where there is one."""

from __future__ import annotations

import base64
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mfs_transport.exchange.etcd import DIRECT, Etcd, parse
from mfs_transport.exchange.roster import PORT, Roster, check
from mfs_transport.native import InputError

ETCD = os.environ.get("MFS_TEST_ETCD") or shutil.which("etcd")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Gateway(http.server.BaseHTTPRequestHandler):
    """As much of etcd as is asked for."""

    entries: dict[bytes, tuple[bytes, str]]
    leases: set[str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(self.answer(self.path.removeprefix("/v3/"), asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, way: str, asked: dict[str, Any]) -> dict[str, Any]:
        if way == "lease/grant":
            self.leases.add(lease := str(len(self.leases) + 7))
            return {"ID": lease, "TTL": asked["TTL"]}
        if way == "lease/keepalive":
            there = asked["ID"] in self.leases
            return {"result": {"ID": asked["ID"], **({"TTL": "60"} if there else {})}}
        if way == "lease/revoke":
            drop(self, asked["ID"])
            return {}
        key = base64.b64decode(asked["key"])
        if way == "kv/put":
            self.entries[key] = (base64.b64decode(asked["value"]), asked["lease"])
            return {}
        end = base64.b64decode(asked["range_end"])
        found = [value for name, (value, _) in sorted(self.entries.items()) if key <= name < end]
        return {"kvs": [{"value": base64.b64encode(value).decode()} for value in found]}

    def log_message(self, *_: object) -> None:
        pass


def drop(gateway: Any, lease: str) -> None:
    gateway.leases.discard(lease)
    for name in [name for name, one in gateway.entries.items() if one[1] == lease]:
        del gateway.entries[name]


@pytest.fixture
def gateway() -> Iterator[tuple[str, type[Gateway]]]:
    kind = type("One", (Gateway,), {"entries": {}, "leases": set()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", kind
    server.shutdown()
    server.server_close()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    if not ETCD:
        pytest.skip("no etcd; install it with: apt-get install etcd-server")
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    process = subprocess.Popen(
        [
            *(ETCD, "--data-dir", str(tmp_path / "etcd"), "--listen-client-urls", client),
            *("--advertise-client-urls", client, "--listen-peer-urls", peer),
            *("--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ends = time.monotonic() + 60
        while True:
            try:
                DIRECT.open(f"{client}/health", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < ends, "etcd does not begin"
                time.sleep(0.1)
        yield client.removeprefix("http://")
    finally:
        process.kill()
        process.wait()


def come_and_go(server: str) -> None:
    first = Etcd(f"etcd://{server}/mfs/a", "10.0.0.1:9655")
    second = Etcd(f"etcd://{server}/mfs/a/", "[fd00::7]:9700")
    other = Etcd(f"etcd://{server}/mfs/ab", "10.0.0.9:9655")
    other.look()
    assert first.look() == ["10.0.0.1:9655"]
    assert second.look() == ["10.0.0.1:9655", "[fd00::7]:9700"]
    assert first.look() == ["10.0.0.1:9655", "[fd00::7]:9700"]  # it has its lease still
    second.leave()
    assert first.look() == ["10.0.0.1:9655"]
    # somebody has taken our lease away
    Etcd(f"etcd://{server}/mfs/a", "x")._ask("lease/revoke", {"ID": first._lease})
    assert first.look() == ["10.0.0.1:9655"]


def test_look__who_comes_and_who_goes(gateway: tuple[str, type[Gateway]]):
    come_and_go(gateway[0])


def test_look__at_a_real_etcd(real: str):
    come_and_go(real)


def test_look__the_next_server_where_one_is_not_there(gateway: tuple[str, type[Gateway]]):
    servers = f"127.0.0.1:{free_port()},{gateway[0]}"
    assert Etcd(f"etcd://{servers}", "10.0.0.1:9655").look() == ["10.0.0.1:9655"]
    assert list(gateway[1].entries) == [b"/mfs/agents/10.0.0.1:9655"]


def test_roster__by_etcd_and_when_it_is_away(gateway: tuple[str, type[Gateway]]):
    server, kind = gateway
    said: list[str] = []
    roster = Roster(f"etcd://{server}", socket.AF_INET, said.append, ("127.0.0.1", 9700))
    kind.entries[b"/mfs/agents/b"] = (b"127.0.0.2", "0")
    kind.entries[b"/mfs/agents/c"] = (b"what is this\xff", "0")
    kind.entries[b"/mfs/agents/d"] = (b"127.0.0.3:x", "0")
    roster.look()
    assert roster.addresses == [("127.0.0.1", 9700), ("127.0.0.2", PORT)]
    away = Roster(f"etcd://127.0.0.1:{free_port()}", socket.AF_INET, said.append, ("127.0.0.1", 1))
    for _ in range(3):
        away.look()
    assert len(said) == 1
    assert "the peers stay as they were: etcd at 127.0.0.1" in said[0]


@pytest.mark.parametrize(
    ("text", "servers", "folder"),
    [
        ("etcd://e", ["e:2379"], "/mfs/agents/"),
        ("etcd://e:1,[fd00::7]/", ["e:1", "[fd00::7]:2379"], "/mfs/agents/"),
        ("etcd://e/a/b/", ["e:2379"], "/a/b/"),
    ],
)
def test_parse(text: str, servers: list[str], folder: str):
    assert parse(text) == (servers, folder)


@pytest.mark.parametrize("text", ["etcd://", "etcd:///a", "etcd://a:x", "etcd://u@a", "etcd://:1"])
def test_parse__what_names_no_server(text: str):
    with pytest.raises(InputError, match="etcd://HOST:PORT"):
        parse(text)


def test_check__an_own_address_is_needed():
    with pytest.raises(InputError, match="MFS_AGENT_ADDRESS="):
        check("etcd://e", ("", PORT))
    check("etcd://e", ("10.0.0.1", PORT))
