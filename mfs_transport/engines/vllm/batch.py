# SPDX-License-Identifier: Apache-2.0
"""What a worker computes in one step: some requests, layer by layer.

A model has many layers and a step several requests, so all that is the same for each layer is
worked out once. Then a layer is two calls of the C library.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...host import Host
from ...native import NEVER, ffi, lib
from ...requests import progress_of_keys
from ...tags import batch


class Batch:
    """Requests that prefill together. No names: nothing is told of its layers."""

    def __init__(self, host: Host, names: Sequence[str] = ()) -> None:
        self.host = host
        self.names = names
        keys = [lib.mfs_request_key(name.encode()) for name in names]
        self._keys = ffi.new("uint64_t[]", keys)
        self._pressing = min(keys, key=self._deadline_ns) if len(keys) > 1 else sum(keys)

    def _deadline_ns(self, key: int) -> int:
        facts = ffi.new("struct mfs_facts *")
        known = lib.mfs_request_get(self.host.handle, key, facts) == 0
        return int(facts.deadline_ns) if known else NEVER

    def layer(self, layer: int, layer_s: float | None, collective_s: float | None = None) -> None:
        """All of them compute `layer` now; its collectives are the most pressing one's."""
        progress_of_keys(self._keys, len(self.names), layer, layer_s, self.host, collective_s)
        lib.mfs_batch_set(self._pressing, layer)

    def ended(self) -> None:
        if self.names:
            batch(None)
