# SPDX-License-Identifier: Apache-2.0
"""A decode host: one rank's shard of each request's KV arrives, group by group.

A request has its first token when all groups have arrived, on both ranks.
"""

from __future__ import annotations

from typing import Any

from .worker import Regions, Worker


class Decode(Worker):
    regions = ("kv",)

    def prepare(self) -> None:
        self.places = Regions(self.jobs, self.groups, [job.shard_bytes for job in self.jobs])
        self.missing = [self.groups] * len(self.jobs)
        self.first_token_s = [0.0] * len(self.jobs)
        self.unfinished = len(self.jobs)

    def notified(self, peer: str, message: dict[str, Any]) -> None:
        job, group = message["job"], message["group"]
        self.verify(
            "kv", self.places.offset(job, group), self.places.sizes[job], message["checksum"]
        )
        self.missing[job] -= 1
        if self.missing[job] == 0:
            self.first_token_s[job] = self.now_s()
            self.unfinished -= 1

    def over(self) -> bool:
        return self.unfinished == 0

    def result(self) -> dict[str, Any]:
        return {"first_token_s": self.first_token_s}


WORKER = Decode
