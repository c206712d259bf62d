# SPDX-License-Identifier: Apache-2.0
"""What is tried over RDMA: commands with their environment, and what each must have shown."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGE = ROOT / "mfs_transport"

# conformance without `listener`, which needs a connection manager
CASES = (
    *("data", "many", "detached", "datatypes", "fence_and_atomic", "tag_messages", "callbacks"),
    *("callback_posts", "request_calls", "canceled", "own_request", "request_area"),
    *("flush_forms", "blocking_forms", "implicit_forms", "reused_buffer", "old_forms"),
    *("close_flushes", "close_forced", "close_many", "peer_failure", "destroyed", "sleeps"),
    *("waits", "threads"),
)
QUICK_CASES = (
    *("data", "many", "detached", "callbacks", "canceled", "flush_forms", "close_forced"),
    "threads",
)
# over ud UCX itself reads a put of some KiB after the post; and it takes long to give a peer up
NOT_OVER_UD = {"reused_buffer", "peer_failure"}
DEFERRED = {"MFS_TEST_SMALL": "0", "MFS_WINDOW": "8k", "MFS_TEST_CHUNK": "4k"}
DEFERRED |= {"MFS_PACE": "400000000"}
SCENES = (
    *("kill", "semantics", "lines", "close", "ring"),
    *("threads", "together", "stop", "abandon", "finalize"),
)
QUICK_SCENES = SCENES[:5]
TRANSFER = {"count": 8, "size": 4 << 20}
FOR_CASE = {
    # who is gone is given up after some tries, or by a look at it: with UCX's own times a minute
    "peer_failure": {
        "UCX_RC_TIMEOUT": "50ms",
        "UCX_RC_RETRY_COUNT": "2",
        "UCX_KEEPALIVE_INTERVAL": "1s",
    },
    # an atomic behind the fence that UCX 1.23 chooses by itself may fail, without us as well (0033)
    "fence_and_atomic": {"UCX_FENCE_MODE": "weak"},
}


class Wrong(Exception):
    """It ran, and did not show what it must."""


@dataclass(frozen=True)
class Programs:
    """Compiled before, against the UCX of NIXL's wheel."""

    conformance: Path
    harness: Path
    libucp: Path


@dataclass(frozen=True)
class Where:
    """The environment of every check, and in which place files of it may lie."""

    guest: bool
    env: dict[str, str]
    scratch: str

    def tls(self, name: str) -> dict[str, str]:
        """The guest's device has no mlx5 transports."""
        return {"UCX_TLS": f"{name}_v" if self.guest else name}


@dataclass(frozen=True)
class Check:
    group: str
    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    limit_s: float = 60
    read: Callable[[dict[str, Any]], str] = lambda ended: ""

    def step(self, where: Where) -> dict[str, Any]:
        """As the runner takes it."""
        segment = {"MFS_SEGMENT": f"{where.scratch}/mfs-rdma-segment"}
        env = {**where.env, **segment, **self.env}
        return {
            "name": self.name,
            "command": list(self.command),
            "env": env,
            "limit_s": self.limit_s,
        }


def judged(check: Check, ended: dict[str, Any]) -> tuple[str, str]:
    """(passed or failed, what was seen)."""
    if ended["status"] is None:
        return "failed", f"not over after {check.limit_s:.0f} s; {last(ended)}"
    if ended["status"] == 77:
        return "not here", "this UCX or transport cannot do it"
    if ended["status"] != 0:
        return "failed", f"exit {ended['status']}: {last(ended)}"
    try:
        return "passed", check.read(ended)
    except (Wrong, ValueError, KeyError, IndexError) as error:
        return "failed", f"{error}; {last(ended)}"


def last(ended: dict[str, Any]) -> str:
    """Of what was said, the line that matters most."""
    said = [line for line in (ended["err"] + ended["out"]).splitlines() if line.strip()]
    said = [line for line in said if "libibverbs: Warning" not in line]
    return said[-1].strip()[-300:] if said else "nothing was said"


# --- the shim ---


def without_faults(ended: dict[str, Any]) -> str:
    stats = ended["stats"]
    if not stats:
        raise Wrong("no counters: the shim was not in the way")
    if stats["faults"]:
        raise Wrong(f"{stats['faults']} faults")
    return f"{stats['deferred']} operations in {stats['chunks']} chunks"


def shim(where: Where, name: str, policy: str = "mfs") -> dict[str, str]:
    return {
        "LD_PRELOAD": str(PACKAGE / "libmfs_ucx.so"),
        "MFS_ENABLE": "1",
        "MFS_POLICY": policy,
        "MFS_STATS": f"{where.scratch}/mfs-rdma-stats-{name.replace('/', '-')}",
        "UCX_LOG_LEVEL": "error",
    }


def conformance(where: Where, programs: Programs, quick: bool) -> Iterator[Check]:
    modes: list[tuple[str, str, tuple[str, ...]]] = [("rc", "mfs", QUICK_CASES if quick else CASES)]
    if not quick:
        modes += [("rc", "deferred", CASES), ("ud", "mfs", CASES)]
    for tls, mode, cases in modes:
        for case in cases:
            name = f"conformance/{tls}/{mode}/{case}"
            env = {**shim(where, name), **where.tls(tls)}
            env |= DEFERRED if mode == "deferred" else {}
            if tls == "ud" and case in NOT_OVER_UD:
                continue
            env |= FOR_CASE.get(case, {})
            yield Check(
                f"conformance, {tls}, {mode}",
                name,
                (str(programs.conformance), case),
                env,
                read=without_faults,
            )


# --- NIXL ---


def transferred(rounds: int) -> Callable[[dict[str, Any]], str]:
    """Each byte was compared in the moment of the notification, and each was scheduled."""

    def read(ended: dict[str, Any]) -> str:
        result = json.loads(ended["out"].splitlines()[-1])
        seen = without_faults(ended)
        wanted = 2 * rounds * TRANSFER["count"] * TRANSFER["size"]
        if result["notified"] != 2 * rounds or ended["stats"]["bytes"] != wanted:
            raise Wrong(f"{ended['stats']['bytes']} bytes and {result['notified']} notifications")
        return f"{wanted >> 20} MiB compared, {seen}"

    return read


def urgent_first(ended: dict[str, Any]) -> str:
    orders = json.loads(ended["out"].splitlines()[-1])
    if orders["ended"][0] != "soon" or orders["notified"][0] != "soon":
        raise Wrong(f"the order was {orders}")
    return "the later, more urgent transfer ended first"


def nixl(where: Where, quick: bool) -> Iterator[Check]:
    script = str(ROOT / "tests" / "ucx" / "nixl_transfer.py")
    more = {"NIXL_LOG_LEVEL": "ERROR", "NIXL_UCX_DEEPBIND": "0", "PYTHONPATH": str(ROOT)}
    more |= where.tls("rc")
    for mode in ("mfs",) if quick else ("mfs", "deferred"):
        name = f"nixl/{mode}"
        env = {**shim(where, name), **more, **(DEFERRED if mode == "deferred" else {})}
        arguments = (str(TRANSFER["count"]), str(TRANSFER["size"]), "1")
        command = (sys.executable, script, *arguments)
        yield Check("NIXL", name, command, env, 120, transferred(1))
    if quick:
        return
    env = {**shim(where, "order"), **more, "MFS_PACE": "8000000", "MFS_WINDOW": "64k"}
    env |= {"MFS_TEST_CHUNK": "16k"}
    script = str(ROOT / "tests" / "ucx" / "nixl_urgent.py")
    yield Check("NIXL", "nixl/order", (sys.executable, script), env, 120, urgent_first)
    yield Check(
        "NIXL",
        "nixl/doctor",
        (sys.executable, "-m", "mfs_transport", "doctor", "--json"),
        {**where.tls("rc"), "PYTHONPATH": str(ROOT)},
        120,
        lambda ended: "mfs doctor finds the shim in the way",
    )


# --- NCCL's plug-in ---


def error_after(ended: dict[str, Any]) -> str:
    found = re.search(r"error after ([\d.]+) s", ended["err"])
    if not found:
        raise Wrong("nobody said when the error came")
    return f"a killed peer is an error after {found[1]} s"


def ended_well(ended: dict[str, Any]) -> str:
    for bad in ("did not give back", "did not close in time"):
        if bad in ended["err"]:
            raise Wrong(f"{bad!r} was said")
    return ""


def nccl(where: Where, programs: Programs, quick: bool) -> Iterator[Check]:
    for scene in QUICK_SCENES if quick else SCENES:
        env = {
            **where.tls("rc"),
            "MFS_NCCL_UCX": str(programs.libucp),
            "MFS_NCCL_PEER_TIMEOUT": "5s",
            "NCCL_SOCKET_IFNAME": "lo",
            "UCX_LOG_LEVEL": "fatal",
            "WORLD_LOG": "1",
            **({"HARNESS_SLOW": "1"} if where.guest else {}),
        }
        yield Check(
            "NCCL",
            f"nccl/{scene}",
            (str(programs.harness), str(PACKAGE / "libnccl-net-mfs.so"), "12", scene, "1"),
            env,
            100,
            {"kill": error_after, "abandon": ended_well, "finalize": ended_well}.get(
                scene, lambda ended: ""
            ),
        )


# --- in the guest alone: what is on the wire; and a look at what it costs ---


def here(where: Where) -> Iterator[Check]:
    """The guest is a host with an RDMA device: the whole script once more, without a guest."""
    command = (sys.executable, str(HERE / "main.py"), "--only", "nccl/kill")

    def read(ended: dict[str, Any]) -> str:
        if " s  on rxe0" not in ended["out"]:
            raise Wrong("it did not find the device")
        return "compiled and run on a host with a device"

    yield Check("without a guest", "here/kill", command, {}, 150, read)


def classes(where: Where, programs: Programs) -> Iterator[Check]:
    plugin = str(PACKAGE / "libnccl-net-mfs.so")
    env = {
        **where.tls("rc"),
        "MFS_NCCL_UCX": str(programs.libucp),
        "NCCL_SOCKET_IFNAME": "lo",
        "UCX_LOG_LEVEL": "fatal",
        "WORLD_NET_DEVICES": "rxa:1,rxb:1,rxa:1",
        "HARNESS_SLOW": "1",
    }
    for name, classes, more in (
        ("wire/classes", "104,32", {"MFS_NCCL_CLASSES": "0:104,3:32"}),
        ("wire/one-class", "32", {"UCX_IB_TRAFFIC_CLASS": "32"}),
    ):
        wire = (sys.executable, str(HERE / "wire.py"), "--need", classes, "--")
        command = (*wire, str(programs.harness), plugin, "12", "ring", "1")
        yield Check("on the wire", name, command, {**env, **more}, 100, said)


def said(ended: dict[str, Any]) -> str:
    return str(ended["out"].splitlines()[-1])


def bench(where: Where, programs: Programs) -> Iterator[Check]:
    sizes = ("--min", "64k", "--max", "1m", "--pairs", "3", "--budget-ms", "200")
    how = ("--libucp", str(programs.libucp), "--transport", "as-set", "--operation", "put")
    command = (sys.executable, str(ROOT / "bench" / "ucx.py"), *how, *sizes)
    result = f"{where.scratch}/mfs-rdma-bench.json"
    env = {**where.tls("rc"), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    yield Check("a look", "bench/put", (*command, "--json", result), env, 150, looked)


def looked(ended: dict[str, Any]) -> str:
    rows = [line.split() for line in ended["out"].splitlines() if line.startswith("put")]
    if not rows:
        raise Wrong("no table")
    shown = (f"{int(row[2]) >> 10} KiB {row[3]} and {row[4]} MB/s" for row in rows)
    return "put, plain and under MFS: " + ", ".join(shown)


def all_of(where: Where, programs: Programs, quick: bool) -> list[Check]:
    found = [*nccl(where, programs, quick), *conformance(where, programs, quick)]
    found += nixl(where, quick)
    if not quick:
        found += bench(where, programs)
        # the last one takes the guest's device away
        found += [*here(where), *classes(where, programs)] if where.guest else []
    return found
