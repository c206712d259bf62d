# SPDX-License-Identifier: Apache-2.0
"""All that is known of vLLM's API server: what a header said gets into its requests here.

The server and the engine's core are two processes. `AsyncLLM.generate` is the last point that
runs in the task of the HTTP request, so the context still tells whose request it is, and every
endpoint that generates tokens comes by. What is put into `extra_args`, where `vllm_xargs` of the
body are as well, goes to the core with the request.
"""

from __future__ import annotations

import functools
from typing import Any

from ...config import flag
from . import release, slo
from .connector import faults

PARAMS, PLACE = "sampling_params", 1  # of generate(), counted behind self


def install() -> bool:
    """Once in a process. False: not in this release, which the plug-in has said."""
    import vllm

    if not release.of(vllm).acts and not flag("MFS_VLLM_UNTESTED"):
        return False
    from vllm.v1.engine.async_llm import AsyncLLM

    if getattr(AsyncLLM, "_mfs_installed", False):
        return True
    original = AsyncLLM.generate

    @functools.wraps(original)
    def generate(self: Any, *arguments: Any, **options: Any) -> Any:
        found = slo.current.get()
        if found:
            try:
                carry(found, options[PARAMS] if PARAMS in options else arguments[PLACE])
            except Exception as error:
                faults.note("a header", error)
        return original(self, *arguments, **options)

    AsyncLLM.generate = generate
    AsyncLLM._mfs_installed = True
    return True


def carry(found: slo.Found, params: Any) -> None:
    """The dictionary is made anew: vLLM may have the request's own there."""
    params.extra_args = {**(params.extra_args or {}), **found}
