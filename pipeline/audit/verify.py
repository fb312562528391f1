"""Is the archive whole? Checked from its own rows alone.

Each journal partition is walked in the order of its sequence: no gap in it, each record built on the one before, its
hash that of its columns, every ingest offset accounted for, and each batch record's rows there. From each record follow
the rows of messages, merges, copies and dead letters in every archive database; they are held against what is stored,
byte by byte. `faults.py` says how places are named.

What passes: a tail of the journal that is cut together with all that follows from it and with its batch records, and
an archive rewritten as a whole, until the heads are signed and kept elsewhere. A run that is not drained is not whole:
copies or journal rows that are still in Kafka are reported as missing. Archive databases that the settings do not name
are not looked at; the report names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.archive.client import archive_databases, control_database
from pipeline.audit.batches import BatchCheck, journal_batches, totals
from pipeline.audit.chain import Chain
from pipeline.audit.compare import Comparison, among_themselves
from pipeline.audit.faults import Fault, Report
from pipeline.audit.letters import LetterCheck
from pipeline.audit.policies import check_policies
from pipeline.audit.rows import JournalRow, Schemas, copy_rows, event_bytes, journal_rows, outcomes_of, served
from pipeline.audit.stored import datums, literal, open_tables, rows_of
from pipeline.codec import EventCodec, long
from pipeline.errors import Poison
from pipeline.registry import load_schema, open_schemas

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from pipeline.registry import Schemas as SchemasById
    from pipeline.settings import Settings

RANGE_ROWS: Final = 20_000
"""Most journal rows in memory at once."""
RANGE_BYTES: Final = 48 * 1024 * 1024
"""Most bytes of their raw events; a single larger one is taken alone."""
ASK_FOR: Final = 100
"""Messages whose earlier recipients are looked up at once."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many journal rows are done, and how many there are."""


def verify(
    client: Client, settings: Settings, progress: Progress | None = None, schemas: SchemasById | None = None
) -> Report:
    """Check the whole archive; all of Kafka must be drained into it.

    Args:
        client: of the archive.
        settings: those that the archive was filled with: databases and their domains.
        progress: told how far it is.
        schemas: by id; those of the settings if None.

    Raises:
        Misconfigured: tables are missing.
        Unavailable: ClickHouse or the schema registry is away.
    """
    return _Verifier(client, settings, progress, schemas or open_schemas(settings.kafka)).run()


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What is held against the tables of one archive database."""

    messages: Comparison
    merges: Comparison
    copies: Comparison

    def all(self) -> tuple[Comparison, Comparison, Comparison]:
        return self.messages, self.merges, self.copies


class _Verifier:
    def __init__(self, client: Client, settings: Settings, progress: Progress | None, schemas: SchemasById) -> None:
        self._client, self._progress, self._schemas = client, progress, schemas
        self._control = control_database(settings)
        self._report = Report()
        self._rows = Schemas.of(*(load_schema(name) for name in ("journal", "copy", "dead_letter", "event")))
        self._present = schemas.id_of("event")
        self._codec = EventCodec(schemas.event_schema, load_schema("event"))
        names = archive_databases(settings)
        schemas_of = {"messages": self._rows.row, "merges": self._rows.row, "copies": self._rows.copy}
        wanted = [(name, table, schema) for name in names for table, schema in schemas_of.items()]
        wanted.append((self._control, "journal", self._rows.journal))
        wanted.append((self._control, "dead_letters", self._rows.dead_letter))
        *tables, self._journal, self._letters = open_tables(client, wanted)
        opened = iter([Comparison(client, table, self._report) for table in tables])
        self._shelves = {name: _Shelf(next(opened), next(opened), next(opened)) for name in names}
        self._domains = {name: frozenset[str]() for name in self._shelves}
        for database in settings.clickhouse.databases:
            self._domains[database.name] = frozenset(domain.lower() for domain in database.domains)
        self._late: dict[tuple[str, int], dict[int, tuple[str, ...]]] = {}
        self._done = self._total = self._copies_elsewhere = 0

    def run(self) -> Report:
        groups = rows_of(
            self._client,
            f"SELECT toString(lineage), partition, count() FROM {self._journal.sql} FINAL "
            "GROUP BY lineage, partition ORDER BY lineage, partition",
        )
        self._total = sum(count for _, _, count in groups)
        self._find_late()
        for lineage, partition, _ in groups:
            self._partition(lineage, partition)
        known = [(lineage, partition) for lineage, partition, _ in groups]
        journal = Comparison(self._client, self._journal, self._report)
        shelved = [one for shelf in self._shelves.values() for one in shelf.all()]
        among_themselves(self._client, [*shelved, journal], known)
        self._orphaned_batches(known)
        check_policies(self._client, self._control, self._report)
        self._totals()
        return self._report

    def _find_late(self) -> None:
        """Messages that a later capture brought into further databases: a few, so they are all kept in mind."""
        for lineage, partition, into, databases in rows_of(
            self._client,
            f"SELECT toString(lineage), partition, into, new_databases FROM {self._journal.sql} FINAL "
            "WHERE notEmpty(new_databases) ORDER BY lineage, partition, sequence",
        ):
            late = self._late.setdefault((lineage, partition), {})
            late[into] = (*late.get(into, ()), *databases)

    def _partition(self, lineage: str, partition: int) -> None:
        chain = Chain(f"{self._control}.journal", lineage, partition)
        found = journal_batches(self._client, self._control, lineage, partition)
        batches = BatchCheck(found, f"{self._control}.batches", lineage, partition)
        letters = LetterCheck(self._client, self._letters, self._report, lineage, partition)
        comparisons = [one for shelf in self._shelves.values() for one in shelf.all()]
        for one in comparisons:
            one.begin(lineage, partition)
        for part in self._ranges(lineage, partition):
            earlier = self._earlier(lineage, partition, part)
            for row in part:
                for check in (chain, batches):
                    for fault in check.take(row):
                        self._report.add(fault)
                self._schema_id(row)
                letters.take(row)
                self._derive(row, earlier.get(row.sequence, {}))
            letters.flush(part[-1].sequence)
            self._report.saw(f"{self._control}.journal", len(part))
            self._done += len(part)
            if self._progress is not None:
                self._progress("verify", self._done, self._total)
        for fault in (*chain.end(), *batches.end()):
            self._report.add(fault)
        letters.flush(None)
        for one in comparisons:
            one.end()

    def _ranges(self, lineage: str, partition: int) -> Iterator[list[JournalRow]]:
        """The partition's journal rows, as many at once as fit the bounds."""
        place, since, count = f"lineage = {literal(lineage)} AND partition = {partition}", -(1 << 63), RANGE_ROWS
        while True:
            (last, number, size), *_ = rows_of(
                self._client,
                f"SELECT max(sequence), count(), sum(length(raw)) FROM (SELECT sequence, raw FROM {self._journal.sql} FINAL "
                f"WHERE {place} AND sequence >= {since} ORDER BY sequence LIMIT {count})",
            )
            if not number:
                return
            if size > RANGE_BYTES and number > 1:
                count = max(1, number // 2)
                continue
            data = datums(self._client, self._journal, f"{place} AND sequence >= {since} AND sequence <= {last}")
            part = self._readable(data, lineage, partition, since - 1)
            if part:
                yield part
            if number < count:
                return
            since, count = last + 1, RANGE_ROWS

    def _readable(self, data: bytes, lineage: str, partition: int, after: int) -> list[JournalRow]:
        """The rows; those behind one whose columns make no journal record are left out, and it is reported."""
        part: list[JournalRow] = []
        try:
            for row in journal_rows(data, self._rows.tail):
                part.append(row)  # noqa: PERF402 - what came before an error is wanted too
        except Poison as poison:
            sequence = part[-1].sequence + 1 if part else max(after + 1, 0)
            fault = Fault("altered", f"{self._control}.journal", lineage, partition, sequence, detail=str(poison))
            self._report.add(fault)
        return part

    def _schema_id(self, row: JournalRow) -> None:
        try:
            right = self._schemas.schema(row.schema_id)["name"] == "JournalRecord"
        except Poison:
            right = False
        if not right:
            self._altered(row, "schema_id", f"{row.schema_id} is no journal schema's")

    def _altered(self, row: JournalRow, column: str, detail: str) -> None:
        fields = row.fields
        self._report.add(Fault("altered", f"{self._control}.journal", fields["lineage"], fields["partition"], row.sequence,
                               -1, fields["offset"], column, detail))  # fmt: skip

    def _derive(self, row: JournalRow, earlier: dict[str, bytes]) -> None:
        """Add the rows that a journal record stands for to what must be there."""
        if not row.makes_row:
            return
        fields, sequence = row.fields, row.sequence
        late = self._late.get((fields["lineage"], fields["partition"]), {}).get(sequence, ())
        try:
            capture = self._codec.decode(row.raw)
            whole, bare = event_bytes(capture, self._present, self._rows.event)
            datum = long(capture.schema_id) + row.tail + whole
            for database in dict.fromkeys((*fields["databases"], *late)):
                shelf = self._shelves.get(database)
                if shelf is not None:
                    (shelf.messages if row.status == "accepted" else shelf.merges).add((sequence, 0), datum)
                elif database not in self._report.elsewhere:
                    self._report.elsewhere.append(database)
            count = 0
            copy_schema = self._schemas.copy_schema_ids[capture.schema_id]
            for copy in copy_rows(row, capture, bare, earlier, self._domains, copy_schema):
                count += 1
                if copy.database in self._shelves:
                    self._shelves[copy.database].copies.add((sequence, copy.copy_index), copy.datum)
                else:
                    self._copies_elsewhere += 1
        except (Poison, IndexError) as error:
            self._altered(row, "raw", f"its event does not decode as when it was taken: {error}")
            return
        if count != fields["copies"]:
            self._altered(row, "copies", f"it tells of {fields['copies']} copies and stands for {count}")

    def _earlier(self, lineage: str, partition: int, part: list[JournalRow]) -> dict[int, dict[str, bytes]]:
        """For each record with new databases: whom its message had reached before, and with what outcome."""
        wanted = [row for row in part if row.fields["new_databases"]]
        found: dict[int, dict[str, bytes]] = {}
        for at in range(0, len(wanted), ASK_FOR):
            some = wanted[at : at + ASK_FOR]
            intos = {row.fields["into"] for row in some}
            where = (
                f"lineage = {literal(lineage)} AND partition = {partition} AND sequence >= {min(intos)} "
                f"AND sequence < {some[-1].sequence} AND status IN ('accepted', 'merged') AND rule != 'retry' "
                f"AND into IN ({', '.join(map(str, intos))})"
            )
            history: dict[int, list[tuple[int, dict[str, bytes]]]] = {}
            for row in self._readable(datums(self._client, self._journal, where), lineage, partition, -1):
                try:
                    whom = self._codec.decode(row.raw).event["recipients"] if row.status == "accepted" else []
                    got = outcomes_of(row, served(row, whom))
                except (Poison, IndexError):
                    continue  # reported where the record itself is checked
                history.setdefault(row.fields["into"], []).append((row.sequence, got))
            for row in some:
                reached = found.setdefault(row.sequence, {})
                for sequence, got in history.get(row.fields["into"], ()):
                    if sequence < row.sequence:
                        reached.update(got)
        return found

    def _orphaned_batches(self, known: list[tuple[str, int]]) -> None:
        """Batch records of journal partitions of which not a row is left."""
        for lineage, partition in rows_of(
            self._client,
            f"SELECT DISTINCT toString(lineage), partition FROM `{self._control}`.batches FINAL "
            "WHERE topic = 'journal' ORDER BY lineage, partition",
        ):
            if (lineage, partition) not in known:
                found = journal_batches(self._client, self._control, lineage, partition)
                for fault in BatchCheck(found, f"{self._control}.batches", lineage, partition).end():
                    self._report.add(fault)

    def _totals(self) -> None:
        def count(sql: str) -> int:
            return int(rows_of(self._client, f"SELECT count() FROM {sql} FINAL")[0][0])

        found = {
            "copies": self._copies_elsewhere + sum(count(shelf.copies.table.sql) for shelf in self._shelves.values()),
            "findings": count(f"`{self._control}`.findings"),
            "policies": count(f"`{self._control}`.policies"),
            "dead-letters": count(self._letters.sql),
        }
        totals(self._client, self._control, found, self._report)
