# SPDX-License-Identifier: Apache-2.0
"""What requests cost in the demo: Llama-3-8B in bf16 on hosts of 4 H100 that share a NIC.

A unit is one GPU of prefill 0 and one of prefill 1, sequence parallel: each holds half of
a request's tokens. Four units share the two hosts, and so their NICs.

Bytes a host moves for a request of n tokens of which p are cached, b KV bytes a token:
stage 1 p*b/2 in, stage 2 n*b/2 out and in, stage 3 n*b/2 out.

Scaling: links are `bandwidth_scale` slower and time runs `time_scale` slower than in the
cluster, so bytes shrink by bandwidth_scale / time_scale and every ratio of times stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .setting import Setting


@dataclass(frozen=True)
class Llama:
    setting: Setting = field(default_factory=Setting)
    bandwidth_scale: float = 500.0  # 100 Gbit/s
    time_scale: float = 10.0
    layers: int = 32
    kv_token_bytes: float = 131072.0  # all layers
    parameters: float = 8.03e9
    heads: int = 32
    head_size: int = 128
    flops: float = 989e12  # of one GPU, dense bf16
    slo_factor: float = 3.0  # TTFT target: times that of the request alone
    overhead_s: float = 0.002  # of the software here, for each group

    def shard_bytes(self, tokens: int) -> int:
        """KV of `tokens` on one rank in one group, as moved here (cut to 128 bytes)."""
        whole = tokens * self.kv_token_bytes * self.time_scale / self.bandwidth_scale
        parts = self.setting.unit_hosts * self.setting.groups
        return max(128, round(whole / parts / 128) * 128)

    def link_s(self, size: int) -> float:
        """Sending time on an idle port, seconds."""
        return size / self.setting.link_Bps

    def compute_s(self, tokens: int, cached: int) -> float:
        """Computing time of one group, seconds here.

        Linear layers 2 FLOP a parameter and new token; causal attention
        2 * heads * head_size * new * (new + 2 * cached) FLOP a layer; MFU 0.74 T/(T+100).
        """
        new = tokens - cached
        flops = 2.0 * self.parameters * new
        flops += 2.0 * self.layers * self.heads * self.head_size * new * (new + 2.0 * cached)
        mfu = 0.74 * new / (new + 100.0)
        ranks = self.setting.unit_hosts
        return flops / (ranks * self.flops * mfu) * self.time_scale / self.setting.groups

    def alone_s(self, tokens: int, cached: int) -> float:
        """TTFT of the request on an idle cluster, seconds here.

        Fetches come in one after another; a group starts when it is fetched and the
        group before is complete. A collective has both directions of the port to itself;
        fetches come in, and stage 3 goes out, while groups compute or wait.
        """
        compute = self.compute_s(tokens, cached) + self.overhead_s
        send = self.link_s(self.shard_bytes(tokens))
        fetch = self.link_s(self.shard_bytes(cached)) if cached else 0.0
        groups = self.setting.groups
        done = fetched = backlog = 0.0  # moment; sending times fetched, and still to send
        for group in range(groups):
            wait = max(0.0, (group + 1) * fetch - fetched)
            fetched = min(groups * fetch, fetched + wait + compute)
            backlog = max(0.0, backlog - wait - compute) + send
            done += wait + compute + send
        return done + backlog
