# SPDX-License-Identifier: Apache-2.0
"""`mfs doctor --pod`: what an init container says of mounts and rights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mfs_transport import __version__, shared_segment
from mfs_transport.commands import group
from mfs_transport.diagnose import pod
from mfs_transport.native import PACKAGE, UCX_SHIM


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """The environment of a pod that is given all it needs."""
    path = tmp_path / "mfs" / "host"
    shared_segment.create(path, os.getegid())
    return {"MFS_ENABLE": "1", "MFS_SEGMENT": str(path), "PYTHONPATH": str(PACKAGE.parent)}


def found(environ: dict[str, str]) -> dict[str, pod.Check]:
    return {check.name: check for check in pod.examine(environ)}


def test_pod__with_all_it_needs(given: dict[str, str]):
    checks = found(given)
    assert {name for name, one in checks.items() if one.status != "ok"} <= {"file system"}
    assert list(checks) == [
        *("libraries", "enabled", "settings", "segment", "file system", "clock", "rdma")
    ]
    assert __version__ in checks["libraries"].reason
    assert "pods in it: 1" in checks["segment"].reason
    assert "alone" not in checks["segment"].reason


def test_pod__libraries(given: dict[str, str], tmp_path: Path):
    assert "neither" in found({**given, "PYTHONPATH": ""})["libraries"].reason
    missing = found({**given, "LD_PRELOAD": f"{tmp_path}/{UCX_SHIM.name}"})["libraries"]
    assert missing.status == "FAIL"
    assert "is not there" in missing.reason
    (tmp_path / UCX_SHIM.name).write_text("")
    broken = found({**given, "LD_PRELOAD": f"{tmp_path}/{UCX_SHIM.name}"})["libraries"]
    assert "does not load" in broken.reason


def test_pod__segment(given: dict[str, str], tmp_path: Path):
    assert found({**given, "MFS_SEGMENT": ""})["segment"].status == "FAIL"
    missing = found({**given, "MFS_SEGMENT": f"{tmp_path}/nowhere/host"})["segment"]
    assert "is not there" in missing.reason
    assert not (tmp_path / "nowhere").exists()
    Path(given["MFS_SEGMENT"]).parent.chmod(0o777)
    open_to_all = found(given)["segment"]
    assert open_to_all.status == "FAIL"
    assert open_to_all.reason.endswith("Permission denied")
    own = tmp_path / "own"
    own.touch(0o600)
    assert "of this user alone" in found({**given, "MFS_SEGMENT": str(own)})["segment"].reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_pod__not_in_the_group(given: dict[str, str], tmp_path: Path):
    shared_segment.create(tmp_path / "others" / "host", 4711)
    for path in (tmp_path / "others", tmp_path / "others" / "host"):
        os.chown(path, 4712, 4711)
    check = found({**given, "MFS_SEGMENT": str(tmp_path / "others" / "host")})["segment"]
    assert check.status == "FAIL"
    assert check.remedy.endswith("supplementalGroups: [4711]")


def test_pod__clock_and_rdma(tmp_path: Path):
    assert pod.check_clock(pod.INITIAL_TIME_NAMESPACE).status == "ok"
    assert "time namespace" in pod.check_clock(4711).reason
    assert pod.check_rdma(tmp_path).status == "ok"
    (tmp_path / "uverbs0").touch()
    assert pod.check_rdma(tmp_path, "CapEff:\t0000000000004000\n").status == "ok"
    limits = (65536, 65536)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pod.resource, "getrlimit", lambda _: limits)
        assert pod.check_rdma(tmp_path, "CapEff:\t0000000000000000\n").status == "FAIL"
        assert pod.check_rdma(tmp_path, "CapEff:\t0000000000004000\n").status == "ok"


def test_command(given: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pod, "check_memory", lambda _: pod.Check("file system", "ok", ""))
    done = CliRunner().invoke(group, ["doctor", "--pod", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["ok"]
    monkeypatch.setenv("MFS_SEGMENT", "")
    monkeypatch.delenv("NVIDIA_DRA_LOCAL_IPC_DIR")  # nor is there a claim's folder
    done = CliRunner().invoke(group, ["doctor", "--pod"])
    assert done.exit_code == 1
    assert "FAIL" in done.output
