# SPDX-License-Identifier: Apache-2.0
"""Runs a command whose ranks use the RDMA devices rxa and rxb, and counts the traffic classes of
the packets between them: wire.py --need 104,32 -- COMMAND...

A device that talks to itself does so inside its driver, so rxe0 on loopback shows nothing. Here are
two, at the ends of a veth pair, and policy routing sends packets over it although both addresses
are this machine's. Exit 1: a class that is needed was not seen, or another one was. For the guest.
"""

from __future__ import annotations

import argparse
import collections
import select
import socket
import subprocess
import sys
from pathlib import Path

ENDS = (("va", "10.0.0.1", "10.0.0.2", "51", "5"), ("vb", "10.0.0.2", "10.0.0.1", "52", "6"))
ROCE = (4791).to_bytes(2, "big")
CONTROL = 0  # acknowledgements of the connection's set-up, by UCX's default
LEAST = 20  # packets of a class that count


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def address_of(device: str) -> str:
    return Path(f"/sys/class/net/{device}/address").read_text().strip()


def set_up() -> None:
    """Once in the life of a guest."""
    if Path("/sys/class/infiniband/rxa").exists():
        return
    subprocess.run(["rdma", "link", "del", "rxe0"], check=False)
    ip("link", "add", "va", "type", "veth", "peer", "name", "vb")
    for device, here, *_ in ENDS:
        ip("addr", "add", f"{here}/24", "dev", device)
        ip("link", "set", device, "up", "mtu", "4200")
        for name in (device, "all"):
            settings = Path("/proc/sys/net/ipv4/conf") / name
            (settings / "accept_local").write_text("1")
            (settings / "rp_filter").write_text("0")
    for (device, here, there, table, number), other in zip(ENDS, ENDS[::-1], strict=True):
        ip("route", "add", there, "dev", device, "src", here, "table", table)
        rule = ("iif", "lo", "to", there, "from", here, "lookup", table)
        ip("rule", "add", "pref", number, *rule)
        link = ("lladdr", address_of(other[0]), "dev", device, "nud", "permanent")
        ip("neigh", "replace", there, *link)
    ip("rule", "add", "pref", "100", "lookup", "local")
    ip("rule", "del", "pref", "0")
    for name, (device, *_) in zip(("rxa", "rxb"), ENDS, strict=True):
        subprocess.run(["rdma", "link", "add", name, "type", "rxe", "netdev", device], check=True)


def counted(tap: socket.socket, command: list[str]) -> tuple[int, collections.Counter[int]]:
    """The command's status, and its RoCE packets by class."""
    seen: collections.Counter[int] = collections.Counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    over = False
    while not over:
        over = process.poll() is not None  # then what is left is taken
        while select.select([tap], [], [], 0.1)[0]:
            packet = tap.recv(64)
            if packet[12:14] == b"\x08\x00" and packet[23] == 17 and packet[36:38] == ROCE:
                seen[packet[15]] += 1
    return process.returncode, seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--need", required=True, help="traffic classes, with commas")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    set_up()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.bind(("va", 0))
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
        status, seen = counted(tap, chosen.command)
    if status != 0:
        print(f"the command ended with {status}", file=sys.stderr)
        return 1
    shown = ", ".join(f"class {name}: {count} packets" for name, count in sorted(seen.items()))
    needed = {int(one) for one in chosen.need.split(",")}
    lacking = [name for name in needed if seen[name] < LEAST]
    others = set(seen) - needed - {CONTROL}
    if lacking or others:
        print(f"needed {sorted(needed)}, and saw {shown or 'nothing'}", file=sys.stderr)
        return 1
    print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
