# SPDX-License-Identifier: Apache-2.0
"""All that is known of vLLM's connectors: the file to look at when a release moves them, with
frontend.py, which knows its API server, and release.py, which looks whether they still fit.

A connector is not copied and not imitated: `wrap` makes a subclass of whatever class vLLM
would have used, with the same name, whose methods first hand on and then tell MFS, or the
other way round. So it supports what the wrapped one supports (hybrid caches, layouts, stats,
metrics), isinstance holds, and a method that we do not know is not touched.

vLLM asks its factory for the class of a kv_transfer_config; `install` puts itself there:

    kv_connector NixlConnector, NixlPushConnector, any other    its subclass
    kv_connector MultiConnector                                 itself; its children are wrapped
    kv_connector MFSConnector                                   the one named in
        kv_connector_extra_config["mfs_connector"] [NixlConnector], with
        ["mfs_connector_module_path"] if it is not one of vLLM's own
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import os
import re
import time
from collections.abc import Callable
from typing import Any

from ...config import flag
from ..nixl import Agent
from .blocks import Blocks
from .connector import Scheduler, Shape, Worker, classes_of_environment, faults, say
from .layerwise import Layerwise

MULTI, NAME, INNER, INNER_MODULE = (
    "MultiConnector",
    "MFSConnector",
    "mfs_connector",
    "mfs_connector_module_path",
)
DEFAULT_INNER = "NixlConnector"
MESSAGE = "_mfs_message"  # attribute of the wrapped connector's metadata


# --- the factory ---


def install(*, wrapping: bool = True) -> None:
    """Put MFS in the way of vLLM's connectors, once in a process.

    Without wrapping: only the name MFSConnector is understood, for the connector it names.
    """
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    if getattr(KVConnectorFactory, "_mfs_installed", False):
        return
    original = KVConnectorFactory.get_connector_class.__func__
    supports = KVConnectorFactory.supports_hma_config.__func__

    def get_connector_class(cls: Any, config: Any) -> Any:
        config = resolved(config, cls._registry)
        found = original(cls, config)
        if config.kv_connector == MULTI or not wrapping:
            return found
        try:
            return wrap(found)
        except Exception as error:
            faults.note("wrapping the connector", error)
            return found

    def supports_hma_config(cls: Any, config: Any) -> Any:
        return supports(cls, resolved(config, cls._registry))

    KVConnectorFactory.get_connector_class = classmethod(get_connector_class)
    KVConnectorFactory.supports_hma_config = classmethod(supports_hma_config)
    if NAME not in KVConnectorFactory._registry:  # for who looks whether there is such a name
        KVConnectorFactory._registry[NAME] = KVConnectorFactory._registry[DEFAULT_INNER]
    KVConnectorFactory._mfs_installed = True


def resolved(config: Any, registry: Any) -> Any:
    """The config with MFSConnector replaced by the connector that it wraps."""
    if config.kv_connector != NAME:
        return config
    extra = config.kv_connector_extra_config or {}
    inner, module = extra.get(INNER, DEFAULT_INNER), extra.get(INNER_MODULE)
    if module is None and (inner not in registry or inner == NAME):
        near = difflib.get_close_matches(str(inner), [name for name in registry if name != NAME], 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        say_once(f"{INNER} {inner!r}: vLLM has no such connector{meant} Using {DEFAULT_INNER}")
        inner = DEFAULT_INNER
    result = copy.copy(config)
    result.kv_connector, result.kv_connector_module_path = inner, module
    return result


def layerwise_wanted() -> bool:
    return flag("MFS_LAYERWISE")


@functools.cache
def say_once(line: str) -> None:
    say(line)


# --- the wrapped connector ---


def ours(method: Callable[..., None]) -> Callable[..., None]:
    """A part of MFS inside the engine: its errors are counted and said, and end there."""

    @functools.wraps(method)
    def guarded(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            method(self, *arguments, **options)
        except Exception as error:
            faults.note(method.__name__.strip("_"), error)

    return guarded


def tag_or_none(side: Worker, operation: str, peer: str, notification: bytes) -> Any:
    """The tagger of the agent; when we err, the transfer has no tag."""
    try:
        return side.tag_of(operation, peer, notification)
    except Exception as error:
        faults.note("tag", error)
        return None


class Deadlines:
    """In front of a connector class. `_mfs_side` is None when MFS could not start."""

    _mfs_side: Scheduler | Worker | None = None
    _mfs_layerwise: Layerwise | None = None
    _mfs_blocks: Blocks | None = None

    def __init__(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)  # type: ignore[call-arg]
        self._mfs_start(vllm_config, role, kv_cache_config)

    @ours
    def _mfs_start(self, vllm_config: Any, role: Any, kv_cache_config: Any) -> None:
        shape = shape_of(vllm_config, kv_cache_config)
        if role.name == "SCHEDULER":
            self._mfs_side = Scheduler(shape, classes_of_environment())
            scheduler: Any = getattr(self, "connector_scheduler", None)
            if layerwise_wanted() and hasattr(scheduler, "get_exchange_clipped_blocks"):
                self._mfs_blocks = Blocks(scheduler.get_exchange_clipped_blocks)
            return
        side = Worker(shape)
        side.layers_are(layer_names(kv_cache_config))
        self._mfs_side = side
        worker = getattr(self, "connector_worker", None)
        if worker is None or not hasattr(worker, "nixl_wrapper"):
            say_once(f"{type(self).__name__}: its transfers carry no tag of a request")
            return
        layerwise = Layerwise(worker, side) if layerwise_wanted() else None
        if layerwise is not None and layerwise.why_not is not None:
            say_once(f"MFS_LAYERWISE: {layerwise.why_not}; whole requests are sent")
            layerwise = None
        self._mfs_layerwise = layerwise
        worker.nixl_wrapper = Agent(worker.nixl_wrapper, functools.partial(tag_or_none, side))
        if layerwise is not None:
            worker.nixl_wrapper = layerwise.agent(worker.nixl_wrapper)

    # --- scheduler side ---

    def on_new_request(self, request: Any, *more: Any, **options: Any) -> Any:
        answer = super().on_new_request(request, *more, **options)  # type: ignore[misc]
        self._mfs_arrived(request)
        return answer

    @ours
    def _mfs_arrived(self, request: Any) -> None:
        if not isinstance(self._mfs_side, Scheduler):
            return
        params = request.kv_transfer_params
        sampling = request.sampling_params
        decodes = bool(params) and bool(params.get("do_remote_prefill"))
        if self._mfs_blocks is not None and not decodes:
            self._mfs_blocks.arrived(request)
        self._mfs_side.arrived(
            request.request_id,
            "decode" if decodes else "prefill",
            request.num_prompt_tokens,
            params,
            getattr(sampling, "extra_args", None),
            min(3600.0, max(0.0, time.time() - request.arrival_time)),
        )

    def build_connector_meta(self, scheduler_output: Any, *more: Any, **options: Any) -> Any:
        meta = super().build_connector_meta(  # type: ignore[misc]
            scheduler_output, *more, **options
        )
        self._mfs_message(meta, scheduler_output)
        return meta

    @ours
    def _mfs_message(self, meta: Any, scheduler_output: Any) -> None:
        if isinstance(self._mfs_side, Scheduler):
            batch = scheduler_output.num_scheduled_tokens
            before = computed_before(scheduler_output) if batch else {}
            message = self._mfs_side.step(batch, before)
            if self._mfs_blocks is not None and batch:
                message["blocks"] = self._mfs_blocks.last_chunks(scheduler_output)
            if message:
                setattr(meta, MESSAGE, message)

    def update_connector_output(self, connector_output: Any, *more: Any, **options: Any) -> Any:
        answer = super().update_connector_output(  # type: ignore[misc]
            connector_output, *more, **options
        )
        self._mfs_over(connector_output)
        return answer

    @ours
    def _mfs_over(self, output: Any) -> None:
        if isinstance(self._mfs_side, Scheduler):
            # one whose KV did not come is computed here: it is on no way any more
            failed = getattr(output, "failed_recving", None) or ()
            received, sent = output.finished_recving or (), output.finished_sending or ()
            for name in (*received, *sent, *failed):
                self._mfs_side.gone(name)

    def take_events(self, *more: Any, **options: Any) -> Any:
        """Asked for once with the output of each step, also of one that computes nothing, for
        which update_connector_output need not be called."""
        answer = super().take_events(*more, **options)  # type: ignore[misc]
        self._mfs_step_ended()
        return answer

    @ours
    def _mfs_step_ended(self) -> None:
        if isinstance(self._mfs_side, Scheduler):
            self._mfs_side.step_ended()

    def request_finished(self, request: Any, block_ids: Any, *more: Any, **options: Any) -> Any:
        answer = super().request_finished(  # type: ignore[misc]
            request, block_ids, *more, **options
        )
        self._mfs_finished(request, answer)
        return answer

    @ours
    def _mfs_finished(self, request: Any, answer: Any) -> None:
        if isinstance(self._mfs_side, Scheduler):
            if self._mfs_blocks is not None:
                self._mfs_blocks.gone(request.request_id)
            waits, params = answer
            self._mfs_side.hand_on(request.request_id, params)
            self._mfs_side.finished(request.request_id, waits=bool(waits))

    # --- worker side ---

    def bind_connector_metadata(self, connector_metadata: Any, *more: Any, **options: Any) -> Any:
        answer = super().bind_connector_metadata(  # type: ignore[misc]
            connector_metadata, *more, **options
        )
        self._mfs_begin(connector_metadata)
        return answer

    @ours
    def _mfs_begin(self, metadata: Any) -> None:
        side, message = self._mfs_side, getattr(metadata, MESSAGE, {})
        if not isinstance(side, Worker):
            return
        side.begin(message)
        for name, meta in getattr(metadata, "reqs_to_recv", {}).items():
            if getattr(meta, "remote", None) is not None:
                side.alias(meta.remote.request_id, name)
        if self._mfs_layerwise is not None:
            self._mfs_layerwise.begin(message.get("blocks", {}), message.get("gone", ()))

    def wait_for_layer_load(self, layer_name: str, *more: Any, **options: Any) -> Any:
        answer = super().wait_for_layer_load(layer_name, *more, **options)  # type: ignore[misc]
        self._mfs_layer(layer_name)
        return answer

    @ours
    def _mfs_layer(self, layer_name: str) -> None:
        if isinstance(self._mfs_side, Worker):
            self._mfs_side.layer(layer_name)

    def save_kv_layer(self, layer_name: str, *more: Any, **options: Any) -> Any:
        answer = super().save_kv_layer(layer_name, *more, **options)  # type: ignore[misc]
        if self._mfs_layerwise is not None:
            self._mfs_saved(layer_name)
        return answer

    @ours
    def _mfs_saved(self, layer_name: str) -> None:
        side, layerwise = self._mfs_side, self._mfs_layerwise
        if isinstance(side, Worker) and layerwise is not None:
            layerwise.computed(side.layer_index[layer_name])

    def wait_for_save(self, *more: Any, **options: Any) -> Any:
        answer = super().wait_for_save(*more, **options)  # type: ignore[misc]
        self._mfs_forward_ended()
        return answer

    @ours
    def _mfs_forward_ended(self) -> None:
        if isinstance(self._mfs_side, Worker):
            self._mfs_side.forward_ended()

    def shutdown(self, *more: Any, **options: Any) -> Any:
        try:
            return super().shutdown(*more, **options)  # type: ignore[misc]
        finally:
            self._mfs_close()

    @ours
    def _mfs_close(self) -> None:
        if self._mfs_side is not None:
            self._mfs_side.close()


class AllGroups:
    """For connectors that support hybrid caches: the same at their other end of a request."""

    def request_finished_all_groups(
        self, request: Any, block_ids: Any, *more: Any, **options: Any
    ) -> Any:
        answer = super().request_finished_all_groups(  # type: ignore[misc]
            request, block_ids, *more, **options
        )
        self._mfs_finished(request, answer)  # type: ignore[attr-defined]
        return answer


@functools.cache
def wrap(connector: type) -> type:
    """The subclass of a connector class that tells MFS what goes on. Twice is once."""
    if issubclass(connector, Deadlines):
        return connector
    more = (AllGroups,) if hasattr(connector, "request_finished_all_groups") else ()
    namespace: dict[str, Any] = {
        "__module__": connector.__module__,
        "__qualname__": connector.__qualname__,
        "__doc__": connector.__doc__,
    }
    if layerwise_wanted():
        # layer hooks are not called from a replayed graph of the whole model
        namespace["requires_piecewise_for_cudagraph"] = classmethod(lambda cls, extra: True)
    metaclass: Any = type(connector)  # ABCMeta, as a rule
    wrapped: type = metaclass(connector.__name__, (Deadlines, *more, connector), namespace)
    return wrapped


# --- what is read from vLLM's objects ---


def computed_before(scheduler_output: Any) -> dict[str, int]:
    """Tokens that each request of the step has computed before it."""
    cached = scheduler_output.scheduled_cached_reqs
    return {
        **{one.req_id: one.num_computed_tokens for one in scheduler_output.scheduled_new_reqs},
        **dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True)),
    }


def layer_names(kv_cache_config: Any) -> list[str]:
    """Layers that hold KV, in the order of computing: by the number in their names."""
    names = {name for group in kv_cache_config.kv_cache_groups for name in group.layer_names}

    def number(name: str) -> tuple[int, str]:
        found = re.search(r"\.(\d+)\.", name)
        return (int(found[1]) if found else 1 << 30, name)

    return sorted(names, key=number)


ALL_REDUCES = 2  # of a layer: behind attention, and behind the rest


def collective_token_bytes(vllm_config: Any) -> float:
    """Bytes of one layer's all-reduces that one port sends for a token.

    A ring of t ranks sends 2 (t - 1) / t times the hidden state from each rank to the next, so
    that much leaves a host, however many of the ranks it has. 0 without tensor parallelism;
    expert parallelism's all-to-all is not counted.
    """
    ranks = int(vllm_config.parallel_config.tensor_parallel_size)
    if ranks < 2:
        return 0.0
    model = vllm_config.model_config
    state = int(model.get_hidden_size()) * int(model.dtype.itemsize)
    return ALL_REDUCES * 2 * (ranks - 1) / ranks * state


# How long vLLM keeps the KV of a request for the other engine: one given up at prefill, by lease
# (renewed by decode while it waits), or at decode for the next turn. Seconds, as vLLM has them.
ABORT_S = ("VLLM_NIXL_ABORT_REQUEST_TIMEOUT", 480.0)
KEPT_S = {"kv_lease_duration": 30.0, "decoder_kv_blocks_ttl": 480.0}
HOLD = 0.25  # of it a transfer may wait in our queue: decode has waited for blocks before


def hold_s(vllm_config: Any) -> float:
    """A transfer leaves well before vLLM takes the KV that it reads for abandoned."""
    extra = getattr(vllm_config.kv_transfer_config, "kv_connector_extra_config", None) or {}
    kept = [os.environ.get(ABORT_S[0], ABORT_S[1]), *(extra.get(*one) for one in KEPT_S.items())]
    times = []
    for one in kept:
        with contextlib.suppress(TypeError, ValueError):  # vLLM says so itself
            times.append(float(one))
    return HOLD * min((time_s for time_s in times if 0 < time_s < float("inf")), default=0.0)


def shape_of(vllm_config: Any, kv_cache_config: Any) -> Shape:
    size = sum(tensor.size for tensor in kv_cache_config.kv_cache_tensors)
    group = kv_cache_config.kv_cache_groups[0].kv_cache_spec
    blocks = max(1, kv_cache_config.num_blocks)
    return Shape(
        engine=str(vllm_config.kv_transfer_config.engine_id),
        layers=max(1, len(layer_names(kv_cache_config))),
        kv_token_bytes=size / blocks / max(1, group.block_size),
        batch_tokens=int(vllm_config.scheduler_config.max_num_batched_tokens),
        collective_token_bytes=collective_token_bytes(vllm_config),
        hold_s=hold_s(vllm_config),
    )
