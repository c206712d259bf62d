# SPDX-License-Identifier: Apache-2.0
"""The interface's dataclasses as the C structs of csrc/sim. A field has the same name there, or
the one given here."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..native import InputError
from ._sim import ffi
from .interface import (
    DEADLINE_LESS,
    DECODE_CHOICES,
    ENFORCEMENTS,
    STAGES,
    STORE_CHOICES,
    Cluster,
    Model,
    Options,
)

_TRI = {None: -1, False: 0, True: 1}
_CHOICES = {
    "enforcement": ENFORCEMENTS,
    "level_order": ("key", "fair", "srpt"),
    "stage_first": STAGES,
    "stage_second": STAGES,
    "deadline_less": DEADLINE_LESS,
    "decode_choice": DECODE_CHOICES,
    "store_choice": STORE_CHOICES,
}
# option: the flag in C, what it is called when off, and when on
_FLAGS = {
    "unit_order": ("unit_edf", "fifo", "edf"),
    "batching": ("batch_deadline", "fifo", "deadline"),
    "routing": ("route_prefix", "tokens", "prefix"),
    "coflow_weight": ("weigh_deadline", "one", "deadline"),
    "shares": ("hold_shares", "renewed", "held"),
}


def _struct(kind: str, source: Any, **names: str) -> Any:
    fields = {one.name: getattr(source, one.name) for one in dataclasses.fields(source)}
    return ffi.new(kind, {names.get(name, name): value for name, value in fields.items()})


def model(source: Model) -> Any:
    return _struct(
        "struct mfs_sim_model *",
        source,
        kv_bytes_per_token_layer="kv_bytes",
        allreduce_bytes_per_token_layer="allreduce_bytes",
        alltoall_bytes_per_token_layer="alltoall_bytes",
        linear_flop_per_token_layer="linear_flop",
        attention_flop_factor="attention_flop",
    )


def cluster(source: Cluster) -> Any:
    return _struct("struct mfs_sim_cluster *", source, nics_per_host="nics")


def place(value: str, allowed: tuple[str, ...], what: str) -> int:
    """Where it is among those allowed."""
    try:
        return allowed.index(value)
    except ValueError:
        raise InputError(f"{what} {value!r}: one of {', '.join(allowed)}") from None


def options(source: Options) -> tuple[Any, Any]:
    """The struct, and the policy's name, which it points to."""
    made = ffi.new("struct mfs_sim_options *")
    for one in dataclasses.fields(source):
        value = getattr(source, one.name)
        if one.name in _FLAGS:
            name, *values = _FLAGS[one.name]
            setattr(made, name, place(value, tuple(values), one.name) == 1)
        elif one.name in _CHOICES:
            setattr(made, one.name, place(value, _CHOICES[one.name], one.name))
        elif one.name in ("hopeless", "shed"):
            setattr(made, one.name, _TRI[value])
        elif one.name == "patience":
            made.patience = -1 if value is None else value
        elif one.name not in ("policy", "estimate_error"):
            setattr(made, one.name, value)
    policy = ffi.new("char[]", source.policy.encode())
    made.policy = policy
    return made, policy
