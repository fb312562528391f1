"""The sink: a cut of one topic partition into ClickHouse, so that doing it again changes nothing.

Three things make a repeat harmless. Its inserts carry the tokens of the first time, so ClickHouse drops whole blocks it
already has; should it have forgotten them (its log is bounded and not synced), ReplacingMergeTree makes one row of two;
and whatever is derived depends on nothing but the cut and the journal before it.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final, cast

import fastavro
from clickhouse_connect.driver.client import Client

from pipeline import codec, metrics
from pipeline.archive import container
from pipeline.archive.client import archive_databases, control_database, rows, translated
from pipeline.archive.container import ACCEPTED, MERGED, JournalParts, Schemas, take_apart
from pipeline.codec import WIRE_HEADER, AvroSchema, RecordCodec, without_logical_types
from pipeline.errors import Misconfigured, Poison
from pipeline.registry import load_schema
from pipeline.settings import Settings

_ALL: Final = 1_000_000_000_000  # more rows or bytes than any insert has: nothing splits a block
ONE_BLOCK: Final[Mapping[str, int]] = {
    "async_insert": 0,
    "max_insert_threads": 1,
    "max_insert_block_size": 1_000_000_000,
    "min_insert_block_size_rows": _ALL,
    "min_insert_block_size_bytes": _ALL,
    "input_format_parallel_parsing": 0,
    "input_format_avro_allow_missing_fields": 1,  # columns that newer schemas brought take their defaults
    "wait_end_of_query": 1,  # an error after the first progress header still comes with its own status
}
"""Settings of each insert. Tokens are per block: an insert of two could be dropped by half."""

_PLAIN: Final = {"findings": "findings", "dead-letters": "dead_letters", "policies": "policies"}
_RETRY: Final = "retry"
_LOOKED_UP: Final = 500  # journal rows asked for in one query


@dataclass(frozen=True, slots=True)
class Cut:
    """Records of one topic partition that are inserted together, however often.

    `topic` is without the prefix; `first` and `last` are offsets, inclusive; `values` are in wire format.
    """

    topic: str
    partition: int
    first: int
    last: int
    values: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Insert:
    """Rows for one table, all of one writer schema."""

    database: str
    table: str
    schema: str
    """Names the writer schema, for the token."""
    writer: AvroSchema
    schema_id: int
    datums: Sequence[bytes]


class Sink:
    """Writes cuts. Not for several threads at once; each has a sink of its own.

    Args:
        client: from `client.connect` or `client.connect_embedded`.
        settings: which databases there are.
        schemas: writer schemas by id.
        worker: who writes, for the `batches` and `outages` tables.
    """

    def __init__(self, client: Client, settings: Settings, schemas: Schemas, worker: str) -> None:
        self._client, self._schemas, self._worker = client, schemas, worker
        self._control = control_database(settings)
        self._databases = archive_databases(settings)
        # One database that keeps all there is: no record needs to be asked which database it is for.
        self._one = self._databases[0] if not settings.clickhouse.databases else ""
        self._heads: dict[tuple[int, str], _Head] = {}
        self._writers: dict[tuple[int, ...], AvroSchema] = {}
        self._batches = RecordCodec(load_schema("batch"), codec.BATCH)
        self._ways: dict[str, Callable[[Cut], Iterable[_Insert]]] = {"journal": self._journal, "copies": self._copies}

    def write(self, cut: Cut) -> int:
        """Insert the cut; how many rows that were, in all tables. The same cut again changes nothing.

        Raises:
            Unavailable: ClickHouse is away or busy; any part of the cut may have been written: write it again.
            Misconfigured: no such table, no permission, or records that no transform writes.
        """
        if cut.topic not in self._ways and cut.topic not in _PLAIN:
            raise Misconfigured(f"the archive has no table for topic {cut.topic!r}")
        digest = _digest(cut.values)
        # The digest is part of the token because topics that were made anew begin at offset 0 again.
        token = f"{cut.topic}/{cut.partition}/{cut.first}-{cut.last}/{digest[:32]}"
        written = 0
        # 1. The rows. For the journal's cut the journal comes first: it is the evidence that all else can be derived
        #    from, and a row that messages need from it (a new database's) must be there to be read.
        for insert in self._ways.get(cut.topic, self._plain)(cut):
            self._insert(insert, token)
            written += len(insert.datums)
        # 2. The batch record: last, so that it never speaks of rows that are not there.
        self._insert(self._batch(cut, digest), token)
        return written

    def outage(self, began: datetime, ended: datetime, error: str) -> None:
        """Put on record that ClickHouse was away. The same outage again replaces its row.

        Args:
            began: when it was first noticed; with the worker's name this is the outage's identity.
            ended: when an insert went through again.
            error: class of the first error, never its text.

        Raises:
            Unavailable, Misconfigured: as `write`.
        """
        began, ended = (moment.astimezone(UTC) for moment in (began, ended))
        row = {"worker": self._worker, "began": _millis(began), "ended": _millis(ended), "error": error}
        with translated():
            self._client.raw_insert(
                f"`{self._control}`.`outages`", insert_block=json.dumps(row).encode(), fmt="JSONEachRow",
                settings={**ONE_BLOCK, "insert_deduplication_token": f"{self._worker}/{_millis(began)}/{_millis(ended)}"},
            )  # fmt: skip

    # -- from topics to tables ----------------------------------------

    def _plain(self, cut: Cut) -> Iterable[_Insert]:
        table = _PLAIN[cut.topic]
        for schema_id, datums in _by_schema(cut.values):
            yield self._whole(self._control, table, schema_id, datums)

    def _journal(self, cut: Cut) -> Iterable[_Insert]:
        """The journal itself, then the rows of messages and merges cut out of it."""
        groups = _by_schema(cut.values)
        for schema_id, datums in groups:
            yield self._whole(self._control, "journal", schema_id, datums)
        rows_of: defaultdict[tuple[str, str, int, int], list[bytes]] = defaultdict(list)
        for schema_id, datums in groups:
            self._route(schema_id, [take_apart(datum) for datum in datums], rows_of)
        for (database, table, schema_id, event_schema), datums in sorted(rows_of.items()):
            yield _Insert(database, table, f"{schema_id}+{event_schema}", self._row_writer(schema_id, event_schema),
                          event_schema, datums)  # fmt: skip

    def _route(
        self, schema_id: int, parts: list[JournalParts], rows_of: defaultdict[tuple[str, str, int, int], list[bytes]]
    ) -> None:
        """Deal the rows out to databases and tables; see to the messages that merges bring to further databases."""
        head = self._head(schema_id, "into_event_id")
        wanted: dict[tuple[str, int, int], list[str]] = {}
        for part in parts:
            if part.status == ACCEPTED and self._one:
                rows_of[self._one, "messages", schema_id, part.event_schema].append(part.row)
            elif part.status in (ACCEPTED, MERGED):
                tail = head.read(part.row)
                table = "messages" if part.status == ACCEPTED else "merges"
                if tail["rule"] != _RETRY:
                    for database in self._kept(tail["databases"]):
                        rows_of[database, table, schema_id, part.event_schema].append(part.row)
                if tail["new_databases"] and (fresh := self._kept(tail["new_databases"])):
                    wanted.setdefault((tail["lineage"], tail["partition"], tail["into"]), []).extend(fresh)
        for place, row_schema, part in self._first_captures(list(wanted)):
            for database in wanted[place]:
                rows_of[database, "messages", row_schema, part.event_schema].append(part.row)

    def _kept(self, databases: Sequence[str]) -> list[str]:
        """Those of a record's databases that this archive has: a worker may serve some clusters only."""
        return [database for database in databases if database in self._databases]

    def _first_captures(
        self, places: list[tuple[str, int, int]]
    ) -> Iterable[tuple[tuple[str, int, int], int, JournalParts]]:
        """Journal records by (lineage, partition, sequence), out of the archive; ones of this very cut are there by now."""
        for at in range(0, len(places), _LOOKED_UP):
            some = places[at : at + _LOOKED_UP]
            listed = ", ".join(f"('{lineage}', {partition}, {sequence})" for lineage, partition, sequence in some)
            found = rows(
                self._client,
                "SELECT lineage, partition, sequence, schema_id, hex(hash) AS hash, hex(encoded) AS rest "
                f"FROM `{self._control}`.journal FINAL WHERE (lineage, partition, sequence) IN ({listed})",
            )
            if len(found) != len(some):
                raise Misconfigured(
                    f"{len(some) - len(found)} of {len(some)} journal rows are missing, one of {listed[:60]}"
                )
            for row in found:
                datum = bytes.fromhex(row["hash"] + row["rest"])
                yield (row["lineage"], row["partition"], row["sequence"]), row["schema_id"], take_apart(datum)

    def _copies(self, cut: Cut) -> Iterable[_Insert]:
        for schema_id, datums in _by_schema(cut.values):
            if self._one:
                yield self._whole(self._one, "copies", schema_id, datums)
                continue
            head = self._head(schema_id, "database")
            by_database: dict[str, list[bytes]] = {database: [] for database in self._databases}
            for datum in datums:
                database = head.read(datum)["database"]
                if database in by_database:
                    by_database[database].append(datum)
            for database, kept in by_database.items():
                if kept:
                    yield self._whole(database, "copies", schema_id, kept)

    def _batch(self, cut: Cut, digest: str) -> _Insert:
        lineage, first, last, last_hash = "", -1, -1, bytes(32)
        if cut.topic == "journal" and cut.values:
            ends = [self._journal_head(value) for value in (cut.values[0], cut.values[-1])]
            lineage, first, last, last_hash = (
                ends[0]["lineage"],
                ends[0]["sequence"],
                ends[1]["sequence"],
                ends[1]["hash"],
            )
        record = {
            "topic": cut.topic, "lineage": lineage, "partition": cut.partition, "first_offset": cut.first,
            "last_offset": cut.last, "rows": len(cut.values), "first_sequence": first, "last_sequence": last,
            "last_hash": last_hash, "digest": digest, "worker": self._worker,
            "inserted_at": round(datetime.now(UTC).timestamp() * 1_000_000)}  # fmt: skip
        writer = container.plain_writer(load_schema("batch"))
        datum = self._batches.encode(record)[WIRE_HEADER:]
        return _Insert(self._control, "batches", "", writer, codec.BATCH, [datum])

    def _journal_head(self, value: bytes) -> dict[str, Any]:
        schema_id = codec.schema_id_of(value)
        return _Head(container.prefix(self._schema(schema_id), "sequence")).read(value[WIRE_HEADER:])

    # -- schemas and inserts ------------------------------------------

    def _schema(self, schema_id: int) -> AvroSchema:
        """The writer schema; what the transform could write down, it could read, so that its absence is no poison."""
        try:
            return self._schemas.schema(schema_id)
        except Poison as error:
            raise Misconfigured(f"records name an Avro schema that cannot be had: {error}") from None

    def _whole(self, database: str, table: str, schema_id: int, datums: Sequence[bytes]) -> _Insert:
        if (schema_id,) not in self._writers:
            self._writers[schema_id,] = container.plain_writer(self._schema(schema_id))
        return _Insert(database, table, str(schema_id), self._writers[schema_id,], schema_id, datums)

    def _row_writer(self, schema_id: int, event_schema: int) -> AvroSchema:
        key = (schema_id, event_schema)
        if key not in self._writers:
            journal, event = self._schema(schema_id), self._schema(event_schema)
            self._writers[key] = container.row_writer(journal, event)
        return self._writers[key]

    def _head(self, schema_id: int, until: str) -> _Head:
        """Reads the first fields of a copy, or of a journal record's tail."""
        key = (schema_id, until)
        if key not in self._heads:
            schema = self._schema(schema_id)
            if until == "into_event_id":
                schema = {**schema, "fields": container.tail_fields(schema)}
            self._heads[key] = _Head(container.prefix(schema, until))
        return self._heads[key]

    def _insert(self, insert: _Insert, token: str) -> None:
        name = f"{insert.database}.{insert.table}"
        block = b"".join(container.container(insert.writer, insert.schema_id, insert.datums))
        with translated(), metrics.SINK_SECONDS.labels(insert.table).time():
            self._client.raw_insert(
                f"`{insert.database}`.`{insert.table}`", insert_block=block, fmt="Avro",
                settings={**ONE_BLOCK, "insert_deduplication_token": f"{token}/{name}/{insert.schema}"},
            )  # fmt: skip
        metrics.SINK_ROWS.labels(insert.table).inc(len(insert.datums))


class _Head:
    """The first fields of a datum."""

    __slots__ = ("_schema",)

    def __init__(self, schema: AvroSchema) -> None:
        self._schema = fastavro.parse_schema(without_logical_types(schema))

    def read(self, datum: bytes) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", fastavro.schemaless_reader(BytesIO(datum), self._schema, None))
        except (EOFError, IndexError, ValueError) as error:
            raise Misconfigured(f"a record does not fit the schema that it names: {type(error).__name__}") from None


def _by_schema(values: Sequence[bytes]) -> list[tuple[int, list[bytes]]]:
    """Bare datums by schema id, in their order."""
    groups: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for value in values:
        groups[value[:WIRE_HEADER]].append(value[WIRE_HEADER:])
    return [(codec.schema_id_of(header), datums) for header, datums in groups.items()]


def _digest(values: Sequence[bytes]) -> str:
    """SHA-256 over the values, each behind its length as 8 bytes big-endian."""
    digest = hashlib.sha256()
    size = struct.Struct(">Q").pack
    for at in range(0, len(values), container.BLOCK_ROWS):
        digest.update(b"".join([size(len(value)) + value for value in values[at : at + container.BLOCK_ROWS]]))
    return digest.hexdigest()


def _millis(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
