# SPDX-License-Identifier: Apache-2.0
"""Who the peers are, by what MFS_PEERS says."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mfs_transport.exchange.roster import PORT, Roster, named, own_address, parse_one, resolve
from mfs_transport.native import InputError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("decode-0", ("decode-0", PORT)),
        (" 10.0.0.1:9700 ", ("10.0.0.1", 9700)),
        ("[fd00::7]:9700", ("fd00::7", 9700)),
        ("[fd00::7]", ("fd00::7", PORT)),
        ("fd00::7", ("fd00::7", PORT)),
    ],
)
def test_parse_one(text: str, address: tuple[str, int]):
    assert parse_one(text) == address


@pytest.mark.parametrize(
    "text", ["a:", "a:0", "a:65536", "a:x", "[fd00::7", "[fd00::7]9", "a b", ":9655", "/etc/hosts"]
)
def test_parse_one__what_is_no_peer(text: str):
    with pytest.raises(InputError):
        parse_one(text)


def test_named__a_list_a_file_and_what_is_neither(tmp_path: Path):
    assert named("a, b:1,") == [("a", PORT), ("b", 1)]
    file = tmp_path / "peers"
    file.write_text("# those of rack 7\na\n\nb:1  # slow\n")
    assert named(f"file:{file}") == [("a", PORT), ("b", 1)]
    with pytest.raises(OSError, match="No such file"):
        named(f"file:{tmp_path / 'none'}")
    with pytest.raises(InputError, match="names with commas, file:PATH, or etcd:"):
        named("consul://a:8500")
    with pytest.raises(InputError, match="257 peers, 256 at most"):
        named(",".join(f"a{n}" for n in range(257)))


@pytest.mark.parametrize(
    ("text", "address"),
    [("", ("", PORT)), (":9700", ("", 9700)), ("10.0.0.1", ("10.0.0.1", PORT))],
)
def test_own_address(text: str, address: tuple[str, int]):
    assert own_address(text) == address


def test_resolve__all_addresses_of_a_name_and_none_of_one_that_is_none():
    found = resolve([("localhost", 7), ("no-such-host.invalid", 7)], socket.AF_INET)
    assert found == [("127.0.0.1", 7)]
    assert resolve([("127.0.0.1", 7)], socket.AF_INET6) == [("::ffff:127.0.0.1", 7)]


def test_roster__keeps_what_it_had_and_says_why_once(tmp_path: Path):
    said: list[str] = []
    file = tmp_path / "peers"
    file.write_text("127.0.0.1:7\n")
    roster = Roster(f"file:{file}", socket.AF_INET, said.append)
    roster.look()
    file.write_text("127.0.0.2:7\n")
    roster.look()
    assert roster.addresses == [("127.0.0.2", 7)]
    file.write_text("what is this\n")
    for _ in range(3):
        roster.look()
    file.unlink()
    roster.look()
    assert roster.addresses == [("127.0.0.2", 7)]
    assert len(said) == 2
