# SPDX-License-Identifier: Apache-2.0
"""What a host, or a Kubernetes node, offers to the containers that run on it: a folder with the
package, its libraries and the environment that a program starts with.

    FOLDER/python/      the package with the shim and the NCCL plug-in, for PYTHONPATH
    FOLDER/env          NAME=VALUE lines: `docker run --env-file`, EnvironmentFile of systemd
    FOLDER/env.sh       the same to be read by a shell
    FOLDER/version      of all that

Programs that run keep the files that they have opened: each is put in its place in one step.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from . import __version__
from .native import PACKAGE, UCX_SHIM, InputError

LEFT_OUT = ("__pycache__", "bench", "csrc")
NAMES = ("python", "env", "env.sh", "version")


def environment(seen_as: Path, segment: str) -> dict[str, str]:
    """Of a program that sees the folder at `seen_as`. NCCL's plug-in is named by who wants it."""
    return {
        "MFS_ENABLE": "1",
        "LD_PRELOAD": str(seen_as / "python" / PACKAGE.name / UCX_SHIM.name),
        "PYTHONPATH": str(seen_as / "python"),
        "NIXL_UCX_DEEPBIND": "0",  # 1 makes NIXL's calls pass the shim by
        **({"MFS_SEGMENT": segment} if segment else {}),
    }


def install(folder: Path, seen_as: Path, segment: str, also: Path | None = None) -> None:
    """Put everything there; what an older version has left and this one lacks goes. `also`: a
    folder with Python packages that containers may lack."""
    for forbidden in (" ", ":"):
        if forbidden in str(seen_as):
            raise InputError(f"{seen_as}: LD_PRELOAD cannot name a path with {forbidden!r} in it")
    if not seen_as.is_absolute():
        raise InputError(f"{seen_as}: containers need a path from the root on")
    if not folder.parent.is_dir():
        raise InputError(f"{folder}: the folder {folder.parent} does not exist")
    folder.mkdir(mode=0o755, exist_ok=True)
    _packages(folder / "python")
    for path in _files(also) if also else ():
        target = folder / "python" / path.relative_to(also or path)
        target.parent.mkdir(parents=True, exist_ok=True)
        _put(path, target)
    values = environment(seen_as, segment)
    _write(folder / "env", "".join(f"{name}={value}\n" for name, value in values.items()))
    exports = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
    _write(folder / "env.sh", "".join(exports))
    _write(folder / "version", __version__ + "\n")


def remove(folder: Path) -> None:
    """Take away what install() has put there, and the folder if nothing else is in it."""
    if not (folder / "version").is_file():
        raise InputError(f"{folder}: nothing is installed there")
    for name in NAMES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _put(source: Path, target: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
    os.close(descriptor)
    try:
        shutil.copyfile(source, name)
        os.chmod(name, 0o755 if target.suffix == ".so" else 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _write(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, path)


def _packages(folder: Path) -> None:
    """The package and what says that vLLM has to load its plug-in; the files of others stay."""
    wanted = {path: path.relative_to(PACKAGE.parent) for path in _files(PACKAGE)}
    information = _information()
    wanted |= {
        path: Path(information.name) / path.name
        for path in information.iterdir()
        if path.name in ("METADATA", "entry_points.txt", "WHEEL")
    }
    for source, inside in wanted.items():
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        _put(source, target)
    keep = {folder / inside for inside in wanted.values()}
    for place in (folder / PACKAGE.name, *folder.glob("mfs_transport-*.dist-info")):
        for path in sorted(place.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in keep:
                path.unlink()
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found += [] if path.name in LEFT_OUT else _files(path)
        else:
            found.append(path)
    return found


def _information() -> Path:
    """The folder of the package's metadata."""
    files = importlib.metadata.distribution("mfs-transport").files or []
    for file in files:
        if file.name == "METADATA":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(2, "metadata of mfs-transport are missing; install the package anew")
