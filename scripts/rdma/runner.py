# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of a plan one after the other, in the guest or here: runner.py PLAN RESULTS

A line of JSON is appended to RESULTS when one begins and when it has ended. One that is not over in
its time is killed with all that it has started. The standard library alone: it starts quickly.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KEPT = 8000  # characters of what a command says, from its end
CLOSES_S = 10  # after the end of one that was late, for its output: what it started may hold that


def text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")[-KEPT:]


def counters(path: Path) -> Any:
    """The last line that the shim has written; None: there is none, or half of one."""
    try:
        return json.loads(path.read_text().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None


def run(step: dict[str, Any]) -> dict[str, Any]:
    stats = Path(step["env"].get("MFS_STATS", "/nonexistent"))
    stats.unlink(missing_ok=True)  # of another run: they would say that the shim was in the way
    start = time.monotonic()
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *step["command"]],
        env=step["env"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        late = False
        out = err = None
        try:
            out, err = process.communicate(timeout=step["limit_s"])
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if late:
            try:
                out, err = process.communicate(timeout=CLOSES_S)
            except subprocess.TimeoutExpired as error:
                out, err = error.stdout, error.stderr
    return {
        "end": step["name"],
        "s": time.monotonic() - start,
        "status": None if late else process.returncode,
        "out": text(out),
        "err": text(err),
        "stats": counters(stats),
    }


def main() -> int:
    plan = json.loads(Path(sys.argv[1]).read_text())

    def tell(event: dict[str, Any]) -> None:
        with open(sys.argv[2], "a") as results:
            results.write(json.dumps(event) + "\n")

    for step in plan:
        tell({"begin": step["name"]})
        try:
            tell(run(step))
        except OSError as error:
            tell({"end": step["name"], "s": 0.0, "status": 127, "out": "", "err": str(error)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
