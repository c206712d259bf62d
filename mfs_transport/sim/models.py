# SPDX-License-Identifier: Apache-2.0
"""Models, GPUs, and what a prefill unit of them computes and sends.

    linear      2 P FLOP a new token, P = active parameters, spread evenly over the layers
    attention   2 h d T (T + 2 R) FLOP a layer, causal: T new tokens, R reused ones
    MFU         0.74 T / (T + 100) of the linear layers, T = new tokens of the batch
                (fitted to the A100 and H100 tables that Vidur publishes)
    elementwise work comes on top: 5-10 % at TP 1, 16-31 % at TP 8; here 7 % + 2 % a further rank

What crosses hosts depends on how the model is spread over the unit's hosts:

    ep   experts: dispatch and combine of every token (a mixture of experts)
    tp   tensor: two all-reduces of the hidden state a layer (a dense model)
    sp   sequence: each host sends the KV of its tokens to all others (ring attention)

Tensor parallelism of a mixture stays inside a host, and then needs no network.
Sizes are those of the published configurations, in bf16.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .. import checked
from ..native import InputError, shown
from . import engine

MFU_MAX = 0.74
MFU_HALF_TOKENS = 100.0
ACROSS = ("auto", "ep", "tp", "both", "sp")


@dataclass(frozen=True)
class Spec:
    """A model as published. Bytes are of one token."""

    name: str
    layers: int
    hidden: int
    heads: int
    head_size: int
    active_parameters: float
    kv_layer_bytes: int
    dispatch_layer_bytes: int = 0  # to the experts; as many come back. 0: dense
    tp: int = 8  # ranks of a host that share each layer (TP)

    @property
    def dense(self) -> bool:
        return self.dispatch_layer_bytes == 0

    @property
    def kv_bytes(self) -> int:
        return self.kv_layer_bytes * self.layers

    @property
    def allreduce_bytes(self) -> int:
        """Payload of one all-reduce: the hidden state in bf16; two of them a layer."""
        return 2 * self.hidden


_SPECS = (
    Spec("llama3-8b", 32, 4096, 32, 128, 8.03e9, 4096, tp=4),
    Spec("llama3-70b", 80, 8192, 64, 128, 70.6e9, 4096),
    Spec("mixtral-8x7b", 32, 4096, 32, 128, 12.9e9, 4096, 16384, tp=1),
    Spec("mixtral-8x22b", 56, 6144, 48, 128, 39.1e9, 4096, 24576, tp=4),
    Spec("dbrx", 40, 6144, 48, 128, 36e9, 4096, 49152, tp=2),
    Spec("grok-2", 64, 8192, 64, 128, 115e9, 4096, 32768, tp=4),
    Spec("qwen3-coder-480b", 62, 6144, 96, 128, 35e9, 4096, 98304, tp=1),
    # MLA: scores over 192, values over 128 of each head; one latent of 576 is kept
    Spec("deepseek-v3", 61, 7168, 128, 160, 37e9, 1152, 114688, tp=1),
)
MODELS = {spec.name: spec for spec in _SPECS}

# peak of one GPU, dense bf16, FLOP/s
GPUS = {"a100": 312e12, "h100": 989e12, "h200": 989e12, "rtx3090": 71e12}


def find(name: str) -> Spec:
    try:
        return MODELS[name.lower()]
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"model {shown(name)}: one of {', '.join(MODELS)}") from None


def gpu_flops(name: str) -> float:
    try:
        return GPUS[name.lower()]
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"GPU {shown(name)}: one of {', '.join(GPUS)}") from None


def elementwise(tp: int) -> float:
    """Share that norms, activations and rotations add to the computing of linear layers."""
    return 0.07 + 0.02 * (tp - 1)


def unit_model(
    name: str, gpu: str, ranks: int, *, groups: int = 8, hosts: int = 1, across: str = "auto"
) -> engine.Model:
    """The model on a unit of `ranks` GPUs in `hosts`, its layers computed and sent in `groups`.

    `across`: what crosses the unit's hosts, `ep`, `tp`, `both` or `sp`; `auto` is `tp` for a
    dense model and `ep` for a mixture. InputError names what does not fit.
    """
    spec = find(name)
    checked.word(across, ACROSS, "across")
    if across in ("ep", "both") and spec.dense:
        raise InputError(f"across {shown(across)}: {spec.name} has no experts")
    checked.whole(ranks, "ranks", least=1)
    checked.whole(hosts, "hosts", least=1)
    checked.whole(groups, "groups")
    if not 1 <= groups <= spec.layers:
        raise InputError(f"groups {groups}: from 1 to the {spec.layers} layers of {spec.name}")
    if across == "auto":
        across = "tp" if spec.dense else "ep"
    sent = 0.0  # by a token, to all hosts of an all-to-all
    if across in ("ep", "both"):
        sent = 2.0 * spec.dispatch_layer_bytes
    elif across == "sp":
        sent = float(hosts * spec.kv_layer_bytes)  # one copy for each host
    return engine.Model(
        layers=spec.layers,
        groups=groups,
        kv_bytes_per_token_layer=spec.kv_layer_bytes,
        allreduce_bytes_per_token_layer=2.0 * spec.allreduce_bytes * (across in ("tp", "both")),
        alltoall_bytes_per_token_layer=sent,
        linear_flop_per_token_layer=2.0 * spec.active_parameters / spec.layers,
        attention_flop_factor=2.0 * spec.heads * spec.head_size,
        flops=ranks * gpu_flops(gpu),
        mfu_max=MFU_MAX,
        mfu_half=MFU_HALF_TOKENS,
        elementwise=elementwise(min(spec.tp, ranks)),
    )


def scaled(model: engine.Model, factor: float) -> engine.Model:
    """The same model with computing `factor` times as fast, for what-if questions."""
    return dataclasses.replace(model, flops=model.flops * factor)
