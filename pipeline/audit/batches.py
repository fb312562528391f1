"""The archive worker's own records of its inserts, held against the rows that are there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.audit.faults import Fault, Report
from pipeline.audit.rows import JournalRow
from pipeline.audit.stored import literal, quoted, rows_of
from pipeline.codec import wire_header

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

PAGE: Final = 10_000
_LENGTH: Final = 8


class Batch(NamedTuple):
    """One insert of journal records, as the worker recorded it."""

    first_offset: int
    last_offset: int
    rows: int
    first_sequence: int
    last_sequence: int
    last_hash: bytes
    digest: str


def journal_batches(client: Client, control: str, lineage: str, partition: int) -> Iterator[Batch]:
    """The records of a journal partition's inserts, in the order of their sequences."""
    after = "(-2, -2, '')"
    while True:
        page = rows_of(
            client,
            "SELECT first_offset, last_offset, rows, first_sequence, last_sequence, hex(last_hash), digest "
            f"FROM {quoted(control)}.batches FINAL WHERE topic = 'journal' AND lineage = {literal(lineage)} "
            f"AND partition = {partition} AND (first_sequence, last_sequence, digest) > {after} "
            f"ORDER BY first_sequence, last_sequence, digest LIMIT {PAGE}",
        )
        for first, last, count, first_sequence, last_sequence, last_hash, digest in page:
            yield Batch(first, last, count, first_sequence, last_sequence, bytes.fromhex(last_hash), digest)
        if len(page) < PAGE:
            return
        after = f"({page[-1][3]}, {page[-1][4]}, {literal(page[-1][6])})"


class BatchCheck:
    """Follows a partition's journal rows and its batch records together.

    Args:
        batches: those of the partition, in the order of their sequences.
        table: how faults call the batches.
        lineage: of the topics.
        partition: of the journal.
    """

    def __init__(self, batches: Iterator[Batch], table: str, lineage: str, partition: int) -> None:
        self._batches, self._table, self._lineage, self._partition = batches, table, lineage, partition
        self._open: Batch | None = None
        self._last: Batch | None = None
        self._digest = hashlib.sha256()
        self._rows = self._seen = 0
        self._sequence = -1
        self._hash = b""

    def take(self, row: JournalRow) -> Iterator[Fault]:
        """The faults that the next journal row shows."""
        if self._open is not None and row.sequence > self._open.last_sequence:
            yield from self._close()
        if self._open is None:
            yield from self._next(row.sequence)
        if self._open is None:
            return
        value = wire_header(row.schema_id) + row.hash + row.hashed
        self._digest.update(len(value).to_bytes(_LENGTH, "big"))
        self._digest.update(value)
        self._rows, self._sequence, self._hash = self._rows + 1, row.sequence, row.hash
        if row.sequence == self._open.last_sequence:
            yield from self._close()

    def end(self) -> Iterator[Fault]:
        """The faults that only the end of the journal shows: rows that a batch record tells of are not there."""
        if self._open is not None:
            yield from self._close()
        for batch in self._batches:
            self._seen += 1
            yield self._fault(batch, "last_sequence", "the journal rows that it tells of are not there")

    def _next(self, sequence: int) -> Iterator[Fault]:
        batch = next(self._batches, None)
        if batch is None:
            yield Fault(
                "batches", self._table, self._lineage, self._partition, sequence, detail="no batch record tells of it"
            )
            return
        due = 0 if self._last is None else self._last.last_sequence + 1
        if batch.first_sequence != due:
            yield self._fault(batch, "first_sequence", f"the batch records before it end at sequence {due - 1}")
        if self._last is not None and batch.first_offset <= self._last.last_offset:
            yield self._fault(batch, "first_offset", f"the batch before it ends at offset {self._last.last_offset}")
        self._open, self._last = batch, batch
        self._digest, self._rows, self._sequence = hashlib.sha256(), 0, -1

    def _close(self) -> Iterator[Fault]:
        batch, self._open = self._open, None
        if batch is None:
            return
        if self._sequence != batch.last_sequence:
            yield self._fault(batch, "last_sequence", "the journal rows that it tells of are not there")
        elif self._rows != batch.rows:
            yield self._fault(batch, "rows", f"it tells of {batch.rows} rows, {self._rows} are there")
        elif self._hash != batch.last_hash:
            yield self._fault(batch, "last_hash", "the journal row has another hash")
        elif self._digest.hexdigest() != batch.digest:
            yield self._fault(batch, "digest", "the journal rows give another")

    def _fault(self, batch: Batch, column: str, detail: str) -> Fault:
        return Fault("batches", self._table, self._lineage, self._partition, batch.last_sequence, -1, batch.first_offset,
                     column, detail)  # fmt: skip


def totals(client: Client, control: str, found: dict[str, int], report: Report) -> None:
    """Hold the rows of the other topics' batch records, all together, against the rows that are there.

    Args:
        client: of the archive.
        control: the control database.
        found: rows by topic.
        report: takes the faults.
    """
    told: dict[Any, Any] = dict(
        rows_of(client, f"SELECT toString(topic), sum(rows) FROM {quoted(control)}.batches FINAL GROUP BY topic")
    )
    for topic, count in found.items():
        if told.get(topic, 0) != count:
            detail = f"batch records of {topic} tell of {told.get(topic, 0)} rows, {count} are there"
            report.add(Fault("batches", f"{control}.batches", "", -1, column="rows", detail=detail))
