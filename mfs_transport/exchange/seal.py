# SPDX-License-Identifier: Apache-2.0
"""The key that all agents of a cluster share, and what it does: XChaCha20-Poly1305 of libsodium, by
PyNaCl. Who does not have the key can neither read a message nor make or change one.

A nonce is 24 bytes and must not be used twice under one key. It is the message's header: host,
start (64 random bits) and number of the datagram.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from ..native import InputError, ffi

KEY_BYTES = 32
LACKING = (
    "PyNaCl is not installed; hosts need it to trust each other: pip install mfs-transport[agent]"
)


def new_key() -> str:
    """A line for a key file."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n"


def read_key(path: Path) -> bytes:
    """Of a file that nobody but its owner (us, or root) and its group can read."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"key file {path}: no regular file")
            if status.st_uid not in (0, os.geteuid()):
                raise InputError(f"key file {path}: it belongs to another user")
            if status.st_mode & 0o027:
                raise InputError(f"key file {path}: others can read or change it; chmod 600 {path}")
            line = file.read(4096).strip()
    except OSError as error:
        raise InputError(f"key file {path}: {error.strerror}") from None
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(f"key file {path}: {KEY_BYTES} bytes in base64, as `mfs agent --new-key`")
    return key


class Seal:
    """The key, and the two functions of libsodium that it is used with; C calls them."""

    def __init__(self, key: bytes) -> None:
        try:
            from nacl import _sodium, bindings
        except ModuleNotFoundError as error:
            if error.name != "nacl":
                raise
            raise InputError(LACKING) from None
        assert bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES == KEY_BYTES  # and it is set up
        self.key = key
        self.close, self.open = (
            ffi.cast(
                f"mfs_agent_{way}_fn",
                int(_sodium.ffi.cast("uintptr_t", _sodium.ffi.addressof(_sodium.lib, name))),
            )
            for way, name in (
                ("close", "crypto_aead_xchacha20poly1305_ietf_encrypt"),
                ("open", "crypto_aead_xchacha20poly1305_ietf_decrypt"),
            )
        )
