# SPDX-License-Identifier: Apache-2.0
"""`mfs node`: what a host or a Kubernetes node offers to the containers on it."""

from __future__ import annotations

from pathlib import Path

import click

from .. import __version__, node

DEFAULT = "/opt/mfs"


@click.group(name="node", short_help="Put libraries and environment where containers find them.")
def command() -> None:
    """A folder of the node that containers mount read-only.

    It has the Python package with the shim and the NCCL plug-in, and an environment file; a
    container needs no other installation but cffi. docs/deploy.md says how they mount it.

    \b
    Example:
      mfs node install /opt/mfs --segment /run/mfs/host
      docker run --env-file /opt/mfs/env -v /opt/mfs:/opt/mfs:ro \\
          -v /run/mfs:/run/mfs ...
      mfs node remove /opt/mfs
    """


@command.command()
@click.argument("folder", default=DEFAULT, type=click.Path(path_type=Path))
@click.option("--seen-as", type=click.Path(path_type=Path), metavar="PATH",
              help="Where containers will see FOLDER; the same path if not given.")  # fmt: skip
@click.option("--segment", default="", metavar="PATH",
              help="The segment that they share; each user its own if not given.")  # fmt: skip
@click.option("--also", type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="FOLDER", help="Packages that containers may lack, as cffi.")  # fmt: skip
def install(folder: Path, seen_as: Path | None, segment: str, also: Path | None) -> None:
    """Put libraries, package and environment into FOLDER, or those of this version in their place.

    Programs that run keep what they have opened.

    \b
    Example:
      mfs node install /host/opt/mfs --seen-as /opt/mfs --segment /run/mfs/host
    """
    node.install(folder.absolute(), seen_as or folder.absolute(), segment, also)
    click.echo(f"mfs-transport {__version__} is in {folder}")


@command.command()
@click.argument("folder", default=DEFAULT, type=click.Path(path_type=Path))
def remove(folder: Path) -> None:
    """Take away what `install` has put into FOLDER.

    Do it when no program uses it any more: those that start with LD_PRELOAD then go without.

    \b
    Example:
      mfs node remove /opt/mfs
    """
    node.remove(folder.absolute())
    click.echo(f"nothing of mfs-transport is left in {folder}")
