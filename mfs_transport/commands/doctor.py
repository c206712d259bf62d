# SPDX-License-Identifier: Apache-2.0
"""`mfs doctor`: is the shim in the way of transfers? Proved by a transfer, not by a variable."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from .. import launch
from ..config import Settings, flag, resolve, string
from ..native import LIBRARY, UCX_SHIM, InputError
from ..observe.segment import FOREIGN, Look, look

SCHEMA_VERSION = 1
PROBE_TIMEOUT_S = 120
Status = Literal["ok", "FAIL", "skipped"]

REINSTALL = "install the package anew: pip install --force-reinstall mfs-transport"
LAUNCH = 'start the program with `mfs run -- COMMAND`, or do: eval "$(mfs run --print-env)"'
# UCX transports that reach another host, by the beginning of their names
NETWORK = ("all", "tcp", "ib", "rc", "ud", "dc", "srd", "gga")
OFF = ("", "0", "n", "no", "off", "false", "disable", "disabled")


@dataclasses.dataclass(frozen=True)
class Check:
    """One row of the report."""

    name: str
    status: Status
    reason: str
    remedy: str = ""


# --- what can be said without a transfer ---


def check_library() -> Check:
    for path in (LIBRARY, UCX_SHIM):
        if not path.is_file():
            return Check("library", "FAIL", f"{path} is missing", REINSTALL)
    return Check("library", "ok", str(UCX_SHIM))


def check_enabled(environ: Mapping[str, str]) -> Check:
    value = environ.get("MFS_ENABLE", "")
    if flag("MFS_ENABLE", environ):
        return Check("enabled", "ok", f"MFS_ENABLE={value}")
    what = f"MFS_ENABLE={value}" if value else "MFS_ENABLE is not set"
    return Check("enabled", "FAIL", f"{what}: nothing is intercepted", LAUNCH)


def check_preload(environ: Mapping[str, str]) -> Check:
    names = environ.get("LD_PRELOAD", "").replace(":", " ").split()
    shims = [name for name in names if Path(name).name == UCX_SHIM.name]
    if not shims:
        what = f"LD_PRELOAD={' '.join(names)}" if names else "LD_PRELOAD is not set"
        return Check("preload", "FAIL", f"{what}: the shim is not loaded", LAUNCH)
    for name in shims:
        if not Path(name).is_file():
            reason = f"LD_PRELOAD names {name}, which does not exist: the loader leaves it out"
            return Check("preload", "FAIL", reason, LAUNCH)
        if not os.path.samefile(name, UCX_SHIM):
            reason = f"LD_PRELOAD names {name}, the shim of another installation than this one"
            return Check("preload", "FAIL", reason, LAUNCH)
    return Check("preload", "ok", f"LD_PRELOAD={':'.join(names)}")


def check_deepbind(environ: Mapping[str, str]) -> Check:
    own = os.environ.get("NIXL_UCX_DEEPBIND", "0")
    value = environ.get("NIXL_UCX_DEEPBIND")
    if own.strip().lower() not in OFF and value != own:
        reason = (
            f"NIXL_UCX_DEEPBIND={own} is set here: `mfs run` overrides it, but in a program that "
            "is started otherwise NIXL passes the shim by"
        )
        return Check("deepbind", "FAIL", reason, "unset NIXL_UCX_DEEPBIND")
    if value is None:
        return Check("deepbind", "ok", "NIXL_UCX_DEEPBIND is not set")
    if value.strip().lower() in OFF:
        return Check("deepbind", "ok", f"NIXL_UCX_DEEPBIND={value}")
    reason = f"NIXL_UCX_DEEPBIND={value}: NIXL binds to its own UCX and passes the shim by"
    return Check("deepbind", "FAIL", reason, "set NIXL_UCX_DEEPBIND=0, as `mfs run` does")


def check_settings(environ: Mapping[str, str]) -> Check:
    try:
        settings = resolve({}, environ)
    except InputError as error:
        return Check("settings", "FAIL", str(error), "correct it; `mfs info` lists what there is")
    return Check("settings", "ok", "; ".join(settings.remarks) or "every value can be used")


def check_segment(segment: Look) -> Check:
    if segment.state == "unusable":
        return Check(
            "segment",
            "FAIL",
            f"{segment.path}: {segment.reason}; each process would be scheduled on its own",
            "name another file: MFS_SEGMENT=/dev/shm/NAME, or none for the default place",
        )
    words = {"none": "made when needed", "idle": "there", "live": f"in use, {segment.policy}"}
    return Check("segment", "ok", f"{segment.path} ({words[segment.state]})")


def check_transports(environ: Mapping[str, str]) -> Check:
    value = environ.get("UCX_TLS")
    if value is None:
        return Check("transports", "ok", "UCX_TLS is not set: UCX chooses")
    if value.startswith("^"):  # all but these: what is left, the transfer tells
        return Check("transports", "ok", f"UCX_TLS={value}")
    names = [name.strip().lstrip("\\") for name in value.split(",")]
    if any(name.startswith(NETWORK) for name in names):
        return Check("transports", "ok", f"UCX_TLS={value}")
    reason = f"UCX_TLS={value} leaves no transport that reaches another host"
    return Check("transports", "FAIL", reason, f"unset UCX_TLS, or add one: UCX_TLS=tcp,{value}")


# --- the transfer ---


def run_probe(environ: Mapping[str, str]) -> dict[str, Any]:
    """What diagnose/transfer.py says under `environ`; with "error" set when it says nothing."""
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
    return checks, dict(result.get("counters", {}))


# --- a program of the user's ---


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


def examine_program(
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


# --- the report ---


def show(checks: list[Check], how: str) -> None:
    """Print it as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 300  # no folding for grep
    console.print(Text(f"The environment {how}:"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for index in range(3):
        table.add_column(overflow="fold", no_wrap=index < 2)
    styles = {"ok": "green", "FAIL": "bold red", "skipped": "yellow"}
    for check in checks:
        table.add_row(
            Text(check.status, style=styles[check.status]), Text(check.name), Text(check.reason)
        )
        if check.remedy:
            table.add_row("", "", Text(f"-> {check.remedy}", style="bold"))
    console.print(table)


def launched(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as `mfs run` would make it; with what cannot be used left for the checks."""
    settings: Settings = resolve({}, environ, lenient=True)
    changes = launch.environment(settings, environ) if UCX_SHIM.is_file() else {"MFS_ENABLE": "1"}
    return {**environ, **changes}


@click.command(
    name="doctor",
    short_help="Prove that the shim is in the way, or say what is wrong.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--json", "as_json", is_flag=True, help="For programs; see schema_version.")
@click.option("--here", is_flag=True, help="Check the environment exactly as it is.")
@click.argument("argv", metavar="[nccl | -- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def command(as_json: bool, here: bool, argv: tuple[str, ...]) -> None:
    """Prove that the shim is in the way of transfers, or say what is wrong and what to do.

    Bytes are moved with NIXL (or UCX, where NIXL is not installed) inside one process, they
    are compared, and the calls that the shim saw are counted. The environment is the one you
    are in when that has MFS_ENABLE=1 (inside `mfs run`) or with --here, else the one that
    `mfs run` would make of it. With a COMMAND, that is run instead. `mfs doctor nccl` proves
    that NCCL's net plug-in loads and exports what the NCCL at hand looks for.

    Exit status 1 when a check failed.

    \b
    Example:
      mfs doctor
      mfs run --policy edf -- mfs doctor
      mfs doctor -- python my_nixl_program.py
      mfs doctor nccl
    """
    as_is = here or check_enabled(os.environ).status == "ok"
    environ = dict(os.environ) if as_is and not argv else launched(os.environ)
    if argv == ("nccl",):
        from ..diagnose import nccl

        environ = dict(os.environ) if as_is else launched(os.environ)
        checks = [Check(*row) for row in nccl.examine(environ)]
        counters: dict[str, int] = {}
    elif argv:
        checks, counters = examine_program(argv, environ, sys.stderr.fileno() if as_json else None)
    else:
        checks, counters = examine(environ)
    healthy = (
        all(check.status != "FAIL" for check in checks)
        if argv == ("nccl",)
        else all(check.status == "ok" for check in checks)
    )
    if as_json:
        report = {
            "schema_version": SCHEMA_VERSION,
            "ok": healthy,
            "as_is": as_is and not argv,
            "checks": [dataclasses.asdict(check) for check in checks],
            "counters": counters,
        }
        click.echo(json.dumps(report, indent=2))
    else:
        show(checks, "as it is" if as_is and not argv else "as `mfs run` makes it")
    if not healthy:
        sys.exit(1)
