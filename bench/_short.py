# SPDX-License-Identifier: Apache-2.0
"""A program that is short of a core, for bench/stall.py.

As a program, where no cgroup can be had: runs COMMAND and stops it for 50 ms in 100.

    python bench/_short.py COMMAND...
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PERIOD_MS = 100
RUNS_MS = 50
CGROUPS = Path("/sys/fs/cgroup")
# What goes in front of each command: whatever else runs on the machine gets next to nothing of its
# core, so that it is short by what the scene says and by no more. The kernel gives each session a
# share of its own (its autogroup), and a process's nice value counts inside its session alone.
APART = (
    *("setsid", "sh", "-c"),
    '{ echo -20 >/proc/self/autogroup; } 2>/dev/null; exec "$@"',
    "sh",
)


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """A program that spins on each of our cores."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    spinners = [
        subprocess.Popen([*APART, sys.executable, "-c", code, str(core)])
        for core in os.sched_getaffinity(0)
    ]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def cgroup() -> Path | None:
    """One of our own with the quota, in version 1 or 2 of cgroups; None where it cannot be had."""
    period, quota = PERIOD_MS * 1000, RUNS_MS * 1000
    name = f"mfs-bench-{time.monotonic_ns()}"
    ways: tuple[tuple[Path, dict[str, object]], ...] = (
        (
            CGROUPS / "cpu" / name,
            {"cpu.shares": 262144, "cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota},
        ),
        (CGROUPS / name, {"cpu.weight": 10000, "cpu.max": f"{quota} {period}"}),
    )
    for folder, settings in ways:
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            for file, value in settings.items():
                # a plain folder would let us make any file: that is no cgroup
                with open(folder / file, "r+") as setting:
                    setting.write(str(value))
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
        else:
            return folder
    return None


@contextlib.contextmanager
def quota() -> Iterator[tuple[tuple[str, ...], str]]:
    """What goes in front of a command that is to have half a core, and how it comes to that."""
    folder = cgroup()
    if folder is None:
        yield (sys.executable, str(Path(__file__).resolve())), "SIGSTOP and SIGCONT"
        return
    enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    try:
        yield ("sh", "-c", enter, str(folder)), f"cgroup {folder.parent}"
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def halve(command: list[str]) -> int:
    process = subprocess.Popen(command)
    try:
        while process.poll() is None:
            process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(RUNS_MS / 1e3)
                break
            process.send_signal(signal.SIGSTOP)
            time.sleep((PERIOD_MS - RUNS_MS) / 1e3)
    finally:
        if process.poll() is None:
            process.kill()
    return process.wait()


if __name__ == "__main__":
    sys.exit(halve(sys.argv[1:]))
