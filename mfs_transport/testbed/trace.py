# SPDX-License-Identifier: Apache-2.0
"""Requests in the Mooncake JSONL format.

One JSON object a line: timestamp (ms), input_length and output_length (tokens), hash_ids
(one id for each 512-token block of the prompt; equal ids are equal prefixes). The cached
part of a request is its longest prefix of blocks that earlier requests have brought in.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import output_file
from ..native import InputError

BLOCK = 512
SHIPPED = Path(__file__).with_name("conversation.jsonl")


@dataclass(frozen=True)
class Row:
    timestamp_s: float
    tokens: int
    cached: int


def stream(path: Path) -> Iterator[Row]:
    """Row by row in order of the file, whose size does not matter; a line that is not right
    ends in an InputError naming it."""
    known: set[int] = set()
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row(f"trace {path}, line {number}", line, known)
    except OSError as error:
        raise InputError(f"trace {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"trace {path}: not a text file") from None


def read(path: Path) -> list[Row]:
    """All rows of the file."""
    rows = list(stream(path))
    if not rows:
        raise InputError(f"trace {path}: no requests in it")
    return rows


def _row(where: str, line: str, known: set[int]) -> Row:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON ({error.msg})") from None
    if not isinstance(fields, dict):
        raise InputError(f"{where}: a JSON object is expected")
    for name, kinds in (("timestamp", (int, float)), ("input_length", int), ("hash_ids", list)):
        value = fields.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            wanted = "a list" if kinds is list else "a number"
            raise InputError(f"{where}: {name} {value!r}: {wanted} is expected")
    timestamp, tokens, blocks = fields["timestamp"], fields["input_length"], fields["hash_ids"]
    if not 0 <= timestamp < 1e15:
        raise InputError(f"{where}: timestamp {timestamp!r}: 0 or more milliseconds")
    if not 1 <= tokens <= 10_000_000:
        raise InputError(f"{where}: input_length {tokens!r}: from 1 to 10000000 tokens")
    if not all(isinstance(block, int) for block in blocks):
        raise InputError(f"{where}: hash_ids: whole numbers are expected")
    hits = 0
    while hits < len(blocks) and blocks[hits] in known:
        hits += 1
    known.update(blocks)
    return Row(timestamp / 1e3, tokens, min(hits * BLOCK, tokens - 1))


def make(path: Path, requests: int = 512, seed: int = 17) -> None:
    """Write a conversation-like trace: lognormal prompts of about 2,000 tokens, half of
    them reusable (turns of conversations), Poisson arrivals of 1 a second."""
    draw = random.Random(seed)
    now_ms = 0.0
    next_block = 0
    conversations: list[list[int]] = []
    lines = []
    for _ in range(requests):
        now_ms += draw.expovariate(1.0) * 1e3
        tokens = min(12288, max(256, round(draw.lognormvariate(7.27, 0.8))))
        wanted = -(-tokens // BLOCK)
        history: list[int] = []
        if conversations and draw.random() < 0.85:
            history = draw.choice(conversations[-64:])
        keep = min(len(history), round(wanted * draw.uniform(0.35, 0.95)))
        fresh = list(range(next_block, next_block + wanted - keep))
        next_block += len(fresh)
        blocks = history[:keep] + fresh
        conversations.append(blocks)
        lines.append(
            json.dumps(
                {
                    "timestamp": round(now_ms),
                    "input_length": tokens,
                    "output_length": round(draw.lognormvariate(5.0, 0.7)),
                    "hash_ids": blocks,
                }
            )
        )
    output_file.write(path, "\n".join(lines) + "\n")
