"""Rows derived from journal records are those that the transform and the sink made of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import codec
from pipeline.audit.compare import difference
from pipeline.audit.rows import (
    UNKNOWN_SYMBOL,
    JournalRow,
    Schemas,
    copy_rows,
    direction,
    event_bytes,
    field_names,
    journal_rows,
    outcomes_of,
    served,
)
from pipeline.audit.stored import clickhouse_type, contents, decoded
from pipeline.codec import EventCodec, long
from pipeline.errors import Poison, Unavailable
from pipeline.registry import FixedSchemas, load_schema
from tests.support.records import EVENT, Chain, avro, event

SCHEMAS = Schemas.of(*(load_schema(name) for name in ("journal", "copy", "dead_letter", "event")))
EVENTS = EventCodec(FixedSchemas().event_schema, load_schema("event"))
ALL = frozenset[str]()


def taken_apart(chain: Chain) -> list[JournalRow]:
    stored = b"".join(long(codec.JOURNAL) + value[5:] for value in chain.journal)
    return list(journal_rows(stored, SCHEMAS.tail))


def derived(row: JournalRow, earlier: dict[str, bytes] | None = None) -> list[bytes]:
    capture = EVENTS.decode(row.raw)
    _, bare = event_bytes(capture, codec.EVENT, SCHEMAS.event)
    return [copy.datum for copy in copy_rows(row, capture, bare, earlier or {}, {}, codec.COPY)]


def stored(copies: list[bytes]) -> list[bytes]:
    return [long(codec.COPY) + value[5:] for value in copies]


def test_journal_rows_are_taken_apart() -> None:
    chain = Chain()
    chain.accept(event())
    chain.reject(b"\xff")
    chain.gap(3)
    rows = taken_apart(chain)
    assert [row.status for row in rows] == ["accepted", "rejected", "gap"]
    assert [row.hash for row in rows] == [record["hash"] for record in chain.records]
    assert [row.raw for row in rows] == [record["raw"] for record in chain.records]
    assert [row.makes_row for row in rows] == [True, False, False]
    assert all(codec.sha256(row.hashed) == row.hash for row in rows)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_journal_rows_are_poison(data: bytes) -> None:
    with suppress(Poison):
        list(journal_rows(data, SCHEMAS.tail))


def test_copies_of_a_message_and_of_a_merge_with_new_recipients() -> None:
    chain = Chain(databases=["one", "two"])
    outcomes = [{"recipients": [1], "decision": "modified", "delivered_body": "x", "rules": ["r"], "reason": "why",
                 "delivered_files": [{"place": 0, "display_name": None, "content": b"gone"}]}]  # fmt: skip
    first = chain.accept(event(recipients=["a@x", "b@x", "a@x"]), outcomes=outcomes, taken=True)
    chain.merge(event(recipients=["b@x", "c@x"]), into=first)
    made = [copy for row in taken_apart(chain) for copy in derived(row)]
    assert made == stored(chain.copies)


def test_copies_for_those_whom_a_message_had_reached_when_a_database_joins() -> None:
    chain = Chain(databases=["one"])
    first = chain.accept(event(recipients=["a@x", "b@x"]))
    chain.merge(event(recipients=["c@x"]), into=first, new_databases=["two"])
    one, two = taken_apart(chain)
    earlier = outcomes_of(one, served(one, EVENTS.decode(one.raw).event["recipients"]))
    assert derived(one) + derived(two, earlier) == stored(chain.copies)


def test_a_retry_makes_nothing() -> None:
    chain = Chain()
    capture = event()
    chain.merge(capture, into=chain.accept(capture), rule="retry")
    retry = taken_apart(chain)[1]
    assert not retry.makes_row
    assert derived(retry) == []


@pytest.mark.parametrize(
    ("sender", "recipient", "expected"),
    [
        ("a@own.example", "b@OWN.example", "internal"),
        ("a@own.example", "b@other.example", "outbound"),
        ("a@other.example", "b@own.example", "inbound"),
        ("a@other.example", "b@third.example", "federated"),
    ],
)
def test_direction(sender: str, recipient: str, expected: str) -> None:
    assert direction(sender, recipient, frozenset({"own.example"})) == expected
    assert direction(sender, recipient, ALL) == "internal"


def test_an_event_of_another_schema_is_written_as_the_present_one() -> None:
    newer = avro("event")
    newer["fields"][1]["type"]["symbols"].append("sticker")
    newer["fields"].insert(3, {"name": "mood", "type": "string", "default": ""})
    writer = fastavro.parse_schema(codec.without_logical_types(newer))
    one = {**event(kind="sticker"), "mood": "fine"}
    value = codec.RecordCodec(newer, 77).encode(one)
    capture = EventCodec(lambda _: newer, load_schema("event")).decode(value)
    whole, bare = event_bytes(capture, codec.EVENT, SCHEMAS.event)
    assert writer
    place = field_names(SCHEMAS.row).index("event_id")
    part: Any = {**SCHEMAS.row, "name": "Part", "fields": SCHEMAS.row["fields"][place:]}
    ((found, _),) = decoded(whole, fastavro.parse_schema(part))
    assert found["kind"] == UNKNOWN_SYMBOL
    assert found["recipients"] == one["recipients"]
    ((found, _),) = decoded(bare, fastavro.parse_schema(part))
    assert found["recipients"] == []


def test_an_event_of_the_present_schema_stays_as_it_is() -> None:
    value = EVENT.encode(event())
    assert event_bytes(EVENTS.decode(value), codec.EVENT, SCHEMAS.event)[0] == value[5:]


def test_columns_have_the_types_that_are_written_as_our_schemas() -> None:
    types = {field["name"]: clickhouse_type(field["type"]) for field in SCHEMAS.row["fields"]}
    assert types["attachments"].startswith("Array(Tuple(name String, display_name Nullable(String)")
    assert types["outcomes"].startswith("Array(Tuple(recipients Array(Int32), decision Int32")
    assert (types["stanza_ids"], types["also"], types["taken"]) == ("Map(String, String)", "Array(Int64)", "Bool")


def test_a_container_that_breaks_off_is_noticed() -> None:
    from io import BytesIO

    out = BytesIO()
    fastavro.writer(out, fastavro.parse_schema({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}),
                    [{"a": "one"}, {"a": "two"}])  # fmt: skip
    whole = out.getvalue()
    assert contents(whole) == b"\x06one\x06two"
    for end in range(len(whole) - 20, len(whole)):
        with pytest.raises(Unavailable):
            contents(whole[:end])


def test_rows_that_differ_only_in_how_they_are_encoded_are_the_same() -> None:
    """A foreign producer may write a list in a block with its size; ClickHouse writes it without."""
    schema = fastavro.parse_schema(
        {
            "type": "record",
            "name": "R",
            "fields": [
                {"name": "texts", "type": {"type": "array", "items": "string"}},
                {"name": "ids", "type": {"type": "map", "values": "string"}},
            ],
        }
    )
    sized = b"\x01\x04\x02a\x00" + b"\x00"
    plain = b"\x02\x02a\x00" + b"\x00"
    ((row, datum),) = decoded(plain, schema)
    assert difference(row, datum, sized, schema) == ""
    assert difference(row, datum, b"\x02\x02b\x00\x00", schema) == "texts"
    twice = b"\x00" + b"\x04\x02k\x02v\x02k\x02v\x00"
    ((row, datum),) = decoded(twice, schema)
    assert difference(row, datum, b"\x00" + b"\x02\x02k\x02v\x00", schema) == "ids"
