# SPDX-License-Identifier: Apache-2.0
"""`mfs trace record` and `mfs trace export`: a trace in a file, and for the viewers of others."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from io import RawIOBase
from pathlib import Path

import click

from .. import output_file
from ..config import resolve
from ..host import Host, HostCopy
from ..native import InputError
from ..observe import recording, view
from ..observe.export import chrome
from ..observe.recording import Reader, Recording
from ..observe.segment import REASONS, look
from ..observe.trace import Trace
from ..terminal import make_console
from ._files import PageFile, ResultFile

POLL_S = 0.05


def attach(segment: str, until: float | None) -> Host:
    """The segment of running processes; waits for them, and says so."""
    said = False
    while (found := look(segment)).state != "live":
        if found.state == "unusable":
            raise InputError(f"segment {found.path}: {found.reason}")
        if not said:
            click.echo(f"waiting for a process that uses {found.path}", err=True)
            said = True
        if until is not None and time.monotonic() >= until:
            raise InputError(f"segment {found.path}: no process came to use it")
        time.sleep(POLL_S)
    return Host(str(found.path))


def recorded(segment: str, last: bool) -> Host:
    """A copy to be read: of the segment, whether it is used or not, or of the generation before."""
    found = look(segment)
    path = f"{found.path}.last" if last else str(found.path)
    if not last and found.state == "unusable":
        raise InputError(f"segment {path}: {found.reason}")
    try:
        copy = HostCopy(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODATA):
            why = "nothing was left there; start a program with `mfs run -- COMMAND`"
        else:
            why = REASONS.get(error.errno or 0) or os.strerror(error.errno or 0)
        raise InputError(f"segment {path}: {why}") from None
    if last or found.state == "idle":
        click.echo(f"as the last process left it: {path}", err=True)
    return copy


def recording_of(file: Path | None, last: bool) -> Recording:
    """Of a file, or of the segment. InputError: nothing is in it."""
    if file is not None:
        if last:
            raise click.UsageError("--last is of the segment, --from of a file")
        found, where = recording.load(file), str(file)
    else:
        with recorded(resolve(lenient=True)["MFS_SEGMENT"].value, last) as host:
            found, where = recording.of_host(host), f"segment {host.path}"
    if not len(found.events):
        raise InputError(
            f"{where}: nothing is recorded; start the programs with MFS_TRACE=1, or record with "
            "`mfs trace record FILE`"
        )
    return found


def keep(host: Host, out: RawIOBase, until: float | None) -> tuple[int, int, OSError | None]:
    """Write what comes. Returns how many events are in the file, how many were lost, and what ended
    it before its time, as a disk that is full: then the file has the whole events until then."""
    trace, reader = Trace(host), Reader(host, from_now=True)
    was_on, count, ports = trace.on, 0, recording.ports_of(host)
    problem = None
    write_all(out, recording.head(ports))
    trace.on = True
    try:
        while True:
            over = until is not None and time.monotonic() >= until
            for part in reader.read():
                write_all(out, part.tobytes())
                count += len(part)
            if over:
                break
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        problem = error
        with contextlib.suppress(OSError):
            size = out.seek(0, os.SEEK_END) - recording.HEAD_BYTES
            count = size // recording.EVENT.itemsize
            out.truncate(recording.HEAD_BYTES + count * recording.EVENT.itemsize)
    finally:
        trace.on = was_on
        with contextlib.suppress(OSError):
            out.seek(0)
            write_all(out, recording.head({**ports, **recording.ports_of(host)}))
    return count, reader.lost, problem


def write_all(out: RawIOBase, data: bytes) -> None:
    """A full disk takes the first part of it without a word."""
    rest = memoryview(data)
    while rest:
        rest = rest[out.write(rest) or 0 :]


@click.command(name="record", short_help="Keep what comes in a file.")
@click.argument("file", type=ResultFile())
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after so long.")
def record(file: Path, seconds: float | None) -> None:
    """Record until Ctrl-C, more than the 16,384 events that the segment holds: 128 bytes each.

    It may be started before the program.

    \b
    Example:
      mfs trace record run.mfst --seconds 60
      mfs trace export run.json --from run.mfst
    """
    until = None if seconds is None else time.monotonic() + seconds
    place = resolve(lenient=True)["MFS_SEGMENT"].value
    with attach(place, until) as host, file.open("wb", buffering=0) as out:
        try:
            count, lost, problem = keep(host, out, until)
        except OSError as error:  # not even what stands at its beginning
            output_file.remove(file)
            raise OSError(error.errno, error.strerror, str(file)) from None
    if problem is not None:
        said = f"{problem.strerror}: recording has ended, with the {count:,} events until then"
        raise OSError(problem.errno, said, str(file))
    click.echo(f"{count:,} events in {file}; {lost:,} were overwritten before they were read")


@click.command(name="export", short_help="For Perfetto and chrome://tracing.")
@click.argument("out", type=ResultFile())
@click.option("--from", "file", type=click.Path(path_type=Path), help="Of `mfs trace record`.")
@click.option("--last", is_flag=True, help="What the processes before the present ones recorded.")
def export(out: Path, file: Path | None, last: bool) -> None:
    """Write the trace as JSON that ui.perfetto.dev and chrome://tracing open.

    There is a track for each port and one for each request. A flow is a slice on both, from when
    it had something to send until its last byte had left the queue; a mark is a change of level.

    \b
    Example:
      mfs trace export run.json
      mfs trace export run.json --from run.mfst
    """
    found = recording_of(file, last)
    with out.open("w") as to:
        to.writelines(chrome(found))
    make_console().print(
        f"{len(found.events):,} events in {out}; open it at https://ui.perfetto.dev"
    )


@click.command(name="view", short_help="A page with a timeline, or a picture.")
@click.argument("out", type=PageFile())
@click.option("--from", "file", type=click.Path(path_type=Path), help="Of `mfs trace record`.")
@click.option("--last", is_flag=True, help="What the processes before the present ones recorded.")
def view_command(out: Path, file: Path | None, last: bool) -> None:
    """Write OUT.html, which has all in it and opens in any browser, or OUT.png.

    A row for each request or port: when each flow waited, at which level and why, when its bytes
    were on the wire, the deadline; and below, what each request waited for, the latest first. A
    picture (.png, .svg, .pdf) has the 60 requests that were latest.

    \b
    Example:
      mfs trace view run.html
      mfs trace view run.png --from run.mfst
    """
    found = recording_of(file, last)
    title = f"Trace of {file.name if file else 'this host'}"
    left_out = 0
    if out.suffix.lower() in (".html", ".htm"):
        output_file.write(out, view.html(found, title))
    else:
        left_out = view.picture(found, out, title)
    rest = (
        f"; {left_out} requests that were in time, or less late, are left out" if left_out else ""
    )
    make_console().print(f"{len(found.events):,} events in {out}{rest}", soft_wrap=True)
