# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the fuzzers of this folder; scripts/fuzz is its command line.

    scripts/fuzz                     each for 30 s
    scripts/fuzz wire 600            one of them, for ten minutes
    scripts/fuzz --keep operations   what it finds of new code goes into tests/fuzz/corpus

A target in C is fuzz_NAME.c, a target in Python is a function of python_targets.py. Both run under
libFuzzer (clang's, and the one in atheris), from the inputs of corpus/NAME on. What an input breaks
is kept as out/fuzz/findings/NAME-crash-..., and runs again with

    scripts/fuzz NAME out/fuzz/findings/NAME-crash-...
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mfs_transport import json_report

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CSRC = ROOT / "csrc"
OUT = ROOT / "out" / "fuzz"
CORPUS = HERE / "corpus"
CLANG = shlex.split(os.environ.get("MFS_TEST_CLANG", "clang"))

# the floors that a target in C is made of
C_TARGETS = {
    "operations": ("core", "host"),
    "segment": ("core", "host"),
    "config": ("core", "host"),
    "wire": ("core", "host", "nccl"),
    "nccl": ("core", "host", "nccl"),
    "agent": ("core", "host"),
}
INCLUDES = {"config": CSRC / "host" / "config.c"}  # a target that includes a source itself
LOOP_UCP = HERE.parent / "nccl" / "loop_ucp.c"  # the UCX of target nccl
PYTHON_TARGETS = ("files", "traces", "proxy")
TARGETS = (*C_TARGETS, *PYTHON_TARGETS)
CHILDREN = ("children_user", "children_system")  # of os.times()

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-pthread", '-DMFS_VERSION="test"'),
    *("-Wall", "-Wextra", "-Werror", "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wshadow"),
    *("-Dclock_gettime=fuzz_clock_gettime", f"-I{CSRC}", *SANITIZERS),
]


@dataclass
class Result:
    name: str
    seconds: int
    cpu_s: float  # of the machine's processors; the rest of the time others had them
    executions: int
    coverage: int  # edges of C, lines and branches of Python
    corpus: int  # inputs that reach something of their own
    findings: int
    said: str  # the fuzzer's own words, when it found something

    def line(self) -> str:
        counts = (
            f"{self.name:<11}{self.seconds:>6} s {self.cpu_s:>6.0f} s cpu"
            f" {self.executions:>11} runs"
            f" {self.coverage:>6} covered {self.corpus:>5} inputs"
        )
        return f"{counts}  {self.findings} findings"


# --- what is needed ---


def clang_missing() -> str:
    """Why nothing in C can be fuzzed here; "": it can."""
    command = [*CLANG, "-fsanitize=fuzzer,address", "-x", "c", "-", "-o", os.devnull]
    empty = "int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }"
    if not shutil.which(CLANG[0]):
        return f"{CLANG[0]} is missing; install it with: apt-get install clang"
    done = subprocess.run(command, input=empty, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return "clang has no libFuzzer; install it with: apt-get install libclang-rt-14-dev"


def atheris_missing() -> str:
    """Why nothing in Python can be fuzzed here; its corpora can be run without."""
    if importlib.util.find_spec("atheris"):
        return ""
    return "atheris is missing; install it with: .venv/bin/pip install atheris"


def missing(name: str) -> str:
    return clang_missing() if name in C_TARGETS else atheris_missing()


# --- building ---


def ucx_include() -> list[str]:
    spec = importlib.util.find_spec("libucx")
    places = (spec and spec.submodule_search_locations) or ()
    return [f"-isystem{Path(place) / 'include'}" for place in places]


def _floor(floor: str, folder: Path) -> list[Path]:
    """The objects of a floor, compiled if they are not there."""
    place = folder / floor
    sources = sorted((CSRC / floor).glob("*.c"))
    if not place.exists():
        making = folder / f"{floor}.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        command = [*CLANG, *FLAGS, *ucx_include(), "-fsanitize=fuzzer-no-link", "-c"]
        subprocess.run([*command, *map(str, sources)], check=True, cwd=making)
        making.rename(place)
    return [place / f"{source.stem}.o" for source in sources]


def build(name: str) -> Path:
    """The program of a target in C; made once for what the sources are."""
    contents = hashlib.sha256(" ".join([*CLANG, *FLAGS]).encode())
    folders = (CSRC / "core", CSRC / "host", CSRC / "nccl", HERE)
    for path in sorted(path for folder in folders for path in folder.glob("*.[chd]*")):
        contents.update(path.read_bytes())
    folder = OUT / "built" / contents.hexdigest()[:16]
    program = folder / f"fuzz_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    with (OUT / "lock").open("w") as lock:  # several may run at one time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _link(name, folder, program)
    return program


def _link(name: str, folder: Path, program: Path) -> None:
    objects = [made for floor in C_TARGETS[name] for made in _floor(floor, folder)]
    if name in INCLUDES:
        source = INCLUDES[name]
        objects.remove(folder / source.parent.name / f"{source.stem}.o")
    if name == "nccl":
        flags = ["-shared", "-fPIC"]
        library = [*CLANG, *FLAGS, *ucx_include(), *flags, str(LOOP_UCP), "-o", "loop_ucp.so"]
        subprocess.run(library, check=True, cwd=folder)
    own = [str(HERE / "input.c"), str(HERE / f"fuzz_{name}.c")]
    command = [
        *CLANG,
        *FLAGS,
        *ucx_include(),
        "-rdynamic",
        "-fsanitize=fuzzer",
        *own,
        *map(str, objects),
    ]
    subprocess.run([*command, "-o", f"{program}.making", "-lm", "-ldl"], check=True, cwd=folder)
    Path(f"{program}.making").rename(program)


def command(name: str) -> list[str]:
    if name in C_TARGETS:
        return [str(build(name))]
    return [sys.executable, str(HERE / "python_targets.py"), name]


# --- running ---


def _fuzzer(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    findings = OUT / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    limits = ("-timeout=600", "-rss_limit_mb=4096", f"-artifact_prefix={findings / name}-")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MFS_")}
    return subprocess.run(
        [*command(name), *limits, "-print_final_stats=1", *arguments],
        env={**clean, "ASAN_OPTIONS": "allocator_may_return_null=1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _found(name: str, seconds: int, done: subprocess.CompletedProcess[str]) -> Result:
    progress = re.findall(r"cov: (\d+) .*?corp: (\d+)/", done.stdout)
    coverage, corpus = map(int, progress[-1]) if progress else (0, 0)
    units = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stdout)
    failed = done.returncode != 0
    said = done.stdout[-4000:] if failed else ""
    executions = int(units[1]) if units else 0
    return Result(name, seconds, 0.0, executions, coverage, corpus, int(failed), said)


def replay(name: str) -> Result:
    """Each input of the corpus once."""
    return _found(name, 0, _fuzzer(name, "-runs=0", str(CORPUS / name)))


def run(name: str, seconds: int, own: Path | None = None) -> Result:
    """New inputs for so long; those that reach new code are kept in `own` [under out/fuzz]."""
    own = own or OUT / "corpus" / name
    own.mkdir(parents=True, exist_ok=True)
    options = (f"-max_total_time={seconds}", "-max_len=4096", "-len_control=0")
    command(name)  # it is built
    before = os.times()
    found = _found(name, seconds, _fuzzer(name, *options, str(own), str(CORPUS / name)))
    after = os.times()
    used = (getattr(after, kind) - getattr(before, kind) for kind in CHILDREN)
    return replace(found, cpu_s=round(sum(used), 1))


def _merged(name: str) -> list[Path]:
    """Of all inputs that we have as few as cover the same, the small ones first. Atheris does not
    merge: there it is all that reached something new when it was found."""
    own, merged = OUT / "corpus" / name, OUT / "merged" / name
    if name in PYTHON_TARGETS:
        merged = own
    else:
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir(parents=True)
        options = ("-merge=1", "-use_counters=0", str(merged))
        _fuzzer(name, *options, *(str(path) for path in (CORPUS / name, own) if path.is_dir()))
    return sorted(merged.iterdir(), key=lambda path: path.stat().st_size)


def keep(name: str, most_bytes: int = 20_000) -> None:
    """The corpus anew. Inputs that a person has given a name stay."""
    place, found = CORPUS / name, [(path.name, path.read_bytes()) for path in _merged(name)]
    for path in place.iterdir():
        if re.fullmatch("[0-9a-f]{40}", path.name):
            path.unlink()
    for digest, content in found:
        most_bytes -= len(content)
        if most_bytes < 0:
            break
        (place / digest).write_bytes(content)


# --- the command line ---


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", help=f"one of {', '.join(TARGETS)} [each]")
    parser.add_argument("what", nargs="?", default="30", help="seconds, or an input's file [30]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as well")
    parser.add_argument("--keep", action="store_true", help="new inputs go into the corpus")
    given = parser.parse_args()
    if given.name and given.name.isdecimal():  # scripts/fuzz 5
        given.name, given.what = None, given.name
    if given.name and given.name not in TARGETS:
        parser.error(f"{given.name}: one of {', '.join(TARGETS)}")
    if not given.what.isdecimal():
        done = _fuzzer(given.name, given.what)
        print(done.stdout, end="", file=sys.stderr)
        return done.returncode
    results = []
    for name in [given.name] if given.name else TARGETS:
        if why := missing(name):
            print(f"{name:<11} skipped: {why}", flush=True)
            continue
        results.append(run(name, int(given.what)))
        print(results[-1].line(), flush=True)
        print(results[-1].said, end="", file=sys.stderr)
        if given.keep:
            keep(name)
    if given.json:
        json_report.write(given.json, [asdict(result) for result in results])
    return int(any(result.findings for result in results))


if __name__ == "__main__":
    sys.exit(main())
