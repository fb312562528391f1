"""The strict reader against fastavro's writer, on types that the event has not (a producer's own schema may)."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest

from pipeline.avro_reader import compile_reader
from pipeline.codec import EventCodec, long
from pipeline.errors import Poison
from pipeline.registry import load_schema
from tests.support.events import encode
from tests.support.examples import examples

EVERYTHING: Any = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Everything",
        "namespace": "x",
        "fields": [
            {"name": "null", "type": "null"},
            {"name": "boolean", "type": "boolean"},
            {"name": "int", "type": "int"},
            {"name": "long", "type": "long"},
            {"name": "float", "type": "float"},
            {"name": "double", "type": "double"},
            {"name": "fixed", "type": {"type": "fixed", "name": "Two", "size": 2}},
            {"name": "again", "type": "Two"},
            {"name": "union", "type": ["long", "null", "string", {"type": "array", "items": "Two"}]},
            {"name": "arrays", "type": {"type": "array", "items": {"type": "array", "items": "int"}}},
            {"name": "self", "type": ["null", "Everything"]},
        ],
    }
)
READ = compile_reader(EVERYTHING)


def record(inner: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "null": None, "boolean": True, "int": -(1 << 31), "long": (1 << 63) - 1, "float": 0.5, "double": -0.1,
        "fixed": b"ab", "again": b"cd", "union": [b"ef"], "arrays": [[1, -64, 64], [], [1 << 20]], "self": inner, **more,
    }  # fmt: skip


def written(value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, EVERYTHING, value)
    return out.getvalue()


@pytest.mark.parametrize("union", [5, -1, None, "text", [], [b"ab", b"cd"]])
def test_every_type_is_read_as_fastavro_wrote_it(union: Any) -> None:
    value = record(record(boolean=False), union=union)
    raw = written(value)
    assert READ(raw, 0) == (value, len(raw))
    assert READ(b"before" + raw + b"after", 6) == (value, len(raw) + 6)


def test_every_truncation_is_refused() -> None:
    raw = written(record(record()))
    for length in range(len(raw)):
        with pytest.raises((ValueError, IndexError)):
            READ(raw[:length], 0)


def test_a_type_that_avro_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no such type"):
        compile_reader({"type": "decimal"})


@pytest.mark.parametrize("raw", [b"\x02", b"\xff", b"\x80\x80\x80\x80\x20"])
def test_a_boolean_or_int_out_of_range_is_refused(raw: bytes) -> None:
    for kind in ("boolean", "int"):
        if (kind, raw) != ("int", b"\x02"):
            with pytest.raises((ValueError, IndexError)):
                compile_reader(kind)(raw, 0)


def test_items_that_take_no_bytes_are_not_counted_to_the_end() -> None:
    read = compile_reader({"type": "array", "items": "null"})
    assert read(b"\2\0", 0) == ([None], 2)
    with pytest.raises(ValueError, match="more items than bytes"):
        read(long((1 << 63) - 1) + b"\0", 0)


def test_a_datum_nested_without_end_is_poison() -> None:
    nested = {"name": "reply", "type": ["null", {"type": "record", "name": "Reply", "fields": [
        {"name": "to", "type": ["null", "Reply"], "default": None}]}], "default": None}  # fmt: skip
    schema = {**load_schema("event"), "fields": [*load_schema("event")["fields"], nested]}
    codec = EventCodec(lambda _: schema, load_schema("event"))
    event = encode(examples("event")[0])
    assert codec.decode(event + b"\2\2\0").event["reply"] == {"to": {"to": None}}  # type: ignore[typeddict-item]
    with pytest.raises(Poison, match="not_avro"):
        codec.decode(event + b"\2" * 1_000_000 + b"\0")


def test_the_detail_of_poison_says_what_is_wrong_and_never_a_text() -> None:
    codec = EventCodec(lambda _: load_schema("event"), load_schema("event"))
    value = encode(examples("event")[0])
    said = []
    for at in range(5, len(value)):
        for bad in (value[:at], value[:at] + b"\xff" + value[at + 1 :]):
            try:
                codec.decode(bad)
            except Poison as poison:
                said.append(poison)
    assert all(poison.detail for poison in said)
    assert not any("Lunch" in str(poison) for poison in said)
