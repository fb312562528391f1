from __future__ import annotations

import contextlib
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import codec
from pipeline.archive import container, tables
from pipeline.archive.container import container as make
from pipeline.archive.container import plain_writer, row_writer, take_apart
from pipeline.errors import Misconfigured
from pipeline.registry import FixedSchemas
from tests.support.records import EVENT, Chain, avro, event

SCHEMAS = FixedSchemas()


def read(data: bytes) -> list[dict[str, Any]]:
    return [dict(row) for row in fastavro.reader(BytesIO(data))]  # type: ignore[arg-type]


def chain() -> Chain:
    made = Chain()
    first = made.accept(event(body="hallo ☃" * 40, recipients=["b@x", "c@x", "b@x"]))
    made.merge(event(recipients=["d@x"]), first, also=[5, 7])
    made.reject(b"\xff" * 300)
    made.gap(3)
    return made


def test_a_container_is_read_back_as_the_datums_behind_their_schema_id() -> None:
    datums = [value[5:] for value in chain().journal]
    rows = read(b"".join(make(plain_writer(SCHEMAS.schema(codec.JOURNAL)), 300, datums)))
    assert [row["status"] for row in rows] == ["accepted", "merged", "rejected", "gap"]
    assert {row["schema_id"] for row in rows} == {300}
    assert rows[2]["raw"] == b"\xff" * 300


def test_blocks_are_bounded_and_the_bytes_depend_on_the_datums_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    datums = [value[5:] for value in chain().copies]
    monkeypatch.setattr(container, "BLOCK_ROWS", 2)
    writer = plain_writer(SCHEMAS.schema(codec.COPY))
    pieces = list(make(writer, 3, datums))
    assert len(pieces) == 1 + 2  # the header, three datums by two
    assert len(read(b"".join(pieces))) == 3
    assert pieces == list(make(writer, 3, datums))


def test_no_datums_are_an_empty_container() -> None:
    assert read(b"".join(make(plain_writer(SCHEMAS.schema(codec.COPY)), 3, []))) == []


def test_a_journal_datum_becomes_a_row_of_its_tail_and_its_event_without_re_encoding() -> None:
    made = chain()
    parts = [take_apart(value[5:]) for value in made.journal]
    assert [part.status for part in parts] == [container.ACCEPTED, container.MERGED, 6, 8]
    writer = row_writer(SCHEMAS.schema(codec.JOURNAL), SCHEMAS.schema(codec.EVENT))
    rows = read(b"".join(make(writer, 1, [part.row for part in parts[:2]])))
    assert [(row["sequence"], row["journal_event_id"] == row["event_id"]) for row in rows] == [(0, True), (1, True)]
    assert rows[0]["body"] == "hallo ☃" * 40
    assert rows[0]["recipients"] == ["b@x", "c@x", "b@x"]
    assert rows[1]["also"] == [5, 7]
    assert [part.event_schema for part in parts] == [1, 1, 0xFFFFFFFF, 0]


@given(st.binary(max_size=300))
def test_bytes_that_are_no_journal_datum_are_refused_by_class(raw: bytes) -> None:
    with contextlib.suppress(Misconfigured):
        take_apart(raw)


@pytest.mark.parametrize("length", [codec.long(-1), codec.long(1 << 40), b"\x80", b""])
def test_a_length_that_does_not_fit_is_refused(length: bytes) -> None:
    with pytest.raises(Misconfigured):
        take_apart(bytes(64) + b"\0" + length)


@pytest.mark.parametrize(
    ("table", "schema"),
    [(tables.JOURNAL, "journal"), (tables.COPIES, "copy"), (tables.FINDINGS, "finding"),
     (tables.DEAD_LETTERS, "dead_letter"), (tables.BATCHES, "batch"), (tables.MESSAGES, "event"),
     (tables.MERGES, "event")],
)  # fmt: skip
def test_every_field_of_a_schema_has_a_column(table: tables.Table, schema: str) -> None:
    columns = {column.name for column in table.columns}
    assert {field["name"] for field in avro(schema)["fields"]} <= columns


def test_messages_and_merges_have_the_journals_tail_too() -> None:
    tail = {field["name"] for field in container.tail_fields(avro("journal"))}
    for table in (tables.MESSAGES, tables.MERGES):
        assert tail <= {column.name for column in table.columns}


@pytest.mark.parametrize("table", [tables.JOURNAL, tables.COPIES, tables.MESSAGES, tables.MERGES, tables.FINDINGS])
def test_a_rows_identity_is_in_its_sort_key(table: tables.Table) -> None:
    identity = {"lineage", "partition", "sequence"} | ({"copy_index"} if table is tables.COPIES else set())
    assert identity <= set(table.order_by)


def test_events_that_the_helper_makes_are_events() -> None:
    one = event()
    assert EVENT.decode(EVENT.encode(one)) == one
