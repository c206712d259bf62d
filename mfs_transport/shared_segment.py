# SPDX-License-Identifier: Apache-2.0
"""A segment that users, containers and pods of a host share: a file of a group in a folder of it.

    FOLDER          mode 3770, set-group-ID and sticky: members reach it, nobody replaces the file
    FOLDER/NAME     mode 0660, of the same group and owner

csrc/host/rights.h says which of these a program takes for its segment. Whoever makes it needs no
place in it: the first program that attaches fills it.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import stat
from pathlib import Path

from .native import InputError

FOLDER_MODE = 0o3770
FILE_MODE = 0o660
MEMORY = ("tmpfs", "ramfs")


def group_number(group: str) -> int:
    """By its name or number."""
    if group.isdecimal():
        number = int(group)
        if number >= 2**32 - 1:
            raise InputError(f"group {group}: a number below {2**32 - 1}")
        return number
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise InputError(
            f"group {group!r}: there is none of that name here; a number will do as well"
        ) from None


def create(path: Path, group: int) -> None:
    """Make the folder and the file, or put right those that we have made before."""
    path = path.absolute()
    _folder(path.parent, group)
    _file(path, group)


def file_system(path: Path) -> str:
    """What the file lies on, as "tmpfs"; "" where that is not known."""
    kind, longest = "", -1
    try:
        target = os.path.realpath(path)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            kind, longest = after.split()[0], len(point)
    return kind


def _folder(folder: Path, group: int) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(f"{folder} is no folder; name a path in a folder of the segment's own")
    if found.st_uid != os.geteuid():
        raise InputError(
            f"{folder} belongs to user {found.st_uid}; name a path in a folder of the segment's own"
        )
    right = stat.S_IMODE(found.st_mode) == FOLDER_MODE and found.st_gid == group
    if not right and any(folder.iterdir()) and not found.st_mode & stat.S_ISGID:
        raise InputError(
            f"{folder} holds other files and would be given to group {group}; "
            "name a path in a folder of the segment's own"
        )
    _give(folder, group, FOLDER_MODE)


def _file(path: Path, group: int) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise InputError(f"{path} is no ordinary file; remove it, or name another") from None
    with contextlib.closing(os.fdopen(descriptor, "rb")) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is no ordinary file; remove it, or name another")
        if found.st_uid != os.geteuid():
            raise InputError(f"{path} belongs to user {found.st_uid}; remove it, or name another")
        _give(file.fileno(), group, FILE_MODE, path)


def _give(what: Path | int, group: int, mode: int, name: Path | None = None) -> None:
    """Group and mode, in this order: another group takes the set-group-ID bit away."""
    try:
        os.chown(what, -1, group)
    except PermissionError:
        raise InputError(
            f"{name or what} cannot be given to group {group}: "
            "that takes root, or a member of the group"
        ) from None
    os.chmod(what, mode)
    if stat.S_IMODE(os.stat(what).st_mode) != mode:
        raise InputError(f"{name or what} does not take mode {mode:04o} on this file system")
