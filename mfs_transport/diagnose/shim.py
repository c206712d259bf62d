# SPDX-License-Identifier: Apache-2.0
"""Is the shim in the way of transfers? Proved by a transfer (transfer.py), not by a variable."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import string
from ..native import LIBRARY, UCX_SHIM
from ..observe.segment import FOREIGN, look
from . import Check
from .environment import (
    check_deepbind,
    check_enabled,
    check_health,
    check_library,
    check_modules,
    check_preload,
    check_segment,
    check_settings,
    check_transports,
)

PROBE_TIMEOUT_S = 120


def run_probe(environ: Mapping[str, str]) -> dict[str, Any]:
    """What transfer.py says under `environ`; with "error" set when it says nothing."""
    own = {name: value for name, value in environ.items() if name != "MFS_STATS"}
    with tempfile.TemporaryDirectory(prefix="mfs-doctor-") as folder:
        result = Path(folder) / "result.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "mfs_transport.diagnose.transfer", str(result)],
                env=own,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=PROBE_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"the transfer was not done after {PROBE_TIMEOUT_S} s"}
        if result.is_file():
            return dict(json.loads(result.read_text()))
    words = " ".join(["", *done.stderr.split()[-30:]])
    if done.returncode < 0:
        return {"error": f"the process died of {signal.Signals(-done.returncode).name}{words}"}
    return {"error": f"the process ended with status {done.returncode}{words}"}


def check_transfer(result: Mapping[str, Any], environ: Mapping[str, str]) -> Check:
    mover = result.get("mover") or "no transfer"
    ucx = ", ".join(f"{k}={v}" for k, v in sorted(environ.items()) if k.startswith("UCX_"))
    if result.get("error"):
        remedy = f"look at the variables of UCX that are set: {ucx}" if ucx else ""
        remedy = remedy or "see what UCX says: UCX_LOG_LEVEL=info mfs doctor"
        if check_deepbind(environ).status == "FAIL":
            # UCX reads `environ`, which a private scope leaves NULL for some Pythons
            remedy = "set NIXL_UCX_DEEPBIND=0: with 1, NIXL's UCX crashes in some Pythons"
        return Check("transfer", "FAIL", f"{mover}: {result['error']}", remedy)
    if not result["mover"]:
        return Check(
            "transfer",
            "FAIL",
            f"neither NIXL nor UCX is installed for {sys.executable}",
            "pip install nixl-cu12 or libucx-cu12, or try your own program: mfs doctor -- COMMAND",
        )
    if not result["verified"]:
        reason = f"{mover} moved {result['bytes']} bytes, and some arrived wrong"
        return Check("transfer", "FAIL", reason, "do not use it, and report this with `mfs info`")
    without = "" if mover.startswith("NIXL") else "; NIXL is not installed"
    return Check("transfer", "ok", f"{mover} moved {result['bytes']} bytes, all right{without}")


def check_interception(result: Mapping[str, Any], before: list[Check]) -> Check:
    if not result.get("bytes"):
        return Check("interception", "skipped", "nothing was moved")
    counters = result["counters"]
    seen, moved = counters["bytes"], result["bytes"]
    share = f"{seen} of {moved} bytes in {counters['calls']} calls were intercepted"
    if seen >= moved and counters["faults"] == 0:
        return Check("interception", "ok", f"{share}, {counters['deferred']} deferred")
    if seen >= moved:
        reason = f"{share}, with {counters['faults']} internal errors"
        return Check("interception", "FAIL", reason, "run again with MFS_LOG=3 and report this")
    blamed = [check.name for check in before if check.status == "FAIL"]
    if blamed:
        return Check("interception", "FAIL", share, f"see above: {', '.join(blamed)}")
    if not result["loaded"]:
        reason = f"{share}: the loader has left the shim out"
        return Check("interception", "FAIL", reason, f"see what it says: ldd {UCX_SHIM}")
    reason = f"{share}: calls pass the shim by"
    return Check("interception", "FAIL", reason, "set NIXL_UCX_DEEPBIND=0, as `mfs run` does")


def check_attached(result: Mapping[str, Any], segment: Check) -> Check:
    """The segment again, now that a process has tried to attach to it."""
    if segment.status == "ok" and result.get("segment") == "":
        reason = result.get("segment_reason") or "a process could not attach to it"
        remedy = "see why: MFS_LOG=1 mfs doctor; or name another file with MFS_SEGMENT"
        if "no room" in reason:
            remedy = "make room there (docker run --shm-size), or elsewhere: MFS_SEGMENT=FILE"
        return dataclasses.replace(
            segment,
            status="FAIL",
            reason=f"{segment.reason}: {reason}; each process is scheduled on its own",
            remedy=remedy,
        )
    return segment


def examine(environ: Mapping[str, str]) -> tuple[list[Check], dict[str, int]]:
    """All checks of a program that would start under `environ`, and what was counted."""
    checks = [
        check_library(),
        check_enabled(environ),
        check_preload(environ),
        check_deepbind(environ),
        check_settings(environ),
        check_transports(environ),
        check_modules(environ),
    ]
    found = look(string("MFS_SEGMENT", environ))
    segment = check_segment(found)
    if not LIBRARY.is_file():
        return [*checks, segment], {}
    if found.reason == FOREIGN:  # attaching would overwrite it
        skipped = Check("transfer", "skipped", f"it would overwrite {found.path}")
        return [*checks, segment, skipped], {}
    result = run_probe(environ)
    checks.append(check_attached(result, segment))
    checks.append(check_transfer(result, environ))
    checks.append(check_interception(result, checks))
    checks += check_health(found)
    return checks, dict(result.get("counters", {}))
