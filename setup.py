# SPDX-License-Identifier: Apache-2.0
"""Build file: the C libraries, then the cffi module that links to them.

    mfs_transport/libmfs.so        core and host: all state of a process
    mfs_transport/libmfs_ucx.so    the UCX shim (LD_PRELOAD), links to it
    mfs_transport/libmfs_sim.so    the simulator, links to it
    mfs_transport/libmfs_nccl.so       the NCCL net plug-in, links to it
    mfs_transport/libnccl-net-mfs.so   its tables, which NCCL opens; opens it
    mfs_transport/_mfs.abi3.so         Python's view of it (cffi, API mode)
    mfs_transport/sim/_sim.abi3.so     and of the simulator

Only headers of UCX are needed, and only to compile; nothing links to UCX.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CSRC = ROOT / "csrc"
# the benches and the C that they compile, which a wheel has inside the package
BENCHES = ("bench", "csrc/core", "csrc/host", "csrc/nccl")
CFLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fPIC", "-pthread", "-fvisibility=hidden"),
    # nobody replaces a function of ours by one of the same name: calls may be direct
    *("-fno-semantic-interposition", "-fno-plt"),
    *("-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wshadow"),
]
LDFLAGS = [
    *("-shared", "-Wl,-z,defs", "-Wl,-z,nodelete", "-Wl,-Bsymbolic-functions", "-Wl,-rpath,$ORIGIN")
]


def ucx_include() -> str | None:
    """Folder that holds ucp/api/ucp.h: MFS_UCX_INCLUDE, a libucx wheel, or the system's."""
    wheel = importlib.util.find_spec("libucx")
    places = (wheel and wheel.submodule_search_locations) or ()
    candidates = [
        os.environ.get("MFS_UCX_INCLUDE"),
        *(str(Path(place) / "include") for place in places),
        "/usr/include",
        "/usr/local/include",
    ]
    for place in candidates:
        if place and (Path(place) / "ucp" / "api" / "ucp.h").is_file():
            return place
    return None


def compiler() -> list[str]:
    """The C compiler, and its option to optimise a library as a whole: an eighth fewer
    instructions for a put. Clang's needs a linker that is not always there."""
    name = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")[0]
    try:
        told = subprocess.run(
            [name, "-dM", "-E", "-x", "c", os.devnull], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        sys.exit(f"error: no C compiler: {name} is not installed (apt-get install gcc)")
    gcc = "__GNUC__" in told.stdout and "__clang__" not in told.stdout
    return [name, *(["-flto=auto"] if gcc else [])]


class BuildNative(build_ext):  # type: ignore[misc]
    """Compiles csrc/ into the package before the cffi module is built against it."""

    def run(self) -> None:
        package = ROOT if self.inplace else Path(self.build_lib).resolve()
        self.library_folder = package / "mfs_transport"
        self.library_folder.mkdir(parents=True, exist_ok=True)
        include = ucx_include()
        if include is None:
            sys.exit(
                "error: the headers of UCX were not found (ucp/api/ucp.h). Install one of\n"
                "    pip install libucx-cu12          (a wheel; no GPU is needed)\n"
                "    apt-get install libucx-dev       (Debian, Ubuntu)\n"
                "or name a folder that has them: MFS_UCX_INCLUDE=/path/to/include"
            )
        self.link("libmfs.so", ("core", "host"), libraries=["-lm"])
        self.link(
            "libmfs_ucx.so",
            ("ucx",),
            flags=["-isystem", include] if include != "/usr/include" else [],
            libraries=[f"-L{self.library_folder}", "-lmfs", "-ldl"],
        )
        self.link("libmfs_sim.so", ("sim",), libraries=[f"-L{self.library_folder}", "-lmfs", "-lm"])
        self.link(
            "libmfs_nccl.so",
            ("nccl",),
            flags=["-isystem", include] if include != "/usr/include" else [],
            libraries=[f"-L{self.library_folder}", "-lmfs", "-ldl"],
        )
        self.link("libnccl-net-mfs.so", ("nccl/abi",), libraries=["-ldl"])
        if not self.inplace:
            self.copy_benches()
        for extension in self.extensions:
            extension.library_dirs.append(str(self.library_folder))
        super().run()

    def copy_benches(self) -> None:
        for name in BENCHES:
            target = self.library_folder / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))

    def link(
        self,
        name: str,
        floors: tuple[str, ...],
        flags: list[str] | None = None,
        libraries: list[str] | None = None,
    ) -> None:
        sources = [str(path) for floor in floors for path in sorted((CSRC / floor).glob("*.c"))]
        self.spawn_quiet(
            [
                *compiler(),
                *CFLAGS,
                f'-DMFS_VERSION="{self.distribution.get_version()}"',
                *shlex.split(os.environ.get("CFLAGS", "")),
                f"-I{CSRC}",
                *(flags or []),
                *LDFLAGS,
                *shlex.split(os.environ.get("LDFLAGS", "")),
                f"-Wl,-soname,{name}",
                "-o",
                str(self.library_folder / name),
                *sources,
                *(libraries or []),
            ]
        )

    def spawn_quiet(self, command: list[str]) -> None:
        self.announce(shlex.join(command), level=1)
        done = subprocess.run(command, check=False)
        if done.returncode != 0:
            sys.exit(f"error: {command[0]} failed; the command was\n{shlex.join(command)}")


setup(
    cffi_modules=["csrc/ffi.py:ffi", "csrc/ffi.py:ffi_sim"],
    cmdclass={"build_ext": BuildNative},
    # an isolated build sees no installed wheel: ask for one unless the system has headers
    setup_requires=[] if ucx_include() else ["libucx-cu12"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
