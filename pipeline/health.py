"""One HTTP port a worker: /metrics for Prometheus, /live and /ready for whoever keeps it running.

Live: the loop advances; it calls `Health.beat` at least every few seconds, also while it folds or waits. Not live for
long means stuck: start it again. Ready: nothing that the worker needs is missing (partitions, a broker, a database);
not ready is a state to wait in, with the reason in the answer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Final, Self

import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from pipeline.errors import Misconfigured

_log = structlog.get_logger()


class Health:
    """What a worker tells of itself; safe to use from several threads."""

    def __init__(self, stuck_after_s: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`stuck_after_s`: without a beat for so long the worker counts as stuck (an insert may take a minute)."""
        self._clock, self._stuck_after_s = clock, stuck_after_s
        self._beat = clock()
        self._missing: dict[str, str] = {"start": "starting"}
        self._lock = threading.Lock()

    def beat(self) -> None:
        """The loop went round once more."""
        self._beat = self._clock()

    def missing(self, part: str, why: str) -> None:
        """Not ready: `part` (start, partitions, kafka, clickhouse ...) is missing, for the reason `why`."""
        with self._lock:
            self._missing[part] = why

    def there(self, *parts: str) -> None:
        """`parts` are there (again); ready once nothing is missing. The first call also ends `start`."""
        with self._lock:
            for part in (*parts, "start"):
                self._missing.pop(part, None)

    def silent_s(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._beat

    def live(self) -> tuple[bool, str]:
        """Whether the loop advances, and a line that says so."""
        silent = self.silent_s()
        return silent <= self._stuck_after_s, f"the last beat was {silent:.1f} s ago"

    def ready(self) -> tuple[bool, str]:
        """Whether all is there, and a line that says what is not."""
        with self._lock:
            return not self._missing, "; ".join(f"{part}: {why}" for part, why in self._missing.items()) or "ready"


STUCK: Final = 75
"""Exit status of a worker that a call to Kafka never came back to (EX_TEMPFAIL): whoever keeps it running starts it again."""
STUCK_AFTER_S: Final = 60.0


class StuckGuard:
    """Ends the process once its loop has not gone round for too long; a context manager.

    librdkafka's send_offsets_to_transaction() may never return, whatever its timeout, once the group's coordinator died in
    the midst of it (librdkafka #5456, open). No thread can be freed from that. Nothing is lost with the process: all that
    counts is in Kafka.
    """

    def __init__(self, health: Health, after_s: float = STUCK_AFTER_S, end: Callable[[int], object] = os._exit) -> None:
        self._health, self._after_s, self._end = health, after_s, end
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def __enter__(self) -> Self:
        self._health.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(min(1.0, self._after_s / 4)):
            if (silent := self._health.silent_s()) > self._after_s:
                _log.critical("a call does not come back: the worker ends, to be started again", seconds=round(silent))
                self._end(STUCK)
                return


class HealthServer:
    """Serves /metrics, /live and /ready in a thread of its own until it is closed; a context manager."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        """Listen on `host` and `port` (0: a free one, which is logged).

        Raises:
            Misconfigured: the port is taken or the address is none of this machine's.
        """
        handler = type("Handler", (_Handler,), {"health": health})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise Misconfigured(f"metrics.port: cannot listen on {host}:{port}: {error.strerror}") from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()
        _log.info("metrics and health are served", host=host, port=self.port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    health: ClassVar[Health]
    timeout = 10  # a scraper that says nothing does not hold a thread for ever

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, encode(REGISTRY), content_type)
        elif path in ("/live", "/ready"):
            good, line = self.health.live() if path == "/live" else self.health.ready()
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, f"{line}\n".encode(), "text/plain; charset=utf-8")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"/metrics, /live or /ready\n", "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: probes come every few seconds."""
