"""ClickHouse's HTTP interface over chDB, enough for the stock clickhouse-connect client; one engine, one process.

What it does not have: users and passwords (whatever is sent is taken), sessions (SET and temporary tables last for one
request), external tables, ClickHouse's own block compression (`decompress=1`), progress headers.
A request's body is read whole before the engine sees any of it, so half an insert is none.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from email.parser import BytesParser
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from chdb.state.sqlitelike import Connection

_CHUNK = 1 << 20
_HEAD_BYTES = 1 << 16
Chunk = bytes | memoryview
# Parameters that belong to HTTP; any other one is a setting of the query.
_NO_SETTINGS = frozenset({
    "query", "database", "default_format", "user", "password", "quota_key", "role", "session_id", "session_timeout",
    "session_check", "query_id", "buffer_size", "compress", "decompress", "wait_end_of_query", "client_protocol_version",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression",
    "cancel_http_readonly_queries_on_client_close",
})  # fmt: skip
_LIKE_A_SERVER = {"implicit_select": "0"}  # chDB would take any stray word for a SELECT
# Formats whose blocks, one after the other, are a whole answer; the rest have a head and an end.
_STREAMED = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})
_INSERT = re.compile(
    rb"""\s*(?P<head>INSERT\s+INTO\s+(?:TABLE\s+)?(?:`[^`]*`|"[^"]*"|[^\s(`"])+\s*(?:\([^()]*\))?)
    \s*(?P<settings>SETTINGS\s[^\n]*?)?\s*\bFORMAT\s+(?P<format>\w+)[ \t]*(?:;?\r?\n|;?\Z)?""",
    re.IGNORECASE | re.VERBOSE,
)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:SETTINGS\s[^;]*)?;?\s*\Z", re.IGNORECASE)
_SELECTS = re.compile(rb"\s*(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN|CHECK)\b|\s*\(", re.IGNORECASE)
_STREAMS = re.compile(rb"\s*(?:SELECT|WITH)\b", re.IGNORECASE)  # chDB streams no other statement
# By the code of ClickHouse's exception, as its own server answers; all others are 500.
_STATUS = {60: 404, 81: 404, 62: 400, 47: 400, 36: 400, 115: 404, 46: 404, 6: 400, 27: 400, 117: 400, 241: 500}


class _Incomplete(Exception):
    """The connection ended before the body did."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One statement with all that goes with it."""

    sql: bytes
    database: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    default_format: str
    streaming: bool

    @property
    def returns_rows(self) -> bool:
        return _SELECTS.match(self.sql) is not None

    @property
    def format(self) -> str:
        found = _FORMAT.search(self.sql)
        return found[1].decode() if found else self.default_format


class Server(ThreadingHTTPServer):
    """The HTTP server with its engine."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, path: Path) -> None:
        """Open the engine on the directory `path` and listen on 127.0.0.1:`port`."""
        self.engine = f"{path}"
        self._open = Connection(self.engine)  # held, so that the engine lives on between requests
        self.version, self.timezone = self._open.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
        self.scratch = path / "uploads"
        shutil.rmtree(self.scratch, ignore_errors=True)  # what a killed server left
        self.scratch.mkdir()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the midst of an answer is no news."""

    def close(self) -> None:
        """Stop listening and close the engine."""
        self.server_close()
        self._open.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    wbufsize = _CHUNK  # head and body of an answer in one packet

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and not url.query):
            self._answer(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        try:
            self._run()
        except _Incomplete:
            self.close_connection = True
        except (RuntimeError, ValueError, zlib.error) as error:  # chDB's are RuntimeError
            text = str(error)
            code = int(found[1]) if (found := re.search(r"Code: (\d+)\.", text)) else 1002
            text = text[found.start() :] if found else f"Code: {code}. DB::Exception: {text} (UNKNOWN_EXCEPTION)"
            headers = {"X-ClickHouse-Exception-Code": str(code)}
            body = f"{text} (version {self.server.version})\n".encode()
            self._answer(_STATUS.get(code, 500), body, headers)

    def _run(self) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = _unpacked(self._body(), self.headers.get("Content-Encoding", ""))
        if self.headers.get_content_type() == "multipart/form-data":
            given.update(_form(self.headers["Content-Type"], _joined(body)))
        sql = given.get("query", "").encode()
        insert = _INSERT.match(sql)
        if insert is None:
            sql = b"\n".join(filter(None, (sql, _beginning(body))))
            insert = _INSERT.match(sql)
        if insert is None:
            self._query(self._call(sql + _joined(body), given))
            return
        with tempfile.NamedTemporaryFile(dir=self.server.scratch, buffering=0) as file:
            file.write(sql[insert.end() :])
            for chunk in body:
                file.write(chunk)
            head, settings, name = (part.decode() for part in insert.groups(b""))
            statement = f"{head} FROM INFILE {_quoted(file.name)} {settings} FORMAT {name}"
            self._query(self._call(statement.encode(), given))

    def _call(self, sql: bytes, given: Mapping[str, str]) -> _Call:
        return _Call(
            sql=sql,
            database=given.get("database") or self.headers.get("X-ClickHouse-Database") or "",
            settings={k: v for k, v in given.items() if k not in _NO_SETTINGS and not k.startswith("param_")},
            parameters={k.removeprefix("param_"): v for k, v in given.items() if k.startswith("param_")},
            default_format=given.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated",
            streaming=given.get("wait_end_of_query") != "1",
        )

    def _query(self, call: _Call) -> None:
        connection: Any
        # Opening takes a fraction of a millisecond, and the request's settings end with it.
        with closing(Connection(self.server.engine)) as connection:
            if call.database:
                connection.query("USE `{}`".format(call.database.replace("`", "``")))
            settings = {**_LIKE_A_SERVER, **call.settings}
            connection.query("SET " + ", ".join(f"{_setting(k)} = {_quoted(v)}" for k, v in settings.items()))
            if call.streaming and _STREAMS.match(call.sql) and call.format in _STREAMED:
                self._stream(connection, call)
                return
            result = connection.query(call.sql, call.format, params=dict(call.parameters))
            body = bytes(result.bytes() or b"")
            summary = {
                "read_rows": str(result.rows_read()),
                "read_bytes": str(result.bytes_read()),
                "written_rows": str(result.rows_written()),
                "written_bytes": str(result.bytes_written()),
                "elapsed_ns": str(int(result.elapsed() * 1e9)),
            }
            if call.returns_rows and not body:
                body = _no_rows(connection, call)
            headers = {"X-ClickHouse-Summary": json.dumps(summary)}
            if body or call.returns_rows:
                headers["X-ClickHouse-Format"] = call.format
            self._answer(200, body, headers)

    def _stream(self, connection: Any, call: _Call) -> None:
        stream = connection.send_query(call.sql, call.format, params=dict(call.parameters))
        blocks = filter(None, (bytes(block.bytes()) for block in stream))
        first = next(blocks, b"")  # an error that comes before any row is still an answer of its own
        if not first:
            self._answer(200, _no_rows(connection, call), {"X-ClickHouse-Format": call.format})
            return
        self._send_head(200, {"X-ClickHouse-Format": call.format, "Transfer-Encoding": "chunked"})
        try:
            for block in chain([first], blocks):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        except RuntimeError:
            raise _Incomplete from None  # too late for a status; the client sees that the answer has no end
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> Iterator[Chunk]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := self._chunk_size():
                yield from self._exactly(size)
                if self.rfile.read(2) != b"\r\n":
                    raise _Incomplete
            while self.rfile.readline() not in (b"\r\n", b"\n", b""):
                pass
        else:
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))

    def _chunk_size(self) -> int:
        line = self.rfile.readline().split(b";")[0].strip()
        if not line:
            raise _Incomplete
        return int(line, 16)

    def _exactly(self, size: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(size, _CHUNK)))
        while size:
            try:
                read = self.rfile.readinto(buffer[: min(size, _CHUNK)])
            except ConnectionError:
                read = 0
            if not read:
                raise _Incomplete
            size -= read
            yield buffer[:read]

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._send_head(status, {**(headers or {}), "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"X-ClickHouse-Timezone": self.server.timezone, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def _unpacked(body: Iterator[Chunk], encoding: str) -> Iterator[Chunk]:
    """Undo Content-Encoding; one body may be several frames, one behind the other.

    Raises:
        ValueError: the encoding is unknown or its last frame has no end.
    """
    if encoding in ("", "identity"):
        yield from body
        return
    new = _decompressor(encoding)
    frame = None
    for chunk in body:
        rest = bytes(chunk)
        while rest:
            frame = frame or new()
            yield frame.decompress(rest)
            rest = frame.unused_data or b"" if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise ValueError(f"{encoding}: the body ends within a frame")


def _decompressor(encoding: str) -> Callable[[], Any]:
    if encoding == "gzip":
        return partial(zlib.decompressobj, wbits=31)
    if encoding == "deflate":
        return zlib.decompressobj
    if encoding == "lz4":
        return cast("Callable[[], Any]", importlib.import_module("lz4.frame").LZ4FrameDecompressor)
    if encoding == "zstd":
        module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        return cast("Callable[[], Any]", importlib.import_module(module).ZstdDecompressor)
    raise ValueError(f"Content-Encoding {encoding} is not known")


def _beginning(body: Iterator[Chunk]) -> bytes:
    """Enough of the body to hold the whole head of an INSERT, however finely it was chunked."""
    begun = bytearray()
    for chunk in body:
        begun += chunk
        if len(begun) >= _HEAD_BYTES:
            break
    return bytes(begun)


def _joined(body: Iterator[Chunk]) -> bytes:
    return b"".join(bytes(chunk) for chunk in body)  # bytes() first: the chunks share one buffer


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form; the client uses one when parameters are too long for a URL."""
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    for part in message.walk():
        if part.is_multipart():
            continue
        if part.get_filename() is not None:
            raise ValueError("external tables are not supported")
        value = part.get_payload(decode=True)
        fields[str(part.get_param("name", header="Content-Disposition"))] = (
            value.decode() if isinstance(value, bytes) else ""
        )
    return fields


def _no_rows(connection: Any, call: _Call) -> bytes:
    """The answer without rows: chDB's Native is then empty, where ClickHouse still sends the columns."""
    if call.format != "Native":
        return b""
    asked = connection.query(_FORMAT.sub(b"", call.sql) + b"\nFORMAT JSON", "JSON", params=dict(call.parameters))
    columns = json.loads(bytes(asked.bytes()))["meta"]
    parts = [_varint(len(columns)), _varint(0)]
    for column in columns:
        for text in (column["name"].encode(), column["type"].encode()):
            parts += [_varint(len(text)), text]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _setting(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"{name!r} is no name of a setting")
    return name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
