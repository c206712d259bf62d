# SPDX-License-Identifier: Apache-2.0
"""What a segment knows of requests, as the queues read it."""

from __future__ import annotations

from typing import Any

import mfs_transport as mfs
from mfs_transport.native import ffi, lib

S = 1_000_000_000
MS = 1_000_000


def facts(host: mfs.Host, name: str) -> Any:
    """What the queues read of a request; None: they know nothing of it."""
    out = ffi.new("struct mfs_facts *")
    found = lib.mfs_request_get(host.handle, lib.mfs_request_key(name.encode()), out)
    return out if found == 0 else None
