# SPDX-License-Identifier: Apache-2.0
"""`mfs`, and `python -m mfs_transport`: runs a subcommand, and ends errors as one line."""

from __future__ import annotations

import io
import os
import sys

from .native import InputError, one_line

BAD_INPUT = 2


def fail(message: object, status: int) -> int:
    """One line on stderr; the exit status."""
    print("mfs:", one_line(str(message)), file=sys.stderr)
    return status


def failed(error: OSError) -> int:
    """The system's line, which names the file that it is about; the exit status."""
    return fail(f"{error.filename}: {error.strerror}" if error.filename else error, 1)


def main(arguments: list[str] | None = None) -> int:
    """Run `mfs` with `arguments` (those of the process, if not given); the exit status."""
    try:
        import click
        import rich

        del rich
    except ModuleNotFoundError as error:
        return fail(
            f"{error.name} is not installed; the command line needs it: "
            "pip install mfs-transport[cli]",
            BAD_INPUT,
        )
    from .commands import group

    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold what cannot be printed
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = group.main(arguments, prog_name="mfs", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return BAD_INPUT
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "mfs"
        return fail(f"{error.format_message()} (`{where} --help` tells more)", BAD_INPUT)
    except click.ClickException as error:
        return fail(error.format_message(), error.exit_code)
    except click.Abort:
        return fail("interrupted", 130)
    except InputError as error:
        return fail(error, BAD_INPUT)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mfs_transport"):
            raise
        return fail(
            f"{error.name} is not installed; this needs it: pip install mfs-transport[bench]",
            BAD_INPUT,
        )
    except BrokenPipeError:  # `mfs info | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return fail("this machine has too little memory for it", 1)
    except OSError as error:
        return failed(error)
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
