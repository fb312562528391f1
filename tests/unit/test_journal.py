"""The journal's bytes: Avro as schemas/journal.avsc says, a hash over all that follows it, a chain without a break."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import fastavro
import pytest

from pipeline.codec import JOURNAL, without_logical_types
from pipeline.records import DECISIONS, STATUSES, DeliveredFile, Outcome
from pipeline.registry import load_schema
from pipeline.stages.journal import RAW_AT, Entry, Journal, genesis

SCHEMA: Any = fastavro.parse_schema(without_logical_types(load_schema("journal")))
FULL = Entry(
    status="merged",
    raw=b"\0\0\0\0\1" + b"raw" * 100,
    offset=70,
    arrival=1_700_000_000_000,
    floor=3,
    event_id="event-ü",
    rule="stanza_id",
    into=5,
    into_event_id="first",
    taken=True,
    also=(7, 1 << 40),
    decision="modified",
    reason="because",
    rules=("r1", "r2"),
    policy="ab" * 32,
    outcomes=(
        Outcome((0, 2), "blocked", None, ("r1",), "why"),
        Outcome(
            (3,), "modified", None, ("r4",), "", (DeliveredFile(1, "b.txt", b"gone"), DeliveredFile(2, None, None))
        ),
        Outcome((1,), "modified", "text", ("r2", "r3"), ""),
    ),
    databases=("one", "two"),
    new_databases=("two",),
    new_recipients=("bob@beta.example", "carol@beta.example"),
    copies=1 << 33,
    to_partition=6,
)


def read(value: bytes) -> dict[str, Any]:
    source = BytesIO(value[5:])
    record: Any = fastavro.schemaless_reader(source, SCHEMA, None)
    assert source.read() == b""
    return dict(record)


def journal() -> Journal:
    return Journal(genesis("00112233aabbccdd", 4), JOURNAL)


def test_a_full_record_reads_as_the_entry() -> None:
    made = journal()
    genesis_hash = made.hash
    record = read(made.append(FULL))
    assert record.pop("hash") == made.hash
    assert record == {
        **FULL._asdict(),
        "previous_hash": genesis_hash,
        "lineage": "00112233aabbccdd",
        "partition": 4,
        "sequence": 0,
        "skipped": 70,
        "also": list(FULL.also),
        "rules": list(FULL.rules),
        "databases": list(FULL.databases),
        "new_databases": list(FULL.new_databases),
        "new_recipients": list(FULL.new_recipients),
        "outcomes": [
            {
                "recipients": list(one.recipients),
                "decision": one.decision,
                "delivered_body": one.delivered_body,
                "rules": list(one.rules),
                "reason": one.reason,
                "delivered_files": [file._asdict() for file in one.files],
            }
            for one in FULL.outcomes
        ],
    }


def test_an_empty_record_has_the_entrys_defaults() -> None:
    record = read(journal().append(Entry("gap", b"", 9, 0, 0)))
    assert {name: record[name] for name in ("raw", "event_id", "into", "taken", "also", "decision", "to_partition")} == {
        "raw": b"", "event_id": "", "into": -1, "taken": False, "also": [], "decision": "ok", "to_partition": -1,
    }  # fmt: skip
    assert [record[name] for name in ("databases", "new_databases", "rules", "outcomes", "new_recipients")] == [[]] * 5


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("decision", DECISIONS)
def test_every_status_and_decision(status: Any, decision: Any) -> None:
    value = journal().append(FULL._replace(status=status, decision=decision))
    record = read(value)
    assert (record["status"], record["decision"]) == (status, decision)
    assert value[5 + 64] == STATUSES.index(status) * 2


def test_the_first_hash_builds_on_lineage_and_partition() -> None:
    assert genesis("abc", 12).hash == hashlib.sha256(b"abc/12").digest()


def test_the_chain() -> None:
    made = journal()
    before = made.hash
    for number in range(5):
        value = made.append(FULL._replace(offset=number * 3, raw=bytes([number])))
        datum = value[5:]
        assert value[:5] == b"\0\0\0\0\2"
        assert datum[:32] == hashlib.sha256(datum[32:]).digest() == made.hash
        assert datum[32:64] == before
        before = datum[:32]
        record = read(value)
        assert (record["sequence"], record["skipped"]) == (number, 2 if number else 0)


@pytest.mark.parametrize("raw", [b"", b"x", b"y" * 63, b"z" * 64, b"w" * 70_000])
def test_the_raw_bytes_stand_where_sql_looks_for_them(raw: bytes) -> None:
    datum = journal().append(FULL._replace(raw=raw))[5:]
    at, length, shift = RAW_AT, 0, 0
    while True:
        length |= (datum[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if datum[at - 1] < 0x80:
            break
    assert datum[at : at + length // 2] == raw


@pytest.mark.parametrize("field", [name for name in Entry._fields if name != "offset"])
def test_every_field_is_under_the_hash(field: str) -> None:
    other = Entry("accepted", b"", FULL.offset, 0, 0)
    changed = FULL._replace(**{field: getattr(other, field)})
    one, two = journal(), journal()
    one.append(FULL)
    two.append(changed)
    assert one.hash != two.hash


def test_the_head_goes_on_where_it_stands() -> None:
    whole, first = journal(), journal()
    records = [whole.append(FULL._replace(offset=offset)) for offset in (3, 4, 9)]
    assert [first.append(FULL._replace(offset=offset)) for offset in (3, 4)] == records[:2]
    head = first.head(1, 99, "")
    assert (head.sequence, head.offset, head.floor, head.floor_arrival, head.arrival) == (1, 4, 1, 99, FULL.arrival)
    assert Journal(head, JOURNAL).append(FULL._replace(offset=9)) == records[2]
