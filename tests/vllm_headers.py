# SPDX-License-Identifier: Apache-2.0
"""Run by vLLM's own interpreter (test_engines_vllm.py): headers in vLLM's own stack of middleware.

The application, its middleware, AsyncLLM.generate and what crosses to the engine's core are those
of the installed release; there is no engine. Prints JSON: extra_args at the core, by name of
request, and what differs in the responses from those without our middleware.
"""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from vllm import SamplingParams
from vllm.entrypoints.serve.middleware.register import init_entrypoints_middleware
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.request import Request as CoreRequest
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

CASES: dict[str, dict[str, str]] = {
    "nothing": {},
    "router": {"X-LLM-D-SLO-TTFT-MS": "800"},
    "bad": {"x-llm-d-slo-ttft-ms": "soon"},
    "priority": {"x-dynamo-request-priority": "7", "x-mfs-ttft-ms": "250.5"},
}


class Engine(AsyncLLM):
    """Without an engine: what a request comes to its core with is taken down."""

    def __init__(self) -> None:
        self.log_requests = False
        self.seen: dict[str, Any] = {}

    def __del__(self) -> None:
        pass  # AsyncLLM's own would end processes that were not started

    async def add_request(self, request_id: str, prompt: Any, params: Any, **_: Any) -> Any:
        del prompt
        made = EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=[1],
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=0.0,
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        sent = MsgpackDecoder(EngineCoreRequest).decode(MsgpackEncoder().encode(made))
        core = CoreRequest.from_engine_core_request(sent, None)
        self.seen[request_id] = core.sampling_params.extra_args
        raise RuntimeError("there is no engine")


def answers(middleware: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each case came with, and what its client got."""
    app, engine = FastAPI(), Engine()
    arguments = Namespace(
        allowed_origins=["*"],
        allow_credentials=False,
        allowed_methods=["*"],
        allowed_headers=["*"],
        api_key=None,
        enable_request_id_headers=True,
        middleware=middleware,
    )
    init_entrypoints_middleware(arguments, app, ("generate",))

    @app.post("/v1/completions")
    async def completions(request: Request) -> StreamingResponse:
        body = await request.json()
        params = SamplingParams(extra_args=body.get("vllm_xargs"))
        words = engine.generate({"prompt_token_ids": [1]}, params, body["name"])

        async def stream() -> Any:
            try:
                async for _ in words:
                    pass
            except Exception as error:
                yield str(error)

        return StreamingResponse(stream(), headers={"x-name": body["name"]})

    got = {}
    with TestClient(app) as client:
        for name, headers in CASES.items():
            body = {"name": name, "vllm_xargs": {"mine": name}}
            named = {**headers, "x-request-id": name}
            answer = client.post("/v1/completions", json=body, headers=named)
            got[name] = [answer.status_code, sorted(answer.headers.items()), answer.text]
    return engine.seen, got


def main() -> None:
    plain = answers([])
    ours = answers(["mfs_transport.engines.vllm.slo.Middleware"])
    differ = [name for name in CASES if plain[1][name] != ours[1][name]]
    print(json.dumps({"plain": plain[0], "ours": ours[0], "got": ours[1], "differ": differ}))


if __name__ == "__main__":
    main()
