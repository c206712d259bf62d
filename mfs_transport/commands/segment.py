# SPDX-License-Identifier: Apache-2.0
"""`mfs segment`: segments that users, containers and pods of a host share."""

from __future__ import annotations

from pathlib import Path

import click

from .. import shared_segment


@click.group(name="segment", short_help="Make a segment for users or pods of a host.")
def command() -> None:
    """A segment that several users, containers or pods of one host share.

    Without one, each user has its own, and so has each container that has its own /dev/shm.
    docs/deploy.md says how pods come to share one.

    \b
    Example:
      mfs segment create /run/mfs/host --group 64000
      MFS_SEGMENT=/run/mfs/host mfs info
    """


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--group", required=True, metavar="G",
              help="Who may use it: a group's name, or its number.")  # fmt: skip
def create(path: Path, group: str) -> None:
    """Make PATH for the members of a group, in a folder of that group.

    The folder is made if it is not there (mode 3770), but not what it lies in. Doing it again
    changes nothing. Programs use it with MFS_SEGMENT=PATH when they run as members of the group
    (in Kubernetes: supplementalGroups) and see the folder at that path.

    \b
    Example:
      mfs segment create /run/mfs/host --group 64000
    """
    number = shared_segment.group_number(group)
    shared_segment.create(path, number)
    click.echo(f"{path}: mode 0660, group {number}; programs find it by MFS_SEGMENT={path}")
    kind = shared_segment.file_system(path)
    if kind and kind not in shared_segment.MEMORY:
        click.echo(
            f"{path} lies on {kind}, which writes its pages to a disk now and then; "
            "below /run or /dev/shm it would not",
            err=True,
        )
