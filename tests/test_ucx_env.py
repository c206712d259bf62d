# SPDX-License-Identifier: Apache-2.0
"""What is set for UCX in a program's environment, on hosts that are folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfs_transport import ucx_env
from mfs_transport.diagnose.environment import check_modules


def device(sysfs: Path, name: str, driver: str) -> None:
    """An RDMA device as the kernel shows it."""
    where = sysfs / "class" / "infiniband" / name / "device"
    where.mkdir(parents=True)
    (sysfs / "drivers" / driver).mkdir(parents=True, exist_ok=True)
    (where / "driver").symlink_to(sysfs / "drivers" / driver)


def test_rdma_devices(tmp_path: Path):
    assert ucx_env.rdma_devices(tmp_path) == []
    device(tmp_path, "mlx5_1", "mlx5_core")
    device(tmp_path, "mlx5_0", "mlx5_core")
    assert ucx_env.rdma_devices(tmp_path) == ["mlx5_0", "mlx5_1"]


def test_has_verbs__through_a_link(tmp_path: Path):
    (tmp_path / "real" / "ucx").mkdir(parents=True)
    (tmp_path / "real" / "libucp.so.0").touch()
    (tmp_path / "libucp.so.0").symlink_to(tmp_path / "real" / "libucp.so.0")
    assert not ucx_env.has_verbs(tmp_path / "libucp.so.0")
    (tmp_path / "real" / "ucx" / "libuct_ib.so.0").touch()
    assert ucx_env.has_verbs(tmp_path / "libucp.so.0")


def test_efa_clashes__where_both_bring_it(tmp_path: Path):
    wheel, system, sysfs = tmp_path / "wheel", tmp_path / "system", tmp_path / "sys"
    for folder in (wheel, system, sysfs):
        folder.mkdir()

    def clashes() -> bool:
        return ucx_env.efa_clashes(sysfs, [system], [wheel])

    (wheel / "libuct_ib_efa.so.0.0.0").touch()
    assert not clashes()
    (system / "libefa.so.1").touch()
    assert clashes()
    device(sysfs, "mlx5_0", "mlx5_core")
    assert clashes()
    device(sysfs, "rdmap0s6", "efa")  # it is needed here
    assert not clashes()


def test_modules_environment__keeps_the_users(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ucx_env, "efa_clashes", lambda: True)
    assert ucx_env.modules_environment({}) == {"UCX_MODULES": "^efa"}
    assert ucx_env.modules_environment({"UCX_MODULES": "ib"}) == {}
    monkeypatch.setattr(ucx_env, "efa_clashes", lambda: False)
    assert ucx_env.modules_environment({}) == {}


@pytest.mark.parametrize(
    ("value", "status"),
    [(None, "FAIL"), ("^efa", "ok"), ("^cuda,efa", "ok"), ("ib", "ok"), ("^ib", "FAIL")],
)
def test_doctor__says_that_nixl_would_crash(value: str | None, status: str):
    environ = {} if value is None else {"UCX_MODULES": value}
    assert check_modules(environ, clashes=True).status == status
    assert check_modules(environ, clashes=False).status == "ok"
