# SPDX-License-Identifier: Apache-2.0
"""A decode host: shards of each request's KV arrive, group by group.

A request has its first token when all groups of all shards have arrived. Where decode hosts pull,
they are told that a group is ready, and read it.
"""

from __future__ import annotations

from typing import Any

from .. import control
from .worker import Worker


class Decode(Worker):
    regions = ("kv",)

    def prepare(self) -> None:
        self.places: dict[int, list[int]] = {}  # by job, of each shard
        self.missing: dict[int, int] = {}  # groups of shards that are to come here
        self.seen: set[tuple[int, int, int]] = set()
        self.requests: dict[int, control.Request] = {}
        self.reads: dict[tuple[int, int, int, int], Any] = {}  # job, group, shard, checksum

    def told(self, message: dict[str, Any]) -> None:
        super().told(message)
        if message["order"] != "route" or self.name not in message["decode"]:
            return
        job = message["job"]
        self.places[job] = message["kv_at"]
        self.missing[job] = self.groups * message["decode"].count(self.name)
        if self.setting.deliver == "pull":
            self.requests[job] = self.register(self.jobs[job])
            self.requests[job].publish()

    def notified(self, message: dict[str, Any]) -> bool:
        if (message.get("kv") or message["ready"])[0] not in self.places:
            return False
        if "kv" in message:
            job, group, shard, known = message["kv"]
            self.arrived(job, group, shard, known)
        else:
            job, group, shard, at, known = message["ready"]
            size = self.jobs[job].shard_bytes
            peer = message["from"]
            self.reads[job, group, shard, known] = self.post(
                *(self.requests[job], "p2d", group, "READ"),
                *(("kv", self.places[job][shard] + group * size), peer, ("pool", at), size),
                {"read": [job, group]},
            )
        return True

    def arrived(self, job: int, group: int, shard: int, known: int) -> None:
        if (job, group, shard) in self.seen:
            raise OSError(f"group {group} of shard {shard} of request {job} has come twice")
        self.seen.add((job, group, shard))
        size = self.jobs[job].shard_bytes
        self.verify("kv", self.places[job][shard] + group * size, size, known)
        self.channel.send({"event": "delivered", "job": job})
        self.missing[job] -= 1
        if self.missing[job] == 0:
            self.channel.send({"event": "first_token", "job": job, "s": self.now_s()})
            if job in self.requests:
                self.requests.pop(job).finish()

    def step(self) -> bool:
        come = [one for one, handle in self.reads.items() if self.done(handle)]
        for one in come:
            del self.reads[one]
            self.arrived(*one)
        return bool(come)

    def over(self) -> bool:
        return not self.reads


WORKER = Decode
