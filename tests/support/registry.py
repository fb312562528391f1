"""A mock of a schema registry: the few paths of Confluent's REST API that the client asks for, over HTTP.

A mock by hand, not the real thing: what it proves is how we and confluent-kafka's client behave on these answers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MockRegistry:
    """Ids count up from `first_id`; `fail` answers everything with that status, `away` hangs up; `asked` is what was asked."""

    def __init__(self, first_id: int = 1001) -> None:
        self.url = ""
        self.away = False
        self.fail: int | None = None
        self.refuse_subject = ""
        self.asked: list[str] = []
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self._next = first_id

    def add(self, schema: Any, subject: str = "im.events-value", **more: Any) -> int:
        """Register a schema, as a producer would; a text is taken as it is."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = {"schema": text, **more}
        number = next((known for known, held in self.schemas.items() if held == body), None)
        if number is None:
            number, self._next = self._next, self._next + 1
            self.schemas[number] = body
        if number not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(number)
        return number

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        if self.fail is not None:
            return self.fail, {"error_code": self.fail * 100, "message": "no"}
        parts = path.split("?", 1)[0].strip("/").split("/")
        if method == "GET" and parts[:2] == ["schemas", "ids"]:
            found = self.schemas.get(int(parts[2]))
            return (200, found) if found else (404, {"error_code": 40403, "message": "Schema not found"})
        if method == "POST" and parts[0] == "subjects" and parts[2:] == ["versions"]:
            if parts[1] == self.refuse_subject:
                return 409, {"error_code": 409, "message": "Schema being registered is incompatible"}
            more = {key: body[key] for key in ("references",) if body.get(key)}
            return 200, {"id": self.add(body["schema"], parts[1], **more)}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}


@contextmanager
def mock_registry() -> Iterator[MockRegistry]:
    """A mock registry that listens on 127.0.0.1."""
    mock = MockRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            if mock.away:
                self.close_connection = True
                return
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = mock.answer(self.command, self.path, body)
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _serve  # noqa: N815 - the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - likewise
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    mock.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield mock
    finally:
        mock.away = True  # also for connections that are kept open
        server.shutdown()
        thread.join()
        server.server_close()
