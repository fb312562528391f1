"""The archive's rows as Avro datums again: ClickHouse writes them in the order and types of our own schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, cast

import fastavro

from pipeline.archive.client import translated
from pipeline.audit.rows import UNKNOWN_SYMBOL, field_names
from pipeline.codec import read_long
from pipeline.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MAGIC: Final = b"Obj\x01"
_SYNC: Final = 16
AS_AVRO: Final = (
    "output_format_avro_codec = 'null', output_format_avro_sync_interval = 1048576, prefer_column_name_to_alias = 1"
)
STAND_IN: Final = {"journal_event_id": "event_id"}
"""Columns that a table may lack because another holds the same."""


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(value: str) -> str:
    """A string in SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@dataclass(frozen=True, slots=True)
class Table:
    """One table whose rows have an Avro schema.

    `name` is how faults call it, `sql` how SQL does, `schema` is parsed, `columns` are what SELECT says.
    """

    database: str
    name: str
    sql: str
    schema: Any
    columns: str
    has_copy_index: bool

    @property
    def identity(self) -> str:
        """The columns that tell one row from another."""
        return "lineage, partition, sequence" + (", copy_index" if self.has_copy_index else "")


def open_tables(client: Client, wanted: Sequence[tuple[str, str, Any]]) -> list[Table]:
    """Look tables up and work out how to read them.

    Args:
        client: of the archive.
        wanted: database, name and parsed schema of each.

    Raises:
        Misconfigured: there is no such table, or a column is missing.
    """
    listed = ", ".join(f"({literal(database)}, {literal(name)})" for database, name, _ in wanted)
    types: dict[tuple[str, str], dict[str, str]] = {}
    for database, name, column, kind in rows_of(
        client, f"SELECT database, table, name, type FROM system.columns WHERE (database, table) IN ({listed})"
    ):
        types.setdefault((database, name), {})[column] = kind
    tables = []
    for database, name, schema in wanted:
        if (database, name) not in types:
            raise Misconfigured(f"{database}.{name}: no such table; run `compliance migrate`")
        columns = [_column(database, name, field, types[database, name]) for field in schema["fields"]]
        sql = f"{quoted(database)}.{quoted(name)}"
        tables.append(Table(database, name, sql, schema, ", ".join(columns), "copy_index" in field_names(schema)))
    return tables


def table_exists(client: Client, database: str, name: str) -> bool:
    """Whether there is such a table."""
    where = f"database = {literal(database)} AND name = {literal(name)}"
    return bool(rows_of(client, f"SELECT 1 FROM system.tables WHERE {where}"))


def _column(database: str, table: str, field: Mapping[str, Any], types: Mapping[str, str]) -> str:
    """A column as the Avro type that the schema gives it, whatever ClickHouse keeps it as."""
    name = field["name"]
    source = name if name in types else STAND_IN.get(name, name)
    if source not in types:
        raise Misconfigured(f"{database}.{table}: no column {name}; run `compliance migrate`")
    expression = converted(quoted(source), field["type"], types[source])
    return expression if expression == quoted(name) else f"{expression} AS {quoted(name)}"


def converted(value: str, avro: Any, stored: str) -> str:
    """SQL for a value as ClickHouse must hold it to write it as `avro`.

    Args:
        value: SQL for the value as it is stored.
        avro: its type, from a schema of `rows.Schemas`.
        stored: its type in ClickHouse.
    """
    if isinstance(avro, Mapping) and "stands_for" in avro:
        return _number_of(value, avro["stands_for"])
    if not isinstance(avro, list) and _holds_symbols(avro):
        parts = ", ".join(
            _number_of(f"x.{field['name']}", field["type"]["stands_for"])
            if _holds_symbols(field["type"])
            else f"x.{field['name']}"
            for field in avro["items"]["fields"]
        )
        value, stored = f"arrayMap(x -> tuple({parts}), {value})", ""
    wanted = clickhouse_type(avro)
    return value if wanted in (stored, "") else f"CAST({value} AS {wanted})"


def _holds_symbols(avro: Any) -> bool:
    if isinstance(avro, Mapping):
        return "stands_for" in avro or any(_holds_symbols(part) for part in avro.values())
    return isinstance(avro, list) and any(_holds_symbols(part) for part in avro)


def _number_of(value: str, symbols: Sequence[str]) -> str:
    """An enum's number is written as an int is; a symbol that is none gets a number that no symbol has."""
    names = ", ".join(literal(symbol) for symbol in symbols)
    found = f"indexOf([{names}], toString({value}))"
    return f"toInt32(if({found} = 0, {UNKNOWN_SYMBOL}, {found} - 1))"


def clickhouse_type(avro: Any) -> str:
    """The plain ClickHouse type that is written as an Avro type; empty for times and hashes, which stay as they are."""
    if isinstance(avro, list):
        return f"Nullable({clickhouse_type(avro[1])})"
    if isinstance(avro, str):
        return {"string": "String", "bytes": "String", "boolean": "Bool", "int": "Int32"}.get(avro, "")
    match avro["type"]:
        case "array":
            inner = clickhouse_type(avro["items"])
            return f"Array({inner or 'Int64'})"
        case "map":
            return f"Map(String, {clickhouse_type(avro['values'])})"
        case "record":
            parts = [f"{field['name']} {clickhouse_type(field['type']) or 'Int64'}" for field in avro["fields"]]
            return f"Tuple({', '.join(parts)})"
        case "int":
            return "Int32"
    return ""


def rows_of(client: Client, sql: str) -> Sequence[tuple[Any, ...]]:
    """A small answer as tuples.

    Raises:
        Unavailable, Misconfigured: as the server's answer is to be taken.
    """
    with translated():
        return [tuple(row) for row in client.query(sql).result_rows]


def datums(client: Client, table: Table, where: str, *, final: bool = True, limit: int = 0) -> bytes:
    """Rows of a table, in the order of their identity, as Avro datums one behind the other.

    Raises:
        Unavailable: the answer broke off, or the server is away.
        Misconfigured: the server refuses the query.
    """
    sql = (
        f"SELECT {table.columns} FROM {table.sql}{' FINAL' if final else ''} WHERE {where} "
        f"ORDER BY {table.identity}{f' LIMIT {limit}' if limit else ''} SETTINGS {AS_AVRO} FORMAT Avro"
    )
    with translated():
        answer = client.raw_query(sql)
    return contents(answer)


def contents(container: bytes) -> bytes:
    """The datums of an uncompressed Avro container, one behind the other.

    Raises:
        Unavailable: it breaks off.
    """
    if not container.startswith(_MAGIC):
        raise Unavailable("ClickHouse's answer is no Avro container")
    try:
        at = _behind_metadata(container, len(_MAGIC))
        mark = container[at : at + _SYNC]
        at += _SYNC
        blocks: list[bytes] = []
        while at < len(container):
            _, at = read_long(container, at)
            size, at = read_long(container, at)
            blocks.append(container[at : at + size])
            at += size
            if container[at : at + _SYNC] != mark:
                raise Unavailable("ClickHouse's answer breaks off within an Avro block")
            at += _SYNC
    except IndexError:
        raise Unavailable("ClickHouse's answer breaks off within an Avro container") from None
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _behind_metadata(container: bytes, at: int) -> int:
    count, at = read_long(container, at)
    while count:
        if count < 0:  # a negative count is followed by the block's size
            count = -count
            _, at = read_long(container, at)
        for _ in range(2 * count):
            size, at = read_long(container, at)
            at += size
        count, at = read_long(container, at)
    return at


def decoded(data: bytes, schema: Any) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The records in datums that stand one behind the other, each with its bytes.

    Bytes that are no UTF-8 become lone surrogates, which no sound text holds.
    """
    source, at = BytesIO(data), 0
    while at < len(data):
        record = fastavro.schemaless_reader(source, schema, None, handle_unicode_errors="surrogateescape")
        end = source.tell()
        yield cast("dict[str, Any]", record), data[at:end]
        at = end
