# SPDX-License-Identifier: Apache-2.0
"""What scripts/matrix runs: the releases of others that the project is tried with, a row each.

    python   the wheel (scripts/wheels) installed by pip, and tests of the package on it
    ucx      conformance of the shim over that libucx, from its wheel
    nixl     the agent's proxy and real agents under the shim
    nccl     does that libnccl ask for a table of the plug-in that we have?
    vllm     is what the plug-in relies on as it was? From the release's own wheel: no server runs

Packages come from PyPI; what is not to be had is a row that says so. Environments are kept in
.venv-matrix, downloads in out/matrix.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mfs_transport import json_report, terminal  # noqa: E402
from mfs_transport.engines.vllm import release  # noqa: E402

ENVIRONMENTS = ROOT / ".venv-matrix"
DOWNLOADS = ROOT / "out" / "matrix"
PACKAGE_TESTS = (
    "test_config.py",
    "test_host.py",
    "test_requests.py",
    "test_units.py",
    "test_tags.py",
    "test_core_known_answers.py",
)
UCX_TESTS = ("test_ucx_conformance.py",)
NIXL_TESTS = ("test_engines_nixl.py", "test_engines_gate.py", "test_ucx_nixl.py")
UCX, NIXL = "libucx-cu12==1.21.0", ("nixl-cu12==1.5.1", "nixl==1.5.1")


class Missing(Exception):
    """Not to be had here."""


class Failed(Exception):
    """It does not work: the end of what was printed."""


@dataclass(frozen=True)
class Row:
    of: str
    version: str
    how: str
    run: Callable[[], str]  # what was seen

    @property
    def name(self) -> str:
        return f"{self.of}-{self.version}"


def call(*command: object, cwd: Path = ROOT, **environ: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{command[0]}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return done.stdout


def pip(python: Path, *arguments: object) -> None:
    """Missing, if an index has no such thing."""
    try:
        call(python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)
    except Failed as error:
        if "No matching distribution" in str(error) or "Could not find a version" in str(error):
            raise Missing("not on the package index") from None
        raise


def wheel() -> Path:
    """Of this checkout, for this machine."""
    folder = DOWNLOADS / "wheels" / call("git", "rev-parse", "--short", "HEAD").strip()
    machine = os.uname().machine
    if not list(folder.glob(f"*_{machine}.whl")):
        call(ROOT / "scripts" / "wheels", machine, MFS_WHEELS_OUT=str(folder))
    return next(folder.glob(f"*_{machine}.whl"))


def python_of(version: str) -> str:
    """A Python of that version: on the PATH, or of pyenv or uv."""
    kept = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    kept.append(Path.home() / ".local" / "share" / "uv" / "python")
    named = [shutil.which(f"python{version}")]
    named += [str(one) for place in kept for one in place.glob(f"*/bin/python{version}")]
    for one in filter(None, named):
        asked = subprocess.run([one, "-V"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and f" {version}." in asked.stdout:
            return one
    raise Missing("no such Python on this machine")


def environment(name: str, python: str, *packages: str, bare: tuple[str, ...] = ()) -> Path:
    """The Python of an environment with our wheel, those packages, and `bare` ones without what
    they ask for."""
    folder = ENVIRONMENTS / name
    inside = folder / "bin" / "python"
    if not inside.exists():
        call(python, "-m", "venv", folder)
    pip(inside, "install", *("pytest", "hypothesis", "pyyaml"), *packages)
    if bare:
        pip(inside, "install", "--no-deps", *bare)
    pip(inside, "install", f"{wheel()}[cli,metrics]")
    pip(inside, "install", "--force-reinstall", "--no-deps", wheel())
    return inside


def tests(python: Path, *names: str) -> str:
    files = [ROOT / "tests" / name for name in names]
    # under sanitizers it is our code that is looked at, not theirs
    options = ("-q", "-m", "not long", "-k", "not sanitized", "--tb=line")
    # not in the checkout, whose package would be imported instead of the wheel's
    pytest = (python.with_name("pytest"), "-c", ROOT / "pyproject.toml")
    line = call(*pytest, *options, *files, cwd=python.parent)
    found = re.findall(r"(\d+) (passed|skipped)", line.splitlines()[-1])
    return ", ".join(f"{count} {word}" for count, word in found)


def of_python(version: str) -> str:
    python = environment(f"python-{version}", python_of(version))
    return tests(python, *PACKAGE_TESTS)


def of_ucx(version: str) -> str:
    python = environment(f"ucx-{version}", sys.executable, f"libucx-cu12=={version}", bare=NIXL)
    return tests(python, *UCX_TESTS)


def of_nixl(version: str) -> str:
    bare = (f"nixl-cu12=={version}", f"nixl=={version}")
    return tests(environment(f"nixl-{version}", sys.executable, UCX, bare=bare), *NIXL_TESTS)


def download(package: str, version: str) -> Path:
    folder = DOWNLOADS / f"{package}-{version}"
    if not list(folder.glob("*.whl")):
        pip(
            Path(sys.executable), "download", "--no-deps", "--dest", folder, f"{package}=={version}"
        )
    return next(folder.glob("*.whl"))


def of_nccl(version: str) -> str:
    with zipfile.ZipFile(download("nvidia-nccl-cu12", version)) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/libnccl.so.2"))
        asks = set(re.findall(rb"ncclNetPlugin_v(\d+)", archive.read(name)))
    ours = (ROOT / "mfs_transport" / "libnccl-net-mfs.so").read_bytes()
    common = asks & set(re.findall(rb"ncclNetPlugin_v(\d+)", ours))
    if not common:
        raise Failed(f"it asks for tables {sorted(map(int, asks))}, of which we have none")
    return f"takes table v{max(map(int, common))}, newest it knows v{max(map(int, asks))}"


def of_vllm(version: str) -> str:
    folder = DOWNLOADS / f"vllm-{version}" / "source"
    with zipfile.ZipFile(download("vllm", version)) as archive:
        for file, _ in release.RELIED_ON:
            archive.extract(f"vllm/{file}", folder)
    changed = release.changes(folder / "vllm")
    if changed:
        raise Failed("; ".join(changed))
    acts = release.verdict(version, folder / "vllm")
    return "unchanged" + (", tried" if acts.line else ", tested with servers")


ROWS = [
    *(
        Row("python", one, "wheel by pip, its tests", partial(of_python, one))
        for one in ("3.11", "3.12", "3.13", "3.14")
    ),
    *(
        Row("ucx", one, "conformance of the shim", partial(of_ucx, one))
        for one in ("1.21.0", "1.22.0")
    ),
    *(
        Row("nixl", one, "proxy, gate, real agents", partial(of_nixl, one))
        for one in ("1.5.1", "1.5.2")
    ),
    *(
        Row("nccl", one, "tables it asks for", partial(of_nccl, one))
        for one in ("2.28.9", "2.32.3")
    ),
    *(
        Row("vllm", one, "interface, from its wheel", partial(of_vllm, one))
        for one in ("0.31.0", "0.32.0", "0.33.0")
    ),
]


def tried(row: Row) -> dict[str, Any]:
    start = time.monotonic()
    try:
        result, seen = "passed", row.run()
    except Missing as error:
        result, seen = "not here", str(error)
    except Failed as error:
        result, seen = "failed", str(error)
        print(f"{row.name}: {error}", file=sys.stderr)
    return {
        "of": row.of,
        "version": row.version,
        "how": row.how,
        "result": result,
        "seen": seen.splitlines()[-1][:200] if seen else "",
        "s": time.monotonic() - start,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", help="of the rows, as ucx or nixl-1.5.1 [all]")
    parser.add_argument("--list", action="store_true", help="names of the rows")
    parser.add_argument("--json", metavar="FILE", help="write the results there as well")
    parser.add_argument("--markdown", action="store_true", help="print the table of the docs")
    chosen = parser.parse_args()
    unknown = set(chosen.rows) - {name for row in ROWS for name in (row.of, row.name)}
    if unknown:
        parser.error(f"{min(unknown)}: no such row; --list shows them")
    rows = [one for one in ROWS if not chosen.rows or {one.of, one.name} & set(chosen.rows)]
    if chosen.list:
        print("\n".join(one.name for one in rows))
        return 0
    results = [tried(one) for one in terminal.track(rows, "releases")]
    if chosen.markdown:
        print("| of | version | how | result | seen | date |\n|---|---|---|---|---|---|")
        for one in results:
            cells = (one[name] for name in ("of", "version", "how", "result", "seen", "date"))
            print(f"| {' | '.join(cells)} |")
    else:
        fold = terminal.Column("seen", left=True, fold=True)
        table = terminal.Table("of", "version", "result", fold, "s")
        for one in results:
            table.add_row(*(one[n] for n in ("of", "version", "result", "seen")), f"{one['s']:.0f}")
        terminal.make_console().print(table)
    if chosen.json:
        json_report.write(Path(chosen.json), results)
    return int(any(one["result"] == "failed" for one in results))


if __name__ == "__main__":
    sys.exit(main())
