# SPDX-License-Identifier: Apache-2.0
"""A KV store: its pool is read by prefill hosts, or it writes to them when it is told to.

Every host has one; a process whose role it is has nothing else. Of a request a store knows what
the router says: its deadline, and how long a layer takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import control

if TYPE_CHECKING:
    from .worker import Worker


class Store:
    """Of one run."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.writes: dict[int, tuple[control.Request, list[Any]]] = {}  # by job

    def route(self, route: dict[str, Any]) -> None:
        """Write what the unit's hosts fetch from us."""
        worker, job = self.worker, self.worker.jobs[route["job"]]
        if worker.setting.fetch != "push":
            return
        request = worker.register(job)
        request.publish()
        handles = []
        for group in range(worker.groups):
            for part, host in enumerate(route["hosts"]):
                if route["store"][part] != worker.name:
                    continue
                at, known = worker.sum_of("fetch", job.index, group, part, job.fetch_bytes)
                place = route["fetched_at"][part] + group * job.fetch_bytes
                message = {"fetched": [job.index, group, known]}
                handles.append(
                    worker.post(
                        *(request, "kv_reuse", group, "WRITE", ("pool", at), host),
                        *(("fetched", place), job.fetch_bytes, message),
                    )
                )
        self.writes[job.index] = (request, handles)

    def step(self) -> bool:
        moved = False
        for index, (request, handles) in list(self.writes.items()):
            left = [handle for handle in handles if not self.worker.done(handle)]
            moved |= len(left) < len(handles)
            self.writes[index] = (request, left)
            if not left:
                request.finish()
                del self.writes[index]
        return moved

    def over(self) -> bool:
        return not self.writes


def make(*arguments: Any) -> Worker:
    from .worker import Worker

    return Worker(*arguments)


WORKER = make
