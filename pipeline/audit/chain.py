"""One partition's journal, record by record: sequence, chain of hashes, offsets. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.audit.faults import Fault, Kind
from pipeline.audit.rows import JournalRow
from pipeline.codec import sha256


class Chain:
    """Takes a partition's journal rows in the order of their sequence and finds what does not fit.

    Args:
        table: how faults call the journal.
        lineage: of the topics.
        partition: of the journal.
    """

    def __init__(self, table: str, lineage: str, partition: int) -> None:
        self.table, self.lineage, self.partition = table, lineage, partition
        self.sequence = -1
        self.hash = sha256(f"{lineage}/{partition}".encode())
        self.offset = -1
        self._suspect: tuple[int, int, bytes] | None = None

    def take(self, row: JournalRow) -> Iterator[Fault]:
        """The faults of the next row; what follows is held against the row as it stands."""
        sequence, offset = row.fields["sequence"], row.fields["offset"]
        computed = sha256(row.hashed)
        yield from self._clear(row.previous_hash)
        if sequence != self.sequence + 1:
            lost = f"sequences {self.sequence + 1} to {sequence - 1} are not there"
            yield self._fault("missing", self.sequence + 1, self.offset + 1, detail=lost)
        elif row.previous_hash != self.hash:
            detail = "it does not build on the record before"
            yield self._fault("chain", sequence, offset, "previous_hash", detail)
        if computed != row.hash:
            self._suspect = (sequence, offset, computed)
        if sequence == self.sequence + 1 and offset != self.offset + 1 + row.fields["skipped"]:
            detail = f"the offset before is {self.offset}, skipped {row.fields['skipped']}"
            yield self._fault("offsets", sequence, offset, "offset", detail)
        self.sequence, self.hash, self.offset = sequence, row.hash, offset

    def end(self) -> Iterator[Fault]:
        """The faults that only the end shows."""
        yield from self._clear(b"")

    def _clear(self, following: bytes) -> Iterator[Fault]:
        """A hash that does not fit: the next record tells whether the hash itself was altered or another column."""
        if self._suspect is None:
            return
        sequence, offset, computed = self._suspect
        self._suspect = None
        if computed == following:
            yield self._fault("altered", sequence, offset, "hash", "the record after has another hash for it")
        else:
            yield self._fault("altered", sequence, offset, "", "its columns do not give its hash")

    def _fault(self, kind: Kind, sequence: int, offset: int, column: str = "", detail: str = "") -> Fault:
        return Fault(kind, self.table, self.lineage, self.partition, sequence, -1, offset, column, detail)
