"""Dead letters, held against the journal records that say `rejected`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.audit.faults import Fault, Kind, Report
from pipeline.audit.rows import JournalRow
from pipeline.audit.stored import Table, datums, decoded, literal

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class LetterCheck:
    """Follows one partition's journal; each rejected record has one dead letter, and no other record has any.

    Key, headers, topic and stage of a letter stand nowhere else and are not checked.
    """

    def __init__(self, client: Client, table: Table, report: Report, lineage: str, partition: int) -> None:
        self._client, self._table, self._report = client, table, report
        self._lineage, self._partition = lineage, partition
        self._after = -1
        self._due: dict[int, dict[str, Any]] = {}

    def take(self, row: JournalRow) -> None:
        """The next journal record."""
        if row.status == "rejected":
            fields = row.fields
            self._due[row.sequence] = {
                "value": row.raw,
                "partition": fields["partition"],
                "offset": fields["offset"],
                "reason": fields["reason"],
                "at": fields["arrival"],
            }

    def flush(self, upper: int | None) -> None:
        """Hold the letters up to sequence `upper` (None: all that are left) against the records taken so far."""
        where = f"lineage = {literal(self._lineage)} AND partition = {self._partition} AND sequence > {self._after}"
        where += f" AND sequence <= {upper}" if upper is not None else ""
        for letter, _ in decoded(datums(self._client, self._table, where), self._table.schema):
            due = self._due.pop(letter["sequence"], None)
            if due is None:
                self._add("extra", letter["sequence"], letter["offset"], "", "the journal rejected no such record")
                continue
            letter["value"] = letter["value"] or b""
            for name, value in due.items():
                if letter[name] != value:
                    self._add("altered", letter["sequence"], due["offset"], name)
                    break
            self._report.saw(f"{self._table.database}.{self._table.name}", 1)
        for sequence, due in self._due.items():
            self._add("missing", sequence, due["offset"])
        self._due = {}
        self._after = upper if upper is not None else self._after

    def _add(self, kind: Kind, sequence: int, offset: int, column: str = "", detail: str = "") -> None:
        name = f"{self._table.database}.{self._table.name}"
        self._report.add(Fault(kind, name, self._lineage, self._partition, sequence, -1, offset, column, detail))
