# SPDX-License-Identifier: Apache-2.0
"""Blocks of the prompts under way, for layer-wise push: the scheduler's part of it.

The workers are told a prompt's blocks with its last chunk, when all of them are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Blocks:
    """Blocks of the prompts under way, as the scheduler hands them out."""

    def __init__(self, clip: Callable[[tuple[list[int], ...]], Any]) -> None:
        self._clip = clip
        self._requests: dict[str, Any] = {}
        self._blocks: dict[str, list[list[int]]] = {}

    def arrived(self, request: Any) -> None:
        if (request.kv_transfer_params or {}).get("do_remote_decode"):
            self._requests[request.request_id] = request

    def gone(self, name: str) -> None:
        self._requests.pop(name, None)
        self._blocks.pop(name, None)

    def _take(self, name: str, groups: Any, *, afresh: bool) -> None:
        if name not in self._requests or groups is None:
            return
        if afresh or name not in self._blocks:
            self._blocks[name] = [list(group) for group in groups]
            return
        for have, more in zip(self._blocks[name], groups, strict=True):
            have.extend(more)

    def last_chunks(self, output: Any) -> dict[str, Any]:
        """Blocks of each request whose prompt ends in this step, by its name."""
        for one in output.scheduled_new_reqs:
            self._take(one.req_id, one.block_ids, afresh=True)
        cached = output.scheduled_cached_reqs
        for name, groups in zip(cached.req_ids, cached.new_block_ids, strict=True):
            self._take(name, groups, afresh=name in cached.resumed_req_ids)
        ends = {}
        for name, tokens in output.num_scheduled_tokens.items():
            request = self._requests.get(name)
            if request is None or name not in self._blocks:
                continue
            if request.num_computed_tokens + tokens >= request.num_prompt_tokens:
                ends[name] = self._clip(tuple(self._blocks[name]))
                self.gone(name)
        return ends
