# SPDX-License-Identifier: Apache-2.0
"""What can be said of an environment without a transfer: libraries, variables, the segment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from .. import launch
from ..config import Settings, flag, resolve
from ..native import LIBRARY, UCX_SHIM, InputError
from ..observe import health
from ..observe.segment import Look
from ..ucx_env import WITHOUT_EFA, efa_clashes
from . import Check

REINSTALL = "install the package anew: pip install --force-reinstall FILE.whl"
LAUNCH = 'start the program with `mfs run -- COMMAND`, or do: eval "$(mfs run --print-env)"'
# UCX transports that reach another host, by the beginning of their names
NETWORK = ("all", "tcp", "ib", "rc", "ud", "dc", "srd", "gga")
OFF = ("", "0", "n", "no", "off", "false", "disable", "disabled")


def launched(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` as `mfs run` would make it; with what cannot be used left for the checks."""
    settings: Settings = resolve({}, environ, lenient=True)
    changes = launch.environment(settings, environ) if UCX_SHIM.is_file() else {"MFS_ENABLE": "1"}
    return {**environ, **changes}


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


def check_health(segment: Look) -> list[Check]:
    """What the processes that are there say of themselves; none of it is wrong with the shim."""
    checks = []
    if late := health.late(segment):
        more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
        remedy = "give it a core of its own, or more of a quota; the port waits for it"
        checks.append(Check("cores", "ok", late[0] + more, remedy))
    if segment.warned:
        more = f" (and {len(segment.warned) - 1} other kinds)" if len(segment.warned) > 1 else ""
        words = health.told(segment.warned[0]) + more
        checks.append(Check("warned", "ok", words, "`mfs info` shows all; docs/operations.md"))
    return checks


def check_modules(environ: Mapping[str, str], clashes: bool | None = None) -> Check:
    """Does NIXL crash at exit, as it does beside the system's ibverbs-providers?"""
    value = environ.get("UCX_MODULES")
    if not (efa_clashes() if clashes is None else clashes):
        return Check("modules", "ok", f"UCX_MODULES={value}" if value else "UCX loads its modules")
    if value and (value.startswith("^") == ("efa" in value.lstrip("^").split(","))):
        return Check("modules", "ok", f"UCX_MODULES={value}")
    reason = (
        "the system's libefa (ibverbs-providers) clashes with what NIXL's wheel brings: NIXL 1.5.1 "
        "crashes at exit"
    )
    return Check("modules", "FAIL", reason, f"set UCX_MODULES={WITHOUT_EFA}, as `mfs run` does")


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
