"""Holding a table's rows against those that the journal stands for.

Both are Avro datums in the order of their identity. Where they are the same bytes, which is nearly always, nothing is
decoded; where they are not, the rows are decoded and the first difference is named.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import fastavro

from pipeline.audit.faults import Fault, Report
from pipeline.audit.stored import Table, datums, decoded, literal, rows_of
from pipeline.errors import BadInput

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

BUDGET: Final = 24 * 1024 * 1024
"""Bytes of expected rows that are held against the table at once."""
MAX_ROWS: Final = 100_000

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

    def strangers(self, known: list[tuple[str, int]]) -> None:
        """Find rows of partitions that the journal does not know."""
        places = ", ".join(f"({literal(lineage)}, {partition})" for lineage, partition in known)
        outside = f"(lineage, partition) NOT IN ({places})" if known else "1"
        more = ", copy_index" if self.table.has_copy_index else ", 0"
        for lineage, partition, sequence, index in rows_of(
            self._client,
            f"SELECT lineage, partition, sequence{more} FROM {self.table.sql} FINAL "
            f"WHERE {outside} ORDER BY {self.table.identity} LIMIT 1000",
        ):
            self._report.add(
                self._fault("extra", lineage, partition, (sequence, index), "", "the journal knows no such partition")
            )

    def doubled(self) -> None:
        """Find rows that are there more than once with different contents, of which FINAL shows only one."""
        table = self.table
        (count, final), *_ = rows_of(
            self._client,
            f"SELECT (SELECT count() FROM {table.sql}), (SELECT count() FROM {table.sql} FINAL)",
        )
        if count == final:
            return
        more = "copy_index" if table.has_copy_index else "0"
        for lineage, partition, sequence, index in rows_of(
            self._client,
            f"SELECT lineage, partition, sequence, {more} FROM {table.sql} GROUP BY {table.identity} "
            f"HAVING count() > 1 AND uniqExact(sipHash128(tuple({table.columns}))) > 1 ORDER BY {table.identity} LIMIT 1000 "
            "SETTINGS max_bytes_before_external_group_by = 1000000000",
        ):
            column = self._column_that_differs(lineage, partition, sequence, index)
            self._report.add(
                self._fault(
                    "doubled", lineage, partition, (sequence, index), column, "there are several, and they differ"
                )
            )

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
            return name
    again = BytesIO()
    fastavro.schemaless_writer(again, schema, row)
    if len(again.getvalue()) == len(datum):
        return ""
    return next((name for name, value in row.items() if isinstance(value, dict)), "?")  # a map with a key twice
