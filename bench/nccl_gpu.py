# SPDX-License-Identifier: Apache-2.0
"""torch.distributed over the NCCL plug-in and over NCCL's sockets, on one GPU or several.

    scripts/gpu-check --nccl              # looks for the GPU first
    mfs bench nccl_gpu --ranks 2 --protocol Simple --max 1m

all_reduce, all_to_all and send/recv with 2 and 4 ranks, 8 bytes to 256 MiB, protocols Simple,
LL and LL128; every result is compared with the expected values. Ranks share GPU 0: each has a
NCCL_HOSTID of its own, so that NCCL takes them for other hosts and uses its network. A run
counts only if NCCL's log says `via NET/MFS` (`via NET/Socket`) and nothing else. Socket and
plug-in runs follow each other; a ratio is the median over the pairs of busbw, plug-in over
socket. On one GPU the ranks share its time: right for correctness, not for latency.

Exit status: 0 all right, 1 not, 77 something is missing here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from _main import begin

from mfs_transport import json_report
from mfs_transport.commands._files import ResultFile
from mfs_transport.native import NCCL_PLUGIN
from mfs_transport.nccl_env import wheel_ucx
from mfs_transport.terminal import help_of

MISSING = 77
PROTOCOLS = ("Simple", "LL", "LL128")
OPERATIONS = ("all_reduce", "all_to_all", "send_recv")
SYSTEMS = ("Socket", "MFS")
LARGEST_LL = 4 << 20  # LL doubles the bytes: what is larger NCCL never sends with it


def missing(what: str) -> None:
    print(f"nccl_gpu: {what}", file=sys.stderr)
    sys.exit(MISSING)


# --- a rank ---


def expected_sum(torch: Any, count: int, ranks: int, device: str) -> Any:
    """Sum over ranks of (i + rank) mod 17: exact in float32."""
    index = torch.arange(count, device=device)
    total = torch.zeros(count, device=device)
    for rank in range(ranks):
        total += ((index + rank) % 17).float()
    return total


def operate(dist: Any, name: str, source: Any, target: Any, rank: int, ranks: int) -> None:
    if name == "all_reduce":
        target.copy_(source)
        dist.all_reduce(target)
    elif name == "all_to_all":
        dist.all_to_all_single(target, source)
    else:
        operations = [
            dist.P2POp(dist.isend, source, (rank + 1) % ranks),
            dist.P2POp(dist.irecv, target, (rank - 1) % ranks),
        ]
        for work in dist.batch_isend_irecv(operations):
            work.wait()


def is_right(torch: Any, name: str, target: Any, rank: int, ranks: int) -> bool:
    count = target.numel()
    index = torch.arange(count, device=target.device)
    if name == "all_reduce":
        wanted = expected_sum(torch, count, ranks, str(target.device))
    elif name == "all_to_all":
        part = count // ranks  # part k came from rank k, which sent its part `rank`
        origin = index // part
        wanted = ((rank * part + index % part + origin) % 17).float()
    else:
        wanted = ((index + (rank - 1) % ranks) % 17).float()
    return bool(torch.equal(target, wanted))


def rank_main() -> None:
    """Prints one line of JSON a size: operation, bytes, seconds of the median round."""
    import torch
    import torch.distributed as dist

    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    plan = json.loads(os.environ["NCCL_GPU_PLAN"])
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=plan["meet"], rank=rank, world_size=ranks)
    for name in plan["operations"]:
        for size in plan["sizes"]:
            count = max(size // 4, 2)
            count += -count % ranks if name == "all_to_all" else 0
            source = ((torch.arange(count, device="cuda") + rank) % 17).float()
            target = torch.zeros_like(source)
            operate(dist, name, source, target, rank, ranks)
            torch.cuda.synchronize()
            right = is_right(torch, name, target, rank, ranks)
            seconds = []
            for _ in range(plan["rounds"]):
                begin = time.perf_counter()
                operate(dist, name, source, target, rank, ranks)
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - begin)
            right = right and is_right(torch, name, target, rank, ranks)
            row = {"operation": name, "size_bytes": 4 * count, "right": right}
            print(json.dumps({**row, "rank": rank, "seconds": statistics.median(seconds)}))
    dist.destroy_process_group()


# --- runs ---


def environment(system: str, protocol: str, ranks: int, rank: int) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("NCCL_NET")}
    env |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "NCCL_HOSTID": f"mfs-rank-{rank}",
        "NCCL_NET": system,
        "NCCL_P2P_DISABLE": "1",
        "NCCL_SHM_DISABLE": "1",
        "NCCL_IB_DISABLE": "1",
        "NCCL_MNNVL_ENABLE": "0",
        "NCCL_NVLS_ENABLE": "0",
        "NCCL_SOCKET_IFNAME": env.get("NCCL_SOCKET_IFNAME", "lo"),
        "NCCL_NET_GDR_LEVEL": env.get("NCCL_NET_GDR_LEVEL", "LOC"),
        "NCCL_MAX_CTAS": "4" if ranks == 2 else "2",
        "NCCL_PROTO": protocol,
        "NCCL_ALGO": "Ring",
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,NET,ENV,PROXY",
        "UCX_TLS": env.get("UCX_TLS", "tcp,self"),
    }
    if system == "MFS":
        ucx = wheel_ucx()
        env |= {"NCCL_NET_PLUGIN": str(NCCL_PLUGIN), "MFS_ENABLE": "1"}
        env |= {"MFS_NCCL_UCX": env.get("MFS_NCCL_UCX") or str(ucx)} if ucx else {}
    else:
        env["NCCL_NET_PLUGIN"] = "none"
    return env


def other_ways(logs: list[str], system: str) -> str:
    """What a rank's channels went over instead of, or besides, that network; "" if nothing."""
    found = set()
    for log in logs:
        ways = set(re.findall(r" via (\S+)", log)) or {"nothing"}
        found |= {way for way in ways if way.split("/")[:2] != ["NET", system]}
    return ", ".join(sorted(found))


def once(system: str, protocol: str, ranks: int, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of all ranks; ends the program when a run failed, was wrong, or took another way."""
    with tempfile.TemporaryDirectory(prefix="mfs-nccl-gpu-") as folder:
        plan = {**plan, "meet": f"file://{folder}/meet"}
        processes = []
        for rank in range(ranks):
            log = open(Path(folder) / f"log-{rank}", "w+")  # noqa: SIM115 read when it is over
            env = environment(system, protocol, ranks, rank) | {"NCCL_GPU_PLAN": json.dumps(plan)}
            command = [sys.executable, __file__, "--rank"]
            processes.append((subprocess.Popen(command, env=env, stdout=log, stderr=log), log))
        texts = []
        for process, log in processes:
            process.wait()
            log.seek(0)
            texts.append(log.read())
    label = f"{system}, {protocol}, {ranks} ranks"
    if any(process.returncode != 0 for process, _ in processes):
        sys.exit(f"nccl_gpu: {label} failed:\n" + "\n".join(text[-3000:] for text in texts))
    wrong_way = other_ways(texts, system)
    if wrong_way:
        sys.exit(f"nccl_gpu: {label}: channels went via {wrong_way}")
    rows = [json.loads(line) for text in texts for line in text.splitlines() if line[:1] == "{"]
    wrong = [row for row in rows if not row["right"]]
    if wrong or not rows:
        sys.exit(f"nccl_gpu: {label}: wrong results: {wrong or 'none at all'}")
    return rows


def busbw(operation: str, size: int, seconds: float, ranks: int) -> float:
    """As nccl-tests count it, MB/s."""
    factor = {"all_reduce": 2 * (ranks - 1) / ranks, "all_to_all": (ranks - 1) / ranks}
    return size / seconds * factor.get(operation, 1.0) / 1e6


def sizes_of(protocol: str, largest: int) -> list[int]:
    """From 8 bytes to the largest, that one included."""
    largest = min(largest, LARGEST_LL) if protocol == "LL" else largest
    sizes = []
    size = 8
    while size < largest:
        sizes.append(size)
        size *= 8 if size < 1 << 20 else 4
    return [*sizes, largest]


def measure(protocol: str, ranks: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    sizes = sizes_of(protocol, options["largest"])
    plan = {"operations": OPERATIONS, "sizes": sizes, "rounds": options["rounds"]}
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for _ in range(options["pairs"]):
        for system in SYSTEMS:
            slowest: dict[tuple[str, int], float] = {}
            for row in once(system, protocol, ranks, plan):
                key = (row["operation"], row["size_bytes"])
                slowest[key] = max(slowest.get(key, 0.0), row["seconds"])
            for key, seconds in slowest.items():
                found.setdefault(key, {}).setdefault(system, []).append(seconds)
    records = []
    for (operation, size_bytes), seconds in found.items():
        speed = {
            system: [busbw(operation, size_bytes, value, ranks) for value in values]
            for system, values in seconds.items()
        }
        ratios = [mfs / off for off, mfs in zip(speed["Socket"], speed["MFS"], strict=True)]
        records.append(
            {
                "operation": operation,
                "protocol": protocol,
                "ranks": ranks,
                "size_bytes": size_bytes,
                "off": statistics.median(speed["Socket"]),
                "mfs": statistics.median(speed["MFS"]),
                "unit": "MB/s busbw",
                "ratio": statistics.median(ratios),
                "pairs": len(ratios),
            }
        )
        print(
            f"{operation:11}{protocol:7}{ranks} ranks {size_bytes:>10} B  socket"
            f"{records[-1]['off']:9.1f}  MFS{records[-1]['mfs']:9.1f} MB/s "
            f"{records[-1]['ratio']:6.2f}",
            flush=True,
        )
    return records


@click.command(help=help_of(__doc__))
@click.option("--ranks", multiple=True, type=click.IntRange(2, 8), default=(2, 4))
@click.option("--protocol", "protocols", multiple=True, type=click.Choice(PROTOCOLS))
@click.option("--max", "largest", default="256m", show_default=True, help="Largest size.")
@click.option("--pairs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--json", "json_path", type=ResultFile(), help="Results as JSON.")
def main(
    ranks: tuple[int, ...],
    protocols: tuple[str, ...],
    largest: str,
    pairs: int,
    rounds: int,
    json_path: Path | None,
) -> None:
    units = {"k": 1 << 10, "m": 1 << 20}
    match = re.fullmatch(r"(\d+)([km]?)", largest.lower())
    if not match:
        raise click.BadParameter(f"{largest!r}: bytes, with k or m behind", param_hint="--max")
    if not importlib.util.find_spec("torch"):
        missing("no torch; install it with: pip install torch")
    import torch

    if not torch.cuda.is_available():
        missing("torch finds no NVIDIA GPU")
    if not NCCL_PLUGIN.exists():
        missing(f"{NCCL_PLUGIN} is not built; build it with: pip install -e .")
    options = {
        "largest": int(match[1]) * units.get(match[2], 1),
        "pairs": pairs,
        "rounds": rounds,
    }
    records = []
    for count in ranks:
        for protocol in protocols or PROTOCOLS:
            records += measure(protocol, count, options)
    print(f"{len(records)} rows, every result right, every channel via NET/MFS")
    if json_path:
        json_report.write(json_path, records, gpu=torch.cuda.get_device_name(0))


if __name__ == "__main__":
    if sys.argv[1:] == ["--rank"]:
        rank_main()
    else:
        begin(main)
