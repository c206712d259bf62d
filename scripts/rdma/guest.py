# SPDX-License-Identifier: Apache-2.0
"""Where a plan runs: a QEMU guest, or this machine. Both give the runner's events as they come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from image import Image

HERE = Path(__file__).parent
BOOT_S = 180
LOOK_S = 0.1
TAIL = 12  # lines of the console that are shown when it goes wrong


class Failed(Exception):
    """The guest did not do what it must: a line, and the console's end."""


def qemu_command(qemu: str, image: Image, folder: Path) -> list[str]:
    """2 processors and 4 GB, emulated (TCG: no KVM is needed), no network; three folders of the
    host's by 9p: its root and the tools to read, the folder of this run to write results."""
    shares = {"root": "/", "tools": str(folder / "tools"), "out": str(folder / "out")}
    command = [
        *(qemu, "-M", "q35,hpet=off", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"),
        *("-smp", "2", "-m", "4G", "-nographic", "-no-reboot", "-nodefaults", "-net", "none"),
        *("-serial", "stdio", "-monitor", "none"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs), "-append"),
        "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check "
        f"random.trust_cpu=on main={HERE / 'guest-main'}",
    ]
    for name, path in shares.items():
        options = f"local,id={name},path={path.replace(',', ',,')},security_model=none"
        if name != "out":
            options += ",readonly=on,multidevs=remap"
        command += ["-fsdev", options, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
    return command


def end(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(console: Path) -> str:
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    return "\n".join(f"    {line.rstrip()}" for line in lines[-TAIL:] if line.strip())


@contextlib.contextmanager
def started(command: list[str], console: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It does not outlive us, even if we are killed: then the kernel kills it."""
    with console.open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def events(
    command: list[str],
    folder: Path,
    plan: list[dict[str, Any]],
    limit_s: float,
    booted: Callable[[float], None] | None,
) -> Generator[dict[str, Any], None, None]:
    """Start it and read what the runner tells. `booted` is called once, with the seconds until the
    guest was up; without it nothing boots. Failed: it hung, or ended before its time."""
    out, console = folder / "out", folder / "console.log"
    (out / "plan.json").write_text(json.dumps(plan))
    (out / "python").write_text(sys.executable)
    results = out / "results.jsonl"
    results.touch()
    start = time.monotonic()
    left, now, up = {step["name"] for step in plan}, "", booted is None
    with started(command, console) as process, results.open() as file:
        while left:
            over = process.poll() is not None
            passed_s = time.monotonic() - start
            if not up and (out / "booted").exists() and booted:
                up = True
                booted(passed_s)
            for line in whole_lines(file):
                event = json.loads(line)
                now = event.get("begin", "")
                left.discard(event.get("end", ""))
                yield event
            if over and left:
                raise Failed(f"it ended by itself, {place(now, up)}; {where(console)}")
            if not up and passed_s > BOOT_S:
                raise Failed(f"it did not boot within {BOOT_S} s; {where(console)}")
            if passed_s > limit_s:
                raise Failed(f"not over after {limit_s:.0f} s, {place(now, up)}; {where(console)}")
            time.sleep(LOOK_S)


def place(now: str, up: bool) -> str:
    return f"in {now}" if now else "between two checks" if up else "before it had booted"


def where(console: Path) -> str:
    return f"its console is in {console}, and ends with:\n{tail(console)}"


def whole_lines(file: Any) -> Iterator[str]:
    """A line that is still being written is left for the next look."""
    while True:
        at = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(at)
            return
        yield line


def here_command(folder: Path) -> list[str]:
    out = folder / "out"
    runner = str(HERE / "runner.py")
    return [sys.executable, "-S", runner, str(out / "plan.json"), str(out / "results.jsonl")]
