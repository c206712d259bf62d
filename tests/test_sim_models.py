# SPDX-License-Identifier: Apache-2.0
"""The table of models against their published configurations, and a unit made of one."""

from __future__ import annotations

import numpy as np
import pytest

from mfs_transport import InputError
from mfs_transport.sim import models

# KV bytes of a token in all layers, all-reduce payload, dispatch bytes: published sizes in bf16
PUBLISHED = {
    "llama3-8b": (131_072, 8_192, 0),
    "llama3-70b": (327_680, 16_384, 0),
    "mixtral-8x7b": (131_072, 8_192, 2 * 8_192),
    "mixtral-8x22b": (229_376, 12_288, 2 * 12_288),
    "dbrx": (163_840, 12_288, 4 * 12_288),
    "grok-2": (262_144, 16_384, 2 * 16_384),
    "qwen3-coder-480b": (253_952, 12_288, 8 * 12_288),
    "deepseek-v3": (70_272, 14_336, 8 * 14_336),
}


def test_table__published_sizes():
    assert {
        name: (spec.kv_bytes, spec.allreduce_bytes, spec.dispatch_layer_bytes)
        for name, spec in models.MODELS.items()
    } == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_unit_model__dense_sends_allreduces_and_a_mixture_its_experts(name: str):
    spec, made = models.find(name), models.unit_model(name, "a100", 16)
    allreduce, dispatch = PUBLISHED[name][1:]
    assert made.allreduce_bytes_per_token_layer == (2 * allreduce if spec.dense else 0)
    assert made.alltoall_bytes_per_token_layer == 2 * dispatch
    assert made.layers * made.linear_flop_per_token_layer == pytest.approx(
        2 * spec.active_parameters
    )
    assert made.flops == 16 * 312e12


def test_unit_model__both_cross_hosts_when_asked():
    made = models.unit_model("dbrx", "h100", 32, groups=40, across="both")
    assert made.groups == 40
    assert made.allreduce_bytes_per_token_layer == 2 * 12_288
    assert made.alltoall_bytes_per_token_layer == 2 * 49_152


def test_elementwise__the_measured_range():
    assert 0.05 <= models.elementwise(1) <= 0.10
    assert 0.16 <= models.elementwise(8) <= 0.31


@pytest.mark.parametrize(
    ("name", "gpu", "ranks", "more", "says"),
    [
        ("gpt", "a100", 8, {}, "model 'gpt': one of llama3-8b"),
        ("dbrx", "b9", 8, {}, "GPU 'b9': one of a100"),
        ("dbrx", "a100", 0, {}, "ranks 0"),
        ("dbrx", "a100", 8, {"groups": 41}, "groups 41: from 1 to the 40 layers of dbrx"),
        ("llama3-8b", "a100", 8, {"across": "ep"}, "llama3-8b has no experts"),
        ("dbrx", "a100", 8, {"across": "wan"}, "across 'wan'"),
        ("dbrx", "a100", 8, {"across": np.array(["ep", "tp"])}, "across array"),
    ],
)
def test_unit_model__names_what_does_not_fit(
    name: str, gpu: str, ranks: int, more: dict[str, object], says: str
):
    with pytest.raises(InputError, match=says):
        models.unit_model(name, gpu, ranks, **more)  # type: ignore[arg-type]


def test_unit_model__sequence_parallel_hosts_send_their_kv_to_each_other():
    made = models.unit_model("llama3-8b", "a100", 16, hosts=2, across="sp")
    # T tokens on m hosts: (m - 1)/m * A * T/m = (m - 1) * T/m * KV
    assert made.alltoall_bytes_per_token_layer / 2 == 4096
    assert made.allreduce_bytes_per_token_layer == 0
