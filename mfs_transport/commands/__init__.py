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
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(name="mfs", cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mfs", message="%(prog)s %(version)s")
def group() -> None:
    """Schedules the transfers of LLM serving by their TTFT deadlines.

    \b
    mfs run -- python my_server.py     start a program with the shim in the way
    mfs doctor                         see whether it is
    mfs COMMAND --help                 more, with an example
    """
