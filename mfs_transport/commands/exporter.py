# SPDX-License-Identifier: Apache-2.0
"""`mfs exporter`: the host's segment as metrics, over HTTP."""

from __future__ import annotations

import click

from ..config import resolve
from ..native import InputError

PORT = 9654


@click.command(short_help="Metrics of this host for Prometheus.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), metavar="N",
              help="Port to listen on; 0: a free one, which is printed.")  # fmt: skip
@click.option("--address", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on; 0.0.0.0: all, without any protection.")  # fmt: skip
def command(port: int, address: str) -> None:
    """Serve metrics of all processes of this host at /metrics, until it is ended.

    One exporter for a host is enough. It reads the segment from outside: the processes pay
    nothing for it, and need not have been started yet. docs/observability.md says what each
    metric means; deploy/observability has a dashboard.

    \b
    Example:
      mfs exporter --port 9654
      curl -s http://127.0.0.1:9654/metrics | grep mfs_port
    """
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        from ..observe.metrics import Collector
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise InputError(
            "prometheus_client is not installed; this needs it: pip install mfs-transport[metrics]"
        ) from None
    collector = Collector(resolve()["MFS_SEGMENT"].value)
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise InputError(f"address {address}, port {port}: {error.strerror or error}") from None
    host = f"[{address}]" if ":" in address else address
    click.echo(f"serving http://{host}:{server.server_port}/metrics")
    try:
        thread.join()
    except KeyboardInterrupt:
        server.shutdown()
