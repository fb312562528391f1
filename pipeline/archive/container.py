"""Avro object containers out of raw datums, without re-encoding a single one.

ClickHouse reads one container as one insert. A container needs one writer schema, and the datums behind each other;
both are at hand: every record on Kafka is a datum behind five bytes that name its schema. So a container is its
header and the datums joined, and the rows of `messages` and `merges` are cut out of the journal's datums:

    journal   hash 32 | previous_hash 32 | status 1 | length, raw (5 bytes, then the event's datum) | tail
    message   schema_id | tail | the event's datum

`schema_id` is put before each datum as one more Avro int: which schema a row was written with is evidence too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from pipeline import codec
from pipeline.codec import AvroSchema, data, long
from pipeline.errors import Misconfigured

BLOCK_ROWS: Final = 1000
"""Datums of one Avro block; a reader holds one block in memory."""
HASH_BYTES: Final = 32
STATUS_AT: Final = 2 * HASH_BYTES
RAW_AT: Final = STATUS_AT + 1
ACCEPTED: Final = 0
"""The status byte of an accepted journal record: Avro's zigzag of the enum's place."""
MERGED: Final = 2

_TAIL_FROM: Final = "databases"  # the first field of the journal's tail
_SCHEMA_ID: Final = {"name": "schema_id", "type": "int"}


class Schemas(Protocol):
    """Where writer schemas come from; pipeline.registry has two that fit."""

    def schema(self, schema_id: int) -> AvroSchema:
        """The Avro schema with this id, as JSON; Poison where there is none."""
        ...


class JournalParts(NamedTuple):
    """A journal datum, taken apart."""

    status: int
    """The status byte: ACCEPTED, MERGED, or another."""
    event_schema: int
    """Schema id of the event within; 0 where there is none."""
    row: bytes
    """The tail, then the event's datum: a row of `messages` or `merges`."""


def take_apart(datum: bytes) -> JournalParts:
    """Cut a journal datum into what rows are made of: one length is decoded, nothing else.

    Raises:
        Misconfigured: the bytes are no journal datum; only a foreign producer writes such to the journal.
    """
    try:
        status = datum[STATUS_AT]
        length, start = codec.read_long(datum, RAW_AT)
    except IndexError:
        raise Misconfigured(f"a journal record of {len(datum)} bytes is none") from None
    end = start + length
    if not 0 <= length <= len(datum) - start or status & 1:
        raise Misconfigured("a journal record's length does not fit it")
    if length < codec.WIRE_HEADER:
        return JournalParts(status, 0, datum[end:])
    event = start + codec.WIRE_HEADER
    return JournalParts(status, int.from_bytes(datum[start + 1 : event], "big"), datum[end:] + datum[event:end])


def plain_writer(schema: AvroSchema) -> AvroSchema:
    """The writer schema of datums of `schema` behind their schema id."""
    return {**schema, "fields": [_SCHEMA_ID, *schema["fields"]]}


def tail_fields(journal: AvroSchema) -> list[Mapping[str, Any]]:
    """The journal's fields behind `raw`.

    Raises:
        Misconfigured: the schema begins otherwise than every journal schema must.
    """
    names = [field["name"] for field in journal["fields"]]
    if names[:5] != ["hash", "previous_hash", "status", "raw", _TAIL_FROM]:
        raise Misconfigured(f"a journal schema begins with {names[:5]}")
    return list(journal["fields"][4:])


def row_writer(journal: AvroSchema, event: AvroSchema) -> AvroSchema:
    """The writer schema of `messages` and `merges`: schema id of the event, the journal's tail, the event.

    The tail's event_id, the same as the event's, is called journal_event_id.
    """
    tail = [
        {**field, "name": "journal_event_id"} if field["name"] == "event_id" else field
        for field in tail_fields(journal)
    ]
    return {**journal, "name": "Row", "fields": [_SCHEMA_ID, *tail, *event["fields"]]}


def prefix(schema: AvroSchema, until: str) -> AvroSchema:
    """The schema up to and with the field `until`: reads the head of a datum and leaves the rest alone."""
    names = [field["name"] for field in schema["fields"]]
    return {**schema, "fields": schema["fields"][: names.index(until) + 1]}


def container(writer: AvroSchema, schema_id: int, datums: Sequence[bytes]) -> Iterator[bytes]:
    """An Avro object container of `datums`, in pieces: header, then blocks of at most BLOCK_ROWS.

    `writer` is plain_writer() or row_writer() of the schema that the datums were written with. The same datums give
    the same bytes, sync marker included.
    """
    text = json.dumps(writer, separators=(",", ":")).encode()
    sync = hashlib.sha256(text).digest()[:16]
    yield b"Obj\x01" + long(2) + data(b"avro.schema") + data(text) + data(b"avro.codec") + data(b"null") + b"\0" + sync
    before = long(schema_id)
    for at in range(0, len(datums), BLOCK_ROWS):
        rows = datums[at : at + BLOCK_ROWS]
        block = before + before.join(rows)
        yield long(len(rows)) + long(len(block)) + block + sync
