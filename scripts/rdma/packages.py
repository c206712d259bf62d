# SPDX-License-Identifier: Apache-2.0
"""Debian packages that the guest is made of: downloaded by apt-get, kept, and verified at each use.

Nothing of them is installed. apt-get checks what it downloads against the signed index; the digest
of what it brought is kept beside it, and a file that does not match is downloaded anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

NEEDED_BYTES = 400 << 20
# the kernel that the figures of docs/rdma.md are of
KERNEL = "linux-image-6.1.0-57-amd64"
# what apt-get says of a package that is not in the index, or not on the mirror any more
GONE = re.compile(r"Unable to locate|Can't select|no installation candidate|404 +Not Found")
OTHER_FLAVOURS = ("cloud", "-rt-", "unsigned", "dbg")


class Missing(Exception):
    """Something is not here and cannot be had: one line that says what, and what to do."""


def cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mfs-transport" / "rdma"


def need_room(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise Missing(
            f"{folder} has room for {free >> 20} MiB, and {NEEDED_BYTES >> 20} MiB are needed; "
            "make room, or name another place by XDG_CACHE_HOME"
        )


def ask(*command: str, cwd: Path | None = None) -> tuple[int, str]:
    """Exit status and all that was said; 127, if there is no such program."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=300
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not here"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} has not ended after 300 s"
    return done.returncode, done.stdout + done.stderr


def last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


def may_install() -> bool:
    """By root, with apt-get, and not forbidden (MFS_SETUP_APT=0, as for scripts/setup)."""
    forbidden = os.environ.get("MFS_SETUP_APT", "1").lower() in ("0", "n", "no", "off", "false")
    return not forbidden and os.geteuid() == 0 and shutil.which("apt-get") is not None


def need_program(name: str, package: str, say: Callable[[str], None]) -> str:
    """Its path; it is installed where it is not there."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found:
        return found
    if not may_install():
        raise Missing(f"{name} is missing; install it as root: apt-get install {package}")
    say(f"installing {package} by apt-get, for {name}; MFS_SETUP_APT=0 installs nothing")
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
    status, said = ask(*install)
    if status != 0 and ask("apt-get", "update", "-qq")[0] == 0:
        status, said = ask(*install)
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if status != 0 or not found:
        raise Missing(f"{name} is missing, and {package} cannot be installed: {last_line(said)}")
    return found


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """Downloaded packages in a folder, with the digests that they had."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.index = folder / "digests.json"
        self.updated = False
        folder.mkdir(parents=True, exist_ok=True)

    def digests(self) -> dict[str, str]:
        try:
            found = json.loads(self.index.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def kept(self, package: str) -> Path | None:
        """The file of a package, if it is as it was downloaded."""
        for path in sorted(self.folder.glob(f"{package}_*.deb")):
            if self.digests().get(path.name) == digest(path):
                return path
            self.say(f"{path.name} is not as it was downloaded: it is downloaded anew")
            path.unlink()
        return None

    def download(self, package: str) -> tuple[Path | None, str]:
        """The file, or what apt-get says if there is no such package. Missing: for another reason,
        as that there is no network."""
        status, said = ask("apt-get", "download", "-qq", package, cwd=self.folder)
        if status != 0 and not self.updated and os.geteuid() == 0:
            self.updated = True  # the index may be older than the mirror
            if ask("apt-get", "update", "-qq")[0] == 0:
                status, said = ask("apt-get", "download", "-qq", package, cwd=self.folder)
        found = sorted(self.folder.glob(f"{package}_*.deb"))
        if status != 0 or not found:
            if not GONE.search(said):
                raise Missing(f"the package {package} cannot be downloaded: {last_line(said)}")
            return None, last_line(said)
        path = found[-1]
        digests = {**self.digests(), path.name: digest(path)}
        self.index.write_text(json.dumps(digests, indent=1) + "\n")
        return path, ""

    def get(self, package: str) -> Path:
        if kept := self.kept(package):
            return kept
        self.say(f"downloading {package}")
        path, why = self.download(package)
        if not path:
            raise Missing(f"the package {package} cannot be downloaded: {why}")
        return path

    def kernel(self) -> Path:
        """KERNEL; where the mirror has it no more, the newest one of the release."""
        if kept := self.kept(KERNEL):
            return kept
        self.say(f"downloading {KERNEL}")
        path, why = self.download(KERNEL)
        if path:
            return path
        for package in newest_kernels(ask("apt-cache", "pkgnames", "linux-image-")[1].split()):
            if kept := self.kept(package):
                return kept
            self.say(f"{KERNEL} cannot be downloaded ({why}): trying {package}")
            path, why = self.download(package)
            if path:
                return path
        raise Missing(f"the mirror has none of the kernels: {why}")


def newest_kernels(names: list[str], at_most: int = 3) -> list[str]:
    """Of those that are Debian's plain kernel for x86_64, the newest first."""
    plain = [
        name
        for name in names
        if re.fullmatch(r"linux-image-\d.*-amd64", name)
        and not any(flavour in name for flavour in OTHER_FLAVOURS)
        and name != KERNEL
    ]
    ordered = sorted(plain, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
    return ordered[::-1][:at_most]


def files(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names (as usr/bin/x) and contents of a package's files."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    wrong = Missing(f"{package} cannot be unpacked by dpkg-deb")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacked:
        try:
            with tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    taken = member.isreg() and wanted(name)
                    content = archive.extractfile(member) if taken else None
                    if content:
                        yield name, content.read()
        except tarfile.TarError:
            raise wrong from None
        if unpacked.stdout:
            unpacked.stdout.read()  # what tar pads with
    if unpacked.returncode != 0:
        raise wrong


def one_file(package: Path, name: str) -> bytes:
    found = dict(files(package, lambda one: one == name))
    if name not in found:
        raise Missing(f"{package.name} has no {name}")
    return found[name]
