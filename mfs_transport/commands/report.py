# SPDX-License-Identifier: Apache-2.0
"""`mfs report`: results as one page."""

from __future__ import annotations

from pathlib import Path

import click

from .. import output_file
from ..report import build, documents
from ..terminal import make_console
from ._files import ResultFile


@click.command(name="report", short_help="Results of demo, bench and sim as one page.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN.json...",
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--out", type=ResultFile(), default=Path("out/report.html"), show_default=True,
              help="Where the page goes.")  # fmt: skip
@click.option("--title", default="mfs-transport: results", help="What stands at the top.")
def command(runs: tuple[Path, ...], out: Path, title: str) -> None:
    """Tables, charts, the machine and the command to repeat it, of files that --json has written.

    The page is one file that needs no other: it can be mailed, or kept beside the results.

    \b
    Example:
      mfs demo --json out/demo.json
      mfs bench contend --json out/contend.json
      mfs report out/demo.json out/contend.json --out out/report.html
    """
    found = [documents.read(path) for path in runs]
    output_file.write(out, build.build(found, title))
    many = "1 run" if len(found) == 1 else f"{len(found)} runs"
    make_console().print(f"{many} in {out}", soft_wrap=True)
