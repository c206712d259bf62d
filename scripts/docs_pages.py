# SPDX-License-Identifier: Apache-2.0
"""The pages of the docs site that are not in docs/, and the navigation over docs/decisions.

mkdocs calls on_config and on_files (hooks in mkdocs.yml); tests/test_docs.py uses the rest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
# pages of the repository's root and their name in the site
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
    "tests/README.md": "tests.md",
}


def outside() -> dict[str, str]:
    """Those of them that are there."""
    return {path: name for path, name in OUTSIDE.items() if (ROOT / path).is_file()}


def decisions() -> list[str]:
    return [f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]


def title(path: Path) -> str:
    """Its first heading."""
    found = re.search(r"^# (.+)$", path.read_text(), re.M)
    return found[1] if found else path.stem


def in_site(page: str, link: str) -> str:
    """A link of a page, both as in the repository, as it is in the site, whose root is docs/."""
    target, _, anchor = link.partition("#")
    if not target or "://" in target:
        return link
    path = ((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix()
    if path in OUTSIDE:
        place = OUTSIDE[path]
    elif path.startswith("docs/"):
        place = path.removeprefix("docs/")
    else:
        place = target  # a source: mkdocs will say that it is no page
    up = "../" * (page.count("/") - 1) if page.startswith("docs/") else ""
    return up + place + (f"#{anchor}" if anchor else "")


def text_in_site(page: str, text: str) -> str:
    return re.sub(r"\]\(([^)\s]+)\)", lambda found: f"]({in_site(page, found[1])})", text)


def navigation(nav: list[Any]) -> list[Any]:
    """mkdocs.yml's, with the site's names, and the decisions at its end."""

    def renamed(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {key: renamed(value) for key, value in entry.items()}
        if isinstance(entry, list):
            return [renamed(one) for one in entry]
        return OUTSIDE.get(entry, entry)

    pages = [{title(DOCS / page): page} for page in decisions()]
    return [*renamed(nav), *([{"Decisions": pages}] if pages else [])]


def on_config(config: Any) -> Any:
    config.nav = navigation(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for path, name in outside().items():
        text = text_in_site(path, (ROOT / path).read_text())
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of docs/ that lead out of it, as to ../CONTRIBUTING.md."""
    if page.file.generated_by:
        return markdown
    return text_in_site(f"docs/{page.file.src_uri}", markdown)
