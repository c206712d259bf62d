# SPDX-License-Identifier: Apache-2.0
"""Files that we write because somebody named them: results, pictures, reports, logs.

A regular file is replaced as a whole: a new file of a name that nobody could foresee is made
beside it (never through a link) and renamed over it, so that a reader never sees half of it.
A link is replaced, not followed. What is no regular file (a device, a pipe, /dev/stdout) is
written to and stays what it is.

`check` and `check_picture` say before a long run what could not be written after it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from .native import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODE = 0o666  # less the umask, as of any new file
PICTURE = "png"  # of a name that has no ending


def write(path: Path, content: bytes | str) -> None:
    """Make `content` what `path` holds; OSError says why not."""
    data = content.encode() if isinstance(content, str) else content
    try:
        special = _special(path)
        if special is not None:
            with special as file:
                file.write(data)
        else:
            _replace(path, data)
    except OSError as error:  # that of a write does not name the file
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_picture(path: Path, figure: Figure, dpi: int) -> None:
    """The figure, in the format that the name's ending says."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi, format=_format(path))
    write(path, drawn.getvalue())


def open_log(path: Path) -> BinaryIO:
    """A file to write to from now on, empty at first."""
    special = _special(path)
    if special is not None:
        return special
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, MODE), "wb")


def open_append(path: Path) -> IO[str]:
    """A text file to read and to add to; it is made if it is not there, but not through a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = 0 if path.exists() else os.O_CREAT | os.O_EXCL
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | made, MODE)
    return os.fdopen(descriptor, "a+", encoding="utf-8")


def remove(path: Path) -> None:
    """A regular file or a link goes; what is something else, or is not there, stays so."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISREG(path.stat().st_mode):
            path.unlink()


def check(path: Path) -> None:
    """InputError if `write` could not write `path` now."""
    try:
        if not _is_special(path):
            _check_folder(path)
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a NUL, or what no file system can encode
        raise InputError(f"{str(path)!r}: {error}") from None


def check_picture(path: Path) -> None:
    """The same of a picture; ModuleNotFoundError if nothing is there to draw it."""
    check(path)
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if _format(path) not in known:
        raise InputError(f"{path}: its ending is none of {', '.join(sorted(known))}")


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower() or PICTURE


def _is_special(path: Path) -> bool:
    """Something that is there and is no regular file, or a link to where our output goes."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISREG(found.st_mode):
        return path.is_symlink() and _stream_of(found) is not None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return True


def _stream_of(found: os.stat_result) -> int | None:
    """Our stdout or stderr, if it is this file: /dev/stdout is a link to it."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return descriptor
    return None


def _special(path: Path) -> BinaryIO | None:
    """What is no regular file, opened to be written to; None: the path is for `_replace`."""
    if not _is_special(path):
        return None
    stream = _stream_of(path.stat())
    if stream is not None:
        for buffered in (sys.stdout, sys.stderr):
            buffered.flush()
        return os.fdopen(os.dup(stream), "wb")
    try:
        # of a pipe that nobody reads: an error, where it would wait for ever
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(path.stat().st_mode):
            raise OSError(errno.ENXIO, "nobody reads this pipe", str(path)) from None
        raise
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


def _new_in(folder: Path) -> tuple[int, str]:
    """A new, empty file in the folder: descriptor and name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    name = str(folder / f".mfs-{secrets.token_hex(8)}.part")
    return os.open(name, flags, MODE), name


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = _new_in(path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _check_folder(path: Path) -> None:
    """A file can be made in the folder, or in the nearest one that is there, and renamed."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    descriptor, beside = _new_in(folder)
    os.close(descriptor)
    os.unlink(beside)
    with contextlib.suppress(FileNotFoundError):
        there, around = path.lstat(), folder.stat()
        if around.st_mode & stat.S_ISVTX and os.geteuid() not in (0, there.st_uid, around.st_uid):
            raise PermissionError(errno.EPERM, "it belongs to another user")
