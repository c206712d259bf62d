# SPDX-License-Identifier: Apache-2.0
"""Workloads: the prompts of requests, what of them is cached, and when they arrive.

    conversation                 lognormal, mean 2,048 tokens, half of them reusable
    agent                        lognormal, mean 1,024 tokens, 65 % reusable
    lognormal:MEAN[:SIGMA[:REUSE]]
    mooncake:FILE                the published JSONL; reuse is that of an infinite prefix cache
    mooncake:FILE,block=16,unit=s   the same fields with other blocks and times (Qwen-Bailian)
    azure:FILE                   the published CSV; no reuse is recorded

Lognormal prompts have sigma 0.8 of the logarithm and lie in [16, 131072]; the reusable share
of one is drawn from a Beta distribution of the named mean (its parameters add up to 4), so
some prompts are all new and some nearly all cached.

Arrivals are Poisson at a rate, or the file's own times (stretched to the rate when one is
given, and spread inside the buckets into which the file has rounded them). Of a file, `seed`
chooses where to begin; it goes round at its end. The first `warmup` requests fill the
cluster and are not measured. With `waves:N` N requests come at once, then nothing, at that rate.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checked, input_file
from ..native import InputError, shown
from ..testbed import trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_TOKENS, MOST_TOKENS = 16, 131072
SIGMA = 0.8
BETA_SUM = 4.0
SYNTHETIC = {"conversation": (2048.0, SIGMA, 0.50), "agent": (1024.0, SIGMA, 0.65)}
FORMS = (
    "conversation, agent, lognormal:MEAN[:SIGMA[:REUSE]], mooncake:FILE[,block=TOKENS,unit=s|ms], "
    "azure:FILE"
)
MOST_REQUESTS = 10_000_000
MOST_RATE = 1e9
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_COUNT = re.compile(r"[0-9]{1,8}")


@dataclass(frozen=True)
class Prompts:
    """Request by request in order of arrival; `prefix` < `tokens`, the reusable ones."""

    arrival_s: Floats
    tokens: Ints
    prefix: Ints
    measured: NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """A file's requests, or those of a distribution; times only of a file."""

    tokens: Ints
    prefix: Ints
    time_s: Floats | None = None


# --- files ---

Row = tuple[float, int, int]


def stream_mooncake(
    path: Path, form: trace.Form = trace.MOONCAKE
) -> Iterator[tuple[float, int, int]]:
    """(time in seconds, tokens, reusable tokens) of each request, one line in memory."""
    for row in trace.stream(path, form):
        yield row.timestamp_s, row.tokens, row.cached


def stream_azure(path: Path, form: trace.Form = trace.MOONCAKE) -> Iterator[Row]:
    """(seconds since the first, tokens, 0) of each request, one line in memory."""
    del form  # its times say themselves what they are, and it has no blocks
    first: float | None = None
    where = f"trace {path}"
    reader = csv.DictReader(line for _, line in input_file.lines(path, where))
    try:
        missing = {"TIMESTAMP", "ContextTokens"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(
                f"{where}, line 1: no column {', '.join(sorted(missing))}; "
                "TIMESTAMP,ContextTokens,GeneratedTokens is expected"
            )
        for row in reader:
            time_s, tokens = _azure_row(f"{where}, line {reader.line_num}", row)
            first = time_s if first is None else first
            yield time_s - first, tokens, 0
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: not CSV: {error}") from None


def _azure_row(where: str, row: dict[str, Any]) -> tuple[float, int]:
    text, count = row["TIMESTAMP"] or "", row["ContextTokens"] or ""
    found = _TIME.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        day, clock, digits, zone = found.groups()
        # digits below the microsecond are left out; without a zone it is UTC
        moment = datetime.datetime.fromisoformat(
            f"{day}T{clock}.{(digits or '')[:6]:0<6}{'+00:00' if zone in (None, 'Z') else zone}"
        )
    except ValueError:
        raise InputError(
            f"{where}: TIMESTAMP {shown(text)}: YYYY-MM-DD HH:MM:SS.ffffff, with +HH:MM behind "
            "where it is not UTC"
        ) from None
    if not _COUNT.fullmatch(count) or not 1 <= int(count) <= trace.MOST_TOKENS:
        raise InputError(f"{where}: ContextTokens {shown(count)}: from 1 to {trace.MOST_TOKENS}")
    return moment.timestamp(), int(count)


STREAMS = {"mooncake": stream_mooncake, "azure": stream_azure}


@lru_cache(maxsize=4)
def _file(kind: str, path: Path, stamp: int, form: trace.Form = trace.MOONCAKE) -> Rows:
    """All of a file as three arrays (24 bytes a request); `stamp` tells versions apart."""
    del stamp
    kinds = np.dtype([("time", "f8"), ("tokens", "i8"), ("prefix", "i8")])
    rows = np.fromiter(STREAMS[kind](path, form), dtype=kinds)
    if len(rows) == 0:
        raise InputError(f"trace {path}: no requests in it")
    if np.any(np.diff(rows["time"]) < 0):
        at = int(np.argmax(np.diff(rows["time"]) < 0))
        raise InputError(f"trace {path}: request {at + 2} is before the one in front of it")
    return Rows(rows["tokens"], rows["prefix"], rows["time"])


# --- distributions ---


def _lognormal(name: str) -> tuple[float, float, float]:
    if name in SYNTHETIC:
        return SYNTHETIC[name]
    try:
        values = [float(part) for part in name.split(":")[1:]]
    except ValueError:
        raise InputError(f"workload {shown(name)}: lognormal:MEAN[:SIGMA[:REUSE]]") from None
    if not 1 <= len(values) <= 3:
        raise InputError(f"workload {shown(name)}: lognormal:MEAN[:SIGMA[:REUSE]]")
    mean, sigma, reuse = (*values, *(SIGMA, 0.0)[len(values) - 1 :])
    if not (LEAST_TOKENS <= mean <= MOST_TOKENS and 0 <= sigma <= 4 and 0 <= reuse < 1):
        raise InputError(
            f"workload {shown(name)}: MEAN from {LEAST_TOKENS} to {MOST_TOKENS}, "
            "SIGMA from 0 to 4, REUSE from 0 to below 1"
        )
    return mean, sigma, reuse


def _draw(name: str, count: int, draw: np.random.Generator) -> Rows:
    mean, sigma, reuse = _lognormal(name)
    sizes = draw.lognormal(np.log(mean) - sigma * sigma / 2, sigma, count)
    tokens = np.clip(np.rint(sizes), LEAST_TOKENS, MOST_TOKENS).astype(np.int64)
    shares = np.zeros(count)
    if reuse > 0:
        shares = draw.beta(BETA_SUM * reuse, BETA_SUM * (1 - reuse), count)
    prefix = np.minimum(np.rint(tokens * shares).astype(np.int64), tokens - 1)
    return Rows(tokens, prefix)


# --- together ---


def _place(kind: str, rest: str) -> tuple[Path, trace.Form]:
    return trace.split(rest) if kind == "mooncake" else (Path(rest), trace.MOONCAKE)


def check(name: str) -> str:
    """The name, if it is one; InputError else. Files are looked at, not read."""
    if not isinstance(name, str):
        raise InputError(f"workload {shown(name)}: one of {FORMS}")
    kind, _, rest = name.partition(":")
    if kind in STREAMS:
        path, _ = _place(kind, rest)
        if not rest:
            raise InputError(f"workload {shown(name)}: a path is expected: {kind}:FILE")
        try:
            there = path.is_file()
        except OSError:  # a name of thousands of letters
            there = False
        if not there:
            raise InputError(f"workload {shown(name)}: there is no file {path}")
    elif name in SYNTHETIC or kind == "lognormal":
        _lognormal(name)
    else:
        raise InputError(f"workload {shown(name)}: one of {FORMS}")
    return name


def rows(name: str, count: int, seed: int) -> Rows:
    """`count` requests of a workload, without arrivals (a file's have their times)."""
    check(name)
    checked.whole(count, "requests", MOST_REQUESTS)
    draw = np.random.default_rng([checked.whole(seed, "seed", 2**63 - 1), 1])
    kind, _, rest = name.partition(":")
    if kind not in STREAMS:
        return _draw(name, count, draw)
    path, form = _place(kind, rest)
    whole = _file(kind, path, path.stat().st_mtime_ns, form)
    assert whole.time_s is not None
    have = len(whole.tokens)
    taken = (int(draw.integers(have)) + np.arange(count)) % have
    gaps = np.diff(whole.time_s, append=whole.time_s[-1:])
    gaps[-1] = whole.time_s[-1] / have  # from the last to the first, when it goes round
    passed = np.concatenate(([0.0], np.cumsum(gaps[taken[:-1]])))
    return Rows(whole.tokens[taken], whole.prefix[taken], passed)


def spread(time_s: Floats, draw: np.random.Generator) -> Floats:
    """Requests with the same rounded time lie uniformly between it and the next time."""
    starts, which, counts = np.unique(time_s, return_inverse=True, return_counts=True)
    if counts.max(initial=0) <= 1:
        return time_s
    ends = np.append(starts[1:], starts[-1] + np.median(np.diff(starts)) if len(starts) > 1 else 1)
    moved = starts[which] + draw.random(len(time_s)) * (ends - starts)[which]
    return np.sort(np.where(counts[which] > 1, moved, time_s))


def _wave(times: str) -> int:
    """Requests that come at once, of `waves:N`; 0 of the other kinds."""
    kind, _, size = times.partition(":") if isinstance(times, str) else ("", "", "")
    if kind == "waves" and _COUNT.fullmatch(size) and int(size) > 0:
        return int(size)
    if times not in ("poisson", "trace"):
        raise InputError(f"times {shown(times)}: poisson, trace or waves:N")
    return 0


def make(
    name: str,
    rate: float | None,
    seed: int,
    *,
    warmup: int = 512,
    measured: int = 1024,
    times: str = "poisson",
) -> Prompts:
    """The workload at `rate` requests a second (None: a file's own times as they are).

    The same seed gives the same requests at any rate: only their arrivals move closer.
    """
    checked.whole(warmup, "warm-up", MOST_REQUESTS)
    checked.whole(measured, "requests", MOST_REQUESTS - warmup, 1)
    wave = _wave(times)
    if rate is not None and not (isinstance(rate, Real) and 1e-6 <= rate <= MOST_RATE):
        raise InputError(f"rate {shown(rate)}: requests a second, from 1e-6 to {MOST_RATE:g}")
    count = warmup + measured
    found = rows(name, count, seed)
    draw = np.random.default_rng([seed, 2])
    if times == "trace":
        if found.time_s is None:
            raise InputError(f"workload {shown(name)} has no times of its own; use poisson")
        arrival = spread(found.time_s, draw)
        if rate is not None:
            arrival = arrival * (count / (rate * max(float(arrival[-1]), 1e-9)))
    else:
        if rate is None:
            raise InputError("a rate above 0 is needed: --rate, or --load")
        if wave:
            arrival = np.arange(count) // wave * (wave / rate)
        else:
            arrival = np.cumsum(draw.exponential(1.0, count)) / rate
    return Prompts(arrival, found.tokens, found.prefix, np.arange(count) >= warmup)
