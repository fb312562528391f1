"""Any one column of any one row altered, any one row dropped, repeated or swapped: `verify` fails and names the place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.archive import tables
from pipeline.archive.client import connect
from pipeline.audit.faults import Report
from pipeline.audit.verify import verify
from tests.support.servers import Database
from tests.support.small_archive import SmallArchive, build, settings_for

pytestmark = [pytest.mark.clickhouse]

PLACES = ("first", "middle", "last")
TABLES = {"journal": tables.JOURNAL, "messages": tables.MESSAGES, "merges": tables.MERGES, "copies": tables.COPIES}
IDENTITY = ("lineage", "partition", "sequence")
COLUMNS = [
    (table.name, column.name)
    for table in TABLES.values()
    for column in table.columns
    if not column.default.startswith("ALIAS")
]


@pytest.fixture(scope="module")
def archive(clickhouse: Database) -> Iterator[SmallArchive]:
    settings = settings_for(clickhouse.url, "verify_alterations", both=False)
    client = connect(settings)
    small = build(client, settings, partitions=1)
    try:
        for name, table in TABLES.items():
            client.command(f"CREATE TABLE {_home(small, name)}.{name}_kept AS {_home(small, name)}.{name}")
            _copy(small, table.name, f"{name}_kept", f"SELECT * FROM {_home(small, name)}.{name} FINAL")
        yield small
    finally:
        for name in small.names():
            client.command(f"DROP DATABASE IF EXISTS {name}")
        client.close()


@pytest.fixture(params=TABLES)
def table(archive: SmallArchive, request: pytest.FixtureRequest) -> Iterator[str]:
    """A table that is put back after the test."""
    yield request.param
    _restore(archive, request.param)


def _home(archive: SmallArchive, table: str) -> str:
    return archive.control if table == "journal" else archive.alpha


def _copy(archive: SmallArchive, _table: str, to: str, select: str) -> None:
    name = _table.removesuffix("_kept")
    archive.client.command(
        f"INSERT INTO {_home(archive, name)}.{to} {select}",
        settings={"insert_deduplicate": 0},
    )


def _restore(archive: SmallArchive, table: str, but: str = "0") -> None:
    """The table as it was, without the rows of which `but` holds."""
    archive.client.command(f"TRUNCATE TABLE {_home(archive, table)}.{table}")
    _copy(archive, table, table, f"SELECT * FROM {_home(archive, table)}.{table}_kept WHERE NOT ({but})")


def _kept(archive: SmallArchive, table: str, row: dict[str, Any]) -> str:
    """A subquery: REPLACE (... AS column) would change what a WHERE beside it sees."""
    return f"(SELECT * FROM {_home(archive, table)}.{table}_kept WHERE {_where(row)})"


def _identity(table: str) -> tuple[str, ...]:
    return (*IDENTITY, "copy_index") if table == "copies" else IDENTITY


def _rows(archive: SmallArchive, table: str) -> list[dict[str, Any]]:
    names = _identity(table)
    sql = f"SELECT {', '.join(names)} FROM {_home(archive, table)}.{table}_kept ORDER BY {', '.join(names)}"
    return [dict(zip(names, row, strict=True)) for row in archive.client.query(sql).result_rows]


def _chosen(archive: SmallArchive, table: str, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row, and one beside it."""
    rows = _rows(archive, table)
    at = {"first": 0, "middle": len(rows) // 2, "last": len(rows) - 1}[place]
    return rows[at], rows[at + 1 if place == "first" else at - 1]


def _where(row: dict[str, Any]) -> str:
    return " AND ".join(f"{name} = {value!r}" for name, value in row.items())


def _altered(column: tables.Column) -> str:
    name, kind = f"`{column.name}`", column.type
    if kind.startswith("FixedString"):
        return f"CAST(concat(substring({name}, 2), char(bitXor(reinterpretAsUInt8(substring({name}, 1, 1)), 1))) AS {kind})"
    if kind.startswith("DateTime64"):
        return f"addMilliseconds({name}, 1)"
    if kind == "Bool":
        return f"NOT {name}"
    if kind.startswith("Int"):
        return f"CAST({name} + 1 AS {kind})"
    if "Nullable" in kind and not kind.startswith("Array"):
        return f"CAST(if(isNull({name}), 'x', NULL) AS {kind})"
    if kind.startswith("Map"):
        return f"CAST(mapUpdate({name}, map('x', 'y')) AS {kind})"
    if kind.startswith("Array"):
        return f"arrayResize({name}, length({name}) + 1)"
    return f"concat({name}, 'x')"


def _check(archive: SmallArchive) -> Report:
    return verify(archive.client, archive.settings)


def _names(report: Report, archive: SmallArchive, table: str, *rows: dict[str, Any]) -> bool:
    """Whether a fault names one of these rows, or the one that must follow it."""
    full = f"{_home(archive, table)}.{table}"
    return any(
        fault.table == full and fault.partition == row["partition"] and 0 <= fault.sequence - row["sequence"] <= 1
        for fault in report.faults
        for row in rows
    )


def test_it_is_whole_as_it_was_made(archive: SmallArchive) -> None:
    report = _check(archive)
    assert report.whole, report.faults
    assert all(report.checked[f"{_home(archive, name)}.{name}"] == len(_rows(archive, name)) >= 4 for name in TABLES)


def test_every_stored_column_is_altered_below(archive: SmallArchive) -> None:
    for name in TABLES:
        sql = f"SELECT name FROM system.columns WHERE database = '{_home(archive, name)}' AND table = '{name}' AND default_kind = ''"
        stored = {row[0] for row in archive.client.query(sql).result_rows}
        assert stored == {column for table, column in COLUMNS if table == name}


# Each column at one place; at the two others too where there is time.
ALTERATIONS = [
    pytest.param(table, column, place, marks=[] if number % 3 == at else [pytest.mark.slow])
    for number, (table, column) in enumerate(COLUMNS)
    for at, place in enumerate(PLACES)
]


@pytest.mark.parametrize(("table", "column", "place"), ALTERATIONS, indirect=["table"])
def test_an_altered_column(archive: SmallArchive, table: str, column: str, place: str) -> None:
    definition = next(one for one in TABLES[table].columns if one.name == column)
    row, _ = _chosen(archive, table, place)
    _restore(archive, table, but=_where(row))
    changed = f"SELECT * REPLACE ({_altered(definition)} AS `{column}`) FROM {_kept(archive, table, row)}"
    _copy(archive, table, table, changed)
    assert len(archive.client.query(f"SELECT 1 FROM {_home(archive, table)}.{table}").result_rows) == len(
        _rows(archive, table)
    )
    report = _check(archive)
    assert not report.whole
    if column not in _identity(table):
        assert _names(report, archive, table, row), report.faults
        if table != "journal":
            assert column in {fault.column for fault in report.faults}, report.faults


@pytest.mark.parametrize("place", PLACES)
def test_a_dropped_row(archive: SmallArchive, table: str, place: str) -> None:
    row, _ = _chosen(archive, table, place)
    _restore(archive, table, but=_where(row))
    report = _check(archive)
    assert not report.whole
    assert _names(report, archive, table, row) or place == "last", report.faults


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("table", "column"), [pair for pair in COLUMNS if pair[1] in ("floor", "body", "schema_id")], indirect=["table"]
)
def test_a_row_repeated_with_another_content(archive: SmallArchive, table: str, place: str, column: str) -> None:
    row, _ = _chosen(archive, table, place)
    definition = next(one for one in TABLES[table].columns if one.name == column)
    source = _kept(archive, table, row)
    for after in (False, True):  # FINAL shows the one that was inserted last
        _restore(archive, table, but=_where(row) if after else "0")
        _copy(archive, table, table, f"SELECT * REPLACE ({_altered(definition)} AS `{column}`) FROM {source}")
        if after:
            _copy(archive, table, table, f"SELECT * FROM {source}")
        report = _check(archive)
        assert not report.whole
        assert _names(report, archive, table, row), report.faults


@pytest.mark.parametrize("place", PLACES)
def test_a_row_repeated_under_another_sequence(archive: SmallArchive, table: str, place: str) -> None:
    row, _ = _chosen(archive, table, place)
    _copy(
        archive,
        table,
        table,
        f"SELECT * REPLACE (sequence + 1000 AS sequence) FROM {_kept(archive, table, row)}",
    )
    report = _check(archive)
    assert not report.whole
    assert any(fault.table.endswith(f".{table}") for fault in report.faults)


def test_a_row_repeated_as_it_is_changes_nothing(archive: SmallArchive, table: str) -> None:
    _copy(archive, table, table, f"SELECT * FROM {_home(archive, table)}.{table}_kept")
    report = _check(archive)
    assert report.whole, report.faults


@pytest.mark.parametrize("place", PLACES)
def test_two_rows_swapped(archive: SmallArchive, table: str, place: str) -> None:
    one, other = _chosen(archive, table, place)
    _restore(archive, table, but=f"({_where(one)}) OR ({_where(other)})")
    for source, target in ((one, other), (other, one)):
        values = ", ".join(f"CAST({value!r} AS {_type(table, name)}) AS {name}" for name, value in target.items())
        _copy(
            archive,
            table,
            table,
            f"SELECT * REPLACE ({values}) FROM {_kept(archive, table, source)}",
        )
    report = _check(archive)
    assert not report.whole
    assert _names(report, archive, table, one, other), report.faults


def _type(table: str, column: str) -> str:
    return next(one.type for one in TABLES[table].columns if one.name == column)


@pytest.mark.parametrize("table", ["messages"], indirect=True)
def test_a_map_with_a_key_twice(archive: SmallArchive, table: str) -> None:
    row, _ = _chosen(archive, table, "first")
    _restore(archive, table, but=_where(row))
    twice = "CAST(arrayConcat(CAST(stanza_ids AS Array(Tuple(LowCardinality(String), String))), CAST(stanza_ids AS Array(Tuple(LowCardinality(String), String)))) AS Map(LowCardinality(String), String))"
    _copy(
        archive,
        table,
        table,
        f"SELECT * REPLACE ({twice} AS stanza_ids) FROM {_kept(archive, table, row)}",
    )
    assert [fault.column for fault in _check(archive).faults] == ["stanza_ids"]


@pytest.mark.parametrize("table", ["journal"], indirect=True)
def test_a_tail_without_its_batch_record_is_missed(archive: SmallArchive, table: str) -> None:
    """And so is a whole partition."""
    for but in ("sequence > 8", "1"):
        _restore(archive, table, but=but)
        report = _check(archive)
        assert any(fault.kind == "batches" for fault in report.faults), report.faults
