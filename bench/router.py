# SPDX-License-Identifier: Apache-2.0
"""What vLLM's middleware costs a request, by what its headers say.

    mfs bench router --json router.json

An ASGI application that generates as vLLM's does is called with the middleware
around it and without, in turn; a header that is read goes on into the request's
parameters. No event loop is in the way: the coroutine is driven by hand. Times
are the least of the runs, since other load only adds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _main import begin

from mfs_transport import output_file

SCHEMA_VERSION = 1
CALLS = 100  # a run: short enough to fall between what else the machine does
OTHERS = [(f"x-forwarded-{number}".encode(), b"some value") for number in range(20)]
ROUTER = (b"x-llm-d-slo-ttft-ms", b"800")
CASES = {
    "20 other headers": OTHERS,
    "and the router's": [*OTHERS, ROUTER],
    "and a priority": [*OTHERS, ROUTER, (b"x-dynamo-request-priority", b"7")],
    "and one that is bad": [*OTHERS, (ROUTER[0], b"soon")],
}


class Params:
    extra_args: dict[str, Any] | None = None


class AsyncLLM:
    """Only what the middleware takes part in; the rest of it costs the same either way."""

    def generate(self, prompt: str, sampling_params: Any, request_id: str) -> Any:
        return sampling_params.extra_args


async def serve(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive, send
    AsyncLLM().generate("prompt", Params(), "r")


def per_call_us(app: Callable[..., Any], scope: dict[str, Any]) -> float:
    begun = time.perf_counter_ns()
    for _ in range(CALLS):
        call = app(scope, None, None)
        with contextlib.suppress(StopIteration):
            call.send(None)
    return (time.perf_counter_ns() - begun) / CALLS / 1e3


def measure(runs: int, progress: Callable[[int], None]) -> list[dict[str, Any]]:
    least: dict[str, dict[str, float]] = {case: {} for case in CASES}
    original = AsyncLLM.generate
    from mfs_transport.engines.vllm.slo import Middleware

    app = Middleware(serve)
    joined = AsyncLLM.generate
    for run in range(runs):
        progress(run)
        for case, headers in CASES.items():
            scope = {"type": "http", "headers": headers}
            for system, called, generate in (("without", serve, original), ("with", app, joined)):
                AsyncLLM.generate = generate  # type: ignore[method-assign]
                took = per_call_us(called, scope)
                least[case][system] = min(took, least[case].get(system, took))
    return [
        {
            "name": case,
            "without_us": times["without"],
            "with_us": times["with"],
            "cost_us": times["with"] - times["without"],
        }
        for case, times in least.items()
    ]


def show(results: list[dict[str, Any]]) -> None:
    print(f"{'a request with':24}{'without, us':>14}{'with, us':>12}{'cost, us':>12}")
    for one in results:
        print(
            f"{one['name']:24}{one['without_us']:14.2f}{one['with_us']:12.2f}{one['cost_us']:12.2f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=2000, help="the least time of so many")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: at least 1")
    os.environ["MFS_ENABLE"] = "1"
    # the middleware asks for vLLM's release and joins its engine: both are of this file
    for name, module in (
        ("vllm", types.SimpleNamespace(__version__="0.32.0")),
        ("vllm.v1.engine.async_llm", types.SimpleNamespace(AsyncLLM=AsyncLLM)),
    ):
        sys.modules[name] = module  # type: ignore[assignment]

    def progress(run: int) -> None:
        if sys.stderr.isatty():
            print(f"\rrun {run + 1} of {options.runs}", end="", file=sys.stderr, flush=True)

    results = measure(options.runs, progress)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    show(results)
    if options.json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "environment": {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "python": sys.version.split()[0],
                "load": os.getloadavg()[0],
            },
            "results": results,
        }
        output_file.write(options.json, json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    begin(lambda: sys.exit(main()))
