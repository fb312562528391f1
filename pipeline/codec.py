"""Bytes to records and back: the Confluent wire format and Avro, without any I/O.

Records that are made once for each event or copy are encoded by hand from pieces (an event's bytes are taken as they
are); everything else is written by fastavro, and read by our own strict reader. Only Poison leaves `EventCodec.decode`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any, Final, cast

import fastavro

from pipeline.avro_reader import Read, compile_reader
from pipeline.avro_straight import compile_event
from pipeline.errors import Poison
from pipeline.records import Capture, DeliveredFile, Event

EVENT, JOURNAL, COPY, VERDICT, FINDING, DEAD_LETTER, BATCH, HEAD, POLICY = range(1, 10)
"""Schema ids where there is no registry."""

WIRE_HEADER: Final = 5
EARLIEST: Final = 0
"""1970-01-01, in microseconds."""
LATEST: Final = 7_258_118_400_000_000
"""2200-01-01, in microseconds."""
MIN_LONG: Final = -(1 << 63)
MAX_LONG: Final = (1 << 63) - 1

AvroSchema = Mapping[str, Any]


def wire_header(schema_id: int) -> bytes:
    """The five bytes that stand before each Avro datum: zero, then the schema id, big-endian."""
    return struct.pack(">bI", 0, schema_id)


def schema_id_of(value: bytes) -> int:
    """The schema id of a value in wire format.

    Raises:
        Poison: it is not in wire format.
    """
    if len(value) < WIRE_HEADER or value[0]:
        raise Poison("decode", "not_avro", "the value does not begin with a schema id")
    return int.from_bytes(value[1:WIRE_HEADER], "big")


def long(number: int) -> bytes:
    """An Avro int or long: zigzag, then seven bits a byte, the lowest first; here by two bytes at a time."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    if rest < _PAIR:
        return _LAST[rest]
    if rest < _TWO_PAIRS:
        return _MORE[rest & _PAIR_BITS] + _LAST[rest >> 14]
    return _MORE[rest & _PAIR_BITS] + _MORE[rest >> 14 & _PAIR_BITS] + _unsigned(rest >> 28)


def _unsigned(rest: int) -> bytes:
    return _LAST[rest] if rest < _PAIR else _MORE[rest & _PAIR_BITS] + _unsigned(rest >> 14)


_PAIR: Final = 1 << 14
_PAIR_BITS: Final = _PAIR - 1
_TWO_PAIRS: Final = 1 << 28
_MORE: Final = [bytes((low & 0x7F | 0x80, low >> 7 | 0x80)) for low in range(_PAIR)]
"""The lowest 14 bits of a number that goes on."""
_LAST: Final = [bytes((low,)) if low < 0x80 else bytes((low & 0x7F | 0x80, low >> 7)) for low in range(_PAIR)]
"""The highest 14 bits of a number."""


def data(value: bytes) -> bytes:
    """Avro bytes: their length, then they."""
    return long(len(value)) + value


def text(value: str) -> bytes:
    """An Avro string."""
    raw = value.encode()
    return long(len(raw)) + raw


def optional_text(value: str | None) -> bytes:
    """An Avro union of null and string, null first."""
    return b"\0" if value is None else b"\2" + text(value)


def optional_data(value: bytes | None) -> bytes:
    """An Avro union of null and bytes, null first."""
    return b"\0" if value is None else b"\2" + data(value)


def delivered_files(files: Iterable[DeliveredFile]) -> bytes:
    """An Avro array of DeliveredFile."""
    return array([long(one.place) + optional_text(one.display_name) + optional_data(one.content) for one in files])


def texts(values: Iterable[str]) -> bytes:
    """An Avro array of strings, in one block."""
    return array([text(value) for value in values])


def array(items: list[bytes]) -> bytes:
    """An Avro array of encoded items, in one block with a positive count, and the empty block that ends it."""
    return long(len(items)) + b"".join(items) + b"\0" if items else b"\0"


def read_long(raw: bytes, at: int) -> tuple[int, int]:
    """The Avro long at `at`, and where it ends.

    Raises:
        IndexError: the bytes end within it.
    """
    byte = raw[at]
    number, shift, at = byte & 0x7F, 7, at + 1
    while byte & 0x80:
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return (number >> 1) ^ -(number & 1), at


def sha256(raw: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(raw).digest()


def without_logical_types(schema: Any) -> Any:
    """The same schema with plain numbers for times: exact, in range whatever they hold, and quicker."""
    if isinstance(schema, Mapping):
        if "logicalType" in schema:
            return schema["type"]
        return {name: without_logical_types(part) for name, part in schema.items()}
    if isinstance(schema, list):
        return [without_logical_types(part) for part in schema]
    return schema


class RecordCodec:
    """Whole records of one schema, by fastavro, in wire format."""

    def __init__(self, schema: AvroSchema, schema_id: int) -> None:
        self.schema_id = schema_id
        self._schema = fastavro.parse_schema(without_logical_types(schema))
        self._read = compile_reader(self._schema)
        self._header = wire_header(schema_id)

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """The record in wire format."""
        out = BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._schema, record)
        return out.getvalue()

    def decode(self, value: bytes) -> dict[str, Any]:
        """The record in a value in wire format.

        Raises:
            Poison: it is not a record of this schema, to the last byte.
        """
        if schema_id_of(value) != self.schema_id:
            raise Poison("decode", "unknown_schema", f"schema id {schema_id_of(value)}, not {self.schema_id}")
        return self.decode_datum(value[WIRE_HEADER:])

    def decode_datum(self, datum: bytes) -> dict[str, Any]:
        """The record in a bare Avro datum.

        Raises:
            Poison: it is not a record of this schema, to the last byte.
        """
        record, end = _read(self._read, datum, 0)
        if end != len(datum):
            raise Poison("decode", "trailing_bytes", f"{len(datum) - end} bytes behind the datum")
        return cast("dict[str, Any]", record)


class _EventReader:
    """Reads events of one writer schema; the place of the recipients comes with them."""

    __slots__ = ("_defaults", "_read_event")

    def __init__(self, schema: AvroSchema, reader: AvroSchema) -> None:
        plain = cast("dict[str, Any]", fastavro.parse_schema(without_logical_types(schema)))
        names = [field["name"] for field in plain["fields"]]
        if "recipients" not in names:
            raise Poison("decode", "incompatible_schema", "the schema has no recipients")
        self._read_event = compile_event(plain, "recipients")
        self._defaults: dict[str, Any] = {}
        for field in reader["fields"]:
            if field["name"] in names:
                continue
            if "default" not in field:
                raise Poison("decode", "incompatible_schema", f"the schema has no {field['name']}")
            self._defaults[field["name"]] = field["default"]

    def read(self, value: bytes, schema_id: int) -> Capture:
        try:
            event, start, end, length = self._read_event(value, WIRE_HEADER)
        except (ValueError, IndexError, RecursionError) as error:
            why = "it ends too early" if isinstance(error, IndexError) else type(error).__name__
            raise Poison("decode", "not_avro", str(error) if type(error) is ValueError else why) from None
        if length != len(value):
            raise Poison(
                "decode",
                "trailing_bytes",
                f"{len(value) - length} bytes behind the event",
                event_id=event.get("event_id", ""),
            )
        if self._defaults:
            event = {**self._defaults, **event}
        return Capture(cast("Event", event), value, schema_id, start, end)


def _read(read: Read, raw: bytes, at: int) -> tuple[Any, int]:
    try:
        return read(raw, at)
    except (ValueError, IndexError, RecursionError) as error:
        why = "it ends too early" if isinstance(error, IndexError) else type(error).__name__
        raise Poison("decode", "not_avro", str(error) if type(error) is ValueError else why) from None


class EventCodec:
    """Decodes ingest events of any schema that `writer_schema` knows.

    Args:
        writer_schema: the Avro schema of an id; raises Poison for an unknown one.
        reader_schema: the event schema this version was written for.
    """

    def __init__(self, writer_schema: Callable[[int], AvroSchema], reader_schema: AvroSchema) -> None:
        self._writer_schema = writer_schema
        self._reader_schema = reader_schema
        self._readers: dict[int, _EventReader] = {}

    def decode(self, value: bytes | None) -> Capture:
        """The event in a value in wire format.

        Raises:
            Poison: it is empty, not Avro, of an unknown schema, has bytes behind it, or a time outside 1970-2200.
        """
        if not value:
            raise Poison("decode", "empty", "the record has no value")
        schema_id = schema_id_of(value)
        reader = self._readers.get(schema_id)
        if reader is None:
            reader = self._readers[schema_id] = _EventReader(self._writer_schema(schema_id), self._reader_schema)
        capture = reader.read(value, schema_id)
        event = capture.event
        if not (EARLIEST <= event["sent_at"] < LATEST and EARLIEST <= event["captured_at"] < LATEST):
            raise Poison(
                "decode", "time_out_of_range", "sent_at or captured_at is outside 1970-2200", event_id=event["event_id"]
            )
        return capture
