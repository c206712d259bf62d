# SPDX-License-Identifier: Apache-2.0
"""`mfs run` and `mfs doctor nccl`: NCCL is made to load the plug-in, and it is proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfs_transport import nccl_env
from mfs_transport.diagnose import Check, nccl
from mfs_transport.native import NCCL_PLUGIN
from mfs_transport.nccl_env import nccl_environment


def status(rows: list[Check]) -> dict[str, str]:
    return {row.name: row.status for row in rows}


def test_run__sets_plugin_and_network():
    found = nccl_environment({}, {})
    assert found["NCCL_NET_PLUGIN"] == str(NCCL_PLUGIN)
    assert found["NCCL_NET"] == "MFS"


@pytest.mark.parametrize("variable", ["NCCL_NET_PLUGIN", "NCCL_NET"])
def test_run__keeps_the_choice_of_the_user(variable: str):
    found = nccl_environment({variable: "x"}, {})
    assert set(found) <= {"MFS_NCCL_UCX"}  # which ours needs if it is the choice


def test_run__an_empty_variable_is_none():
    assert nccl_environment({"NCCL_NET_PLUGIN": "", "NCCL_NET": ""}, {}) == nccl_environment({}, {})
    assert nccl_environment({"NCCL_NET": "MFS"}, {})["NCCL_NET_PLUGIN"] == str(NCCL_PLUGIN)


def test_run__names_the_libucx_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ucx = tmp_path / "libucp.so.0"
    ucx.touch()
    monkeypatch.setattr(nccl_env, "wheel_ucx", lambda: ucx)
    assert nccl_environment({"NCCL_NET": "MFS"}, {}, tmp_path)["MFS_NCCL_UCX"] == str(ucx)
    assert "MFS_NCCL_UCX" not in nccl_environment({"MFS_NCCL_UCX": "x"}, {}, tmp_path)
    # a host with RDMA devices: not one without verbs
    (tmp_path / "class" / "infiniband" / "mlx5_0").mkdir(parents=True)
    assert "MFS_NCCL_UCX" not in nccl_environment({}, {}, tmp_path)
    (tmp_path / "ucx").mkdir()
    (tmp_path / "ucx" / "libuct_ib.so.0").touch()
    assert nccl_environment({}, {}, tmp_path)["MFS_NCCL_UCX"] == str(ucx)


def test_find_plugin__as_nccl_and_the_loader_do(tmp_path: Path):
    library = tmp_path / "libnccl-net-x.so"
    library.touch()
    environ = {"LD_LIBRARY_PATH": f"/nowhere:{tmp_path}"}
    for name in ("x", "libnccl-net-x.so", str(library)):
        assert nccl_env.find_plugin(name, environ) == library
    for name in ("y", "./libnccl-net-x.so", "none"):
        assert nccl_env.find_plugin(name, environ) is None


def test_doctor__all_is_well(tmp_path: Path):
    rows = nccl.examine({"PATH": "/usr/bin", "MFS_SEGMENT": str(tmp_path / "segment")})
    found = status(rows)
    assert found["plugin"] == found["network"] == found["load"] == "ok"
    assert "v12, v11, v10, v9, v8, v7" in next(row.reason for row in rows if row.name == "load")


def test_doctor__without_the_network_name_nccl_may_fall_back():
    rows = nccl.examine({"NCCL_NET_PLUGIN": str(NCCL_PLUGIN)})
    assert status(rows)["network"] == "FAIL"


def test_doctor__a_plugin_of_another(tmp_path: Path):
    other = tmp_path / "libnccl-net-other.so"
    other.write_bytes(b"no library")
    found = status(nccl.examine({"NCCL_NET_PLUGIN": str(other), "NCCL_NET": "Other"}))
    assert found["plugin"] == found["load"] == "FAIL"


@pytest.mark.parametrize("name", ["mfs", "libnccl-net-mfs.so"])
def test_doctor__a_plugin_that_the_loader_finds(name: str, tmp_path: Path):
    environ = {
        "NCCL_NET_PLUGIN": name,
        "NCCL_NET": "MFS",
        "LD_LIBRARY_PATH": str(NCCL_PLUGIN.parent),
        "MFS_SEGMENT": str(tmp_path / "segment"),
    }
    found = status(nccl.examine(environ))
    assert found["plugin"] == found["load"] == found["init"] == "ok"


def test_doctor__ucx_that_writes_to_standard_output(tmp_path: Path):
    environ = {"UCX_UNKNOWN_THING": "1", "MFS_SEGMENT": str(tmp_path / "segment")}
    assert status(nccl.examine(environ))["init"] == "ok"


def test_doctor__a_ucx_without_verbs_on_a_host_with_rdma(tmp_path: Path):
    (tmp_path / "class" / "infiniband" / "mlx5_0").mkdir(parents=True)
    ucx = tmp_path / "libucp.so.0"
    ucx.touch()
    row = nccl.examine_verbs(str(ucx), {}, tmp_path)
    assert row.status == "FAIL"
    assert "all goes over TCP, past mlx5_0" in row.reason
    assert nccl.examine_verbs(str(ucx), {"UCX_TLS": "tcp"}, tmp_path).status == "skipped"
    assert nccl.examine_verbs(str(ucx), {}, tmp_path / "other").status == "ok"
    (tmp_path / "ucx").mkdir()
    (tmp_path / "ucx" / "libuct_ib.so.0").touch()
    assert nccl.examine_verbs(str(ucx), {}, tmp_path).status == "ok"


def test_doctor__no_such_file():
    rows = nccl.examine({"NCCL_NET_PLUGIN": "/nowhere/libnccl-net-mfs.so"})
    assert status(rows) == {"plugin": "FAIL"}


def test_doctor__init_that_fails_is_told_with_its_reason(tmp_path: Path):
    env = {"MFS_NCCL_UCX": str(tmp_path / "none.so"), "MFS_SEGMENT": str(tmp_path / "segment")}
    rows = nccl.examine(env)
    row = next(row for row in rows if row.name == "init")
    assert row.status == "FAIL"
    assert "MFS_NCCL_UCX" in row.reason


def test_tables_wanted__of_a_nccl(tmp_path: Path):
    library = tmp_path / "libnccl.so.2"
    library.write_bytes(b"\0ncclNetPlugin_v8\0..\0ncclNetPlugin_v11\0ncclNetPlugin_v10\0")
    assert nccl.tables_wanted(library) == [11, 10, 8]
