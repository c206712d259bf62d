# SPDX-License-Identifier: Apache-2.0
"""What a pod shares with its node: the libraries, the segment's folder, rights. For an init
container, which has the mounts, the user and the environment of the container behind it."""

from __future__ import annotations

import ctypes
import os
import resource
import stat
from collections.abc import Mapping
from pathlib import Path

from .. import __version__, shared_segment
from ..config import string
from ..host import Host
from ..native import PACKAGE, UCX_SHIM, InputError
from ..observe.segment import look
from . import Check
from .environment import check_enabled, check_settings

INITIAL_TIME_NAMESPACE = 0xEFFFFFFA
CAP_IPC_LOCK = 14
DEPLOY = "see docs/deploy.md"


def version_of(shim: Path) -> str:
    """Of the libmfs.so beside it; "" when that does not load."""
    try:
        version = ctypes.CDLL(str(shim.with_name("libmfs.so"))).mfs_version
    except (OSError, AttributeError):
        return ""
    version.restype = ctypes.c_char_p
    return bytes(version()).decode(errors="replace")


def check_libraries(environ: Mapping[str, str]) -> Check:
    """Those of the node, which LD_PRELOAD names, or PYTHONPATH for an engine's plug-in."""
    names = environ.get("LD_PRELOAD", "").replace(" ", ":").split(":")
    shims = [Path(name) for name in names if Path(name).name == UCX_SHIM.name]
    folders = [Path(name) for name in environ.get("PYTHONPATH", "").split(":") if name]
    shims += [folder / PACKAGE.name / UCX_SHIM.name for folder in folders]
    remedy = f"mount the node's folder where PYTHONPATH or LD_PRELOAD lead; {DEPLOY}"
    if not shims:
        return Check("libraries", "FAIL", "neither PYTHONPATH nor LD_PRELOAD is set", remedy)
    if not shims[0].is_file():
        return Check("libraries", "FAIL", f"{shims[0]} is not there", remedy)
    found = version_of(shims[0])
    if not found:
        return Check("libraries", "FAIL", f"{shims[0]}: libmfs.so beside it does not load", remedy)
    other = "" if found == __version__ else f"; this image has {__version__}"
    return Check("libraries", "ok", f"{shims[0]}, version {found}{other}")


def check_shared(environ: Mapping[str, str]) -> Check:
    """Can this user attach to the segment that the pods share?"""
    path = string("MFS_SEGMENT", environ)
    if not path and not environ.get("NVIDIA_DRA_LOCAL_IPC_DIR"):
        reason = "MFS_SEGMENT is not set: this pod would be scheduled on its own"
        return Check("segment", "FAIL", reason, f"MFS_SEGMENT=/run/mfs/host; {DEPLOY}")
    place = look(path).path
    if path and not os.path.exists(place):
        reason = f"{place} is not there, or this user cannot reach it"
        remedy = "mount its folder; on the node: mfs segment create PATH --group G"
        return Check("segment", "FAIL", reason, remedy)
    remedy = "let the pod run in the segment's group: supplementalGroups"
    try:
        status = place.stat() if path else None
        if status and status.st_gid not in (os.getegid(), *os.getgroups()):
            remedy += f": [{status.st_gid}]"
        with Host(path) as host:
            found = look(path)
            pods = len({one.host for one in found.processes.values()})
            alone = "" if place.stat().st_mode & stat.S_IRWXG else ", of this user alone"
            reason = f"{host.path}{alone}, policy {found.policy}, pods in it: {pods}"
            return Check("segment", "ok", reason)
    except OSError as error:
        return Check("segment", "FAIL", error.strerror or str(error), remedy)


def check_memory(environ: Mapping[str, str]) -> Check:
    path = look(string("MFS_SEGMENT", environ)).path
    kind = shared_segment.file_system(path)
    if not kind or kind in shared_segment.MEMORY:
        return Check("file system", "ok", f"the segment lies on {kind or 'one not known'}")
    reason = f"the segment lies on {kind}: its pages are written to a disk now and then"
    return Check("file system", "FAIL", reason, "use a folder below /run or /dev/shm of the node")


def check_clock(namespace: int | None = None) -> Check:
    """All times in a segment are of one clock."""
    if namespace is None:
        try:
            namespace = os.stat("/proc/self/ns/time").st_ino
        except OSError:
            namespace = INITIAL_TIME_NAMESPACE
    if namespace == INITIAL_TIME_NAMESPACE:
        return Check("clock", "ok", "the node's own")
    reason = "this pod has a time namespace of its own: it shares no segment with other pods"
    return Check("clock", "FAIL", reason, "run it without one")


def check_rdma(devices: Path = Path("/dev/infiniband"), status: str | None = None) -> Check:
    """Memory that a NIC reads must be locked."""
    if not any(devices.glob("uverbs*")):
        return Check("rdma", "ok", "this pod has no RDMA devices: UCX uses TCP")
    if status is None:
        status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if unlimited or effective >> CAP_IPC_LOCK & 1:
        return Check("rdma", "ok", f"{devices}, and memory may be locked")
    reason = f"{devices} is there, but no memory may be locked: UCX would use TCP"
    return Check("rdma", "FAIL", reason, "securityContext.capabilities.add: [IPC_LOCK]")


def examine(environ: Mapping[str, str]) -> list[Check]:
    checks = [check_libraries(environ), check_enabled(environ), check_settings(environ)]
    try:
        checks += [check_shared(environ), check_memory(environ)]
    except InputError as error:
        checks.append(Check("segment", "FAIL", str(error), DEPLOY))
    return [*checks, check_clock(), check_rdma()]
