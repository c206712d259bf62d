# SPDX-License-Identifier: Apache-2.0
"""The control plane: what the queues are told of requests, and what traffic is tagged with.

    import mfs_transport as mfs

    request = mfs.register("cmpl-17", ttft_s=0.5, layers=32)
    with mfs.tag(request, stage="p2d", layer=3):
        agent.transfer(handle)          # NIXL, UCX: everything posted here carries the tag
    request.progress(layer=4, layer_s=0.003)
    request.finish()

What is registered lies in the host's shared segment: the queues of all processes of
the host read it, without a message or a system call. Times are seconds (floats) or
nanoseconds (`_ns`, ints) of CLOCK_MONOTONIC.

Collectives are sent by NCCL's own threads, which no tag of a block reaches: tell them what
the process computes, once a step or a layer:

    mfs.batch([request_a, request_b], layer=3)      # in the process whose collectives they are
"""

from __future__ import annotations

from .host import Host, HostCopy, default_host
from .requests import Request, progress, progress_of_keys, publish_all, register
from .tags import (
    abort,
    batch,
    batch_current,
    peer_set,
    tag,
    tag_current,
    tag_is,
    tag_make,
    tag_set,
)
from .units import Egress, Unit

__all__ = [
    "Egress",
    "Host",
    "HostCopy",
    "Request",
    "Unit",
    "abort",
    "batch",
    "batch_current",
    "default_host",
    "peer_set",
    "progress",
    "progress_of_keys",
    "publish_all",
    "register",
    "tag",
    "tag_current",
    "tag_is",
    "tag_make",
    "tag_set",
]
