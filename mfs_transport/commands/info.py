# SPDX-License-Identifier: Apache-2.0
"""`mfs info`: versions, libraries, settings with their sources, policies, the segment."""

from __future__ import annotations

import contextlib
import ctypes.util
import dataclasses
import importlib.metadata
import importlib.util
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from .. import __version__, _mfs
from ..config import Settings, resolve
from ..engines.vllm.estimate import DEFAULT_BPS, default_layer_s, read_reports
from ..native import LIBRARY, UCX_SHIM, config_rows, library_version, policies
from ..observe.segment import Look, look

SCHEMA_VERSION = 1
NIXL_PACKAGES = ("nixl", "nixl-cu12", "nixl-cu13")
CUDA_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu13")
NCCL_PACKAGES = ("nvidia-nccl-cu12", "nvidia-nccl-cu13")
UCX_VERSION = """
import ctypes, sys
version = ctypes.CDLL(sys.argv[1]).ucp_get_version_string
version.restype = ctypes.c_char_p
print(version().decode())
"""


@dataclasses.dataclass(frozen=True)
class Ucx:
    """One copy of UCX on this machine."""

    where: str
    path: str
    version: str  # "" when it does not load


def packages(names: tuple[str, ...]) -> dict[str, str]:
    """Those of the Python packages that are installed, with their versions."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def module_folders(name: str) -> list[Path]:
    """Where a package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def ucx_version(path: str) -> str:
    """As the library itself says, asked in a process of its own: UCX starts when loaded."""
    done = subprocess.run(
        [sys.executable, "-c", UCX_VERSION, path], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def ucx_copies() -> list[Ucx]:
    """The libucx wheel's, the one inside NIXL's wheel, the system's."""
    places: list[tuple[str, str]] = []
    for folder in module_folders("libucx"):
        places += [("libucx wheel", str(path)) for path in folder.glob("lib/libucp.so.0")]
    for name in ("nixl_cu12", "nixl_cu13"):
        for folder in module_folders(name):
            inside = folder.parent / f"{name}.libs"
            places += [("inside NIXL", str(path)) for path in inside.glob("libucp-*.so*")]
    system = ctypes.util.find_library("ucp")
    if system:
        places.append(("system", system))
    return [Ucx(where, path, ucx_version(path)) for where, path in places]


def cuda() -> dict[str, str]:
    """What there is of CUDA: the driver, the runtime's packages. Nothing is loaded."""
    found = packages(CUDA_PACKAGES)
    driver = Path("/proc/driver/nvidia/version")
    if driver.is_file():
        found["driver"] = driver.read_text().partition("\n")[0].removeprefix("NVRM version: ")
    elif library := ctypes.util.find_library("cuda"):
        found["driver"] = library
    return found


def nccl() -> dict[str, str]:
    found = packages(NCCL_PACKAGES)
    if library := ctypes.util.find_library("nccl"):
        found["system"] = library
    return found


def gather(settings: Settings, segment: Look) -> dict[str, Any]:
    """Everything, as --json gives it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "mfs_transport": __version__,
            "libmfs": library_version(),
            "python": platform.python_version(),
            "nixl": packages(NIXL_PACKAGES),
            "ucx": [dataclasses.asdict(copy) for copy in ucx_copies()],
            "cuda": cuda(),
            "nccl": nccl(),
        },
        "libraries": {
            path.name: {"path": str(path), "there": path.is_file()}
            for path in (LIBRARY, UCX_SHIM, Path(_mfs.__file__))
        },
        "settings": [
            {
                "name": setting.name,
                "type": setting.row.type,
                "value": setting.value,
                "source": setting.source,
                "default": setting.row.default,
                "help": setting.row.help,
            }
            for setting in settings.rows
        ],
        "settings_file": str(settings.file) if settings.file else None,
        "remarks": list(settings.remarks),
        "policies": [dataclasses.asdict(row) for row in policies()],
        "segment": {**dataclasses.asdict(segment), "path": str(segment.path)},
    }


# --- for people ---


def _version_lines(versions: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("mfs-transport", versions["mfs_transport"]), ("Python", versions["python"])]
    if versions["libmfs"] != versions["mfs_transport"]:
        lines.insert(1, ("its libmfs.so", f"{versions['libmfs']}: install the package anew"))
    for copy in versions["ucx"]:
        version = copy["version"] or "does not load"
        lines.append((f"UCX, {copy['where']}", f"{version}  {copy['path']}"))
    if not versions["ucx"]:
        lines.append(("UCX", "not found"))
    for title, key in (("NIXL", "nixl"), ("CUDA", "cuda"), ("NCCL", "nccl")):
        found = ", ".join(f"{name} {version}" for name, version in versions[key].items())
        lines.append((title, found or "not found"))
    return lines


def _segment_lines(segment: dict[str, Any]) -> list[tuple[str, str]]:
    words = {
        "none": "not there; the first process makes it",
        "idle": "nobody is attached; the next process starts it afresh",
        "live": "in use",
        "unusable": segment["reason"],
    }
    lines = [("file", segment["path"]), ("state", words[segment["state"]])]
    if segment["state"] == "live":
        lines += [("policy", segment["policy"]), ("requests", str(segment["requests"]))]
        lines += [(name, str(value)) for name, value in segment["counters"].items()]
        for name, rate in segment["egress_Bps"].items():
            lines.append(
                (f"port {name}", f"{rate / 1e6:.1f} MB/s out" if rate else "not known yet")
            )
    return lines


def show(report: dict[str, Any]) -> None:
    """Print it as tables."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # no folding for grep

    def table(title: str, rows: list[tuple[str, ...]]) -> None:
        console.print(Text(title, style="bold"))
        grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        for index in range(len(rows[0])):
            grid.add_column(overflow="fold", no_wrap=index == 0)
        for row in rows:
            grid.add_row(*(Text(cell) for cell in row))
        console.print(grid)
        console.print()

    def source(setting: dict[str, Any]) -> str:
        if setting["source"] == "file":
            return str(report["settings_file"])
        return str(setting["source"])

    table("Versions", list(_version_lines(report["versions"])))
    libraries = report["libraries"].values()
    table(
        "Libraries",
        [
            (one["path"], "" if one["there"] else "MISSING: install the package anew")
            for one in libraries
        ],
    )
    table(
        "Settings",
        [
            (one["name"], one["value"] or '""', source(one), one["help"])
            for one in report["settings"]
        ],
    )
    if report["remarks"]:
        table("Remarks", [(remark,) for remark in report["remarks"]])
    table("Policies", [(one["name"], one["help"]) for one in report["policies"]])
    table("Segment of this host", list(_segment_lines(report["segment"])))


# --- for docs/configuration.md ---

MARKDOWN = """\
<!-- Made by `mfs info --markdown`; change csrc/host/config.def instead. -->

# Configuration

Every setting is a variable `MFS_...`. It is taken from the first of these that has it:

1. the command line: `mfs run --policy edf --set MFS_WINDOW=1m -- COMMAND`
2. the environment: `MFS_WINDOW=1m`
3. a TOML file: the one that `MFS_CONFIG` names, else `./mfs.toml`, else
   `~/.config/mfs/mfs.toml`; keys are the names in lower case without `MFS_`:

   ```toml
   [mfs]
   policy = "edf"
   window = "1m"
   ```

4. the default

`mfs info` shows every value and its source. `mfs run` hands what comes from its command line
and the file to the program as environment variables, which is all that the library reads:
a program that is started without it is not touched by a file. `enable` and `config` cannot
be set in a file.

With `mfs run` a value that cannot be used ends it with one line and exit status 2. The
library warns and uses the default, and names the nearest right variable for an unknown one.

## Variables

| variable | type | default | |
|---|---|---|---|
{settings}

Types: BOOL 0, 1, yes, no, on, off · UINT a whole number · BYTES with `k`, `m` or `g` behind
(powers of 1024) · RATE bytes per second, or bits per second with `kbit`, `mbit` or `gbit`
behind · TIME with `ns`, `us`, `ms` or `s` behind · STRING text.

## Policies

| policy | |
|---|---|
{policies}

The policy of a host may be changed while processes run:
`mfs_transport.default_host().policy = "edf"`.

## What else `mfs run` sets

| variable | value | why |
|---|---|---|
| `MFS_ENABLE` | `1` | the shim does nothing without it |
| `LD_PRELOAD` | `libmfs_ucx.so`, then your own | puts the shim in front of UCX |
| `NIXL_UCX_DEEPBIND` | `0` | with 1 NIXL's calls pass the shim by |
| `UCX_TCP_SNDBUF` | `512k` unless you set it | bytes in the socket's buffer cannot be overtaken |
"""


def markdown() -> str:
    """The page about configuration."""

    def line(*cells: str) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    def code(text: str) -> str:
        return f"`{text}`" if text else ""

    settings = [
        line(code(row.name), row.type, code(row.default), row.help) for row in config_rows()
    ]
    return MARKDOWN.format(
        settings="\n".join(settings),
        policies="\n".join(line(code(row.name), row.help) for row in policies()),
    )


# --- what moves ---


def gather_live(segment: Look) -> dict[str, Any]:
    """The segment, and what the engines of this host have learned of times and bandwidth."""
    return {
        "schema_version": SCHEMA_VERSION,
        "segment": {**dataclasses.asdict(segment), "path": str(segment.path)},
        "engines": read_reports(segment.path),
    }


def _engine_lines(engine: dict[str, Any]) -> list[tuple[str, str]]:
    rate = engine["port_Bps"]
    port = f"{rate / 1e6:.1f} MB/s" if rate else f"not known yet; {DEFAULT_BPS / 1e6:.0f} MB/s"
    lines = [
        ("engine", f"{engine['engine']}, pid {engine['pid']}"),
        ("KV", f"{engine['layers']} layers, {engine['kv_token_bytes']:g} bytes a token"),
        ("port", port),
    ]
    for tokens, seconds in engine["layer_s"]:
        lines.append((f"layer, {tokens} tokens", f"{1e3 * seconds:.3f} ms"))
    if not engine["layer_s"]:
        default = default_layer_s(1000)
        lines.append(("layer, 1000 tokens", f"not known yet; {1e3 * default:.3f} ms"))
    return lines


def show_live(report: dict[str, Any]) -> Any:
    """As something that rich prints."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def grid(rows: list[tuple[str, str]]) -> Table:
        result = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
        for row in rows:
            result.add_row(*(Text(cell) for cell in row))
        return result

    parts: list[Any] = [Text("Segment of this host", style="bold")]
    parts.append(grid(_segment_lines(report["segment"])))
    for engine in report["engines"]:
        parts += [Text(""), Text("Estimates", style="bold"), grid(_engine_lines(engine))]
    return Group(*parts)


def live(place: str, as_json: bool) -> None:
    """Once for programs and pipes; on a terminal every second until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    if as_json:
        click.echo(json.dumps(gather_live(look(place)), indent=2))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
        console.print(show_live(gather_live(look(place))))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console) as screen:
        while True:
            screen.update(show_live(gather_live(look(place))))
            time.sleep(1.0)


@click.command(name="info", short_help="Versions, libraries, settings, policies.")
@click.option("--live", "as_live", is_flag=True, help="What moves: segment, engines' estimates.")
@click.option("--json", "as_json", is_flag=True, help="For programs; see schema_version.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/configuration.md.")
def command(as_live: bool, as_json: bool, as_markdown: bool) -> None:
    """Versions, where the libraries are, every setting with its source, the policies.

    When processes of this host share a segment: its policy, requests and counters as well.

    \b
    Example:
      mfs info
      mfs info --live
      mfs info --json | jq '.settings[] | select(.source != "default")'
    """
    if as_markdown:
        click.echo(markdown(), nl=False)
        return
    settings = resolve(lenient=True)
    if as_live:
        live(settings["MFS_SEGMENT"].value, as_json)
        return
    report = gather(settings, look(settings["MFS_SEGMENT"].value))
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        show(report)
