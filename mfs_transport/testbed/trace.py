# SPDX-License-Identifier: Apache-2.0
"""Requests in the Mooncake JSONL format.

One JSON object a line: timestamp, input_length and output_length (tokens), hash_ids (one id for
each block of the prompt; equal ids are equal prefixes). The cached part of a request is its
longest prefix of blocks that earlier requests have brought in.

Mooncake's blocks have 512 tokens, its timestamps are milliseconds. Others publish the same fields
with blocks of 16 tokens and seconds (Qwen-Bailian): FILE,block=16,unit=s. A file whose numbers of
blocks do not fit the lengths of its prompts, or whose timestamps are no whole milliseconds, is
refused until it is said what they are.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import checked, input_file, output_file
from ..native import InputError, shown

BLOCK = 512
UNITS = {"ms": 1e-3, "s": 1.0}
MOST_TOKENS = 10_000_000
SHIPPED = Path(__file__).with_name("conversation.jsonl")


@dataclass(frozen=True)
class Form:
    """What the numbers of a file mean. unit None: milliseconds, as long as all are whole."""

    block: int = BLOCK
    unit: str | None = None


MOONCAKE = Form()


@dataclass(frozen=True)
class Row:
    timestamp_s: float
    tokens: int
    cached: int


def split(text: str) -> tuple[Path, Form]:
    """The file and its form of FILE[,block=TOKENS][,unit=s|ms]."""
    if not isinstance(text, str):
        raise InputError(f"trace {shown(text)}: FILE[,block=TOKENS][,unit=s|ms]")
    given: dict[str, str] = {}
    rest = text
    while True:
        before, _, last = rest.rpartition(",")
        name, equals, value = last.partition("=")
        if not before or not equals or name not in ("block", "unit"):
            break
        if name in given:
            raise InputError(f"trace {text}: {name} is given twice")
        rest, given[name] = before, value
    block = given.get("block", str(BLOCK))
    if not (block.isascii() and block.isdecimal() and len(block) < 9 and int(block) > 0):
        raise InputError(f"trace {text}: block {shown(block)}: tokens of a block, from 1")
    unit = given.get("unit")
    if unit is not None and unit not in UNITS:
        raise InputError(f"trace {text}: unit {shown(unit)}: one of {', '.join(UNITS)}")
    if int(block) != BLOCK and unit is None:
        raise InputError(f"trace {text}: with block={block} say what timestamps are: unit=s or ms")
    return Path(rest), Form(int(block), unit)


def stream(path: Path, form: Form = MOONCAKE) -> Iterator[Row]:
    """Row by row in order of the file, whose size does not matter; a line that is not right
    ends in an InputError naming it."""
    known: set[int] = set()
    for number, line in input_file.lines(path, f"trace {path}"):
        if line.strip():
            yield _row(f"trace {path}, line {number}", line, known, form)


def read(path: Path, form: Form = MOONCAKE) -> list[Row]:
    """All rows of the file."""
    rows = list(stream(path, form))
    if not rows:
        raise InputError(f"trace {path}: no requests in it")
    return rows


def _row(where: str, line: str, known: set[int], form: Form) -> Row:
    fields = input_file.parse_json(line, where)
    if not isinstance(fields, dict):
        raise InputError(f"{where}: a JSON object is expected")
    for name, kinds in (("timestamp", (int, float)), ("input_length", int), ("hash_ids", list)):
        value = fields.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            wanted = "a list" if kinds is list else "a number"
            raise InputError(f"{where}: {name} {shown(value)}: {wanted} is expected")
    timestamp, tokens, blocks = fields["timestamp"], fields["input_length"], fields["hash_ids"]
    if not 0 <= timestamp < 1e15:
        raise InputError(f"{where}: timestamp {shown(timestamp)}: 0 or more, less than 1e15")
    checked.whole(tokens, f"{where}: input_length", MOST_TOKENS, 1)
    if not all(isinstance(block, int) for block in blocks):
        raise InputError(f"{where}: hash_ids: whole numbers are expected")
    if not tokens // form.block <= len(blocks) <= -(-tokens // form.block):
        raise InputError(
            f"{where}: hash_ids has {len(blocks)} blocks for input_length {tokens}, which are not "
            f"of {form.block} tokens; say how many: FILE,block=16,unit=s"
        )
    if form.unit is None and timestamp != int(timestamp):
        raise InputError(
            f"{where}: timestamp {timestamp} is no whole number of milliseconds; say what it is: "
            "FILE,unit=s or FILE,unit=ms"
        )
    hits = 0
    while hits < len(blocks) and blocks[hits] in known:
        hits += 1
    known.update(blocks)
    seconds = timestamp * UNITS[form.unit or "ms"]
    return Row(seconds, tokens, min(hits * form.block, tokens - 1))


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
