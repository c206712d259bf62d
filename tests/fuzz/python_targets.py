# SPDX-License-Identifier: Apache-2.0
"""What comes from outside to the Python half, as bytes of atheris (libFuzzer for Python).

    python python_targets.py NAME [options of libFuzzer] [folders of inputs]

An input is used, or refused by one InputError of one short line; there is no other exception. Run
without atheris, each input of the folders is tried once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

INSTRUMENTED = importlib.util.find_spec("atheris") is not None
if INSTRUMENTED:
    import atheris

    looked_at: Any = atheris.instrument_imports(
        include=["mfs_transport", "http.server", "tomllib", "csv"]
    )
else:
    looked_at = contextlib.nullcontext()

with looked_at:
    from mfs_transport import config, input_file
    from mfs_transport.engines.vllm import deadline
    from mfs_transport.native import InputError, config_check
    from mfs_transport.sim import point, setting, sweep, workload
    from mfs_transport.testbed import trace
    from mfs_transport.testbed.vllm import proxy

PATH = Path("input")  # in a folder of our own


def survives(call: Callable[[], Any]) -> Any:
    """What it returns; None: it was refused as it should be."""
    try:
        return call()
    except InputError as error:
        line = str(error)
        assert "\n" not in line, line
        assert len(line) < 700, line
        line.encode()
        return None


# --- settings, clusters and sweeps in TOML; JSON; the classes of MFS_SLO ---


def slo_classes(text: str) -> None:
    """C and Python read the same."""
    if "\0" in text:
        return  # no environment holds it
    python = survives(lambda: deadline.parse_classes(text)) is not None
    with contextlib.suppress(UnicodeEncodeError):
        assert (survives(lambda: config_check("MFS_SLO", text) or True) is True) == python, text


def files(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    if kind in (b"s", b"j"):
        text = content.decode("utf-8", "surrogateescape" if kind == b"j" else "ignore")
        if kind == b"s":
            slo_classes(text)
        else:
            survives(lambda: input_file.parse_json(text, "here"))
            value = survives(lambda: input_file.parse_value(text, "here"))
            survives(lambda: point.frozen("here", {"a": value}))
        return
    PATH.write_bytes(content)
    if kind == b"m":
        survives(lambda: config.read_file(PATH))
    elif kind == b"c":
        survives(lambda: setting.read(f"./{PATH}"))
    else:
        survives(lambda: sweep.read(PATH))


# --- traces ---


def traces(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    PATH.write_bytes(content)
    if kind == b"a":
        rows = survives(lambda: list(workload.stream_azure(PATH)))
        for _, tokens, cached in rows or ():
            assert 1 <= tokens <= trace.MOST_TOKENS
            assert cached == 0
        return
    for form in (trace.MOONCAKE, trace.Form(16, "s")):
        for row in survives(lambda form=form: trace.read(PATH, form)) or ():
            assert row.timestamp_s >= 0
            assert 0 <= row.cached < row.tokens <= trace.MOST_TOKENS


# --- the proxy of the vLLM test bed ---


class Answer(io.BytesIO):
    """Of prefill or of decode."""

    status = 200

    def getheader(self, name: str, default: str) -> str:
        return default


class Connection(proxy.Handler):
    """A client whose bytes are all there."""

    def __init__(self, request: bytes, server: Any) -> None:
        self.server, self.client_address = server, ("127.0.0.1", 1)
        self.rfile, self.wfile = io.BytesIO(request), io.BytesIO()
        self.connection = self.request = mock.Mock()
        self.handle()


def http(data: bytes) -> None:
    """A request, a zero byte, and what prefill answers to it."""
    request, _, answer = data.partition(b"\0")

    def ask(address: Any, path: str, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        # what http.client would refuse must have been refused before
        text = "".join((path, *headers, *headers.values())).encode("ascii")
        assert b"\r" not in text
        assert b"\n" not in text
        return Answer(answer)

    server = mock.Mock(eager=None, prefill=("p", 1), decode=("d", 2))
    server.prefilled = lambda *given: proxy.Proxy.prefilled(server, *given)
    with mock.patch.object(proxy, "ask", ask), contextlib.redirect_stderr(io.StringIO()):
        Connection(request, server)


TARGETS = {"files": files, "traces": traces, "proxy": http}


def main(arguments: list[str]) -> None:
    name, *rest = arguments
    places = [str(Path(one).absolute()) if not one.startswith("-") else one for one in rest]
    with tempfile.TemporaryDirectory(prefix="mfs-fuzz-") as folder:
        os.chdir(folder)
        if INSTRUMENTED:
            atheris.Setup([sys.argv[0], *places], TARGETS[name])
            atheris.Fuzz()
        paths = [Path(place) for place in places if not place.startswith("-")]
        inputs = [
            path for place in paths for path in (place.iterdir() if place.is_dir() else [place])
        ]
        for path in inputs:
            TARGETS[name](path.read_bytes())
        print(f"stat::number_of_executed_units: {len(inputs)}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
