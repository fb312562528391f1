"""Holding a table's rows against those that the journal stands for.

Both are Avro datums in the order of their identity. Where they are the same bytes, which is nearly always, nothing is
decoded; where they are not, the rows are decoded and the first difference is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import fastavro

from pipeline.audit.faults import Fault, Report
from pipeline.audit.stored import STAND_IN, Table, datums, decoded, literal, rows_of
from pipeline.errors import BadInput

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BUDGET: Final = 24 * 1024 * 1024
"""Bytes of expected rows that are held against the table at once."""
MAX_ROWS: Final = 100_000
MOST_NAMED: Final = 1000
"""Most rows that are looked at for where they are doubled or strange."""

Key = tuple[int, int]
"""sequence, copy_index (0 where the table has none)."""


class Comparison:
    """Holds one table against the rows that are expected in it, partition by partition.

    Expected rows are added in the order of their keys. The ranges that are compared leave no room between them, so that
    a row that nothing stands for is found wherever it lies.
    """

    def __init__(self, client: Client, table: Table, report: Report) -> None:
        self._client, self.table, self._report = client, table, report
        self._name = f"{table.database}.{table.name}"
        self._lineage, self._partition = "", 0
        self._lower: Key | None = None
        self._keys: list[Key] = []
        self._rows: list[bytes] = []
        self._bytes = 0

    def begin(self, lineage: str, partition: int) -> None:
        """What is added from now on is of this partition."""
        self._lineage, self._partition, self._lower = lineage, partition, None

    def add(self, key: Key, datum: bytes) -> None:
        """A row that must be there."""
        self._keys.append(key)
        self._rows.append(datum)
        self._bytes += len(datum)
        if self._bytes >= BUDGET or len(self._rows) >= MAX_ROWS:
            self._flush(self._keys[-1])

    def end(self) -> None:
        """The partition has no further rows."""
        self._flush(None)

    def strangers(self, known: list[tuple[str, int]]) -> str:
        """SQL for the places of rows in partitions that the journal does not know."""
        places = ", ".join(f"({literal(lineage)}, {partition})" for lineage, partition in known)
        outside = f"(lineage, partition) NOT IN ({places})" if known else "1"
        more = "copy_index" if self.table.has_copy_index else "0"
        return (
            f"SELECT toString(lineage), partition, sequence, toInt32({more}) FROM {self.table.sql} FINAL "
            f"WHERE {outside} ORDER BY {self.table.identity} LIMIT {MOST_NAMED}"
        )

    def strange(self, lineage: str, partition: int, sequence: int, index: int) -> None:
        """Report a row that `strangers` found."""
        detail = "the journal knows no such partition"
        self._report.add(self._fault("extra", lineage, partition, (sequence, index), "", detail))

    def counts(self) -> str:
        """SQL for the number of rows as they lie there, and of those that FINAL shows."""
        return f"SELECT (SELECT count() FROM {self.table.sql}), (SELECT count() FROM {self.table.sql} FINAL)"

    def doubled(self) -> None:
        """Find rows that are there more than once with different contents, of which FINAL shows only one."""
        table = self.table
        more = "copy_index" if table.has_copy_index else "0"
        for lineage, partition, sequence, index in rows_of(
            self._client,
            f"SELECT toString(lineage), partition, sequence, {more} FROM {table.sql} GROUP BY {table.identity} "
            f"HAVING count() > 1 AND uniqExact(sipHash128(tuple({table.columns}))) > 1 ORDER BY {table.identity} "
            f"LIMIT {MOST_NAMED} SETTINGS max_bytes_before_external_group_by = 256000000, prefer_column_name_to_alias = 1",
        ):
            column = self._column_that_differs(lineage, partition, sequence, index)
            detail = "there are several, and they differ"
            self._report.add(self._fault("doubled", lineage, partition, (sequence, index), column, detail))

    def _column_that_differs(self, lineage: str, partition: int, sequence: int, index: int) -> str:
        where = f"lineage = {literal(lineage)} AND partition = {partition} AND sequence = {sequence}"
        where += f" AND copy_index = {index}" if self.table.has_copy_index else ""
        rows = [
            row
            for row, _ in decoded(datums(self._client, self.table, where, final=False, limit=100), self.table.schema)
        ]
        return next((name for row in rows[1:] for name in row if row[name] != rows[0][name]), "")

    def _flush(self, upper: Key | None) -> None:
        stored = datums(self._client, self.table, self._range(upper))
        self._report.saw(self._name, len(self._rows))
        if stored != b"".join(self._rows):
            self._name_differences(stored)
        self._lower = upper
        self._keys, self._rows, self._bytes = [], [], 0

    def _range(self, upper: Key | None) -> str:
        parts = [f"lineage = {literal(self._lineage)}", f"partition = {self._partition}"]
        indexed = self.table.has_copy_index
        if self._lower is not None:
            parts.append(f"sequence {'>=' if indexed else '>'} {self._lower[0]}")
            parts += [f"(sequence, copy_index) > {self._lower}"] if indexed else []
        if upper is not None:
            parts.append(f"sequence <= {upper[0]}")
            parts += [f"(sequence, copy_index) <= {upper}"] if indexed else []
        return " AND ".join(parts)

    def _name_differences(self, stored: bytes) -> None:
        expected = dict(zip(self._keys, self._rows, strict=True))
        seen: set[Key] = set()
        for row, datum in decoded(stored, self.table.schema):
            key = (row["sequence"], row.get("copy_index", 0))
            if key in seen:
                self._add("doubled", key, "", "it is there again, with another sort key")
                continue
            seen.add(key)
            due = expected.get(key)
            if due is None:
                self._add("extra", key, "", "the journal does not stand for it")
            elif due != datum:
                column = difference(row, datum, due, self.table.schema)
                if column:
                    self._add("altered", key, column)
        for key in self._keys:
            if key not in seen:
                self._add("missing", key)

    def _add(self, kind: Any, key: Key, column: str = "", detail: str = "") -> None:
        self._report.add(self._fault(kind, self._lineage, self._partition, key, column, detail))

    def _fault(self, kind: Any, lineage: str, partition: int, key: Key, column: str, detail: str) -> Fault:
        index = key[1] if self.table.has_copy_index else -1
        return Fault(kind, self._name, lineage, partition, key[0], index, -1, column, detail)


def difference(row: dict[str, Any], datum: bytes, due: bytes, schema: Any) -> str:
    """The first column in which a stored row is not the one that was due; empty if only the encoding differs.

    Args:
        row: as stored, decoded.
        datum: as stored, in ClickHouse's Avro.
        due: what was expected, in Avro.
        schema: of both, parsed.
    """
    other = fastavro.schemaless_reader(BytesIO(due), schema, None)
    if not isinstance(other, dict):
        raise BadInput("a row's schema is no record")
    for name, value in row.items():
        if value != other[name]:
            return STAND_IN.get(name, name)
    again = BytesIO()
    fastavro.schemaless_writer(again, schema, row)
    if len(again.getvalue()) == len(datum):
        return ""
    return next((name for name, value in row.items() if isinstance(value, dict)), "?")  # a map with a key twice


def among_themselves(client: Client, comparisons: Sequence[Comparison], known: list[tuple[str, int]]) -> None:
    """What tables show without the journal: rows of partitions that it does not know, and rows that are there twice.

    Args:
        client: of the archive.
        comparisons: one for each table.
        known: lineage and partition of all journal partitions.
    """
    strangers = [f"SELECT {number}, * FROM ({one.strangers(known)})" for number, one in enumerate(comparisons)]
    for number, *place in rows_of(client, " UNION ALL ".join(strangers)):
        comparisons[number].strange(*place)
    counts = [f"SELECT {number}, * FROM ({one.counts()})" for number, one in enumerate(comparisons)]
    for number, count, final in rows_of(client, " UNION ALL ".join(counts)):
        if count != final:
            comparisons[number].doubled()
