# SPDX-License-Identifier: Apache-2.0
"""What a request will take: computing time of a layer, and bandwidth of the port.

    layer_s(n)  time of one layer for a batch of n tokens
    alone_s(n)  = layers * layer_s(n) + bytes(n) / bandwidth: TTFT of a request alone

Times are learned in buckets of batch size, 1, 2, 4, ... tokens: each is a running mean that
forgets (1/8 of a new value), and between buckets the time is linear in the tokens. As long as a
bucket has seen nothing, it is the warm-up default, scaled by how the others turned out.
Bandwidth comes from the port in the host's segment; until it is known, from the default.

`publish` writes what is known beside the segment, for `mfs info --live`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ... import input_file, output_file

FORGET = 0.125
# Warm-up: an 8B model on one recent GPU. Wrong elsewhere, and replaced by the first steps.
DEFAULT_FIXED_S = 200e-6
DEFAULT_TOKEN_S = 2e-6
DEFAULT_BPS = 1.25e9
BUCKETS = 20  # up to 2^19 tokens
PUBLISH_S = 1.0
PREFIX = "estimates-"


def default_layer_s(tokens: float) -> float:
    """Before anything was measured, seconds."""
    return DEFAULT_FIXED_S + DEFAULT_TOKEN_S * tokens


class Estimates:
    """Of one engine. Not thread-safe: each side of an engine calls from one thread."""

    def __init__(
        self, layers: int, kv_token_bytes: float, collective_token_bytes: float = 0.0
    ) -> None:
        self.layers = max(1, layers)
        self.collective_token_bytes = collective_token_bytes  # of one layer, through one port
        self.kv_token_bytes = kv_token_bytes  # of all layers, in this process's shard
        self.rate_Bps = 0  # of the port; 0: unknown
        self.samples = 0
        self._mean: list[float | None] = [None] * BUCKETS
        self._tokens: list[float] = [0.0] * BUCKETS  # mean batch size of the bucket
        self._published_s = 0.0

    def layer_done(self, tokens: int, seconds: float) -> None:
        """A layer of a batch of `tokens` took so long, computing and collective together."""
        if tokens <= 0 or not 0 < seconds < 3600:
            return
        index = min(BUCKETS - 1, tokens.bit_length() - 1)
        mean = self._mean[index]
        if mean is None:
            self._mean[index], self._tokens[index] = seconds, float(tokens)
        else:
            self._mean[index] = mean + FORGET * (seconds - mean)
            self._tokens[index] += FORGET * (tokens - self._tokens[index])
        self.samples += 1

    def known(self) -> list[tuple[float, float]]:
        """(tokens, seconds) of the buckets that have seen something, in order."""
        pairs = zip(self._tokens, self._mean, strict=True)
        return [(tokens, mean) for tokens, mean in pairs if mean is not None]

    def layer_s(self, tokens: int) -> float:
        """Time of one layer of a batch of `tokens`, seconds."""
        known = self.known()
        if not known:
            return default_layer_s(tokens)
        before = [pair for pair in known if pair[0] <= tokens]
        behind = [pair for pair in known if pair[0] > tokens]
        if before and behind:
            (x0, y0), (x1, y1) = before[-1], behind[0]
            return y0 + (y1 - y0) * (tokens - x0) / (x1 - x0)
        x, y = before[-1] if before else behind[0]
        return y * default_layer_s(tokens) / default_layer_s(x)

    def kv_bytes(self, tokens: int) -> int:
        return round(self.kv_token_bytes * tokens)

    def transfer_s(self, size: float) -> float:
        """Sending time of so many bytes on an idle port, seconds."""
        return size / (self.rate_Bps or DEFAULT_BPS)

    def collective_s(self, tokens: int) -> float | None:
        """Collectives of one layer of a batch of `tokens` on an idle port, seconds; None: none."""
        return self.transfer_s(self.collective_token_bytes * tokens) or None

    def prefill_s(self, tokens: int, batch_tokens: int) -> float:
        """Computing time of a prompt that is cut into batches of so many tokens, seconds."""
        batch = max(1, min(tokens, batch_tokens))
        whole, rest = divmod(max(0, tokens), batch)
        seconds = whole * self.layer_s(batch) + (self.layer_s(rest) if rest else 0.0)
        return self.layers * seconds

    def alone_s(self, tokens: int, batch_tokens: int) -> float:
        """TTFT of a request on an idle cluster, seconds."""
        return self.prefill_s(tokens, batch_tokens) + self.transfer_s(self.kv_bytes(tokens))

    # --- for `mfs info --live` ---

    def report(self, engine: str) -> dict[str, Any]:
        return {
            "engine": engine,
            "pid": os.getpid(),
            "layers": self.layers,
            "kv_token_bytes": self.kv_token_bytes,
            "port_Bps": self.rate_Bps,
            "samples": self.samples,
            "layer_s": [[round(tokens), mean] for tokens, mean in self.known()],
        }

    def publish(self, segment: str, engine: str) -> None:
        """Write the report beside the segment, at most once a second."""
        now = time.monotonic()
        if not segment or now - self._published_s < PUBLISH_S:
            return
        self._published_s = now
        place = Path(segment)
        path = place.with_name(f"{place.name}.{PREFIX}{os.getpid()}.json")
        output_file.write(path, json.dumps(self.report(engine)))


def read_reports(segment: Path) -> list[dict[str, Any]]:
    """Reports of the engines that live on this host; those of dead ones are removed."""
    found = []
    for path in sorted(segment.parent.glob(f"{segment.name}.{PREFIX}*.json")):
        try:
            report = input_file.parse_json(input_file.text(path, str(path)), str(path))
            if Path(f"/proc/{int(report['pid'])}").exists():
                found.append(report)
            else:
                path.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is going, or somebody else's
    return found
