# SPDX-License-Identifier: Apache-2.0
"""Does MFS work over RDMA verbs? The shim, NIXL and the NCCL plug-in over an rc transport.

    scripts/rdma-check                      # all of it, up to ten minutes
    scripts/rdma-check --quick              # up to two
    scripts/rdma-check --only nccl/kill     # what begins like that; --list shows the names
    scripts/rdma-check --json rdma.json

On a host with RDMA devices the checks run right here, over UCX_TLS=rc and ud, with the other UCX_
variables as they are: UCX_NET_DEVICES says which device. Elsewhere, or with --guest, they run in a
QEMU guest, whose kernel makes an RDMA device of its loopback (Soft-RoCE): no hardware, no KVM and
no network are needed, but a quiet machine is: the guest is emulated. docs/rdma.md says what that
shows, and what it cannot.

Exit status: 0 all right, 1 not, 2 bad input, 77 something is missing here (one line says what).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checks
import guest
import image
import packages

sys.path.insert(0, str(checks.ROOT))
sys.path.insert(0, str(checks.ROOT / "tests"))
from mfs_transport import json_report, output_file, terminal, ucx_env
from mfs_transport.native import InputError

MISSING = 77
BUSY = 4.0  # load above which an emulated guest tells nothing
MEMORY_BYTES = 5 << 30  # the guest's, and QEMU's own
LIMITS_S = {True: 300, False: 1200}  # by quick: then it hangs
KEPT_S = 86400  # for which the console of a guest that failed stays
START = time.monotonic()


def say(line: str) -> None:
    print(f"{time.monotonic() - START:6.1f} s  {line}", flush=True)


def libraries() -> Path:
    """The UCX of NIXL's wheel: that of libucx-cu12 was built without verbs."""
    folder = next((one.parent for one in ucx_env.nixl_modules() if one.is_dir()), None)
    if not folder or not ucx_env.has_verbs(libucp_in(folder)):
        raise packages.Missing("no NIXL wheel, whose UCX has verbs; scripts/setup installs it")
    return folder


def libucp_in(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("libucp-*.so*"))), folder / "libucp.so.0")


def programs(libucp: Path) -> checks.Programs:
    """Compiled as the tests do it; they are in a folder that ends with us."""
    say("compiling the programs")
    ucx: Any = importlib.import_module("ucx.toolbox")
    nccl: Any = importlib.import_module("nccl.toolbox")
    return checks.Programs(ucx.program("conformance", libucp), nccl.harness(), libucp)


def environment(in_guest: bool) -> dict[str, str]:
    """Of every check."""
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin" if in_guest else os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/root"),
        "LANG": "C.UTF-8",
        "UCX_WARN_UNUSED_ENV_VARS": "n",
    }
    if in_guest:
        # the device's own address is not told from another's by what ud looks at
        env |= {"UCX_NET_DEVICES": "rxe0:1", "UCX_UD_VERBS_ETH_DGID_CHECK": "n"}
        env |= {"UCX_MODULES": ucx_env.WITHOUT_EFA}
    else:
        env |= {k: v for k, v in os.environ.items() if k.startswith("UCX_") and k != "UCX_TLS"}
        env |= ucx_env.modules_environment(os.environ)
    return env


# --- the guest ---


def memory_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0


def need_machine(busy: float) -> None:
    """Missing, where an emulated guest cannot run, or would tell nothing."""
    if " " in str(guest.HERE):
        raise packages.Missing(
            f"{guest.HERE}: the guest's kernel takes no path with a space; clone it elsewhere"
        )
    if os.uname().machine != "x86_64":
        raise packages.Missing(f"the guest is for x86_64, and this is {os.uname().machine}")
    load = os.getloadavg()[0]
    if load > busy:
        raise packages.Missing(
            f"the load of this machine is {load:.1f}, and above {busy:g} an emulated guest tells "
            "nothing; wait, or raise it by --busy"
        )
    if memory_bytes() < MEMORY_BYTES:
        raise packages.Missing(
            f"{memory_bytes() >> 30} GiB of memory are available, and "
            f"{MEMORY_BYTES >> 30} are needed"
        )


def guest_command(cache: Path, folder: Path, lib: Path, versions: dict[str, str]) -> list[str]:
    qemu = packages.need_program("qemu-system-x86_64", "qemu-system-x86", say)
    for program in ("ip", "rdma"):
        packages.need_program(program, "iproute2", say)
    packages.need_program("dpkg-deb", "dpkg", say)
    store = packages.Store(cache / "packages", say)
    made = image.make(store, cache)
    image.tools(store, folder, lib)
    versions["guest kernel"] = made.release
    versions["qemu"] = packages.ask(qemu, "--version")[1].split("\n")[0].split("version ")[-1]
    return guest.qemu_command(qemu, made, folder)


# --- the whole ---


def record(group: str, name: str, result: str, seconds: float, seen: str) -> dict[str, Any]:
    say(f"{result:8} {name:36} {seconds:6.1f} s  {seen}".rstrip())
    return {"group": group, "name": name, "result": result, "s": seconds, "seen": seen}


@dataclass
class Run:
    """What has come of the checks so far, and why it ended early, if it did."""

    chosen: list[checks.Check]
    where: checks.Where
    versions: dict[str, str]
    records: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""

    def booted(self, seconds: float) -> None:
        seen = f"kernel {self.versions['guest kernel']}, load here {os.getloadavg()[0]:.1f}"
        self.records.append(record("boot", "boot", "passed", seconds, seen))

    def go(self, command: list[str], folder: Path, limit_s: float) -> None:
        by_name = {check.name: check for check in self.chosen}
        plan = [check.step(self.where) for check in self.chosen]
        booted = self.booted if self.where.guest else None
        try:
            with contextlib.closing(guest.events(command, folder, plan, limit_s, booted)) as coming:
                for event in coming:
                    if "end" in event:
                        check = by_name[event["end"]]
                        result, seen = checks.judged(check, event)
                        self.records.append(
                            record(check.group, check.name, result, event["s"], seen)
                        )
        except guest.Failed as failure:
            self.why = str(failure)

    def failed(self) -> list[dict[str, Any]]:
        return [one for one in self.records if one["result"] == "failed"]


def table(records: list[dict[str, Any]]) -> terminal.Table:
    """A line for each group."""
    view = terminal.Table("group", "checks", "passed", "failed", "not here", "s")
    for group in dict.fromkeys(one["group"] for one in records):
        these = [one for one in records if one["group"] == group]
        results = [one["result"] for one in these]
        counts = (str(results.count(one)) for one in ("passed", "failed", "not here"))
        view.add_row(group, str(len(these)), *counts, f"{sum(one['s'] for one in these):.0f}")
    return view


def chosen_of(every: list[checks.Check], only: list[str]) -> list[checks.Check]:
    for start in only:
        if not any(check.name.startswith(start) for check in every):
            raise InputError(f"--only {start!r}: no check begins like that; --list shows them")
    return [one for one in every if not only or one.name.startswith(tuple(only))]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/rdma-check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a subset, up to two minutes")
    add("--guest", action="store_true", help="in a guest also where there are RDMA devices")
    add("--only", metavar="NAME", action="append", default=[], help="may be given several times")
    add("--list", action="store_true", help="the names of the checks")
    add("--busy", type=float, default=BUSY, help="load above which no guest is started [4]")
    add("--json", metavar="FILE", type=Path, help="write the results there as well")
    return parser.parse_args()


def checked(options: argparse.Namespace) -> int:
    in_guest = options.guest or not ucx_env.rdma_devices()
    where = checks.Where(in_guest, environment(in_guest), "/dev/shm")
    none = Path("-")
    every = checks.all_of(where, checks.Programs(none, none, none), options.quick)
    chosen = chosen_of(every, options.only)
    if options.list:
        print("\n".join(check.name for check in chosen))
        return 0
    if options.json:
        output_file.check(options.json)
    lib = libraries()
    if in_guest:
        need_machine(options.busy)
    cache = packages.cache_folder()
    packages.need_room(cache)
    for old in cache.glob("run-*"):
        if time.time() - old.stat().st_mtime > KEPT_S:
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
    kept = False
    try:
        (folder / "out").mkdir()
        versions = {"ucx": f"{libucp_in(lib).name} of NIXL's wheel"}
        command = guest.here_command(folder)
        if in_guest:
            command = guest_command(cache, folder, lib, versions)
        else:  # of this run alone: what another one, or another user, has left says nothing
            where = dataclasses.replace(where, scratch=str(folder / "out"))
        every = checks.all_of(where, programs(libucp_in(lib)), options.quick)
        run = Run(chosen_of(every, options.only), where, versions)
        say("starting the guest" if in_guest else f"on {', '.join(ucx_env.rdma_devices())}")
        run.go(command, folder, LIMITS_S[options.quick])
        kept = bool(run.why)  # the console
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        rdma = {"guest": in_guest, "versions": versions, "why_not_all": run.why or None}
        json_report.write(options.json, run.records, load=os.getloadavg(), rdma=rdma)
    terminal.make_console().print(table(run.records))
    for one in run.failed():
        print(f"rdma-check: {one['name']}: {one['seen']}", file=sys.stderr)
    if run.why:
        print(f"rdma-check: {run.why}", file=sys.stderr)
    return 1 if run.why or run.failed() else 0


def terminated(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, terminated)
    try:
        return checked(options)
    except packages.Missing as missing:
        print(f"rdma-check: {missing}", file=sys.stderr)
        return MISSING
    except InputError as error:
        print(f"rdma-check: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"rdma-check: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"rdma-check: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rdma-check: interrupted; nothing is left running", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
