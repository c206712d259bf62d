# SPDX-License-Identifier: Apache-2.0
"""Processor time of the plug-in's part in each of vLLM's processes, for the demo's `--cost`.

TTFT on a busy machine swings by more than MFS costs. What its part of the hooks takes can be
measured by itself: the thread's processor time around each, which others do not add to.

    hook       of which side                        calls, and nanoseconds in all
    arrived    scheduler   a request comes          message, step_ended, over   each step
    finished   scheduler   the engine is done       begin, layer, ...     worker, each step
    tag        worker      a transfer is made

The clock's own time is taken off. Left out are the wrapped connector, the context of a tag
around the posting, and the shim (docs/ucx.md).
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ... import output_file

FOLDER = "VLLM_DEMO_COST"  # where each process writes what it has used
WRITE_S = 0.5
SCHEDULER = ("arrived", "message", "over", "step_ended", "finished")
CLOCK = "clock"  # what the clock itself takes, as a hook that does nothing


class Meter:
    """Of this process. Written beside the hooks, at most twice a second."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{os.getpid()}.json"
        self.hooks: dict[str, list[int]] = {}
        self._written_s = 0.0
        self.clock_ns = 0
        nothing = self.timed(CLOCK, lambda: None)
        for _ in range(1000):
            nothing()
        calls, used = self.hooks.pop(CLOCK)
        self.clock_ns = used // calls

    def timed(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(hook)
        def measured(*arguments: Any, **options: Any) -> Any:
            begun = time.thread_time_ns()
            try:
                return hook(*arguments, **options)
            finally:
                used = max(0, time.thread_time_ns() - begun - self.clock_ns)
                row = self.hooks.setdefault(name, [0, 0])
                row[0] += 1
                row[1] += used
                self._write()

        return measured

    def _write(self) -> None:
        now = time.monotonic()
        if not self.clock_ns or now - self._written_s < WRITE_S:
            return  # clock_ns: is being measured
        self._written_s = now
        output_file.write(self.path, json.dumps(self.hooks))


def measure_hooks() -> None:
    """Put a meter around the plug-in's hooks, if the demo asks for it."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    from ...engines.vllm import interface

    meter = Meter(Path(folder))
    for name, hook in list(vars(interface.Deadlines).items()):
        if name.startswith("_mfs_") and callable(hook) and name != "_mfs_start":
            setattr(interface.Deadlines, name, meter.timed(name.removeprefix("_mfs_"), hook))
    interface.tag_or_none = meter.timed("tag", interface.tag_or_none)


def read(folder: Path) -> dict[str, list[int]]:
    """Calls and nanoseconds by hook, over all processes of a server."""
    found: dict[str, list[int]] = {}
    for path in folder.glob("*.json"):
        for name, (calls, used_ns) in json.loads(path.read_text()).items():
            row = found.setdefault(name, [0, 0])
            row[0] += calls
            row[1] += used_ns
    return found


def summary(before: dict[str, list[int]], after: dict[str, list[int]]) -> dict[str, Any]:
    """What one request took in each side's process, in microseconds, and each hook's calls."""
    hooks = {
        name: [calls - before.get(name, [0, 0])[0], used - before.get(name, [0, 0])[1]]
        for name, (calls, used) in after.items()
    }
    requests = hooks.get("arrived", [0, 0])[0]
    side_ns = {"scheduler": 0, "worker": 0}
    for name, (_, used) in hooks.items():
        side_ns["scheduler" if name in SCHEDULER else "worker"] += used
    return {
        "requests": requests,
        "us_a_request": {side: used / 1e3 / max(1, requests) for side, used in side_ns.items()},
        "hooks": {
            name: {"calls": calls, "us_a_call": used / 1e3 / max(1, calls)}
            for name, (calls, used) in sorted(hooks.items())
        },
    }
