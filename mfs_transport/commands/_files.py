# SPDX-License-Identifier: Apache-2.0
"""Types of options that name a file to be written: what cannot be written is said at once,
not when a run of hours is over."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import click

from .. import output_file
from ..native import InputError


class ResultFile(click.Path):
    """A file that `output_file.write` will write."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            self.check(path)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return path

    def check(self, path: Path) -> None:
        output_file.check(path)


class PageFile(ResultFile):
    """A page, or by its ending a picture."""

    def check(self, path: Path) -> None:
        if path.suffix.lower() in (".html", ".htm"):
            super().check(path)
        elif not path.suffix:
            raise InputError(f"{path}: its ending says what it becomes: .html, .png, .svg or .pdf")
        else:
            PictureFile().check(path)


class PictureFile(ResultFile):
    """One that matplotlib draws."""

    def check(self, path: Path) -> None:
        if not importlib.util.find_spec("matplotlib"):
            raise InputError(
                "matplotlib is not installed; a picture needs it: pip install mfs-transport[bench]"
            )
        output_file.check_picture(path)
