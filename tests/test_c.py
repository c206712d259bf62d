# SPDX-License-Identifier: Apache-2.0
"""The C unit tests: each tests/c/test_*.c with the sources, plain and under sanitizers.

CC names another compiler than gcc; scripts/sanitize runs those of one kind.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
CC = shlex.split(os.environ.get("CC", "gcc"))
SOURCES = sorted((ROOT / "tests" / "c").glob("test_*.c"))
FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-g", "-pthread"),
    *("-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wshadow"),
]
SANITIZERS = {
    "plain": ["-O2"],
    "asan": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    # TSan does not see fences; the words they order are atomic, which is what it checks here
    # (-Wno-tsan is gcc's alone)
    "tsan": ["-O1", "-fsanitize=thread", "-Wno-unknown-warning-option", "-Wno-tsan"],
}
WRAPPED = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "aligned_alloc")]


def threaded(source: Path) -> bool:
    return "pthread_create" in source.read_text()


RUNS = [
    pytest.param(source, kind, id=f"{source.stem}-{kind}")
    for source in SOURCES
    for kind in SANITIZERS
    if kind != "tsan" or threaded(source)
]


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The sources, compiled once for each kind when it is first asked for."""
    return {}


def compile_sources(flags: list[str], folder: Path, compiler: list[str] = CC) -> list[str]:
    made: list[str] = []
    for floor in ("core", "host", "sim"):  # a folder each: files of two floors may share a name
        files = sorted((CSRC / floor).glob("*.c"))
        (folder / floor).mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*compiler, *FLAGS, *flags, f"-I{CSRC}", "-c", *map(str, files)],
            check=True,
            cwd=folder / floor,
        )
        made += sorted(map(str, (folder / floor).glob("*.o")))  # zig makes one of them all
    return made


def compile_test(
    source: Path, flags: list[str], objects: list[str], folder: Path, compiler: list[str] = CC
) -> Path:
    program = folder / source.stem
    wrapped = WRAPPED if "allocations.h" in source.read_text() else []
    subprocess.run(
        [
            *(*compiler, *FLAGS, *flags, *wrapped, f"-I{CSRC}"),
            *("-o", str(program), str(source), *objects, "-lm"),
        ],
        check=True,
    )
    return program


def run_test(command: list[str], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
    environment["TMPDIR"] = str(folder)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("source", "kind"), RUNS)
def test_c(
    source: Path,
    kind: str,
    objects: dict[str, list[str]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    flags = SANITIZERS[kind]
    if kind not in objects:
        objects[kind] = compile_sources(flags, tmp_path_factory.mktemp(kind))
    run_test([str(compile_test(source, flags, objects[kind], tmp_path))], tmp_path)
