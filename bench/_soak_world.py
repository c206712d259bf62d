# SPDX-License-Identifier: Apache-2.0
"""The programs of bench/soak.py and bench/chaos.py, their environment and their accounts."""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
from pathlib import Path
from typing import Any

import ucx

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "bench"
PACE_BPS = 100_000_000
ACCOUNT = struct.Struct("9Q56x")  # struct soak_account
WORDS = (
    *("pid", "posted_bytes", "failed_bytes", "verified_bytes", "wrong_bytes"),
    *("operations", "bursts", "connections", "over"),
)
SUMS = WORDS[1:7]
SLOTS = 64


class Failed(Exception):
    """The run is over, and not well."""


def compile_(folder: Path) -> None:
    command = [*shlex.split(os.environ.get("CC", "gcc")), "-std=c11", "-D_GNU_SOURCE", "-O2"]
    command += ["-pthread", f"-I{ROOT / 'csrc'}", f"-I{HERE}"]
    library = ucx.wheel("lib")
    core = [*(ROOT / "csrc/core").glob("*.c"), *(ROOT / "csrc/host").glob("*.c")]
    for name, parts in {
        "soak_ucx": [
            *(f"-isystem{ucx.wheel('include')}", HERE / "soak_ucx_send.c", HERE / "soak.c"),
            *(HERE / "ucx_tag.c", library / "libucp.so.0", f"-Wl,-rpath,{library}"),
        ],
        "soak_nccl": [HERE / "soak.c", HERE / "nccl_world.c", ROOT / "csrc/nccl/inner.c"],
        "soak_segment": core,
    }.items():
        sources = [HERE / f"{name}.c", *parts]
        output = ["-o", folder / name, "-ldl", "-lm"]
        subprocess.run([*command, *map(str, [*sources, *output])], check=True)
    clock = ["-shared", "-fPIC", "-fvisibility=hidden", HERE / "chaos_clock.c"]
    subprocess.run([*command, *map(str, [*clock, "-o", folder / "chaos_clock.so"])], check=True)


def environment(folder: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_", "LD_"))}
    return {
        **env,
        "UCX_TLS": "tcp",
        "UCX_NET_DEVICES": "lo",
        "UCX_LOG_LEVEL": "fatal",  # of those who are killed the others speak
        "NCCL_SOCKET_IFNAME": "lo",
        "MFS_NCCL_UCX": str(ucx.wheel("lib") / "libucp.so.0"),
        "MFS_ENABLE": "1",
        "MFS_SEGMENT": str(folder / "segment"),
        "MFS_PORT": "lo",
        "MFS_PACE": str(PACE_BPS),
        "MFS_PORT_RATE": str(PACE_BPS),
    }


class Accounts:
    """The file in which each process counts; see bench/soak.h."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "accounts"
        self.path.write_bytes(bytes(SLOTS * ACCOUNT.size))
        self.past = dict.fromkeys(SUMS, 0)

    def of(self, slot: int) -> dict[str, int]:
        with self.path.open("rb") as file:
            found = os.pread(file.fileno(), ACCOUNT.size, slot * ACCOUNT.size)
        return dict(zip(WORDS, ACCOUNT.unpack(found), strict=True))

    def close(self, slot: int, killed: bool) -> None:
        """A pair has ended: what it did goes to the past, and its slots are free again."""
        pair = [self.of(slot), self.of(slot + 1)]
        total = {word: sum(one[word] for one in pair) for word in SUMS}
        lost = total["posted_bytes"] - sum(
            total[f"{word}_bytes"] for word in ("verified", "failed", "wrong")
        )
        if not killed and lost:
            raise Failed(f"a pair has ended well, and {lost} bytes are missing")
        if not 0 <= lost <= 16 << 20:
            raise Failed(f"a pair was killed with {lost} bytes under way: more than a burst")
        total["failed_bytes"] += lost
        for word in SUMS:
            self.past[word] += total[word]
        with self.path.open("r+b") as file:
            os.pwrite(file.fileno(), bytes(2 * ACCOUNT.size), slot * ACCOUNT.size)

    def totals(self, slots: list[int]) -> dict[str, int]:
        """Of the past, and of the pairs that are at these slots now."""
        return {
            word: self.past[word] + sum(self.of(s)[word] + self.of(s + 1)[word] for s in slots)
            for word in SUMS
        }


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def memory(pid: int) -> dict[str, Any]:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup}
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {
        # pages of the segment belong to all: a process touches more of them as time goes by
        "own_KiB": sizes["Anonymous"],
        "rss_KiB": sizes["Rss"],
        "pss_KiB": sizes["Pss"],
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "cpu_s": sum(map(int, spent[11:13])) / os.sysconf("SC_CLK_TCK"),
    }
