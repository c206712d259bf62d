# SPDX-License-Identifier: Apache-2.0
"""`mfs run` and `mfs doctor nccl`: NCCL is made to load the plug-in, and it is proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfs_transport.diagnose import nccl
from mfs_transport.native import NCCL_PLUGIN
from mfs_transport.nccl_env import nccl_environment


def status(rows: list[nccl.Row]) -> dict[str, str]:
    return {name: state for name, state, _, _ in rows}


def test_run__sets_plugin_and_network():
    found = nccl_environment({}, {})
    assert found["NCCL_NET_PLUGIN"] == str(NCCL_PLUGIN)
    assert found["NCCL_NET"] == "MFS"


@pytest.mark.parametrize("variable", ["NCCL_NET_PLUGIN", "NCCL_NET"])
def test_run__keeps_the_choice_of_the_user(variable: str):
    assert nccl_environment({variable: "x"}, {}) == {}


def test_doctor__all_is_well(tmp_path: Path):
    rows = nccl.examine({"PATH": "/usr/bin", "MFS_SEGMENT": str(tmp_path / "segment")})
    found = status(rows)
    assert found["plugin"] == found["network"] == found["load"] == "ok"
    assert "v12, v11, v10, v9, v8, v7" in next(row[2] for row in rows if row[0] == "load")


def test_doctor__without_the_network_name_nccl_may_fall_back():
    rows = nccl.examine({"NCCL_NET_PLUGIN": str(NCCL_PLUGIN)})
    assert status(rows)["network"] == "FAIL"


def test_doctor__a_plugin_of_another(tmp_path: Path):
    other = tmp_path / "libnccl-net-other.so"
    other.write_bytes(b"no library")
    found = status(nccl.examine({"NCCL_NET_PLUGIN": str(other), "NCCL_NET": "Other"}))
    assert found["plugin"] == found["load"] == "FAIL"


def test_doctor__no_such_file():
    rows = nccl.examine({"NCCL_NET_PLUGIN": "/nowhere/libnccl-net-mfs.so"})
    assert status(rows) == {"plugin": "FAIL"}


def test_doctor__init_that_fails_is_told_with_its_reason(tmp_path: Path):
    env = {"MFS_NCCL_UCX": str(tmp_path / "none.so"), "MFS_SEGMENT": str(tmp_path / "segment")}
    rows = nccl.examine(env)
    row = next(row for row in rows if row[0] == "init")
    assert row[1] == "FAIL"
    assert "MFS_NCCL_UCX" in row[2]


def test_tables_wanted__of_a_nccl(tmp_path: Path):
    library = tmp_path / "libnccl.so.2"
    library.write_bytes(b"\0ncclNetPlugin_v8\0..\0ncclNetPlugin_v11\0ncclNetPlugin_v10\0")
    assert nccl.tables_wanted(library) == [11, 10, 8]
