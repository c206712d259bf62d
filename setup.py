# SPDX-License-Identifier: Apache-2.0
"""Build file: the C libraries, then the cffi module that links to them.

    mfs_transport/libmfs.so        core and host: all state of a process
    mfs_transport/libmfs_ucx.so    the UCX shim (LD_PRELOAD), links to it
    mfs_transport/libmfs_sim.so    the simulator, links to it
    mfs_transport/libmfs_nccl.so       the NCCL net plug-in, links to it
    mfs_transport/libnccl-net-mfs.so   its tables, which NCCL opens; opens it
    mfs_transport/_mfs.abi3.so         Python's view of it (cffi, API mode)
    mfs_transport/sim/_sim.abi3.so     and of the simulator

Only headers of UCX are needed, and only to compile; nothing links to UCX. They are newer than
UCX_OLDEST: a libucx wheel's, before the system's.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
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
LDFLAGS = ["-shared", "-Wl,-z,defs", "-Wl,-z,nodelete", "-Wl,-rpath,$ORIGIN"]
# a library calls its own functions itself, whoever else has one of that name; zig's linker knows
# only the second, which binds data as well
OWN = ("-Wl,-Bsymbolic-functions", "-Wl,-Bsymbolic")


UCX_OLDEST = (1, 14)  # of the headers; a UCX that is older will do at run time
UCX_SYSTEM = ("/usr/include", "/usr/local/include")


def ucx_wheel() -> list[Path]:
    """Folders of the libucx package."""
    wheel = importlib.util.find_spec("libucx")
    return [Path(place) for place in (wheel and wheel.submodule_search_locations) or ()]


def ucx_version(include: Path) -> tuple[int, int] | None:
    """Of the headers in that folder; None: there are none."""
    try:
        text = (include / "ucp" / "api" / "ucp_version.h").read_text()
    except OSError:
        return None
    found = dict(re.findall(r"define\s+UCP_API_(MAJOR|MINOR)\s+(\d+)", text))
    return int(found.get("MAJOR", 0)), int(found.get("MINOR", 0))


def ucx_include() -> str | None:
    """Folder that holds ucp/api/ucp.h: MFS_UCX_INCLUDE, a libucx wheel, or the system's."""
    named = os.environ.get("MFS_UCX_INCLUDE")
    if named:
        version = ucx_version(Path(named))
        if version is None or version < UCX_OLDEST:
            what = "no ucp/api/ucp.h is there" if version is None else f"UCX {dotted(version)}"
            needed = f"headers of UCX {dotted(UCX_OLDEST)} or newer are needed"
            sys.exit(f"error: MFS_UCX_INCLUDE={named}: {what}; {needed}")
        return named
    places = [*(place / "include" for place in ucx_wheel()), *map(Path, UCX_SYSTEM)]
    for place in places:
        version = ucx_version(place)
        if version and version >= UCX_OLDEST:
            return str(place)
    return None


def dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def compiler() -> list[str]:
    """The C compiler, and its option to optimise a library as a whole: an eighth fewer
    instructions for a put. Clang's needs a linker that is not always there."""
    words = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")
    try:
        told = subprocess.run(
            [*words, "-dM", "-E", "-x", "c", os.devnull],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        sys.exit(f"error: no C compiler: {words[0]} is not installed (apt-get install gcc)")
    gcc = "__GNUC__" in told.stdout and "__clang__" not in told.stdout
    return [*words, *(["-flto=auto"] if gcc else [])]


def own_functions(command: list[str]) -> list[str]:
    """The first of OWN that this compiler's linker takes."""
    with tempfile.TemporaryDirectory() as folder:
        tried = [*command, "-shared", "-fPIC", "-x", "c", os.devnull, "-o", f"{folder}/empty.so"]
        for option in OWN:
            if subprocess.run([*tried, option], capture_output=True, check=False).returncode == 0:
                return [option]
    return []


class BuildNative(build_ext):  # type: ignore[misc]
    """Compiles csrc/ into the package before the cffi module is built against it."""

    def run(self) -> None:
        package = ROOT if self.inplace else Path(self.build_lib).resolve()
        self.library_folder = package / "mfs_transport"
        self.library_folder.mkdir(parents=True, exist_ok=True)
        include = ucx_include()
        if include is None:
            old = [
                f"error: {place} has those of UCX {dotted(version)}, which are too old\n"
                for place in UCX_SYSTEM
                if (version := ucx_version(Path(place)))
            ]
            sys.exit(
                f"error: no headers of UCX {dotted(UCX_OLDEST)} or newer were found "
                f"(ucp/api/ucp.h)\n{''.join(old)}Install one of\n"
                "    pip install libucx-cu12          (a wheel; no GPU is needed)\n"
                "    apt-get install libucx-dev       (Debian 13, Ubuntu 24.04)\n"
                "or name a folder that has them: MFS_UCX_INCLUDE=/path/to/include"
            )
        self.compiler_words = compiler()
        self.own = own_functions(self.compiler_words)
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
            flags=[
                *(["-isystem", include] if include != "/usr/include" else []),
                *self.packaged_ucx(),
            ],
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

    def packaged_ucx(self) -> list[str]:
        """In a checkout the libucx package does not lie beside ours: say where it is."""
        libraries = [place / "lib" / "libucp.so.0" for place in ucx_wheel()]
        found = next((library for library in libraries if library.is_file()), None)
        return [f'-DMFS_LIBUCP="{found}"'] if self.inplace and found else []

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
                *self.compiler_words,
                *CFLAGS,
                f'-DMFS_VERSION="{self.distribution.get_version()}"',
                *shlex.split(os.environ.get("CFLAGS", "")),
                f"-I{CSRC}",
                *(flags or []),
                *LDFLAGS,
                *self.own,
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
