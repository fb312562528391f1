"""ClickHouse over HTTP, through the real client: what the archive asks of a server, ours or a stock one."""

from __future__ import annotations

import gzip
import http.client
import io
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import clickhouse_connect
import fastavro
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import Misconfigured
from pipeline.local.clickhouse import LocalClickHouse
from tests.support.servers import Database

pytestmark = pytest.mark.clickhouse

NASTY = "a'b\\n\tc\n'é\"\\ %s {x} 🙂"


@pytest.fixture
def client(clickhouse: Database, database: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=clickhouse.url) as first:
        first.command(f"CREATE DATABASE {database}")
    with clickhouse_connect.get_client(dsn=clickhouse.url, database=database) as client:
        client.command(
            "CREATE TABLE t (id UInt64, text Nullable(String)) ENGINE = MergeTree ORDER BY id "
            "SETTINGS non_replicated_deduplication_window = 100"
        )
        yield client


def _rows(client: Client) -> list[tuple[int, str | None]]:
    return [(int(row[0]), row[1]) for row in client.query("SELECT id, text FROM t ORDER BY id, text").result_rows]


def _avro(rows: list[tuple[int, str | None]]) -> bytes:
    fields = [{"name": "id", "type": "long"}, {"name": "text", "type": ["null", "string"]}]
    container = io.BytesIO()
    schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})
    fastavro.writer(container, schema, [{"id": number, "text": text} for number, text in rows])
    return container.getvalue()


def test_rows_go_in_and_come_out(client: Client) -> None:
    rows = [(1, NASTY), (2, None), (3, "")]
    assert client.insert("t", rows, column_names=["id", "text"]).written_rows == 3
    assert _rows(client) == rows


def test_parameters_are_the_servers(client: Client) -> None:
    asked = "SELECT {text:String}, {many:Array(String)}, {none:Nullable(String)}, {at:DateTime('UTC')}, {n:UInt64}"
    at = datetime(2024, 5, 6, 7, 8, 9)  # noqa: DTZ001 - as the client gives it back
    given = {"text": NASTY, "many": [NASTY, ""], "none": None, "at": at, "n": 2**64 - 1}
    assert client.query(asked, parameters=given).result_rows == [(NASTY, [NASTY, ""], None, at, 2**64 - 1)]
    long = "x" * 100_000  # too long for a URL: sent as a form
    assert client.query("SELECT {text:String}", parameters={"text": long}).result_rows == [(long,)]


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "zstd"])
def test_a_raw_body_in_any_format_and_compression(client: Client, compression: str | None) -> None:
    pack: dict[str | None, Callable[[bytes], bytes]] = {None: bytes, "gzip": gzip.compress}
    if compression in ("lz4", "zstd"):
        pack["lz4"] = pytest.importorskip("lz4.frame").compress
        pack["zstd"] = pytest.importorskip("backports.zstd").compress
    body = pack[compression](_avro([(1, NASTY), (2, None)]))
    client.raw_insert("t", ["id", "text"], body, fmt="Avro", compression=compression)
    client.raw_insert(
        "t", None, pack[compression](b"3,x\n") + pack[compression](b""), fmt="CSV", compression=compression
    )
    assert _rows(client) == [(1, NASTY), (2, None), (3, "x")]


def test_a_body_in_chunks(client: Client) -> None:
    whole = _avro([(number, str(number)) for number in range(50_000)])
    client.raw_insert("t", None, (whole[at : at + 7_777] for at in range(0, len(whole), 7_777)), fmt="Avro")
    assert client.query("SELECT count(), max(id) FROM t").result_rows == [(50_000, 49_999)]


def test_a_token_makes_a_repeated_insert_nothing(client: Client) -> None:
    for token, number in (("a", 1), ("a", 1), ("a", 2), ("b", 1)):
        settings = {"insert_deduplication_token": token, "insert_deduplicate": 1, "async_insert": 0}
        client.raw_insert("t", None, _avro([(number, token)]), fmt="Avro", settings=settings)
    assert _rows(client) == [(1, "a"), (1, "b")]


def test_settings_last_for_one_request(client: Client) -> None:
    asked = "SELECT getSetting('max_threads')"
    before = client.command(asked)
    assert client.command(asked, settings={"max_threads": 7}) == 7
    assert client.command(asked) == before


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT * FROM nowhere", "60"),
        ("SELECT * FROM nowhere.t", "81"),
        ("SELEC", "62"),
        ("SELECT nothing", "47"),
        ("INSERT INTO nowhere VALUES (1)", "60"),
        ("SELECT throwIf(1)", "395"),
    ],
)
def test_an_error_has_its_code(client: Client, statement: str, code: str) -> None:
    with pytest.raises(ClickHouseError, match=rf"code: {code}\b"):
        client.command(statement)
    assert client.ping()


def test_an_unknown_database_or_setting_is_an_error(clickhouse: Database, client: Client) -> None:
    with pytest.raises(ClickHouseError, match="81"):
        clickhouse_connect.get_client(dsn=clickhouse.url, database="nowhere").command("SELECT 1")
    with pytest.raises(ClickHouseError, match="115"):
        client.command("SELECT 1", settings={"no_such_setting": 1})


def test_a_bad_body_is_an_error_and_inserts_nothing(client: Client) -> None:
    for body in (_avro([(1, "x")])[:-3], b"not Avro at all"):
        with pytest.raises(ClickHouseError):
            client.raw_insert("t", None, body, fmt="Avro")
    with pytest.raises(ClickHouseError):
        client.raw_insert("t", None, gzip.compress(b"1,x\n")[:-9], fmt="CSV", compression="gzip")
    assert _rows(client) == []


def test_no_rows_still_have_columns(client: Client) -> None:
    found = client.query("SELECT id, text FROM t WHERE id > {n:UInt64}", parameters={"n": 5})
    assert (found.column_names, found.result_rows) == (("id", "text"), [])
    with client.query_row_block_stream("SELECT * FROM t") as stream:
        assert [row for block in stream for row in block] == []


def test_a_large_answer_is_streamed_and_an_error_within_is_seen(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as stream:
        assert sum(len(block) for block in stream) == 500_000
    with (
        pytest.raises(ClickHouseError),
        client.query_row_block_stream("SELECT throwIf(number = 400000) FROM numbers(500000)") as stream,
    ):
        list(stream)
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_is_cut_inserts_nothing(clickhouse: Database, client: Client, framing: str) -> None:
    address = urlsplit(clickhouse.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    connection.putrequest("POST", f"/?database={client.database}&query={quote('INSERT INTO t FORMAT CSV')}")
    if framing == "length":
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"1,x\n2,y\n")
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(b"8\r\n1,x\n2,y\n\r\n")
    connection.close()
    assert client.ping()
    assert _rows(client) == []


def test_questions_are_answered_side_by_side(clickhouse: Database, client: Client) -> None:
    slow = threading.Thread(target=lambda: client.command("SELECT sleep(2)"))
    slow.start()
    with clickhouse_connect.get_client(dsn=clickhouse.url) as other:
        assert other.command("SELECT 1") == 1
    assert slow.is_alive()
    slow.join()


def test_what_was_inserted_outlives_kill_stop_and_freeze(
    clickhouse_server_factory: Callable[[], LocalClickHouse],
) -> None:
    server = clickhouse_server_factory()
    client = clickhouse_connect.get_client(dsn=server.url, send_receive_timeout=2, query_retries=0)
    client.command("CREATE TABLE t (id UInt64, text Nullable(String)) ENGINE = MergeTree ORDER BY id")
    client.raw_insert("t", None, b"1,before\n", fmt="CSV")
    server.kill()
    assert not client.ping()
    server.start()
    client.raw_insert("t", None, b"2,killed\n", fmt="CSV")
    server.stop()
    server.start()
    server.pause()
    assert not client.ping(timeout=0.5)
    server.resume()
    assert _rows(client) == [(1, "before"), (2, "killed")]


def test_a_port_that_another_server_has_is_said(
    clickhouse_server_factory: Callable[[], LocalClickHouse], tmp_path: Path
) -> None:
    taken = clickhouse_server_factory().port
    with pytest.raises(Misconfigured, match="port"):
        LocalClickHouse(tmp_path / "second", taken).start()
