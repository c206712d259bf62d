# SPDX-License-Identifier: Apache-2.0
"""`mfs info`: for people, for programs, and for the page about configuration."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mfs_transport as mfs
from mfs_transport import __version__
from mfs_transport.commands.info import _segment_lines, _version_lines
from mfs_transport.config_page import markdown
from mfs_transport.engines.vllm.estimate import Estimates
from mfs_transport.native import LIBRARY, UCX_SHIM, config_rows, ffi, lib, policies
from mfs_transport.observe.segment import look

ROOT = Path(__file__).parent.parent


def info(*arguments: str, cwd: Path, **environ: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MFS_")}
    done = subprocess.run(
        [sys.executable, "-m", "mfs_transport", "info", *arguments],
        cwd=cwd,
        env={**clean, "HOME": str(cwd), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def report(cwd: Path, **environ: str) -> dict[str, Any]:
    return dict(json.loads(info("--json", cwd=cwd, **environ)))


def test_json__versions_libraries_policies(tmp_path: Path):
    found = report(tmp_path)
    assert found["schema_version"] == 1
    assert found["versions"]["mfs_transport"] == __version__
    assert found["versions"]["libmfs"] == __version__
    assert found["libraries"]["libmfs.so"] == {"path": str(LIBRARY), "there": True}
    assert found["libraries"]["libmfs_ucx.so"] == {"path": str(UCX_SHIM), "there": True}
    assert [one["name"] for one in found["policies"]] == [row.name for row in policies()]
    assert [one["name"] for one in found["settings"]] == [row.name for row in config_rows()]


def test_show__says_when_the_library_is_of_another_build():
    versions = {"mfs_transport": "2.0.0", "libmfs": "1.0.0", "python": "3"}
    versions |= {"ucx": [], "nixl": {}, "cuda": {}, "nccl": {}}
    assert ("its libmfs.so", "1.0.0: install the package anew") in _version_lines(versions)
    assert "its libmfs.so" not in dict(_version_lines({**versions, "libmfs": "2.0.0"}))


def test_json__ucx_says_its_version_itself(tmp_path: Path):
    libucx = pytest.importorskip("libucx")
    wheel = [one for one in report(tmp_path)["versions"]["ucx"] if one["where"] == "libucx wheel"]
    assert len(wheel) == 1
    assert wheel[0]["version"] == ".".join(libucx.__version__.split(".")[:3])


def test_settings__value_and_source(tmp_path: Path):
    (tmp_path / "mfs.toml").write_text('[mfs]\nwindow = "1m"\n')
    found = report(tmp_path, MFS_POLICY="edf", MFS_NCCL_CHANNELS="x", MFS_POLISY="off")
    settings = {one["name"]: (one["value"], one["source"]) for one in found["settings"]}
    assert settings["MFS_POLICY"] == ("edf", "environment")
    assert settings["MFS_WINDOW"] == ("1m", "file")
    assert settings["MFS_NCCL_CHANNELS"] == ("1", "default")
    assert found["settings_file"] == "mfs.toml"
    remarks = "\n".join(found["remarks"])
    assert "MFS_POLISY" in remarks
    assert "MFS_NCCL_CHANNELS=x" in remarks


def test_text__names_everything(tmp_path: Path):
    text = info(cwd=tmp_path, MFS_POLICY="edf", MFS_POLISY="off")
    for row in config_rows():
        assert row.name in text
    assert str(UCX_SHIM) in text
    assert "did you mean MFS_POLICY" in text
    assert "environment" in text


def test_segment__live_one_is_read(tmp_path: Path):
    path = tmp_path / "segment"
    with mfs.Host(str(path)) as host:
        host.policy = "edf"
        mfs.register("r", ttft_s=1.0, host=host)
        port = ffi.new("struct mfs_port **")
        assert lib.mfs_port_open(host.handle, b"nic0", lib.MFS_EGRESS, port) == 0
        found = report(tmp_path, MFS_SEGMENT=str(path))["segment"]
    assert (found["state"], found["policy"], found["requests"]) == ("live", "edf", 1)
    assert found["counters"]["calls"] == 0
    assert found["egress_Bps"] == {"nic0": 0}
    assert found["link_Bps"] == {"nic0": 0}  # no such device


def test_live__estimates_of_the_engines(tmp_path: Path):
    with mfs.Host(str(tmp_path / "host")) as host:
        estimates = Estimates(layers=4, kv_token_bytes=4096)
        estimates.layer_done(512, 0.02)
        estimates.rate_Bps = 12_500_000
        estimates.publish(host.path, "prefill-1")
        text = info("--live", cwd=tmp_path, MFS_SEGMENT=host.path)
        found = json.loads(info("--live", "--json", cwd=tmp_path, MFS_SEGMENT=host.path))
    assert "prefill-1, pid" in text
    assert "12.5 MB/s" in text
    assert "layer, 512 tokens" in text
    assert found["segment"]["state"] == "live"
    assert found["engines"][0]["layer_s"] == [[512, 0.02]]


def test_live__destinations_that_take_no_bytes(tmp_path: Path):
    lease_ns = 20_000_000
    with mfs.Host(str(tmp_path / "host")) as host:
        out = ffi.new("struct mfs_sender **")
        assert lib.mfs_sender_join(host.handle, b"nic0", lib.MFS_INGRESS, ffi.NULL, out) == 0
        sender, to = out[0], ffi.new("struct mfs_destination *")
        operations = [ffi.new("struct mfs_op *", {"length": 4096}) for _ in range(2)]
        assert lib.mfs_sender_open(sender, to, ffi.NULL) == 0
        for operation in operations:
            assert lib.mfs_sender_push(sender, operation, to, ffi.new("struct mfs_tag *"), 1) == 0
        chunk = ffi.new("struct mfs_chunk *")
        assert lib.mfs_sender_next(sender, 0, 1, chunk) == 0
        before = info("--live", cwd=tmp_path, MFS_SEGMENT=host.path)
        for at_ns in (100 * lease_ns, 200 * lease_ns):  # and nothing of it has left
            lib.mfs_sender_next(sender, 0, at_ns, chunk)
        text = info("--live", cwd=tmp_path, MFS_SEGMENT=host.path)
        found = json.loads(info("--live", "--json", cwd=tmp_path, MFS_SEGMENT=host.path))
        lib.mfs_sender_leave(sender)
        assert host.stalled("nic0") == 0
    assert "no bytes" not in before
    assert "port nic0" in text
    assert "1 destination takes no bytes" in text
    assert found["segment"]["stalled"] == {"nic0": 1}


def test_segment__looking_makes_and_changes_nothing(tmp_path: Path):
    path = tmp_path / "segment"
    assert report(tmp_path, MFS_SEGMENT=str(path))["segment"]["state"] == "none"
    assert not path.exists()
    mfs.Host(str(path)).close()
    before = path.read_bytes()
    assert report(tmp_path, MFS_SEGMENT=str(path))["segment"]["state"] == "idle"
    assert path.read_bytes() == before


def test_look__a_file_that_is_no_segment_is_left_alone(tmp_path: Path):
    path = tmp_path / "letter"
    path.write_text("Dear reader")
    path.chmod(0o600)
    assert (look(str(path)).state, look(str(path)).reason) == (
        "unusable",
        "it is some other file, no segment",
    )
    assert path.read_text() == "Dear reader"


def test_look__what_cannot_be_opened(tmp_path: Path):
    open_to_all = tmp_path / "open"
    open_to_all.touch(0o644)
    assert "another user" in look(str(open_to_all)).reason
    assert "directory" in look(str(tmp_path)).reason
    assert "does not exist" in look(str(tmp_path / "no" / "segment")).reason
    link = tmp_path / "link"
    link.symlink_to(open_to_all)
    assert look(str(link)).state == "unusable"


def test_look__another_version_that_is_in_use(tmp_path: Path):
    path = tmp_path / "segment"
    with mfs.Host(str(path)):
        with path.open("r+b") as file:
            file.seek(8)
            version = struct.unpack("I", file.read(4))[0]
            file.seek(8)
            file.write(struct.pack("I", version + 1))
        assert (look(str(path)).state, look(str(path)).reason) == (
            "unusable",
            "another version of mfs-transport is using it",
        )


def test_markdown__the_page_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == markdown(), "run: mfs info --markdown > docs/configuration.md"


def test_far_ports__what_waits_and_what_is_let_through(tmp_path: Path):
    segment = tmp_path / "segment"
    assert report(tmp_path, MFS_SEGMENT=str(segment))["far_ports"] is None
    host = ffi.new("struct mfs_host **")
    port = ffi.new("uint32_t *")
    assert lib.mfs_host_open(str(segment).encode(), host) == 0
    assert report(tmp_path, MFS_SEGMENT=str(segment))["far_ports"] is None  # no agent
    attend = partial(lib.mfs_far_attend, host[0], 10**10)  # the most, so again before each look
    assert attend() == 0
    assert lib.mfs_far_port(host[0], 1, b"decode-1 eth0 in", port) == 0
    assert lib.mfs_far_port(host[0], 2, b"decode-1 eth0 out", port) == 0
    lease = {"MFS_SEGMENT": str(segment), "MFS_LEASE": "1000s"}
    # as long as it takes to start: this process's own lease would end it sooner
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **lease}
    script = (
        "from mfs_transport.native import ffi, lib\n"
        "host = ffi.new('struct mfs_host **')\n"
        f"assert lib.mfs_host_open({str(segment)!r}.encode(), host) == 0\n"
        f"lib.mfs_far_limit(host[0], {port[0]}, 1, 40 * 10**6, 900 * 10**9)\n"
    )
    subprocess.run([sys.executable, "-c", script], env=environ, check=True)
    assert attend() == 0
    first, second = report(tmp_path, **lease)["far_ports"]
    assert first == {
        "name": "decode-1 eth0 in",
        "level": None,
        "span_ms": 0.0,
        "waiting_bytes": 0,
        "inflight_bytes": 0,
        "limit": None,
    }
    assert second["limit"]["level"] == 1
    assert second["limit"]["span_ms"] <= 40
    assert 0 < second["limit"]["ends_ms"] <= 900_000
    for arguments in ((), ("--live",)):
        assert attend() == 0
        shown = info(*arguments, cwd=tmp_path, COLUMNS="80", **lease)
        assert "Ports of other hosts" in shown
        assert "decode-1 eth0 out" in shown
        assert max(map(len, shown.splitlines())) <= 80
    lib.mfs_host_close(host[0])


def test_segment__a_port_with_the_speed_of_its_link():
    segment = {
        "path": "",
        "state": "live",
        "reason": "",
        "policy": "mfs",
        "requests": 0,
        "counters": {},
    }
    segment |= {"egress_Bps": {"eth0": 99_000_000, "nic": 0}, "stalled": {"eth0": 0, "nic": 0}}
    lines = dict(_segment_lines(segment | {"link_Bps": {"eth0": 125_000_000, "nic": 0}}))
    assert lines["port eth0"] == "99.0 MB/s out, of a link of 125 MB/s"
    assert lines["port nic"] == "not known yet"
