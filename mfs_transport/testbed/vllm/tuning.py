# SPDX-License-Identifier: Apache-2.0
"""What vLLM needs to run two servers on a few cores: a general plug-in of the demo's own.

It acts with MFS off and on alike, so it is no part of what is compared.

- On CPUs the NIXL connector pins the threads of every worker to the highest core of each
  node, where two servers would share one core; an empty topology makes it leave them alone.
- NIXL's progress thread asks again without a pause (pthrDelay is 0), which takes a whole core
  in each server. It rests so long between two looks:
"""

from __future__ import annotations

PROGRESS_REST_US = 300


def register() -> None:
    from vllm.platforms.cpu import CpuPlatform

    CpuPlatform.discover_numa_topology = classmethod(lambda _: [])
    try:
        import nixl_cu12._bindings as _bindings
    except ImportError:
        return

    class Restful(_bindings.nixlAgentConfig):  # type: ignore[misc]
        def __setattr__(self, name: str, value: object) -> None:
            rest = name == "pthrDelay" and value == 0
            super().__setattr__(name, PROGRESS_REST_US if rest else value)

    if _bindings.nixlAgentConfig.__name__ != "Restful":
        _bindings.nixlAgentConfig = Restful
