# SPDX-License-Identifier: Apache-2.0
"""A real UCX between two network namespaces with two cables: the port of an endpoint is what its
puts go by, as the devices' own counters say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ucx import toolbox

from mfs_transport.observe.segment import look
from mfs_transport.testbed import network, nics

REASON = network.why_not_namespaces()
PUT = 4 << 20

pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=f"no network namespaces: {REASON}"),
    pytest.mark.skipif(toolbox.wheel("lib") is None, reason="no libucx"),
]

# MAX_RMA_RAILS, error handling, devices of each server -> ports with what they carried, and how
# much of a put each device has sent
CASES = {
    "as it comes": (1, "none", ["eth0,eth1"], {"eth0": 1}, (1, 0)),
    "as NIXL": (2, "peer", ["eth0,eth1"], {"eth0": 1}, (1, 0)),
    "two rails": (2, "none", ["eth0,eth1"], {"eth0+eth1": 1}, (0.5, 0.5)),
    "an endpoint each": (1, "none", ["eth0", "eth1"], {"eth0": 1, "eth1": 1}, (1, 1)),
    "each, and both": (2, "none", ["eth1", "eth0,eth1"], {"eth1": 1, "eth0+eth1": 1}, (0.5, 1.5)),
}


def environment(**more: str) -> dict[str, str]:
    return toolbox.environment(preload=False, UCX_TLS="tcp", **more)


def measure(host: nics.Host, program: str, case: str) -> dict[str, Any]:
    """Inside: bytes by port, as the shim has them, and by device, as the kernel has."""
    rails, mode, servers, _, _ = CASES[case]
    command = ("ip", "netns", "exec")
    started, files = [], []
    for number, devices in enumerate(servers):
        files.append(Path(f"/run/server-{number}"))
        env = environment(UCX_NET_DEVICES=devices, UCX_MAX_RMA_RAILS=str(rails))
        serve = [*command, "peer", program, "serve", str(files[-1])]
        started.append(subprocess.Popen(serve, env=env))
    while not all(path.exists() for path in files):
        assert all(one.poll() is None for one in started)
        time.sleep(0.01)
    segment = f"/run/mfs/{len(list(Path('/run/mfs').iterdir()))}"
    env = environment(
        UCX_MAX_RMA_RAILS=str(rails),
        LD_PRELOAD=str(toolbox.SHIM),
        MFS_ENABLE="1",
        MFS_SEGMENT=segment,
    )
    client = subprocess.Popen(
        [*command, "host", program, "put", mode, *map(str, files)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout
    line = client.stdout.readline()
    ports = {one.name: one.done_bytes for one in look(segment).ports if one.done_bytes > 0}
    client.communicate()
    for one, path in zip(started, files, strict=True):
        one.kill()
        one.wait()
        path.unlink()
    return {"ports": ports, "sent": [int(word) for word in line.split()]}


def inside(program: str) -> None:
    host = nics.Host(2, 125e6)
    time.sleep(1)  # until the kernel says that the cables are there
    print(json.dumps({case: measure(host, program, case) for case in CASES}))
    sys.stdout.flush()
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    lib = toolbox.wheel("lib")
    assert lib
    program = toolbox.compile_(
        toolbox.folder() / "rails",
        toolbox.HERE / "rails.c",
        f"-L{lib}",
        f"-Wl,-rpath,{lib}",
        *("-lucp", "-lucs"),
    )
    command = [*network.enter_command(), sys.executable, __file__, str(program)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("case", CASES)
def test_port__is_what_the_puts_go_by(found: dict[str, Any], case: str) -> None:
    *_, ports, shares = CASES[case]
    assert found[case]["ports"] == {name: puts * PUT for name, puts in ports.items()}
    for sent, share in zip(found[case]["sent"], shares, strict=True):
        assert share * PUT <= sent <= (share + 0.1) * PUT


if __name__ == "__main__":
    inside(sys.argv[1])
