"""Clients of ClickHouse, over HTTP or embedded, made in one place; and what their errors mean to a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import SplitResult, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, NotSupportedError, ProgrammingError
from clickhouse_connect.driver.exceptions import Error as DriverError
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3.exceptions import HTTPError, LocationParseError

from pipeline.errors import Misconfigured, Unavailable
from pipeline.settings import Settings

CONNECT_TIMEOUT_S: Final = 10

# Server errors that no waiting mends: something is named, permitted or set up wrongly. All others may pass by.
_MISCONFIGURED: Final = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    36: "BAD_ARGUMENTS",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    46: "UNKNOWN_FUNCTION",
    47: "UNKNOWN_IDENTIFIER",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    80: "INCORRECT_QUERY",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    117: "INCORRECT_DATA",
    164: "READONLY",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    291: "DATABASE_ACCESS_DENIED",
    452: "SETTING_CONSTRAINT_VIOLATION",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
}
_MISSING: Final = {60, 81}
_SAID: Final = 300  # characters of a server's message that go into an error


def control_database(settings: Settings) -> str:
    """The control database: the last part of clickhouse.url.

    Raises:
        Misconfigured: the URL names none.
    """
    name = unquote(_url(settings).path.strip("/"))
    if not name.isidentifier():
        raise Misconfigured(f"clickhouse.url: {name!r} is no database name; http://user@host:port/database")
    return name


def archive_databases(settings: Settings) -> tuple[str, ...]:
    """The archive databases' names: those configured, or the control database alone."""
    return tuple(database.name for database in settings.clickhouse.databases) or (control_database(settings),)


def connect(settings: Settings) -> Client:
    """A client over HTTP(S); several threads may use it, for it has no session.

    Nothing is tried twice behind the caller's back but a request whose kept-alive connection turns out closed; an
    insert then carries its deduplication token again. Nothing is compressed: the worker's processor is what runs out
    first, not the network. Queries run in the control database unless they name another.

    Raises:
        Unavailable: nobody answers.
        Misconfigured: URL, password or certificate are wrong.
    """
    url, control = _url(settings), control_database(settings)
    password = ""
    if settings.clickhouse.password_file is not None:
        try:
            password = settings.clickhouse.password_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise Misconfigured(f"clickhouse.password_file: {error}") from None
    ca_file = settings.clickhouse.ca_file
    if ca_file is not None and not ca_file.is_file():
        raise Misconfigured(f"clickhouse.ca_file: {ca_file}: no such file")
    timeout = settings.clickhouse.timeout_s
    with translated():
        client = clickhouse_connect.get_client(
            interface=url.scheme,
            host=url.hostname or "",
            port=url.port or (8443 if url.scheme == "https" else 8123),
            username=unquote(url.username or "default"),
            password=password,
            ca_cert=str(ca_file) if ca_file is not None else None,
            connect_timeout=min(CONNECT_TIMEOUT_S, max(1, round(timeout))),
            send_receive_timeout=max(1, round(timeout)),
            query_retries=0,
            compress=False,
            autogenerate_session_id=False,
            dedicated_pool=True,
            settings={"async_insert": 0},  # an answered insert is one that is written
        )
    cast("HttpClient", client).http_retries = 0  # urllib3's own
    client.database = control  # not at connecting: `migrate` creates it
    return client


def connect_embedded(directory: Path, database: str | None = None) -> Client:
    """A client of the ClickHouse within this process, its data in `directory`; a process can have one directory open.

    Queries run in `database` where it is given, which must exist then; else name databases in full.

    Raises:
        Misconfigured: the directory cannot be used, or this process has another one open.
    """
    with translated():
        client = clickhouse_connect.get_client(interface="chdb", path=str(directory), settings={"async_insert": 0})
        client.database = database
    return client


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the client within into the two reactions there are.

    Raises:
        Unavailable: connection, timeout, a server that is busy, full or shutting down.
        Misconfigured: something is missing, forbidden or wrong.
    """
    try:
        yield
    except (ClickHouseError, HTTPError, OSError) as error:
        raise reaction(error) from error


def reaction(error: Exception) -> Unavailable | Misconfigured:
    """What an error of clickhouse-connect, urllib3 or chDB asks for; its text is one line."""
    said = " ".join(str(error).split())
    code = error.code if isinstance(error, DriverError) else None
    if code in _MISSING:
        return Misconfigured(f"ClickHouse: {said[:_SAID]} (compliance migrate creates databases and tables)")
    wrong = (
        code in _MISCONFIGURED
        if code is not None
        else isinstance(error, (ProgrammingError, NotSupportedError, LocationParseError, ValueError))
        or "CERTIFICATE_VERIFY_FAILED" in said
        or any(f"HTTP status {status}" in said for status in (401, 403, 404))
    )
    return (Misconfigured if wrong else Unavailable)(f"ClickHouse: {said[:_SAID]}")


def rows(client: Client, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, each by column name; for small answers without bytes in them.

    Raises:
        Unavailable, Misconfigured: as `translated` says.
    """
    with translated():
        answer = client.raw_query(sql, fmt="JSONEachRow", settings={"output_format_json_quote_64bit_integers": 0})
    return [json.loads(line) for line in answer.splitlines()]


def _url(settings: Settings) -> SplitResult:
    url = urlsplit(settings.clickhouse.url)
    try:
        url.port  # noqa: B018 - raises where it is no number
    except ValueError:
        raise Misconfigured("clickhouse.url: the port is no number") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise Misconfigured("clickhouse.url: not of the form http(s)://user@host:port/database")
    if url.password:
        raise Misconfigured("clickhouse.url: a password stands in it; put it into clickhouse.password_file")
    return url
