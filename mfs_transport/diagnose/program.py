# SPDX-License-Identifier: Apache-2.0
"""Does a program of the user's go through the shim? It is run, and its counters are read."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..config import string
from ..native import InputError
from ..observe.segment import look
from . import Check
from .environment import check_library, check_segment, check_settings


def read_stats(path: Path) -> dict[str, int]:
    """Counters of all processes together: of each, the last line it wrote."""
    last: dict[int, dict[str, int]] = {}
    if path.is_file():
        for line in path.read_text().splitlines():
            row = json.loads(line)
            last[row.pop("pid")] = row
    total: dict[str, int] = {"processes": len(last)}
    for row in last.values():
        for name, value in row.items():
            total[name] = total.get(name, 0) + value
    return total


def check_program(counters: Mapping[str, int]) -> Check:
    calls = counters.get("calls", 0)
    if calls > 0:
        reason = (
            f"{calls} calls with {counters['bytes']} bytes in {counters['processes']} processes; "
            f"{counters['deferred']} deferred, {counters['tagged']} tagged"
        )
        return Check("interception", "ok", reason)
    if counters["processes"]:
        reason = "UCX was used, but no put or get of it was intercepted"
        remedy = "make it move data; MFS_LOG=3 tells what is passed on untouched"
    else:
        reason = "no process of it called UCX through the shim"
        remedy = (
            "make it move data with NIXL or UCX, and end by itself: a process that is killed "
            "tells nothing; a UCX that is linked statically cannot be intercepted"
        )
    return Check("interception", "FAIL", reason, remedy)


def examine(
    argv: tuple[str, ...], environ: Mapping[str, str], output: int | None
) -> tuple[list[Check], dict[str, int]]:
    """Run the user's command under `environ`, and see what was intercepted."""
    found = look(string("MFS_SEGMENT", environ))
    checks = [check_library(), check_settings(environ), check_segment(found)]
    if any(check.status == "FAIL" for check in checks):
        reason = "not started: see above"
        return [*checks, Check("command", "skipped", reason)], {}
    with tempfile.TemporaryDirectory(prefix="mfs-doctor-") as folder:
        stats = Path(folder) / "stats"
        try:
            done = subprocess.run(
                list(argv), env={**environ, "MFS_STATS": str(stats)}, stdout=output, check=False
            )
        except OSError as error:
            raise InputError(f"{argv[0]}: {error.strerror}") from None
        counters = read_stats(stats)
    if done.returncode == 0:
        checks.append(Check("command", "ok", argv[0]))
    else:
        reason = f"{argv[0]} ended with status {done.returncode}"
        checks.append(Check("command", "FAIL", reason, "try it without mfs"))
    checks.append(check_program(counters))
    return checks, counters
