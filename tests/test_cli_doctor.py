# SPDX-License-Identifier: Apache-2.0
"""`mfs doctor`: each thing that hides the shim is made for real, and must be found."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport.diagnose.environment import check_enabled, check_preload, check_transports
from mfs_transport.diagnose.program import check_program, read_stats
from mfs_transport.diagnose.transfer import BYTES
from mfs_transport.native import UCX_SHIM
from mfs_transport.ucx_env import modules_environment

MOVED = 2 * BYTES  # a put and a get

needs_nixl = pytest.mark.skipif(
    not importlib.util.find_spec("nixl"), reason="NIXL is not installed"
)


class Doctor:
    """Runs it in a folder and a segment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_", "NIXL_"))}
        clean |= modules_environment({})
        clean.pop("LD_PRELOAD", None)
        self.environ = {**clean, "HOME": str(folder), "MFS_SEGMENT": str(folder / "segment")}

    def launched(self, **environ: str) -> dict[str, str]:
        """What `mfs run` makes, by hand."""
        shim = {"MFS_ENABLE": "1", "LD_PRELOAD": str(UCX_SHIM), "NIXL_UCX_DEEPBIND": "0"}
        return {**shim, **environ}

    def __call__(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mfs_transport", "doctor", *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def report(self, *arguments: str, **environ: str) -> dict[str, Any]:
        """What it found, by name of check; with the whole as it was under "report"."""
        done = self("--json", *arguments, **environ)
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        assert found["schema_version"] == 1
        assert done.returncode == (0 if found["ok"] else 1)
        for check in found["checks"]:
            assert check["status"] in ("ok", "FAIL", "skipped")
            assert check["remedy"] or check["status"] != "FAIL", check
        return {**{check["name"]: check for check in found["checks"]}, "report": found}


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


def failed(found: dict[str, Any]) -> set[str]:
    return {name for name, check in found.items() if check.get("status") == "FAIL"}


@pytest.mark.nixl
@needs_nixl
class TestNixl:
    def test_healthy__bytes_and_calls_are_counted(self, doctor: Doctor):
        found = doctor.report()
        assert failed(found) == set()
        assert found["transfer"]["reason"].startswith("NIXL ")
        assert found["report"]["as_is"] is False
        counters = found["report"]["counters"]
        assert (counters["calls"], counters["bytes"], counters["faults"]) == (2, MOVED, 0)
        assert counters["deferred"] == 2

    def test_healthy__inside_mfs_run_its_environment_is_checked(self, doctor: Doctor):
        found = doctor.report(**doctor.launched(MFS_POLICY="off"))
        assert failed(found) == set()
        assert found["report"]["as_is"] is True
        counters = found["report"]["counters"]
        assert (counters["calls"], counters["straight"], counters["deferred"]) == (2, 2, 0)

    def test_text__names_every_check(self, doctor: Doctor):
        done = doctor()
        assert done.returncode == 0, done.stdout
        for name in ("library", "preload", "deepbind", "segment", "transfer", "interception"):
            assert f"ok  {name} " in done.stdout

    def test_not_enabled__nothing_is_intercepted_and_no_segment_made(self, doctor: Doctor):
        found = doctor.report("--here", LD_PRELOAD=str(UCX_SHIM))
        assert {"enabled", "interception"} <= failed(found)
        assert "MFS_ENABLE is not set" in found["enabled"]["reason"]
        assert "mfs run" in found["enabled"]["remedy"]
        assert found["report"]["counters"]["calls"] == 0
        assert found["transfer"]["status"] == "ok"

    def test_not_preloaded(self, doctor: Doctor):
        found = doctor.report("--here", MFS_ENABLE="1")
        assert failed(found) == {"preload", "interception"}
        assert "LD_PRELOAD is not set" in found["preload"]["reason"]
        assert f"0 of {MOVED} bytes" in found["interception"]["reason"]

    def test_preload_of_a_file_that_is_not_there(self, doctor: Doctor):
        gone = str(doctor.folder / UCX_SHIM.name)
        found = doctor.report(**doctor.launched(LD_PRELOAD=gone))
        assert failed(found) == {"preload", "interception"}
        assert "does not exist" in found["preload"]["reason"]

    def test_deepbind_hides_the_shim(self, doctor: Doctor):
        found = doctor.report(**doctor.launched(NIXL_UCX_DEEPBIND="1"))
        assert "NIXL_UCX_DEEPBIND=0" in found["deepbind"]["remedy"]
        if "SIGSEGV" in found["transfer"]["reason"]:  # NIXL's UCX, with some Pythons
            assert failed(found) == {"deepbind", "transfer"}
            assert "NIXL_UCX_DEEPBIND=0" in found["transfer"]["remedy"]
        else:
            assert failed(found) == {"deepbind", "interception"}
            assert f"0 of {MOVED} bytes" in found["interception"]["reason"]

    def test_deepbind_of_the_user__mfs_run_overrides_it_but_says_so(self, doctor: Doctor):
        found = doctor.report(NIXL_UCX_DEEPBIND="1")
        assert failed(found) == {"deepbind"}
        assert "unset NIXL_UCX_DEEPBIND" in found["deepbind"]["remedy"]
        assert found["interception"]["status"] == "ok"

    def test_transports_without_a_network(self, doctor: Doctor):
        found = doctor.report(UCX_TLS="shm")
        assert failed(found) == {"transports", "transfer"}
        assert "UCX_TLS=shm" in found["transports"]["reason"]
        assert "UCX_TLS=shm" in found["transfer"]["remedy"]
        assert found["interception"]["status"] == "skipped"

    def test_segment_in_a_folder_that_does_not_exist(self, doctor: Doctor):
        found = doctor.report(MFS_SEGMENT=str(doctor.folder / "no" / "segment"))
        assert failed(found) == {"segment"}
        assert "does not exist" in found["segment"]["reason"]
        assert found["interception"]["status"] == "ok"

    def test_segment_that_others_could_read(self, doctor: Doctor):
        (doctor.folder / "segment").touch(0o644)
        found = doctor.report()
        assert failed(found) == {"segment"}
        assert "another user" in found["segment"]["reason"]

    def test_segment_without_room(self, doctor: Doctor):
        small = "mount -t tmpfs -o size=64k,mode=1777 none /dev/shm || exit 77; exec "
        done = subprocess.run(
            [
                *("unshare", "-Urm", "sh", "-c", small + '"$@"', "sh"),
                *(sys.executable, "-m", "mfs_transport", "doctor", "--json"),
            ],
            cwd=doctor.folder,
            env={**doctor.environ, "MFS_SEGMENT": "/dev/shm/segment"},
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        if done.returncode == 77 or "unshare" in done.stderr:
            pytest.skip("a /dev/shm of our own needs namespaces")
        found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        assert failed(found) == {"segment"}
        assert "no room for its" in found["segment"]["reason"]
        assert "MFS_SEGMENT" in found["segment"]["remedy"]

    def test_segment_of_another_version(self, doctor: Doctor):
        path = doctor.folder / "segment"
        with mfs.Host(str(path)):
            with path.open("r+b") as file:
                file.seek(8)
                version = struct.unpack("I", file.read(4))[0]
                file.seek(8)
                file.write(struct.pack("I", version + 1))
            found = doctor.report()
        assert failed(found) == {"segment"}
        assert "another version" in found["segment"]["reason"]

    def test_without_nixl__plain_ucx(self, doctor: Doctor):
        if not importlib.util.find_spec("libucx"):
            pytest.skip("libucx is not installed")
        (doctor.folder / "nixl.py").write_text("raise ImportError")
        found = doctor.report()
        assert failed(found) == set()
        assert found["transfer"]["reason"].startswith("UCX ")
        assert found["report"]["counters"]["bytes"] == MOVED
        found = doctor.report("--here", MFS_ENABLE="1")
        assert failed(found) == {"preload", "interception"}


def test_segment_that_is_another_file__stays_as_it_is(doctor: Doctor):
    path = doctor.folder / "segment"
    path.write_text("Dear reader")
    path.chmod(0o600)
    found = doctor.report()
    assert failed(found) == {"segment"}
    assert "no segment" in found["segment"]["reason"]
    assert found["transfer"]["status"] == "skipped"
    assert path.read_text() == "Dear reader"


def test_without_nixl_and_ucx(doctor: Doctor):
    (doctor.folder / "nixl.py").write_text("raise ImportError")
    (doctor.folder / "libucx.py").write_text("")
    found = doctor.report(PATH="")  # nor does ctypes find one of the system
    if found["transfer"]["status"] == "ok":
        pytest.skip("UCX is installed in the system")
    assert failed(found) == {"transfer"}
    assert "pip install nixl-cu12" in found["transfer"]["remedy"]


def test_settings_that_cannot_be_used(doctor: Doctor):
    found = doctor.report(**doctor.launched(MFS_NCCL_CHANNELS="many"))
    assert "settings" in failed(found)
    assert "MFS_NCCL_CHANNELS=many" in found["settings"]["reason"]


def test_library_file_is_missing(doctor: Doctor):
    # a copy of the package in the folder, which is in front of the installed one there
    package = doctor.folder / "mfs_transport"
    shutil.copytree(UCX_SHIM.parent, package, ignore=shutil.ignore_patterns("testbed", "*.pyc"))
    (package / UCX_SHIM.name).unlink()
    found = doctor.report()
    assert {"library", "preload", "interception"} <= failed(found)
    assert str(package / UCX_SHIM.name) in found["library"]["reason"]
    assert "pip install" in found["library"]["remedy"]


# --- with a program of the user's ---


def test_command__that_moves_nothing(doctor: Doctor):
    found = doctor.report("--", "sh", "-c", "echo to the terminal")
    assert failed(found) == {"interception"}
    assert found["command"]["status"] == "ok"


def test_command__that_fails_or_is_not_there(doctor: Doctor):
    assert "status 3" in doctor.report("--", "sh", "-c", "exit 3")["command"]["reason"]
    done = doctor("--", "no-such-program")
    assert done.returncode == 2
    assert done.stderr == "mfs: no-such-program: No such file or directory\n"


@pytest.mark.nixl
@needs_nixl
class TestCommand:
    def test_command__that_moves_bytes(self, doctor: Doctor):
        program = "from mfs_transport.diagnose.transfer import probe; assert not probe()['error']"
        found = doctor.report("--", sys.executable, "-c", program)
        assert failed(found) == set(), found
        assert found["report"]["counters"]["bytes"] == MOVED


def test_read_stats__the_last_line_of_each_process(tmp_path: Path):
    path = tmp_path / "stats"
    path.write_text('{"pid": 1, "calls": 2}\n{"pid": 2, "calls": 10}\n{"pid": 1, "calls": 3}\n')
    assert read_stats(path) == {"processes": 2, "calls": 13}
    assert read_stats(tmp_path / "none") == {"processes": 0}
    assert check_program(read_stats(tmp_path / "none")).status == "FAIL"


# --- what needs no transfer ---


@pytest.mark.parametrize(
    ("value", "status"),
    [("tcp", "ok"), ("sm,rc_x", "ok"), ("all", "ok"), ("^tcp", "ok"), ("sm,self", "FAIL")],
)
def test_check_transports(value: str, status: str):
    assert check_transports({"UCX_TLS": value}).status == status


def test_check_enabled():
    assert check_enabled({"MFS_ENABLE": "yes"}).status == "ok"
    for value in ("0", "off", "", "maybe"):
        assert check_enabled({"MFS_ENABLE": value}).status == "FAIL"


def test_check_preload__of_another_installation(tmp_path: Path):
    other = tmp_path / UCX_SHIM.name
    other.touch()
    check = check_preload({"LD_PRELOAD": str(other)})
    assert check.status == "FAIL"
    assert "another installation" in check.reason
    assert check_preload({"LD_PRELOAD": f"/a.so:{UCX_SHIM}"}).status == "ok"
