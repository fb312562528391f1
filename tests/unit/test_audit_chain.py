"""The chain of hashes and the batch records, held against journal rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import codec
from pipeline.audit.batches import Batch, BatchCheck
from pipeline.audit.chain import Chain as Check
from pipeline.audit.faults import Fault, Report
from pipeline.audit.rows import JournalRow, Schemas, journal_rows
from pipeline.codec import long
from pipeline.registry import load_schema
from tests.support.records import Chain, event

SCHEMAS = Schemas.of(*(load_schema(name) for name in ("journal", "copy", "dead_letter", "event")))


@pytest.fixture
def chain() -> Chain:
    chain = Chain()
    for _ in range(6):
        chain.accept(event())
    return chain


def taken_apart(values: list[bytes]) -> list[JournalRow]:
    return list(journal_rows(b"".join(long(codec.JOURNAL) + value[5:] for value in values), SCHEMAS.tail))


def faults(chain: Chain, rows: list[JournalRow]) -> list[Fault]:
    check = Check("c.journal", chain.lineage, chain.partition)
    return [*(fault for row in rows for fault in check.take(row)), *check.end()]


def test_a_whole_chain(chain: Chain) -> None:
    assert faults(chain, taken_apart(chain.journal)) == []


@pytest.mark.parametrize("at", [0, 3])
def test_a_row_that_is_gone(chain: Chain, at: int) -> None:
    rows = taken_apart(chain.journal)
    (fault,) = faults(chain, rows[:at] + rows[at + 1 :])
    assert (fault.kind, fault.sequence) == ("missing", at)


@pytest.mark.parametrize("at", [0, 3, 5])
def test_an_altered_row_is_named(chain: Chain, at: int) -> None:
    rows = taken_apart(chain.journal)
    rows[at] = rows[at]._replace(hashed=rows[at].hashed + b"x")
    (fault,) = faults(chain, rows)
    assert (fault.kind, fault.sequence) == ("altered", at)


def test_an_altered_hash_is_told_from_altered_contents(chain: Chain) -> None:
    rows = taken_apart(chain.journal)
    rows[3] = rows[3]._replace(hash=bytes(32))
    found = faults(chain, rows)
    assert [(fault.kind, fault.sequence, fault.column) for fault in found] == [
        ("altered", 3, "hash"),
        ("chain", 4, "previous_hash"),
    ]


def test_another_partitions_chain_does_not_pass(chain: Chain) -> None:
    check = Check("c.journal", chain.lineage, chain.partition + 1)
    assert [fault.kind for fault in check.take(taken_apart(chain.journal)[0])] == ["chain"]


def test_an_offset_that_nothing_accounts_for() -> None:
    chain = Chain()
    chain.accept(event(), offset=5, skipped=5)
    chain.accept(event(), offset=7)
    (fault,) = faults(chain, taken_apart(chain.journal))
    assert (fault.kind, fault.sequence, fault.offset) == ("offsets", 1, 7)


def batches(chain: Chain, size: int) -> list[Batch]:
    made = []
    for at in range(0, len(chain.journal), size):
        values = chain.journal[at : at + size]
        digest = hashlib.sha256(b"".join(len(value).to_bytes(8, "big") + value for value in values))
        last = at + len(values) - 1
        made.append(Batch(2 * at, 2 * last, len(values), at, last, chain.records[last]["hash"], digest.hexdigest()))
    return made


def batch_faults(chain: Chain, rows: list[JournalRow], told: list[Batch]) -> list[Fault]:
    check = BatchCheck(iter(told), "c.batches", chain.lineage, chain.partition)
    return [*(fault for row in rows for fault in check.take(row)), *check.end()]


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_batches_that_tell_of_all_rows(chain: Chain, size: int) -> None:
    assert batch_faults(chain, taken_apart(chain.journal), batches(chain, size)) == []


Change = Callable[[list[Any], list[Any]], None]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda rows, told: rows.pop(), "last_sequence"),
        (lambda rows, told: rows.pop(2), "rows"),
        (lambda rows, told: rows.__delitem__(slice(0, 6)), "last_sequence"),
        (lambda rows, told: told.pop(), ""),
        (lambda rows, told: told.pop(1), "first_sequence"),
        (lambda rows, told: told.__setitem__(1, told[1]._replace(last_hash=bytes(32))), "last_hash"),
        (lambda rows, told: told.__setitem__(1, told[1]._replace(digest="0")), "digest"),
        (lambda rows, told: told.__setitem__(1, told[1]._replace(first_offset=0)), "first_offset"),
        (lambda rows, told: rows.__setitem__(2, rows[2]._replace(schema_id=9)), "digest"),
    ],
)
def test_batches_that_do_not_fit_the_rows(chain: Chain, change: Change, column: str) -> None:
    rows, told = taken_apart(chain.journal), batches(chain, 2)
    change(rows, told)
    found = batch_faults(chain, rows, told)
    assert found
    assert found[0].column == column


def test_a_report_keeps_the_first_fault_of_each_kind() -> None:
    assert Report().whole
    report = Report()
    for sequence in (3, 4):
        report.add(Fault("missing", "d.copies", "l", 1, sequence, 0))
    assert not report.whole
    assert [fault.line() for fault in report.faults] == [
        "missing: d.copies: lineage l, partition 1, sequence 3, copy 0"
    ]
    assert report.counts == {"missing d.copies": 2}
