# SPDX-License-Identifier: Apache-2.0
"""Files and texts from outside: read up to a limit, and what is wrong with them is InputError.

`where` names the source in messages, as "cluster big.toml" or "trace t.jsonl, line 3". A pipe
may be read (`--config <(...)`); a device that never ends is refused at the limit.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .native import InputError

MOST_BYTES = 4 << 20  # of a file of settings
MOST_LINE = 64 << 20  # of one line of a trace: 8 million blocks
# what a packed file begins with
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


def opened(path: Path, where: str) -> BinaryIO:
    """The file, to be read; never waits for somebody to open the other end of a pipe."""
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(os.fspath(path), flags)
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}") from None
    except (TypeError, ValueError) as error:  # a NUL, what no file system can encode, no path
        raise InputError(f"{where}: {error}") from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{where}: Is a directory")
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def text(path: Path, where: str, most: int = MOST_BYTES) -> str:
    """All of a small file."""
    with opened(path, where) as file:
        try:
            data = file.read(most + 1)
        except OSError as error:
            raise InputError(f"{where}: {error.strerror}") from None
    if len(data) > most:
        raise InputError(f"{where}: longer than {most} bytes")
    return decoded(data, where)


def decoded(data: bytes, where: str) -> str:
    """UTF-8, whose mark at the beginning is no part of the text."""
    for begin, name in _PACKED.items():
        if data.startswith(begin):
            raise InputError(f"{where}: it is packed with {name}; unpack it first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: no UTF-8 text (byte {error.start})") from None


def lines(path: Path, where: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line, one in memory, whatever the file's size."""
    with opened(path, where) as file:
        number = 1
        while True:
            try:
                line = file.readline(MOST_LINE + 1)
            except OSError as error:
                raise InputError(f"{where}: {error.strerror}") from None
            if not line:
                return
            at = f"{where}, line {number}"
            if len(line) > MOST_LINE:
                raise InputError(f"{at}: longer than {MOST_LINE} bytes")
            yield number, decoded(line, where) if number == 1 else _rest(line, at)
            number += 1


def _rest(line: bytes, at: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{at}: no UTF-8 text (byte {error.start})") from None


def toml(path: Path, where: str) -> dict[str, Any]:
    """A TOML file."""
    return parse_toml(text(path, where), where)


def parse_toml(document: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(document)
    except RecursionError:
        raise InputError(f"{where}: not TOML that we take: nested too deeply") from None
    except (AttributeError, TypeError, ValueError) as error:  # no text; not TOML; a huge int
        raise InputError(f"{where}: not TOML: {error}") from None


def parse_value(document: str, where: str) -> Any:
    """What a command line gives: JSON, or a bare word, which is a text."""
    try:
        json.loads(document)
    except json.JSONDecodeError:
        return document
    except (RecursionError, ValueError):
        pass
    return parse_json(document, where)


def parse_json(document: str, where: str) -> Any:
    """A JSON text; every string of it can be encoded."""
    try:
        found = json.loads(document)
        if "\\u" in str(document):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise InputError(f"{where}: not JSON that we take: nested too deeply") from None
    except UnicodeError:
        raise InputError(f"{where}: not JSON that we take: half a surrogate pair") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg})") from None
    except (TypeError, ValueError) as error:  # no text; an int of thousands of digits
        raise InputError(f"{where}: not JSON ({error})") from None
    return found
