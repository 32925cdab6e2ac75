"""Prometheus metrics of a running cohort, on request: the numbers of the terminal's line, for machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from medseg.cohort.case import DONE, FAILED, SKIPPED
from medseg.cohort.progress import Progress
from medseg.errors import InputError


@contextmanager
def exported(progress: Progress, port: int | None) -> Iterator[int | None]:
    """Serve the metrics at http://127.0.0.1:PORT/metrics within the block; 0 is any free port. Yields the port.

    Raises InputError if the port cannot be used. None serves nothing.
    """
    if port is None:
        yield None
        return

    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = text(progress).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Told)
    except (OSError, OverflowError) as error:
        raise InputError(f"--metrics-port is {port}, which cannot be used ({error}); expected a free port") from error
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def text(progress: Progress) -> str:
    """The metrics in Prometheus' text format."""
    statuses = {f'status="{one}"': progress.statuses[one] for one in (DONE, FAILED, SKIPPED)}
    seconds = {f'stage="{one}"': value for one, value in list(progress.seconds.items())}
    workers = {f'worker="{one}"': value for one, value in list(progress.workers.items()) if one}
    return "".join(
        (
            _metric("cases_total", "counter", "Cases that are over, by status.", statuses),
            _metric("cases", "gauge", "Cases that there are.", {"": progress.all}),
            _metric("done_before", "gauge", "Cases that earlier calls did.", {"": progress.before}),
            _metric("stage_seconds_total", "counter", "Seconds of work by stage.", seconds),
            _metric("worker_done_total", "counter", "Cases done by worker.", workers),
        )
    )


def _metric(name: str, kind: str, words: str, values: Mapping[str, float]) -> str:
    whole = f"medseg_cohort_{name}"
    lines = [f"# HELP {whole} {words}", f"# TYPE {whole} {kind}"]
    lines += [f"{whole}{{{labels}}} {value}" if labels else f"{whole} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"
