# SPDX-License-Identifier: Apache-2.0
"""scripts/wheels: both wheels, installed where there is nothing but pip; aarch64 under qemu.

Needs PyPI (zig, cffi, numpy); skipped without."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import venv
import zipfile
from pathlib import Path

import pytest
from test_c import SANITIZERS, SOURCES, compile_sources, compile_test, run_test

ROOT = Path(__file__).parent.parent
ARM = Path("/usr/aarch64-linux-gnu")  # its libraries, of Debian's package libc6-arm64-cross
ZIG = [str(ROOT / ".venv-wheels" / "bin" / "python"), "-m", "ziglang", "cc"]
ZIG += ["-target", "aarch64-linux-gnu.2.28"]

pytestmark = pytest.mark.long


def run(*command: object, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By architecture. The script itself looks that they are what their names say."""
    folder = tmp_path_factory.mktemp("wheels")
    done = run(ROOT / "scripts" / "wheels", "--check", cwd=folder, MFS_WHEELS_OUT=str(folder))
    if "No matching distribution" in done.stderr:
        pytest.skip("no PyPI")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("built twice, the same bytes") == 2
    found = {path.stem.partition("manylinux_2_28_")[2]: path for path in folder.glob("*.whl")}
    assert set(found) == {"x86_64", "aarch64"}
    return found


@pytest.fixture
def emulator() -> list[str]:
    if not shutil.which("qemu-aarch64") or not ARM.is_dir():
        pytest.skip("qemu is not installed (apt-get install qemu-user libc6-arm64-cross)")
    return ["qemu-aarch64", "-L", str(ARM)]


def libraries(wheel: Path, folder: Path) -> list[Path]:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return sorted(folder.rglob("*.so"))


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_wheel__tells_nothing_of_the_machine_that_built_it(
    wheels: dict[str, Path], architecture: str, tmp_path: Path
):
    found = libraries(wheels[architecture], tmp_path)
    assert len(found) == 7
    for path in found:
        content = path.read_bytes()
        for folder in (ROOT, Path.home(), tmp_path.parent.parent):
            assert os.fsencode(folder) + b"/" not in content, path.name
        assert b".debug_info" not in content, path.name
        dynamic = run("readelf", "-d", path, cwd=tmp_path).stdout
        (runpath,) = re.findall(r"\(RUNPATH\).*\[(.*)\]", dynamic)
        assert runpath in ("$ORIGIN", "$ORIGIN/.."), path.name


def test_readme__its_lines_install_it_where_there_is_nothing_but_pip(
    wheels: dict[str, Path], tmp_path: Path
):
    if platform.machine() != "x86_64":
        pytest.skip("README's line is for x86_64")
    (line,) = re.findall(r"^pip install .*whl.*$", (ROOT / "README.md").read_text(), re.M)
    venv.create(tmp_path / "empty", with_pip=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "wheels").symlink_to(wheels["x86_64"].parent)
    path = f"{tmp_path}/empty/bin:/usr/bin:/bin"
    done = run("bash", "-c", line, cwd=tmp_path, PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = (
        "import mfs_transport as m; import mfs_transport.sim;"
        "assert 'empty' in m.__file__; maps = open('/proc/self/maps').read();"
        "assert 'libmfs_ucx.so' in maps and 'empty' in maps; r = m.register('r', ttft_s=1.0)"
    )
    for command in (
        ("mfs", "--version"),
        ("mfs", "info"),
        ("mfs", "run", "--", "python", "-c", program),
        ("mfs", "sim", "--help"),
    ):
        done = run(*command, cwd=elsewhere, PATH=path, MFS_SEGMENT=str(tmp_path / "segment"))
        assert done.returncode == 0, done.stdout + done.stderr


LOADER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!dlopen(argv[i], RTLD_NOW | RTLD_GLOBAL))
            return fprintf(stderr, "%s\\n", dlerror()), 1;
    const char *(*version)(void) = (const char *(*)(void))dlsym(RTLD_DEFAULT, "mfs_version");
    return version ? puts(version()) < 0 : 1;
}
"""


def test_aarch64__its_libraries_load_and_resolve_all_that_they_name(
    wheels: dict[str, Path], emulator: list[str], tmp_path: Path
):
    found = [path for path in libraries(wheels["aarch64"], tmp_path) if "abi3" not in path.name]
    (tmp_path / "loader.c").write_text(LOADER)
    done = run(*ZIG, "-o", "loader", "loader.c", "-ldl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(*emulator, tmp_path / "loader", *found, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"-{done.stdout.strip()}-" in wheels["aarch64"].name


@pytest.fixture(scope="module")
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """For aarch64, by the compiler that makes the wheel."""
    if not Path(ZIG[0]).exists():
        request.getfixturevalue("wheels")  # leaves the compiler behind
    return compile_sources(SANITIZERS["plain"], tmp_path_factory.mktemp("aarch64"), ZIG)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_aarch64__c(source: Path, objects: list[str], emulator: list[str], tmp_path: Path):
    program = compile_test(source, SANITIZERS["plain"], objects, tmp_path, ZIG)
    run_test([*emulator, str(program)], tmp_path)
