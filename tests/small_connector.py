# SPDX-License-Identifier: Apache-2.0
"""A connector of a few lines with vLLM's interface, and the factory that makes such ones.

The tests of the plug-in wrap it where no vLLM is. A file that uses the fixtures says
pytest_plugins = ("small_connector",). The real ones are in test_engines_vllm.py.
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mfs_transport import control
from mfs_transport.engines.vllm import interface, planning
from mfs_transport.native import ffi, lib

LAYERS = 2
CONFIG = SimpleNamespace(
    kv_cache_groups=[
        SimpleNamespace(
            layer_names=["model.layers.1.attn", "model.layers.0.attn"],
            kv_cache_spec=SimpleNamespace(block_size=16),
        )
    ],
    kv_cache_tensors=[SimpleNamespace(size=10 * 16 * 2048)] * LAYERS,
    num_blocks=10,
)
VLLM_CONFIG = SimpleNamespace(
    kv_transfer_config=SimpleNamespace(engine_id="engine"),
    scheduler_config=SimpleNamespace(max_num_batched_tokens=512),
    parallel_config=SimpleNamespace(tensor_parallel_size=1),
)


def on_ranks(ranks: int) -> SimpleNamespace:
    """The same with tensor parallelism and a hidden state of 4096 numbers of 2 bytes."""
    model = SimpleNamespace(get_hidden_size=lambda: 4096, dtype=SimpleNamespace(itemsize=2))
    parallel = SimpleNamespace(tensor_parallel_size=ranks)
    return SimpleNamespace(
        **{**vars(VLLM_CONFIG), "parallel_config": parallel, "model_config": model}
    )


SCHEDULER, WORKER = SimpleNamespace(name="SCHEDULER"), SimpleNamespace(name="WORKER")


class FastPort(planning.Planned):
    """Of 1 GB/s."""

    def rate_Bps(self) -> int:
        return 1_000_000_000


class Metadata:
    def __init__(self) -> None:
        self.reqs_to_recv: dict[str, Any] = {}


class Wire:
    """An agent that notes the tag of what is posted."""

    def __init__(self) -> None:
        self.posted: list[tuple[int, str] | None] = []

    def make_prepped_xfer(self, *arguments: Any, notif_msg: bytes = b"") -> object:
        del arguments, notif_msg
        return object()

    def transfer(self, handle: object) -> str:
        del handle
        tag = control.tag_current()
        stage = None if tag is None else ffi.string(lib.mfs_stage_name(tag.stage)).decode()
        self.posted.append(None if tag is None or stage is None else (tag.request, stage))
        return "PROC"


class Small:
    """A connector: notes its calls, and reads one request for each in its metadata."""

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        del vllm_config, kv_cache_config
        self.calls: list[str] = []
        self.meta: Any = None
        self.recv: dict[str, str] = {}
        if role is WORKER:
            self.connector_worker = SimpleNamespace(nixl_wrapper=Wire())

    def on_new_request(self, request: Any) -> None:
        self.calls.append(f"new {request.request_id}")

    def build_connector_meta(self, output: Any) -> Metadata:
        del output
        meta = Metadata()
        for name, other in self.recv.items():
            meta.reqs_to_recv[name] = SimpleNamespace(remote=SimpleNamespace(request_id=other))
        return meta

    def update_connector_output(self, output: Any) -> None:
        self.calls.append(f"output {sorted(output.finished_recving)}")

    def take_events(self) -> list[str]:
        return ["events of its own"]

    def request_finished(self, request: Any, blocks: list[int]) -> tuple[bool, dict[str, Any]]:
        del request
        return bool(blocks), {"remote_block_ids": blocks}

    def bind_connector_metadata(self, meta: Any) -> None:
        self.meta = meta

    def start_load_kv(self) -> None:
        for name in self.meta.reqs_to_recv:
            other = self.meta.reqs_to_recv[name].remote.request_id
            agent = self.connector_worker.nixl_wrapper
            agent.transfer(
                agent.make_prepped_xfer("READ", 1, [0], 2, [0], notif_msg=f"{other}:1".encode())
            )

    def wait_for_layer_load(self, layer: str) -> None:
        self.calls.append(f"wait {layer}")

    def save_kv_layer(self, layer: str, kv: Any, attention: Any, **options: Any) -> None:
        self.calls.append(f"save {layer} {kv} {attention} {options}")

    def wait_for_save(self) -> None:
        self.calls.append("saved")

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def only_here(self) -> str:
        return "as it was"

    @classmethod
    def layout(cls) -> str:
        return cls.__name__


class Hybrid(Small):
    def request_finished_all_groups(self, request: Any, blocks: Any) -> tuple[bool, dict[str, Any]]:
        return self.request_finished(request, blocks[0])


def request(name: str, params: Any = None, extra: Any = None, tokens: int = 100) -> SimpleNamespace:
    return SimpleNamespace(
        request_id=name,
        kv_transfer_params=params,
        sampling_params=SimpleNamespace(extra_args=extra),
        num_prompt_tokens=tokens,
        arrival_time=time.time(),
    )


def output(*, before: dict[str, int] | None = None, **scheduled: int) -> SimpleNamespace:
    """A step. before: tokens that those which are not new have computed."""
    before = before or {}
    new = [SimpleNamespace(req_id=n, num_computed_tokens=0) for n in scheduled if n not in before]
    cached = SimpleNamespace(req_ids=list(before), num_computed_tokens=list(before.values()))
    return SimpleNamespace(
        num_scheduled_tokens=scheduled, scheduled_new_reqs=new, scheduled_cached_reqs=cached
    )


def transfers(
    recving: set[str] | None = None, sending: set[str] | None = None, **more: set[str]
) -> SimpleNamespace:
    return SimpleNamespace(
        finished_recving=recving or set(), finished_sending=sending or set(), **more
    )


def facts(name: str) -> Any:
    out = ffi.new("struct mfs_facts *")
    key = lib.mfs_request_key(name.encode())
    found = lib.mfs_request_get(control.default_host().handle, key, out)
    return out if found == 0 else None


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(planning, "SHARE", 1.0)  # each step works the plan out
    made = interface.wrap(Hybrid)(VLLM_CONFIG, SCHEDULER, CONFIG)
    yield made
    made.shutdown()


@pytest.fixture
def worker() -> Iterator[Any]:
    made = interface.wrap(Small)(VLLM_CONFIG, WORKER, CONFIG)
    yield made
    made.shutdown()


class Factory:
    """The parts of vLLM's KVConnectorFactory that are touched."""

    _registry: dict[str, Any]

    @classmethod
    def get_connector_class(cls, config: Any) -> Any:
        if config.kv_connector_module_path:
            return getattr(sys.modules[config.kv_connector_module_path], config.kv_connector)
        if config.kv_connector not in cls._registry:
            raise ValueError(f"Unsupported connector type: {config.kv_connector}")
        return cls._registry[config.kv_connector]()

    @classmethod
    def supports_hma_config(cls, config: Any) -> bool:
        found = cls.get_connector_class(config)
        return config.kv_connector != "MultiConnector" and issubclass(found, Hybrid)


def config_of(name: str, module: str | None = None, **extra: Any) -> SimpleNamespace:
    return SimpleNamespace(
        kv_connector=name, kv_connector_module_path=module, kv_connector_extra_config=extra
    )


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Any:
    fresh = type("Factory", (Factory,), {})
    fresh._registry = {
        "NixlConnector": lambda: Hybrid,
        "Small": lambda: Small,
        "MultiConnector": lambda: Hybrid,
    }
    name = "vllm.distributed.kv_transfer.kv_connector.factory"
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        path = ".".join(parts[:depth])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    sys.modules[name].KVConnectorFactory = fresh  # type: ignore[attr-defined]
    return fresh
