# SPDX-License-Identifier: Apache-2.0
"""The command line `mfs`: one file a subcommand, each with a click command named `command`.

A file whose name begins with an underscore is no subcommand. Subcommands are imported when
they are asked for, so what one of them needs does not slow down or break the others.
"""

from __future__ import annotations

import importlib
import pkgutil

import click

from .. import __version__


class Lazy(click.Group):
    """Subcommands by the names of the files here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        names = (module.name for module in pkgutil.iter_modules(__path__))
        return sorted(name for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("mfs_transport"):
                raise
            return lacking(cmd_name, error)
        return command


def lacking(name: str, error: ModuleNotFoundError) -> click.Command:
    """Stands in the list for a subcommand that cannot be imported, and says why when called."""

    def callback(**_: object) -> None:
        raise error

    return click.Command(
        name,
        callback=callback,
        params=[click.Argument(["anything"], nargs=-1, type=click.UNPROCESSED)],
        short_help=f"(needs {error.name}, which is not installed)",
        context_settings={"ignore_unknown_options": True},
        add_help_option=False,
    )


@click.group(name="mfs", cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mfs", message="%(prog)s %(version)s")
def group() -> None:
    """Schedules the transfers of LLM serving by their TTFT deadlines.

    \b
    mfs run -- python my_server.py     start a program with the shim in the way
    mfs doctor                         see whether it is
    mfs COMMAND --help                 more, with an example
    """
