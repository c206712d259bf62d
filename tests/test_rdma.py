# SPDX-License-Identifier: Apache-2.0
"""scripts/rdma-check: what it is made of, what may go wrong with it, and its quick run in a guest.

The guest is emulated, so the quick run needs a machine that does little else: it is skipped above a
load of 4, and where QEMU or the packages of the guest are not there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "scripts" / "rdma"
sys.path.insert(0, str(FOLDER))
import checks  # noqa: E402
import guest  # noqa: E402
import image  # noqa: E402
import packages  # noqa: E402
import runner  # noqa: E402

BUSY_WITH_A_GUEST = 6.0  # load: 4, above which none is started, and its two processors
MAIN = [sys.executable, str(FOLDER / "main.py")]


def said_to(lines: list[str]) -> Any:
    return lines.append


# --- packages ---

APT_GET = """#!/bin/sh
# apt-get download -qq PACKAGE: of a mirror that has what is named in $MIRROR
echo "$@" >>"$MIRROR.calls"
[ "$1" = download ] || exit 100
grep -qx "$3" "$MIRROR" || { echo "E: Unable to locate package $3" >&2; exit 100; }
echo "$3" >"$3_1.0_amd64.deb"
"""
APT_CACHE = """#!/bin/sh
grep "^$2" "$MIRROR"
"""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the packages that apt-get finds."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("apt-get", APT_GET), ("apt-cache", APT_CACHE)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def calls(mirror: Path) -> list[str]:
    made = Path(f"{mirror}.calls").read_text().splitlines()
    return [line.split()[-1] for line in made if line.startswith("download")]


def test_package__is_kept_and_verified(mirror: Path, tmp_path: Path):
    mirror.write_text("busybox-static\n")
    lines: list[str] = []
    store = packages.Store(tmp_path / "store", said_to(lines))
    path = store.get("busybox-static")
    assert store.get("busybox-static") == path
    assert calls(mirror) == ["busybox-static"]
    path.write_text("half of i")
    again = packages.Store(tmp_path / "store", said_to(lines)).get("busybox-static")
    assert calls(mirror) == ["busybox-static"] * 2
    assert any("not as it was downloaded" in line for line in lines)
    assert again.read_text() == "busybox-static\n"


def test_package__that_is_nowhere__is_one_line(mirror: Path, tmp_path: Path):
    mirror.write_text("")
    with pytest.raises(
        packages.Missing, match=r"patchelf cannot be downloaded: E: Unable"
    ) as found:
        packages.Store(tmp_path / "store", said_to([])).get("patchelf")
    assert "\n" not in str(found.value)


def test_kernel__that_the_mirror_has_no_more__falls_to_the_newest(mirror: Path, tmp_path: Path):
    names = [
        *("linux-image-6.1.0-9-amd64", "linux-image-6.1.0-50-amd64", "linux-image-amd64"),
        *("linux-image-6.1.0-58-cloud-amd64", "linux-image-6.1.0-58-rt-amd64"),
        *("linux-image-6.1.0-58-amd64-unsigned", "linux-image-6.1.0-58-amd64-dbg"),
    ]
    mirror.write_text("\n".join(names) + "\n")
    lines: list[str] = []
    store = packages.Store(tmp_path / "store", said_to(lines))
    assert store.kernel().name.startswith("linux-image-6.1.0-50-amd64_")
    assert any(f"{packages.KERNEL} cannot be downloaded" in line for line in lines)
    mirror.write_text(packages.KERNEL + "\n")
    assert packages.Store(tmp_path / "other", said_to([])).kernel().name.startswith(packages.KERNEL)


def test_kernel__none_at_all__is_one_line(mirror: Path, tmp_path: Path):
    mirror.write_text("")
    with pytest.raises(packages.Missing, match="the mirror has none of the kernels"):
        packages.Store(tmp_path / "store", said_to([])).kernel()


def test_kernel__without_a_network__is_not_looked_for_elsewhere(mirror: Path, tmp_path: Path):
    mirror.write_text("linux-image-6.1.0-50-amd64\n")
    apt_get = tmp_path / "bin" / "apt-get"
    failing = "echo 'E: Failed to fetch http://x  Temporary failure resolving x' >&2; exit 100\n"
    apt_get.write_text(APT_GET.splitlines()[0] + '\necho "$@" >>"$MIRROR.calls"\n' + failing)
    with pytest.raises(packages.Missing, match="Temporary failure resolving x"):
        packages.Store(tmp_path / "store", said_to([])).kernel()
    assert set(calls(mirror)) == {packages.KERNEL}


def test_no_room__is_said_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packages, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(packages.Missing, match=f"{tmp_path}/cache has room for .* XDG_CACHE_HOME"):
        packages.need_room(tmp_path / "cache")


def test_program__is_missing_and_may_not_be_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MFS_SETUP_APT", "0")
    with pytest.raises(packages.Missing, match="as root: apt-get install qemu-none"):
        packages.need_program("qemu-system-none", "qemu-none", said_to([]))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb")
def test_package__that_cannot_be_unpacked__is_one_line(tmp_path: Path):
    package = tmp_path / "busybox-static_1.deb"
    package.write_text("half of i")
    with pytest.raises(packages.Missing, match=r"busybox-static_1\.deb cannot be unpacked"):
        packages.one_file(package, "bin/busybox")


# --- the image ---


def module(*needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def test_modules__stand_behind_what_they_need():
    modules = {
        "rdma_rxe": module("ib-uverbs", "ib_core", "udp_tunnel"),
        "ib_uverbs": module("ib_core"),
        "ib_core": module(),
        "other": module(),
    }
    order = image.in_order(modules, ("rdma_rxe", "virtio_pci"))  # the last one is built in
    assert order == ["ib_core", "ib_uverbs", "rdma_rxe"]


def test_modules__that_are_compressed_in_another_way__are_named():
    assert image.plain("lib/modules/6/kernel/a.ko", b"x") == b"x"
    with pytest.raises(packages.Missing, match=r"a\.ko\.zst: compressed in a way"):
        image.plain("lib/modules/6/kernel/a.ko.zst", b"x")


def test_archive__has_parts_of_whole_words():
    made = image.archive({"init": b"#!/bin/busybox sh\n", "bin/x": b"12345"})
    assert len(made) % 4 == 0
    at = made.index(b"init\0") - 110
    assert made[at : at + 6] == b"070701"
    assert int(made[at + 54 : at + 62], 16) == 18  # its size
    assert at % 4 == 0
    assert made.count(b"070701") == 9 + 2 + 1


# --- the guest and the runner ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path


def steps(*commands: list[str], limit_s: float = 60) -> list[dict[str, Any]]:
    env = {"PATH": os.environ["PATH"]}
    return [
        {"name": f"step{n}", "command": command, "env": env, "limit_s": limit_s}
        for n, command in enumerate(commands)
    ]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def await_gone(pid: int) -> None:
    until = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < until, f"{pid} is still there"
        time.sleep(0.01)


def test_runner__tells_what_came_of_each(folder: Path):
    plan = steps(["sh", "-c", "echo seen; echo why >&2; exit 3"], ["/nonexistent/x"], ["true"])
    told = list(guest.events(guest.here_command(folder), folder, plan, 60, None))
    ended = {event["end"]: event for event in told if "end" in event}
    assert ended["step0"]["status"] == 3
    assert (ended["step0"]["out"], ended["step0"]["err"]) == ("seen\n", "why\n")
    assert ended["step1"]["status"] == 127
    assert ended["step2"]["status"] == 0


def test_runner__one_that_hangs_is_killed_with_what_it_has_started(folder: Path):
    pid = folder / "pid"
    plan = steps(["sh", "-c", f"sleep 1000 & echo $! >{pid}; wait"], limit_s=0.5)
    told = list(guest.events(guest.here_command(folder), folder, plan, 60, None))
    assert told[-1]["status"] is None
    await_gone(int(pid.read_text()))
    check = checks.Check("group", "step0", ("x",), limit_s=0.5)
    assert checks.judged(check, told[-1])[0] == "failed"


def test_runner__one_that_leaves_its_group_with_its_output__holds_up_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runner, "CLOSES_S", 0.1)
    script = f"setsid sleep 1000 & echo $! >{folder / 'pid'}; echo said; wait"
    (step,) = steps(["sh", "-c", script], limit_s=0.5)
    try:
        told = runner.run(step)
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    assert (told["status"], told["out"]) == (None, "said\n")


@pytest.mark.parametrize(
    ("command", "told"),
    [("true", None), ("echo '{\"faults\": 1}' >$MFS_STATS", {"faults": 1}),
     ("echo '{\"faul' >$MFS_STATS", None)],
)  # fmt: skip
def test_runner__counters_are_those_of_this_run(folder: Path, command: str, told: Any):
    stats = folder / "stats"
    stats.write_text('{"faults": 0}\n')  # of another run, in which the shim was in the way
    (step,) = steps(["sh", "-c", command])
    step["env"]["MFS_STATS"] = str(stats)
    assert runner.run(step)["stats"] == told


def fails(folder: Path, command: list[str], limit_s: float) -> str:
    with pytest.raises(guest.Failed) as found:
        list(guest.events(command, folder, steps(["true"]), limit_s, lambda seconds: None))
    return str(found.value)


def test_guest__that_does_not_boot(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guest, "BOOT_S", 0.5)
    said = fails(folder, ["sh", "-c", "echo Kernel panic; exec sleep 1000"], 100)
    first, *rest = said.splitlines()
    assert "it did not boot within 0.5 s" in first
    assert str(folder / "console.log") in first
    assert rest == ["    Kernel panic"]


def test_guest__that_hangs_in_a_check(folder: Path):
    begun = json.dumps({"begin": "step0"})
    script = f"touch {folder}/out/booted; echo '{begun}' >>{folder}/out/results.jsonl; sleep 1000"
    assert "not over after 1 s, in step0" in fails(folder, ["sh", "-c", script], 1)


def test_guest__that_ends_too_early(folder: Path):
    assert "it ended by itself, before it had booted" in fails(folder, ["true"], 60)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_guest__does_not_outlive_us(how: signal.Signals, folder: Path):
    script = (
        f"import sys, time; sys.path.insert(0, {str(FOLDER)!r}); import guest, pathlib\n"
        # a job of a shell ignores it
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with guest.started(['sleep', '1000'], pathlib.Path({str(folder / 'log')!r})) as one:\n"
        "    print(one.pid, flush=True); time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as us:
        assert us.stdout
        pid = int(us.stdout.readline())
        while Path(f"/proc/{pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)  # it asks for its end with ours before it becomes what it is to be
        us.send_signal(how)
        us.wait(60)
    await_gone(pid)


# --- judging ---


def ended(**more: Any) -> dict[str, Any]:
    return {"status": 0, "out": "", "err": "", "stats": None, "s": 1.0, **more}


def test_judged__without_the_shim_in_the_way__has_failed():
    check = checks.Check("conformance", "x", ("x",), read=checks.without_faults)
    assert checks.judged(check, ended()) == (
        "failed",
        "no counters: the shim was not in the way; nothing was said",
    )
    counters = {"faults": 1, "deferred": 5, "chunks": 9}
    assert checks.judged(check, ended(stats=counters))[0] == "failed"
    counters["faults"] = 0
    assert checks.judged(check, ended(stats=counters)) == ("passed", "5 operations in 9 chunks")


def test_judged__the_order_was_another():
    check = checks.Check("NIXL", "x", ("x",), read=checks.urgent_first)
    wrong, right = ({"ended": o, "notified": o} for o in (["late", "soon"], ["soon", "late"]))
    assert checks.judged(check, ended(out=json.dumps(wrong)))[0] == "failed"
    assert checks.judged(check, ended(out=json.dumps(right)))[0] == "passed"


def test_cases__are_those_of_the_program():
    source = "".join(path.read_text() for path in (ROOT / "tests/ucx").glob("conformance_*.c"))
    for case in (*checks.CASES, *checks.QUICK_CASES):
        assert f'{{"{case}", {case}}}' in source


# --- the command ---


def rdma_check(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_names__of_the_quick_ones_are_some_of_all():
    quick = rdma_check("--list", "--quick", "--guest").stdout.split()
    every = rdma_check("--list", "--guest").stdout.split()
    assert set(quick) < set(every)
    assert "nccl/kill" in quick


def test_check_that_is_not_there__is_named():
    done = rdma_check("--only", "mpi")
    assert done.returncode == 2
    assert done.stderr == "rdma-check: --only 'mpi': no check begins like that; --list shows them\n"


def test_results_that_cannot_be_written__are_said_before(tmp_path: Path):
    done = rdma_check("--json", str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_busy_machine__is_skipped_with_the_reason(tmp_path: Path):
    done = rdma_check("--guest", "--busy", "-1", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 77
    assert len(done.stderr.splitlines()) == 1
    if "for x86_64" not in done.stderr and "NIXL" not in done.stderr:
        assert "the load of this machine is" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.nixl
def test_quick__in_a_guest(tmp_path: Path):
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("no qemu-system-x86_64; install it with: apt-get install qemu-system-x86")
    results = tmp_path / "results.json"
    # no more than what is here is installed by a test
    done = rdma_check("--quick", "--guest", "--json", str(results), MFS_SETUP_APT="0")
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    load = os.getloadavg()[0]
    if done.returncode == 1 and load > BUSY_WITH_A_GUEST:  # then its limits of time tell nothing
        pytest.skip(f"the machine became busy ({load:.1f}): {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout[done.stdout.index("\ngroup ") :]
    assert max(map(len, table.splitlines())) <= 80
    document = json.loads(results.read_text())
    assert {one["result"] for one in document["results"]} == {"passed"}
    names = [one["name"] for one in document["results"]]
    assert names[0] == "boot"
    assert set(names[1:]) == set(rdma_check("--list", "--quick", "--guest").stdout.split())
