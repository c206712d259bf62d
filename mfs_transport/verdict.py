# SPDX-License-Identifier: Apache-2.0
"""One verdict a request, on all hosts that move its bytes: is it given up, hopeless or shed?

The host where its prefill runs decides. Another one follows it, by two words that travel with the
request, as kv_transfer_params do:

    words = verdict.words(request)           # where prefill runs; {} where no agent is
    verdict.follow(other, words)             # on the other host, once it is registered there

While the agents of both hosts hear each other, the queues of the other host read the owner's
verdict in place of what its own control plane has worked out. csrc/host/verdict.h says for how
long a verdict holds; docs/hosts.md, what it is for.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any

from . import checked
from .host import Host
from .native import InputError, check, lib, shown
from .requests import Request

OWNER, GIVEN_UP = "mfs_owner", "mfs_given_up"
_OWNER = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})")
_KINDS = {
    "": lib.MFS_VERDICT_KNOWN,
    "hopeless": lib.MFS_VERDICT_KNOWN | lib.MFS_VERDICT_HOPELESS,
    "shed": lib.MFS_VERDICT_KNOWN | lib.MFS_VERDICT_SHED,
}


def owner_of(host: Host) -> int:
    """The name of its agent among agents; 0: it has none now."""
    return int(lib.mfs_verdict_owner(checked.one_of(host, Host, "host").handle))


def words(request: Request) -> dict[str, str]:
    """What another host needs to follow `request`, which this host decides about."""
    owner = owner_of(checked.one_of(request, Request, "request").host)
    if not owner:
        return {}
    found = {OWNER: f"{owner:016x}-{request.key:016x}"}
    if request.hopeless or request.shed:
        found[GIVEN_UP] = "hopeless" if request.hopeless else "shed"
    return found


def follow(request: Request, words: Mapping[str, Any]) -> bool:
    """`request`, which is registered here, follows the one of these words until it is finished.

    False: there are none in it, there is no agent here, or it is this host's own. InputError: they
    are not what `words` makes; OSError: too many requests of this host follow others.
    """
    checked.one_of(request, Request, "request")
    if not isinstance(words, Mapping):
        raise InputError(f"words {shown(words)}: what words() makes")
    given = words.get(OWNER)
    if given is None:
        return False
    found = _OWNER.fullmatch(given) if isinstance(given, str) else None
    kind = words.get(GIVEN_UP) or ""
    if not found or not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"{OWNER} {shown(given)}, {GIVEN_UP} {shown(kind)}: what words() makes")
    owner, key = (int(one, 16) for one in found.groups())
    if not owner or not key:
        raise InputError(f"{OWNER} {shown(given)}: what words() makes")
    handle = request.host.handle
    if (owner, key) == (owner_of(request.host), request.key):
        return False
    result = lib.mfs_verdict_follow(handle, request.key, owner, key, _KINDS[kind])
    if result in (-errno.ENOTCONN, -errno.ENOENT):
        return False
    check(result, f"request {shown(request.name)} follows another host's")
    return True
