# SPDX-License-Identifier: Apache-2.0
"""Requests of two SLO classes, replayed against the proxy; TTFT and outputs are taken down.

A class has prompts of one size range and a TTFT that it wants. Arrivals are a Poisson
process of all classes together, drawn from a seed: the same requests under each policy.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .model import KV_TOKEN_BYTES, VOCABULARY
from .proxy import Address

PATH = "/v1/completions"


@dataclass(frozen=True)
class SloClass:
    name: str
    tokens: tuple[int, int]  # least and most of a prompt
    factor: float  # TTFT wanted: times that of such a request alone
    share: float  # of the requests
    ttft_s: float = 1e6  # worked out by `calibrated`


@dataclass(frozen=True)
class Job:
    index: int
    arrival_s: float
    slo: SloClass
    prompt: str
    tokens: int


@dataclass
class Done:
    """What came of a job. ttft_s: infinity if it failed."""

    job: Job
    ttft_s: float = float("inf")
    text: str = ""
    error: str = ""


@dataclass
class Run:
    policy: str
    seed: int
    done: list[Done] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)  # of each server


def mean_bytes(classes: list[SloClass]) -> float:
    """KV bytes of a request, on average."""
    return KV_TOKEN_BYTES * sum(one.share * sum(one.tokens) / 2 for one in classes)


def make(classes: list[SloClass], count: int, load: float, link_Bps: float, seed: int) -> list[Job]:
    """Jobs whose KV takes the share `load` of the port on average."""
    random = np.random.default_rng([2603, seed])
    gap_s = mean_bytes(classes) / (load * link_Bps)
    shares = np.array([one.share for one in classes])
    jobs, now = [], 0.0
    for index in range(count):
        slo = classes[int(random.choice(len(classes), p=shares / shares.sum()))]
        tokens = int(random.integers(slo.tokens[0], slo.tokens[1], endpoint=True))
        words = random.integers(3, VOCABULARY, tokens)
        jobs.append(Job(index, now, slo, " ".join(f"w{word}" for word in words), tokens))
        now += float(random.exponential(gap_s))
    return jobs


def body_of(job: Job, output_tokens: int) -> dict[str, Any]:
    """The request as a client sends it: the deadline is the one word about MFS."""
    return {
        "model": "tiny",
        "prompt": job.prompt,
        "temperature": 0,
        "ignore_eos": True,
        "skip_special_tokens": False,
        "max_tokens": output_tokens,
        "vllm_xargs": {"mfs_deadline_ms": 1e3 * job.slo.ttft_s, "mfs_slo_class": job.slo.name},
    }


def send(
    address: Address,
    job: Job,
    output_tokens: int,
    name: str,
    start_s: float | None,
    params: dict[str, Any] | None = None,
) -> Done:
    """Send one, streaming. Its TTFT counts from its arrival in the plan that began at start_s;
    None: from now. params: kv_transfer_params, for a decode server."""
    done = Done(job)
    if start_s is None:
        start_s = time.monotonic() - job.arrival_s
    try:
        connection = http.client.HTTPConnection(*address, timeout=300)
        body = {**body_of(job, output_tokens), "stream": True}
        if params is not None:
            body["kv_transfer_params"] = params
        headers = {"Content-Type": "application/json", "X-Request-Id": name}
        connection.request("POST", PATH, json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            done.error = f"{answer.status} {answer.read()[:200].decode(errors='replace')}"
            return done
        whole = False
        for line in answer:
            whole = whole or line.startswith(b"data: [DONE]")
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "choices" not in event:
                done.error = json.dumps(event)[:200]
                break
            text = event["choices"][0]["text"]
            if text and done.ttft_s == float("inf"):
                done.ttft_s = time.monotonic() - start_s - job.arrival_s
            done.text += text
        if not whole and not done.error:  # http.client takes a connection that breaks for an end
            done.error = "the answer ended before it was whole"
        connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        done.error = f"{type(error).__name__}: {error}"
    return done


def replay(
    address: Address,
    jobs: list[Job],
    output_tokens: int,
    prefix: str,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[Done], float]:
    """All jobs at their times; what came of each, and how long it took in all."""
    results: dict[int, Done] = {}
    start = time.monotonic() + 0.1

    def one(job: Job) -> None:
        results[job.index] = send(address, job, output_tokens, f"{prefix}{job.index}", start)
        progress(len(results))

    threads = []
    for job in jobs:
        time.sleep(max(0.0, start + job.arrival_s - time.monotonic()))
        thread = threading.Thread(target=one, args=(job,), daemon=True)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return [results[job.index] for job in jobs], time.monotonic() - start


def calibrated(
    address: Address, classes: list[SloClass], output_tokens: int, count: int = 3
) -> list[SloClass]:
    """The classes with their TTFT: factor times the median of some requests sent alone."""
    result = []
    for slo in classes:
        times = []
        for job in make([slo], count, 1.0, 1e9, 10**6 + 1):
            alone = dataclasses.replace(job, arrival_s=0.0)
            done = send(address, alone, output_tokens, f"alone-{slo.name}-{job.index}", None)
            if done.error:
                raise OSError(f"a request alone failed: {done.error}")
            times.append(done.ttft_s)
        wanted = round(slo.factor * statistics.median(times), 3)
        result.append(dataclasses.replace(slo, ttft_s=wanted))
    return result


def aggregated(address: Address, jobs: list[Job], output_tokens: int) -> dict[str, str]:
    """Outputs of one server that prefills and decodes by itself, one request at a time."""
    outputs = {}
    for job in jobs:
        if job.prompt in outputs:
            continue
        connection = http.client.HTTPConnection(*address, timeout=300)
        body = json.dumps(body_of(job, output_tokens))
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        outputs[job.prompt] = answer["choices"][0]["text"]
    return outputs
