# SPDX-License-Identifier: Apache-2.0
"""The segment of a host, of one process and of several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from registered import facts

import mfs_transport as mfs
from mfs_transport.native import InputError, ffi, lib


def test_host__policy_is_shared_and_checked(host: mfs.Host):
    with mfs.Host(host.path) as other:
        other.policy = "edf"
        assert host.policy == "edf"
        with pytest.raises(InputError, match="policy 'nice': one of off, fifo"):
            other.policy = "nice"
        assert host.policy == "edf"


def test_host__that_cannot_be_opened(tmp_path: Path):
    with pytest.raises(OSError, match="no/segment: No such file or directory"):
        mfs.Host(str(tmp_path / "no" / "segment"))


def test_host__port_that_does_not_exist(host: mfs.Host):
    with pytest.raises(InputError, match=r"port 'nic0': there is none of this name; .*none so far"):
        host.egress_rate_Bps("nic0")
    out = ffi.new("struct mfs_port **")
    for name in (b"nic0", b"nic1"):
        assert lib.mfs_port_open(host.handle, name, lib.MFS_EGRESS, out) == 0
    assert host.ports() == ["nic0", "nic1"]
    assert host.egress_rate_Bps("nic0") == 0  # nothing has been sent yet
    with pytest.raises(InputError, match=r"port 'nic2': .*; ports: nic0, nic1"):
        host.egress_rate_Bps("nic2")
    with pytest.raises(InputError, match="port 'nic2'"):
        mfs.Egress(host, "nic2")


@pytest.mark.parametrize("by_path", [True, False])
def test_host__a_forked_child_attaches_for_itself(tmp_path: Path, by_path: bool):
    code = """
import os, sys
import mfs_transport as mfs
host = mfs.Host(sys.argv[1]) if sys.argv[2] == "True" else mfs.default_host()
first = mfs.register("of-the-parent", ttft_s=9.0, host=host)
ends = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    mfs.register("of-the-child", ttft_s=9.0, host=host)
    os.write(ends[0][1], b"x")
    os.read(ends[1][0], 1)
    os._exit(0)
os.read(ends[0][0], 1)
print(host.requests())
os.write(ends[1][1], b"x")
os.waitpid(child, 0)
"""
    path = str(tmp_path / "segment")
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(by_path)],
        env={**os.environ, "MFS_SEGMENT": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_host__closed(tmp_path: Path):
    host = mfs.Host(str(tmp_path / "segment"))
    host.close()
    host.close()
    with pytest.raises(ValueError, match="closed"):
        host.requests()


OTHER = """
import sys
import mfs_transport as mfs
host = mfs.Host(sys.argv[1])
request = mfs.register("of-the-child", ttft_s=9.0, layers=7, host=host)
print(host.policy, host.requests(), flush=True)
sys.stdin.readline()
if sys.argv[2] == "kill":
    import os
    os.kill(os.getpid(), 9)
request.finish()
"""


@pytest.mark.parametrize("end", ["finish", "kill"])
def test_host__several_processes_see_the_same(host: mfs.Host, end: str):
    host.policy = "srpt"
    mfs.register("of-the-parent", ttft_s=9.0, host=host)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, host.path, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "srpt 2\n"
        assert facts(host, "of-the-child").layers == 7
        child.stdin.write("\n")
        child.stdin.close()
        assert child.wait(timeout=60) == (0 if end == "finish" else -9)
    if end == "kill":
        # what a dead process held is given back when the next one attaches to its place
        with mfs.Host(host.path):
            pass
    assert facts(host, "of-the-child") is None
    assert facts(host, "of-the-parent") is not None
    assert host.requests() == 1
