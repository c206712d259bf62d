# SPDX-License-Identifier: Apache-2.0
"""The docs: every page is in the site's navigation, and links between pages resolve."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mfs_transport import __version__

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "scripts" / "docs_pages.py")
assert spec
assert spec.loader
docs_pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs_pages)

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in docs_pages.outside())]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S))


def anchors(path: Path) -> set[str]:
    """Of its headings, as mkdocs and GitHub make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).strip().lower()
        found.add(re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain)))
    return found | set(re.findall(r'<a id="([^"]+)"', text))


def leaves(entry: Any) -> list[str]:
    if isinstance(entry, dict):
        return [leaf for value in entry.values() for leaf in leaves(value)]
    if isinstance(entry, list):
        return [leaf for one in entry for leaf in leaves(one)]
    return [entry]


def test_navigation__has_every_page_once():
    nav = leaves(docs_pages.navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    inside = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(nav) == sorted(inside | set(docs_pages.outside().values()))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links__resolve(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.is_file(), f"{name(page)}: {link}"
        if anchor:
            assert anchor in anchors(there), f"{name(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths__of_sources_exist(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    if page.name == "CHANGELOG.md" or page.parent.name == "decisions":
        return  # what was, also where it is elsewhere today
    for path in re.findall(r"`((?:csrc|bench|scripts|tests|mfs_transport)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{name(page)}: {path}"


def test_architecture__names_functions_where_they_are():
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|([^|]*)\|$", page, re.M)
    named = 0
    for functions, files in rows:
        text = "".join((ROOT / path).read_text() for path in re.findall(r"`([\w./]+\.\w+)`", files))
        for function in re.findall(r"`(\w+)\(\)`", functions):
            assert re.search(rf"\b(def )?{function}\(", text), f"{function} is not in {files}"
            named += 1
    assert named > 40


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page__has_one_title(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    assert len(re.findall(r"^# ", text, re.M)) == 1


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("README.md", "docs/ucx.md#counters", "ucx.md#counters"),
        ("README.md", "CONTRIBUTING.md", "CONTRIBUTING.md"),
        ("tests/README.md", "../docs/ucx.md", "ucx.md"),
        ("docs/ucx.md", "gpu.md", "gpu.md"),
        ("docs/ucx.md", "../README.md", "index.md"),
        ("docs/decisions/0010-x.md", "../ucx.md", "../ucx.md"),
        ("docs/decisions/0010-x.md", "../../tests/README.md", "../tests.md"),
        ("docs/ucx.md", "#counters", "#counters"),
        ("README.md", "https://arxiv.org/abs/1", "https://arxiv.org/abs/1"),
    ],
)
def test_in_site(page: str, link: str, there: str):
    assert docs_pages.in_site(page, link) == there


def test_decisions__are_named_and_numbered_once():
    names = [path.name for path in (ROOT / "docs" / "decisions").glob("*")]
    for one in names:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", one), one
    numbers = [one[:4] for one in names]
    assert sorted(set(numbers)) == sorted(numbers)
    for path in (*(ROOT / "csrc").rglob("*.[ch]"), *(ROOT / "mfs_transport").rglob("*.py")):
        for number in re.findall(r"docs/decisions/(\d+)", path.read_text()):
            assert number in numbers, f"{name(path)} names decision {number}"


def test_changelog__names_the_version_that_is_being_made():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased"
    released = [heading.split(" - ")[0] for heading in headings[1:]]
    assert __version__ == released[0]
    assert released == sorted(released, key=lambda text: [*map(int, text.split("."))], reverse=True)
    for heading in headings[1:]:
        assert re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", heading)


@pytest.mark.slow
def test_site__builds_without_a_warning(tmp_path: Path):
    if not (ROOT / ".venv-docs" / "bin" / "mkdocs").exists():
        pytest.skip("mkdocs-material is not installed (scripts/docs installs it)")
    done = subprocess.run(
        [ROOT / "scripts" / "docs", "--site-dir", tmp_path / "site"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for page in ("index.html", "ucx/index.html", "demo.png"):
        assert (tmp_path / "site" / page).is_file()
