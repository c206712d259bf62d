# SPDX-License-Identifier: Apache-2.0
"""What vLLM needs to run two servers on a few cores: a general plug-in of the demo's own.

It acts with MFS off and on alike, so it is no part of what is compared.

- On CPUs the NIXL connector pins the threads of every worker to the highest core of each
  node, where two servers would share one core; an empty topology makes it leave them alone.
- NIXL's progress thread asks again without a pause (pthrDelay is 0), which takes a whole core
  in each server. It rests so long between two looks.
- An engine that has nothing to compute but waits for KV looks for it without a pause, too,
  and takes the core that the other server computes with.
- An engine's core and its worker ask for each other's messages without a pause for a second after
  each one, which takes a core in both as long as KV is on its way. They rest between two looks.
- vLLM 0.32's attention with AMX tiles dies of SIGILL on some virtual machines (at tilezero, while
  it decodes; so does vLLM alone). It computes with AVX-512 instead, as where there is no AMX.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from . import cost

PROGRESS_REST_US = 300
IDLE_REST_S = 0.001
IDLE_REST = "VLLM_DEMO_IDLE_REST_S"  # another one, where nobody looks at single milliseconds
MESSAGE_REST_S = 0.0003


def register() -> None:
    from vllm.platforms.cpu import CpuPlatform

    CpuPlatform.discover_numa_topology = classmethod(lambda _: [])
    rest_when_idle(float(os.environ.get(IDLE_REST, IDLE_REST_S)))
    rest_between_messages()
    without_amx()
    cost.measure_hooks()
    try:
        from nixl import _bindings  # of the build that it has chosen
    except ImportError:
        return

    class Restful(_bindings.nixlAgentConfig):  # type: ignore[misc]
        def __setattr__(self, name: str, value: object) -> None:
            rest = name == "pthrDelay" and value == 0
            super().__setattr__(name, PROGRESS_REST_US if rest else value)

    if _bindings.nixlAgentConfig.__name__ != "Restful":
        _bindings.nixlAgentConfig = Restful


def rest_when_idle(rest_s: float) -> None:
    """Steps without a forward pass take so long at least."""
    from vllm.v1.worker import kv_connector_model_runner_mixin as mixin

    runner = mixin.KVConnectorModelRunnerMixin
    original = runner.kv_connector_no_forward
    if getattr(original, "mfs_rests", False):
        return

    @functools.wraps(original)
    def rested(*arguments: Any, **options: Any) -> Any:
        time.sleep(rest_s)
        return original(*arguments, **options)

    rested.mfs_rests = True  # type: ignore[attr-defined]
    runner.kv_connector_no_forward = staticmethod(rested)


def rest_between_messages() -> None:
    """What it does between two looks is to give others a turn."""
    from vllm.distributed.device_communicators import shm_broadcast

    shm_broadcast.sched_yield = lambda: time.sleep(MESSAGE_REST_S)


def without_amx() -> None:
    import torch

    torch.cpu._is_amx_tile_supported = lambda: False
