# SPDX-License-Identifier: Apache-2.0
"""Traffic classes of a real UCX's TCP sockets: as the sockets have them, and in the queues of an
emulated switch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ucx import toolbox

from mfs_transport.testbed import network

REASON = network.why_not_namespaces()
PUT = 4 << 20
STAGES = {"collective": "2", "p2d": "3"}

pytestmark = pytest.mark.skipif(toolbox.wheel("lib") is None, reason="no libucx")


def environment(tmp_path: Path, classes: str, **more: str) -> dict[str, str]:
    return toolbox.environment(
        MFS_ENABLE="1",
        MFS_SEGMENT=str(tmp_path / "segment"),
        MFS_PORT="nic-of-test",
        MFS_WINDOW="256k",
        UCX_TLS="tcp",
        UCX_NET_DEVICES="lo",
        **({"MFS_CLASSES": classes} if classes else {}),
        **more,
    )


def found(env: dict[str, str], *words: str) -> dict[str, tuple[int, int]]:
    """DSCP during and after each put."""
    library = toolbox.wheel("lib")
    assert library
    program = toolbox.program("classes", library / "libucp.so.0", tags=True)
    lines = (part.split(":") for part in toolbox.run([program, *words], env).split())
    return {name: (int(during), int(after)) for name, during, after in lines}


def test_urgent_puts_have_the_first_class_while_they_are_under_way(tmp_path: Path) -> None:
    env = environment(tmp_path, "46,26,0")
    assert found(env, "urgent", "bulk") == {"urgent": (46, 0), "bulk": (0, 0)}


def test_bulk_behind_an_urgent_put_has_its_own_class_again(tmp_path: Path) -> None:
    env = environment(tmp_path, "46,26,8")
    assert found(env, "bulk", "mixed") == {"bulk": (8, 8), "mixed": (46, 8)}


def test_small_puts_have_a_class(tmp_path: Path) -> None:
    """They go through the queue, which knows their level."""
    during, after = found(environment(tmp_path, "46,0"), "urgent", "small")["small"]
    assert (during, after) == (46, 0)


def test_one_class_is_that_of_all_sockets_from_the_first(tmp_path: Path) -> None:
    env = environment(tmp_path, "26")
    assert found(env, "bulk", "urgent") == {"bulk": (26, 26), "urgent": (26, 26)}


@pytest.mark.parametrize("classes", ["", "46,64"])
def test_no_class_unless_it_is_set_rightly(classes: str, tmp_path: Path) -> None:
    env = environment(tmp_path, classes, MFS_LOG="0")
    assert found(env, "urgent", "bulk", "small") == dict.fromkeys(
        ("urgent", "bulk", "small"), (0, 0)
    )


def test_without_the_shim_in_the_way_nothing_is_marked(tmp_path: Path) -> None:
    env = environment(tmp_path, "26") | {"MFS_ENABLE": "0"}
    assert found(env, "urgent") == {"urgent": (0, 0)}


@pytest.mark.parametrize("classes", ["46,0", "46"])
def test_a_system_that_refuses__all_arrives_and_it_is_said_once(
    classes: str, tmp_path: Path
) -> None:
    """Before the first put; of one class, which the sockets have by then, nothing more is asked."""
    library = toolbox.wheel("lib")
    assert library
    program = toolbox.program("classes", library / "libucp.so.0", tags=True)
    words = ["refused", "urgent", "urgent", "bulk"]
    env = environment(tmp_path, classes)
    done = subprocess.run(
        [program, *words], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    several = "," in classes
    assert done.stderr.count("does not let us set the DSCP") == several
    assert done.stdout.split() == (
        ["urgent:0:0", "urgent:0:0", "bulk:0:0"]
        if several
        else ["urgent:46:46", "urgent:46:46", "bulk:46:46"]
    )


# --- on the wire ---


def inside(program: str) -> None:
    """Of a put of each stage: what the queues of the switch's port to the receiver have sent."""
    made = network.Namespaces(125e6, (46, 26, 0))
    server, client = made.add("server"), made.add("client")
    result = {}
    for name, stage in STAGES.items():
        file = Path(f"/run/server-{name}")
        env = toolbox.environment(preload=False, UCX_TLS="tcp", UCX_NET_DEVICES="eth0")
        serve = subprocess.Popen([*server.command, program, "serve", str(file)], env=env)
        while not file.exists():
            assert serve.poll() is None
            time.sleep(0.01)
        before = network.queue_bytes("port1")
        env |= {
            "LD_PRELOAD": str(toolbox.SHIM),
            "MFS_ENABLE": "1",
            "MFS_SEGMENT": f"/run/mfs/{name}",
            "MFS_CLASSES": "46,26,0",
            "STAGE": stage,
        }
        put = [*client.command, program, "put", "none", str(file)]
        subprocess.run(put, env=env, stdin=subprocess.DEVNULL, check=True)
        result[name] = [
            now - was for now, was in zip(network.queue_bytes("port1"), before, strict=True)
        ]
        serve.kill()
        serve.wait()
    print(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)  # pid 1 of its namespace: everything else ends with it


@pytest.mark.skipif(REASON is not None, reason=f"no network namespaces: {REASON}")
def test_on_the_wire__each_stage_is_in_its_queue_of_the_switch() -> None:
    lib = toolbox.wheel("lib")
    assert lib
    program = toolbox.compile_(
        toolbox.folder() / "rails",
        toolbox.HERE / "rails.c",
        f"-L{lib}",
        f"-Wl,-rpath,{lib}",
        *("-lucp", "-lucs"),
    )
    done = subprocess.run(
        [*network.enter_command(), sys.executable, __file__, str(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sent = json.loads(done.stdout.splitlines()[-1])
    assert sent["collective"][0] > 0.8 * PUT  # all but the first chunks, by which it is found
    assert sent["collective"][2] < 0.2 * PUT
    assert sent["p2d"][0] < 0.01 * PUT
    assert sent["p2d"][2] > PUT


if __name__ == "__main__":
    inside(sys.argv[1])
