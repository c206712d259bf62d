# SPDX-License-Identifier: Apache-2.0
"""A wheel from the sources, with no more than gcc and the headers of UCX."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = ("libmfs.so", "libmfs_ucx.so", "_mfs.abi3.so")
# what a C library of ours may need; UCX, NCCL and CUDA are found at run time, or not at all
MAY_NEED = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2"}


def sources(folder: Path) -> Path:
    """A copy of what the build reads, without anything that was built."""
    built = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    for name in ("bench", "csrc", "mfs_transport"):
        shutil.copytree(ROOT / name, folder / name, ignore=built)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(*command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sources(tmp_path_factory.mktemp("sources"))
    pip = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index")
    done = run(sys.executable, *pip, "--wheel-dir", "out", ".", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "out").glob("*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    """The wheel's content, as an installation would lay it out."""
    folder = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_wheel__holds_the_libraries_and_types(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in (*LIBRARIES, "py.typed", "_mfs.pyi", "commands/run.py", "engines/nixl.py"):
        assert f"mfs_transport/{name}" in names
    assert not any(name.startswith(("csrc/", "tests/")) for name in names)


def test_version__stands_in_the_package_alone(wheel: Path, unpacked: Path):
    (version,) = re.findall(
        r'^__version__ = "(.+)"$', (ROOT / "mfs_transport" / "__init__.py").read_text(), re.M
    )
    assert f"-{version}-" in wheel.name
    program = "from mfs_transport.native import library_version; print(library_version())"
    done = run(sys.executable, "-c", program, cwd=unpacked, PYTHONPATH=str(unpacked))
    assert done.stdout.strip() == version, done.stderr


def test_wheel__one_for_every_python_from_3_11(wheel: Path):
    assert "-cp311-abi3-linux" in wheel.name


def test_wheel__needs_cffi_and_numpy_alone(unpacked: Path):
    metadata = next(unpacked.glob("*.dist-info/METADATA")).read_text()
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.M)
    assert sorted(required) == ["cffi", "numpy"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_library__links_to_nothing_of_ucx_nccl_or_cuda(unpacked: Path, name: str):
    done = run("readelf", "-d", str(unpacked / "mfs_transport" / name), cwd=unpacked)
    assert done.returncode == 0, done.stderr
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout))
    assert needed - MAY_NEED <= {"libmfs.so"}
    if name != "libmfs.so":
        assert "libmfs.so" in needed  # one copy of all state in a process
        paths = ":".join(re.findall(r"\(RUNPATH\).*\[(.*)\]", done.stdout))
        assert "$ORIGIN" in paths.split(":")  # a Python of pyenv puts its own there as well


def test_installed__works_from_where_it_lies(unpacked: Path):
    program = (
        "import mfs_transport as m; from mfs_transport.native import LIBRARY, policies; "
        "print(m.__file__, LIBRARY.parent, len(policies()) > 3, sep='\\n')"
    )
    done = run(sys.executable, "-c", program, cwd=unpacked, PYTHONPATH=str(unpacked))
    assert done.returncode == 0, done.stderr
    package = unpacked / "mfs_transport"
    assert done.stdout.split() == [str(package / "__init__.py"), str(package), "True"]
    maps = "import mfs_transport; print(open('/proc/self/maps').read())"
    done = run(sys.executable, "-c", maps, cwd=unpacked, PYTHONPATH=str(unpacked))
    assert f"{package}/libmfs.so" in done.stdout


def test_source_distribution__can_be_built_from(tmp_path: Path):
    folder = sources(tmp_path / "sources")
    done = run(sys.executable, "setup.py", "sdist", "--dist-dir", str(tmp_path), cwd=folder)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for top in ("csrc", "bench", "mfs_transport"):
        ours = {file.relative_to(folder).as_posix() for file in (folder / top).rglob("*.*")}
        assert ours <= names, top


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it depends on comes from ours. Its folder."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python3*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # a .pth behind the wheel's package, without the line that leads to the checkout
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def bench(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (str(installed / "bin" / "python"), "-m", "mfs_transport", "bench", *arguments)
    return run(*command, cwd=installed)


def test_installed__has_the_benches(installed: Path):
    done = bench(installed)
    assert done.returncode == 0, done.stderr
    ours = {path.stem for path in (ROOT / "bench").glob("[!_]*.py")}
    assert {line.split()[0] for line in done.stdout.splitlines() if line[0] != " "} == ours
    done = bench(installed, "--help")
    assert done.returncode == 0, done.stderr
    assert "mfs bench contend" in done.stdout


@pytest.mark.parametrize("name", ["contend", "core", "faults", "nccl", "sim", "ucx"])
def test_installed__each_bench_starts(installed: Path, name: str):
    done = bench(installed, name, "--help")
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_installed__benches_compile_their_own_sources(installed: Path):
    path = installed / "core.json"
    options = ("--pairs", "1000", "--runs", "1", "--no-instructions", "--json", str(path))
    done = bench(installed, "core", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(path.read_text())["results"]
    assert {one["name"] for one in results} == {"mfs"}
    done = bench(installed, "faults", "--faults", "4", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(path.read_text())["end"]["unfinished"] == 0


def test_without_headers_of_ucx__says_how_to_get_them(tmp_path: Path):
    if any(
        Path(place, "ucp/api/ucp.h").exists() for place in ("/usr/include", "/usr/local/include")
    ):
        pytest.skip("the system has headers of UCX")
    folder = sources(tmp_path / "sources")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "libucx.py").touch()  # stands before the wheel, and has no headers
    environ = {"PYTHONPATH": str(tmp_path / "hidden"), "MFS_UCX_INCLUDE": ""}
    done = run(sys.executable, "setup.py", "build_ext", cwd=folder, **environ)
    assert done.returncode != 0
    for part in ("headers of UCX", "pip install libucx-cu12", "libucx-dev", "MFS_UCX_INCLUDE"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def headers_of(folder: Path, version: tuple[int, int]) -> Path:
    """A folder that looks like that UCX's headers."""
    (folder / "ucp" / "api").mkdir(parents=True)
    major, minor = version
    text = f"#define UCP_API_MAJOR    {major}\n#define UCP_API_MINOR    {minor}\n"
    (folder / "ucp" / "api" / "ucp_version.h").write_text(text)
    return folder


def test_headers_of_an_old_ucx__are_refused_in_one_line(tmp_path: Path):
    folder = sources(tmp_path / "sources")
    old = headers_of(tmp_path / "old", (1, 13))
    done = run(sys.executable, "setup.py", "build_ext", cwd=folder, MFS_UCX_INCLUDE=str(old))
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].endswith("headers of UCX 1.14 or newer are needed")
    assert "Traceback" not in done.stderr


def test_headers_of_an_old_ucx_in_the_system__the_wheels_are_taken(tmp_path: Path):
    folder = sources(tmp_path / "sources")
    old = headers_of(tmp_path / "old", (1, 13))
    wheel = headers_of(tmp_path / "wheel" / "include", (1, 21))
    program = (
        "import sys, setuptools; setuptools.setup = lambda **_: None\n"
        "sys.argv = ['setup.py']; import setup\n"
        f"setup.UCX_SYSTEM = ({str(old)!r},)\n"
        "setup.ucx_wheel = list\n"
        "print(setup.ucx_include())\n"
        f"setup.ucx_wheel = lambda: [setup.Path({str(wheel.parent)!r})]\n"
        "print(setup.ucx_include())\n"
    )
    done = run(sys.executable, "-c", program, cwd=folder, MFS_UCX_INCLUDE="")
    assert done.stdout.splitlines() == ["None", str(wheel)], done.stderr


def test_without_a_compiler__says_so(tmp_path: Path):
    folder = sources(tmp_path / "sources")
    done = run(sys.executable, "setup.py", "build_ext", cwd=folder, CC="no-such-cc")
    assert done.returncode != 0
    assert "no C compiler: no-such-cc is not installed" in done.stderr
    assert "Traceback" not in done.stderr


# --- scripts/setup ---


def setup_without_gcc(folder: Path, **environ: str) -> tuple[str, str]:
    """What scripts/setup says on a machine without gcc, as root; what it asked apt-get for."""
    (folder / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", folder / "scripts")
    tools = folder / "tools"
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or "")
    (tools / "python3").symlink_to(sys.executable)
    stubs = {"id": "echo 0", "apt-get": f"echo $@ >>{folder}/asked"}
    for name, line in stubs.items():
        (tools / name).write_text(f"#!{shutil.which('bash')}\n{line}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        [str(tools / "bash"), str(folder / "scripts" / "setup")],
        env={"PATH": str(tools), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "setup: gcc is missing; install it with: apt-get install gcc\n" in done.stderr
    asked = folder / "asked"
    return done.stderr, asked.read_text() if asked.exists() else ""


def test_setup__what_root_installs_is_said_with_the_way_not_to(tmp_path: Path):
    said, asked = setup_without_gcc(tmp_path)
    assert "installing the system's package gcc by apt-get, for gcc; MFS_SETUP_APT=0" in said
    assert "install -y -qq gcc" in asked


@pytest.mark.parametrize("value", ["0", "no", "off"])
def test_setup__installs_nothing_of_the_system_when_told_so(tmp_path: Path, value: str):
    said, asked = setup_without_gcc(tmp_path, MFS_SETUP_APT=value)
    assert "installing" not in said
    assert asked == ""
