# SPDX-License-Identifier: Apache-2.0
"""Runs points somewhere: in this process, on local processes, or on a Dask cluster.

A worker that dies (memory, a kill) ends the sweep with a message; what is done is on file and
is not run again.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..native import InputError
from . import point as points
from .point import Point, Run
from .sweep import Store


class WorkerDied(RuntimeError):
    """A process that simulates is gone, and with it what it was at."""


def cores() -> int:
    return len(os.sched_getaffinity(0))


def _run(one: Point) -> Run:
    return points.run(one)


def each(
    wanted: Sequence[Point],
    jobs: int = 1,
    dask: str | None = None,
    progress: Callable[[int, float], bool | None] | None = None,
) -> Iterator[Run]:
    """The runs of the points, in the order in which they end.

    `jobs` local processes (1: this one, then `progress` is handed on), or all workers of the
    Dask scheduler at the address `dask`.
    """
    if not wanted:
        return
    if dask is not None:
        yield from _on_dask(wanted, dask)
    elif jobs <= 1 or len(wanted) == 1:
        for one in wanted:
            yield points.run(one, progress)
    else:
        yield from _on_processes(wanted, jobs)


def missing(
    wanted: Sequence[Point],
    store: Store,
    jobs: int,
    dask: str | None,
    tell: Callable[[float, int], None],
) -> list[Run]:
    """Run what is not in the store yet and put it there; the new runs.

    jobs: 0 is one process a core. tell(done, of) is called as points are done, and between them
    when this process runs them itself: done is no whole number then.
    """
    left = store.missing(wanted)
    done: list[Run] = []
    jobs = jobs or cores()
    if dask is None:
        jobs = min(jobs, max(1, len(left)))
    inside: Callable[[int, float], bool | None] | None = None
    if jobs == 1 and dask is None:

        def inside(requests: int, simulated_s: float) -> bool | None:
            of = left[min(len(done), len(left) - 1)]
            tell(len(done) + requests / (of.warmup + of.measured), len(left))
            return None

    tell(0, len(left))
    for run in each(left, jobs, dask, inside):
        store.add(run)
        done.append(run)
        tell(len(done), len(left))
    return done


def kill_workers() -> None:
    """After WorkerDied: the others would wait for ever for what the dead one held."""
    for child in multiprocessing.active_children():
        child.kill()


def _on_processes(wanted: Sequence[Point], jobs: int) -> Iterator[Run]:
    waiting = iter(wanted)
    running: set[Future[Run]] = set()
    pool = ProcessPoolExecutor(
        min(jobs, len(wanted)), mp_context=multiprocessing.get_context("spawn")
    )
    try:
        while True:
            while len(running) < 2 * jobs and (one := next(waiting, None)) is not None:
                running.add(_submit(pool, one))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise WorkerDied(
            "a process that simulates was killed (out of memory?); the points that are done are "
            "kept: run the same command again, with a smaller --jobs"
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, one: Point) -> Future[Run]:
    try:
        return pool.submit(_run, one)
    except OSError as error:  # its pipe is closed while it finds out that a process has died
        raise BrokenProcessPool(str(error)) from None


def _on_dask(wanted: Sequence[Point], address: str) -> Iterator[Run]:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError:
        raise InputError(
            "--dask: distributed is not installed: pip install mfs-transport[dask]"
        ) from None
    try:
        client = distributed.Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--dask {address}: no scheduler answers there ({error})") from None
    with client:
        # the same point may be run again for another build of the library: never "pure"
        futures = client.map(_run, list(wanted), pure=False)
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                run: Run = future.result()
                yield run
        except distributed.KilledWorker as error:
            raise WorkerDied(
                f"--dask {address}: {error}; the points that are done are kept"
            ) from None
        finally:
            client.cancel(futures)
