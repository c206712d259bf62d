# SPDX-License-Identifier: Apache-2.0
"""Do the tests notice it when a line of the sender is wrong?

A mutant is the sources with one place changed: a condition negated, a bound shifted, a statement
taken out. It is killed when a C test that concerns the sender, or the explorer, fails with it or
takes far too long. One that survives shows a rule that no test looks at, or changes nothing that
can be seen: tests/mutants.toml lists those, each with the reason, and some mutants by name.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTATED = ("csrc/core/sender*.c", "csrc/core/sender_inside.h", "csrc/host/sender.c")
TESTS = ("test_sender*", "test_host_sender*", "test_destination", "test_port_state", "test_window*",
         "test_process", "test_port", "test_rmlq*", "test_policy*", "test_hold", "test_why",
         "test_trust", "test_overlap", "test_weigh", "test_host_weigh")  # fmt: skip
FLOORS = ("csrc/core", "csrc/host", "csrc/sim", "tests/explore")
SEEDS = 300  # of the explorer
CC = [
    *shlex.split(os.environ.get("CC", "gcc")),
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O1",
    "-w",
    "-pthread",
]

# What is written -> what it becomes; the first group is replaced.
SHIFTS = {
    "bound": {" < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > "},
    "equal": {" == ": " != ", " != ": " == "},
    "sum": {" + ": " - ", " - ": " + ", " += ": " -= ", " -= ": " += "},
    "product": {" * ": " / ", " / ": " * "},
    "logic": {"&&": "||", "||": "&&"},
}
NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")
RETURNED = re.compile(r"\breturn (true|false|0|-E[A-Z]+);")
STATEMENT = re.compile(
    r"^\s+(\(void\))?[a-z_]\w*((->|\.)\w+|\[[^]]*\])*(\(.*\)| [-+*/|&]?= .*|\+\+|--);$"
)
CONDITION = re.compile(r"\b(if|while) \(")
FUNCTION = re.compile(r"^\w[^;=\n]*?(\w+)\((?:[^;{}]*)\)\n\{.*?^\}", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    function: str  # "": outside of any
    what: str
    was: str  # the line, or the lines
    becomes: str


@dataclass
class Result:
    mutant: Mutant
    name: str  # "": it was made from the seed
    killed_by: str  # "": it survives
    equivalent: str  # the reason


# --- making them ---


def blank(text: str) -> str:
    """The code alone: comments, strings and lines of the preprocessor but #define are blanks."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|^[ \t]*#(?![ \t]*define)[^\n]*'
    return re.sub(
        pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL | re.MULTILINE
    )


def closing(code: str, at: int) -> int:
    """Where the bracket that opens at `at` closes."""
    depth = 0
    for end in range(at, len(code)):
        depth += (code[end] == "(") - (code[end] == ")")
        if depth == 0:
            return end
    raise ValueError("a bracket does not close")


def edits(code: str) -> Iterator[tuple[str, int, int, str]]:
    """(what, from, to, becomes) of each change that can be made."""
    for found in CONDITION.finditer(code):
        end = closing(code, found.end() - 1)
        yield "negated", found.end() - 1, end + 1, f"(!{code[found.end() - 1 : end + 1]})"
    for what, pairs in SHIFTS.items():
        for was, becomes in pairs.items():
            for found in re.finditer(re.escape(was), code):
                yield what, found.start(), found.end(), becomes
    for found in NUMBER.finditer(code):
        number = int(found[0])
        yield "number", found.start(), found.end(), str(2 * number if number > 1 else 1 - number)
    for found in RETURNED.finditer(code):
        swapped = {"true": "false", "false": "true", "0": "-EAGAIN"}.get(found[1], "0")
        yield "returned", found.start(1), found.end(1), swapped
    start = 0
    for line in code.splitlines(keepends=True):
        if STATEMENT.match(line.rstrip("\n")):
            indent = len(line) - len(line.lstrip())
            yield "taken out", start + indent, start + len(line.rstrip()), ";"
        start += len(line)


def changed(file: str, text: str, what: str, start: int, end: int, becomes: str) -> Mutant:
    first, last = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    plain = re.sub(r"__attribute__\(\(\w+\)\)", lambda found: " " * len(found[0]), text)
    around = (
        found[1] for found in FUNCTION.finditer(plain) if found.start() <= start < found.end()
    )
    return Mutant(
        file,
        text.count("\n", 0, start) + 1,
        next(around, ""),
        what,
        text[first:last],
        text[first:start] + becomes + text[end:last],
    )


def candidates(root: Path) -> list[Mutant]:
    found = []
    for pattern in MUTATED:
        for path in sorted(root.glob(pattern)):
            text = path.read_text()
            file = str(path.relative_to(root))
            found += [changed(file, text, *edit) for edit in edits(blank(text))]
    return found


def chosen(root: Path, seed: int) -> list[Mutant]:
    """All of them, in the order of the seed."""
    mutants = candidates(root)
    random.Random(seed).shuffle(mutants)
    return mutants


def words(lines: str) -> str:
    return " ".join(lines.split())


def change(mutant: Mutant) -> tuple[str, str, str]:
    """What it does, wherever the function lies by now."""
    return mutant.function, words(mutant.was), words(mutant.becomes)


def known(root: Path) -> tuple[list[tuple[str, Mutant]], dict[tuple[str, str, str], str]]:
    """Those by name, and the reasons of those that change nothing, by what they do."""
    table = tomllib.loads((root / "tests" / "mutants.toml").read_text())
    named = []
    for row in table["named"]:
        text = (root / row["file"]).read_text()
        at = text.find(row["was"])
        if at < 0 or text.find(row["was"], at + 1) >= 0:
            raise SystemExit(
                f"mutants.toml: {row['name']}: not once in {row['file']}: {row['was']}"
            )
        end = at + len(row["was"])
        named.append((row["name"], changed(row["file"], text, "named", at, end, row["becomes"])))
    same = {
        (row["function"], words(row["was"]), words(row["becomes"])): row["reason"]
        for row in table["equivalent"]
    }
    return named, same


# --- running them ---


class Bench:
    """A copy of the sources, built once; then a mutant's files alone."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self.built = folder / "built"
        for part in ("csrc", "tests/c", "tests/explore"):
            shutil.copytree(ROOT / part, self.root / part)
        self.wrapped = re.findall(
            r"\w+", (ROOT / "scripts" / "explore").read_text().split("wrapped=(")[1].split(")")[0]
        )
        self.tests = sorted(
            {test for name in TESTS for test in (self.root / "tests/c").glob(f"{name}.c")}
        )
        sources = [source for floor in FLOORS for source in (self.root / floor).glob("*.c")]
        if not (self.compile(sources + self.tests, False) and self.compile(sources, True)):
            raise SystemExit("mutate: the sources do not compile")
        self.limit_s = dict.fromkeys(self.names(), 60.0)
        for name in self.names():
            began = time.monotonic()
            if not self.passes(name):
                raise SystemExit(f"mutate: {name} fails without any mutant")
            self.limit_s[name] = 30 + 10 * (time.monotonic() - began)

    def names(self) -> list[str]:
        return [*(test.stem for test in self.tests), "explore"]

    def object_of(self, source: Path, explored: bool) -> Path:
        folder = self.built / ("explored" if explored else "plain")
        return folder / source.relative_to(self.root).with_suffix(".o")

    def compile(self, sources: list[Path], explored: bool) -> bool:
        point = ["-include", str(self.root / "tests/explore/point.h")] if explored else []
        for source in sources:
            made = self.object_of(source, explored)
            made.parent.mkdir(parents=True, exist_ok=True)
            command = [*CC, *point, f"-I{self.root}/csrc", "-c", "-o", str(made), str(source)]
            if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                return False
        return True

    def passes(self, test: str) -> bool:
        program = self.built / test
        explored = test == "explore"
        floors = FLOORS[:2] + FLOORS[3:] if explored else FLOORS[:3]
        objects = [
            self.object_of(source, explored)
            for floor in floors
            for source in sorted((self.root / floor).glob("*.c"))
        ]
        wrapped = self.wrapped
        arguments = ["1", str(SEEDS)]
        if not explored:
            source = self.root / "tests/c" / f"{test}.c"
            counts = "allocations.h" in source.read_text()
            wrapped = ["malloc", "calloc", "realloc", "aligned_alloc"] if counts else []
            objects.append(self.object_of(source, False))
            arguments = []
        subprocess.run(
            [*CC, "-o", program, *objects, *(f"-Wl,--wrap={name}" for name in wrapped), "-lm"],
            check=True,
        )
        environment = {name: value for name, value in os.environ.items() if name[:4] != "MFS_"}
        environment["TMPDIR"] = str(self.built)
        process = subprocess.Popen(
            [program, *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(self.limit_s[test]) in (0, 77)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with the children of its cases
            process.wait()
            return False

    def users(self, file: str) -> list[Path]:
        """What is compiled anew."""
        if file.endswith(".c"):
            return [self.root / file]
        return sorted((self.root / "csrc/core").glob("sender*.c"))

    def objects(self, sources: list[Path]) -> list[bytes]:
        return [
            self.object_of(source, explored).read_bytes()
            for source in sources
            for explored in (False, True)
        ]

    def killed_by(self, mutant: Mutant) -> str | None:
        """The test that fails, "" for none; None: it is no program, or the same one."""
        path = self.root / mutant.file
        text = path.read_text()
        sources = self.users(mutant.file)
        before = self.objects(sources)
        lines = text.split("\n")
        height = mutant.was.count("\n") + 1
        first = mutant.line - 1
        assert "\n".join(lines[first : first + height]) == mutant.was
        lines[first : first + height] = [mutant.becomes]
        path.write_text("\n".join(lines))
        try:
            if not (self.compile(sources, False) and self.compile(sources, True)):
                return None
            if self.objects(sources) == before:
                return None
            return next((test for test in self.order(mutant) if not self.passes(test)), "")
        finally:
            path.write_text(text)
            self.compile(sources, False)
            self.compile(sources, True)

    def order(self, mutant: Mutant) -> list[str]:
        """Those that are about the file first."""
        floor = "test_host" if "host" in mutant.file else "test_sender"
        return sorted(self.names(), key=lambda test: not test.startswith(floor))


# --- what is printed ---


def report(results: list[Result]) -> None:
    for result in results:
        mutant = result.mutant
        fate = result.killed_by or ("equivalent" if result.equivalent else "SURVIVES")
        print(f"{mutant.file}:{mutant.line} {result.name or mutant.what}: {fate}")
        if not result.killed_by:
            print(f"    - {words(mutant.was)}\n    + {words(mutant.becomes)}")
    killed = sum(bool(result.killed_by) for result in results)
    same = sum(bool(result.equivalent and not result.killed_by) for result in results)
    left = len(results) - killed - same
    print(f"{len(results)} mutants: {killed} killed, {same} equivalent, {left} survive")


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="which are made [1]")
    parser.add_argument("--count", type=int, default=30, help="so many, beside those by name [30]")
    parser.add_argument("--json", action="store_true", help="as JSON")
    arguments = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        named, same = known(ROOT)
        made = iter(chosen(ROOT, arguments.seed))
        while len(results) < len(named) + arguments.count:
            at = len(results)
            if at < len(named):
                name, mutant = named[at]
            elif (following := next(made, None)) is not None:
                name, mutant = "", following
            else:
                break
            killed_by = bench.killed_by(mutant)
            if killed_by is None and not name:
                continue
            reason = same.get(change(mutant), "")
            results.append(Result(mutant, name, killed_by or "", reason))
            fate = killed_by or ("equivalent" if reason else "SURVIVES")
            print(f"\r{at + 1}: {mutant.file}:{mutant.line} {fate}", file=sys.stderr)
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    else:
        report(results)
    return any(not (result.killed_by or result.equivalent) for result in results)


if __name__ == "__main__":
    sys.exit(main())
