# SPDX-License-Identifier: Apache-2.0
"""Pulls of bench/vllm_pull.py: decode servers that read what a prefill server has made ready.

    prefill server <-- prepare(): computes the KV of a request, and keeps it
    decode servers <-- Pulls: each has so many of these requests at a time, and reads their KV

The prefills are over before anything is measured, so that processors have little to do but to move
bytes: on two cores prefill and a busy link at once would measure the cores.
"""

from __future__ import annotations

import http.client
import math
import re
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mfs_transport.testbed.vllm import proxy, replay
from mfs_transport.testbed.vllm.model import KV_TOKEN_BYTES
from mfs_transport.testbed.vllm.proxy import Address
from mfs_transport.testbed.vllm.replay import Done, Job, SloClass

OUTPUT_TOKENS = 4
PROMPTS = 8  # different ones; each is computed anew whenever it comes
LOOSE_S = 60.0  # the deadline of a pull
AT_ONCE = 2  # requests that are prefilled together
NAP_S = 0.05  # about as long as a put takes
XFER = "vllm:nixl_xfer_time_seconds"


# --- what is pulled ---


@dataclass(frozen=True)
class Ready:
    """A request whose KV lies at the prefill server."""

    job: Job
    name: str
    params: dict[str, Any]  # kv_transfer_params of the prefill server's answer


def how_many(link_Bps: float, seconds: float, tokens: int, under_way: int) -> int:
    """Requests that do not run out in so many seconds, if the link carries nothing else."""
    return math.ceil(link_Bps * seconds / (tokens * KV_TOKEN_BYTES)) + under_way


def prompts(tokens: int) -> list[Job]:
    slo = SloClass("pull", (tokens, tokens), 1.0, 1.0, ttft_s=LOOSE_S)
    return replay.make([slo], PROMPTS, 1.0, 1e9, 18)


def prepare(prefill: Address, jobs: Sequence[Job], count: int, prefix: str) -> list[Ready]:
    """So many requests, with these prompts in turn, prefilled."""

    def one(index: int) -> Ready:
        job, name = jobs[index % len(jobs)], f"{prefix}-{index}"
        headers = {"x-request-id": name}
        body = replay.body_of(job, OUTPUT_TOKENS)
        try:
            status, answer = proxy.prefilled(prefill, replay.PATH, body, headers)
            params = proxy.params_of(answer) if status == 200 else {}
        except (http.client.HTTPException, proxy.BadAnswer) as error:
            raise OSError(f"the prefill server: {type(error).__name__}: {error}") from None
        if not params:
            raise OSError(f"the prefill server answered {status}, without KV: {answer[:200]!r}")
        return Ready(job, name, params)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(count)))


# --- pulls ---


@dataclass(frozen=True)
class Pull:
    decoder: str
    ended_s: float
    done: Done


class Pulls:
    """Each decode server has `depth` requests at a time, until none is left."""

    def __init__(self, decoders: Mapping[str, Address], depth: int, ready: Sequence[Ready]) -> None:
        self._ready = deque(ready)
        self.pulls: list[Pull] = []
        self.gone: set[str] = set()  # decode servers that were killed on purpose
        self.trouble: dict[str, str] = {}  # of others: the first error, after which they get none
        self.ran_out_s = math.inf
        self._threads = [
            threading.Thread(target=self._feed, args=one, daemon=True)
            for one in decoders.items()
            for _ in range(depth)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _feed(self, decoder: str, address: Address) -> None:
        while decoder not in self.gone and decoder not in self.trouble:
            try:
                one = self._ready.popleft()
            except IndexError:
                self.ran_out_s = min(self.ran_out_s, time.monotonic())
                return
            done = replay.send(address, one.job, OUTPUT_TOKENS, one.name, None, one.params)
            self.pulls.append(Pull(decoder, time.monotonic(), done))
            if done.error and decoder not in self.gone:
                self.trouble.setdefault(decoder, done.error)

    def lost(self) -> int:
        """Requests that ended with the server that was killed."""
        return sum(bool(one.done.error) and one.decoder in self.gone for one in self.pulls)

    def wrong(self, expected: Mapping[str, str]) -> int:
        """Answers of others whose text is not that of the plain run, errors among them."""
        return sum(
            one.done.text != expected[one.done.job.prompt]
            for one in self.pulls
            if not (one.done.error and one.decoder in self.gone)
        )

    def times(self, begun_s: float, ended_s: float) -> list[float]:
        """Of the pulls that ended in between: from the request to its first token."""
        return [
            one.done.ttft_s
            for one in self.pulls
            if begun_s <= one.ended_s <= ended_s and math.isfinite(one.done.ttft_s)
        ]


# --- what vLLM itself has measured ---


def metric(text: str, name: str) -> tuple[float, float]:
    """Sum and count of a histogram in what /metrics answers, over all its labels."""
    found = []
    for kind in ("sum", "count"):
        lines = re.findall(rf"^{re.escape(name)}_{kind}(?:\{{.*\}})? (\S+)$", text, re.M)
        found.append(math.fsum(map(float, lines)))
    return found[0], found[1]


def transfers(address: Address) -> tuple[float, float]:
    """Seconds of a decode server's transfers so far, and how many they were."""
    connection = http.client.HTTPConnection(*address, timeout=30)
    try:
        connection.request("GET", "/metrics")
        return metric(connection.getresponse().read().decode(), XFER)
    except http.client.HTTPException as error:
        raise OSError(f"/metrics: {type(error).__name__}: {error}") from None
    finally:
        connection.close()


# --- processors ---


class Lookout:
    """A thread that naps, and notes how late it wakes: then nobody had a core for it."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._late_s = self._napped_s = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.is_set():
            begun = time.monotonic()
            time.sleep(NAP_S)
            self._napped_s += NAP_S
            self._late_s += time.monotonic() - begun - NAP_S

    def end(self) -> float:
        """What it was late, by what it has napped."""
        self._ended.set()
        self._thread.join()
        return self._late_s / self._napped_s if self._napped_s else 0.0
