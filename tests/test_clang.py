# SPDX-License-Identifier: Apache-2.0
"""All C that setup.py builds, looked at by clang: what gcc lets through, clang may not, and the
wheels are made by clang (zig is one). `scripts/sanitize` with CC=clang runs the tests by it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
import types
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
FLOORS = ("core", "host", "sim", "ucx", "nccl", "nccl/abi")
ZIG = ROOT / ".venv-wheels" / "bin" / "python"  # of scripts/wheels


def clang() -> list[str]:
    named = shlex.split(os.environ.get("MFS_TEST_CLANG", "clang"))
    if shutil.which(named[0]):
        return named
    if ZIG.exists():
        return [str(ZIG), "-m", "ziglang", "cc"]
    pytest.skip(f"{named[0]} is missing; install it with: apt-get install clang")


def module(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(f"mfs_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """setup.py, which builds nothing here."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    return module(ROOT / "setup.py")


def look(*words: str) -> None:
    done = subprocess.run(
        [*clang(), "-fsyntax-only", "-Werror", f"-I{CSRC}", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("floor", FLOORS)
def test_floor__clang_has_nothing_to_say(setup: types.ModuleType, floor: str):
    include = setup.ucx_include()
    if include is None and floor in ("ucx", "nccl"):
        pytest.skip("no headers of UCX")
    ucx = ["-isystem", include] if include and include != "/usr/include" else []
    sources = sorted((CSRC / floor).glob("*.c"))
    assert sources
    look(*setup.CFLAGS, *ucx, *map(str, sources))


def test_floors__are_all_that_there_are():
    assert {path.parent for path in CSRC.rglob("*.c")} == {CSRC / floor for floor in FLOORS}


@pytest.mark.parametrize("name", ["ffi", "ffi_sim"])
def test_python__clang_takes_what_cffi_writes(name: str, tmp_path: Path):
    """What cffi says of our structs and functions, as C."""
    source = tmp_path / f"{name}.c"
    getattr(module(CSRC / "ffi.py"), name).emit_c_code(str(source))
    python = f"-isystem{sysconfig.get_paths()['include']}"
    look("-std=c11", "-D_GNU_SOURCE", "-DPy_LIMITED_API", python, str(source))
