"""`verify` on an archive of several databases and partitions, over HTTP; on a missing one; and on what is cut off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.archive import tables
from pipeline.archive.client import connect
from pipeline.audit import compare
from pipeline.audit import verify as audit
from pipeline.audit.verify import verify
from pipeline.errors import Misconfigured
from pipeline.settings import ClickHouse, Settings
from tests.support.servers import Database
from tests.support.small_archive import PARTITIONS, SmallArchive, build, settings_for

pytestmark = [pytest.mark.clickhouse]


@pytest.fixture(scope="module")
def made(clickhouse: Database) -> Iterator[SmallArchive]:
    settings = settings_for(clickhouse.url, "verify_whole")
    client = connect(settings)
    small = build(client, settings)
    try:
        for name in _tables(small):
            client.command(f"CREATE TABLE {name}_kept AS {name}")
            client.command(f"INSERT INTO {name}_kept SELECT * FROM {name}")
        yield small
    finally:
        for name in small.names():
            client.command(f"DROP DATABASE IF EXISTS {name}")
        client.close()


@pytest.fixture
def archive(made: SmallArchive) -> Iterator[SmallArchive]:
    """The archive, which is put back as it was after the test."""
    yield made
    for name in _tables(made):
        made.client.command(f"TRUNCATE TABLE {name}")
        made.client.command(f"INSERT INTO {name} SELECT * FROM {name}_kept", settings={"insert_deduplicate": 0})


def _tables(archive: SmallArchive) -> list[str]:
    control = [f"{archive.control}.{table.name}" for table in tables.CONTROL]
    return control + [f"{name}.{table.name}" for name in (archive.alpha, archive.beta) for table in tables.ARCHIVE]


def test_everything_is_checked(archive: SmallArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ranges of one row too: none is left out between two."""
    statuses = {step.status for step in archive.steps}
    assert statuses == {"accepted", "merged", "rerouted", "rejected", "gap"}
    steps = len(archive.steps)
    seen: list[tuple[str, int, int]] = []
    whole = verify(archive.client, archive.settings, lambda *said: seen.append(said))
    assert whole.whole, whole.faults
    assert whole.checked[f"{archive.control}.journal"] == steps
    assert seen[-1] == ("verify", steps, steps)
    copies = sum(whole.checked[f"{name}.copies"] for name in (archive.alpha, archive.beta))
    assert copies == sum(step.copies.count for step in archive.steps)
    assert whole.checked[f"{archive.control}.dead_letters"] == 2 * PARTITIONS
    monkeypatch.setattr(audit, "RANGE_ROWS", 3)
    monkeypatch.setattr(audit, "RANGE_BYTES", 500)
    monkeypatch.setattr(compare, "MAX_ROWS", 1)
    again = verify(archive.client, archive.settings)
    assert (again.faults, again.checked) == ([], whole.checked)
    for where in ("sequence = 2 AND copy_index = 4", "sequence = 3", "sequence = 16"):
        archive.client.command(f"DELETE FROM {archive.beta}.copies WHERE {where}")
    assert verify(archive.client, archive.settings).counts[f"missing {archive.beta}.copies"] == PARTITIONS * 5


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM {beta}.messages WHERE sequence = 0", "missing {beta}.messages"),
        (
            "INSERT INTO {beta}.messages SELECT * FROM {alpha}.messages WHERE sequence = 9 AND partition = 0",
            "extra {beta}.messages",
        ),
        (
            "INSERT INTO {alpha}.copies SELECT * REPLACE ('ffff' AS lineage) FROM {alpha}.copies LIMIT 1",
            "extra {alpha}.copies",
        ),
        ("DELETE FROM {control}.dead_letters WHERE partition = 1", "missing {control}.dead_letters"),
        ("ALTER TABLE {control}.dead_letters UPDATE value = 'x' WHERE 1", "altered {control}.dead_letters"),
        ("ALTER TABLE {control}.dead_letters UPDATE reason = 'x' WHERE 1", "altered {control}.dead_letters"),
        ("ALTER TABLE {control}.dead_letters UPDATE sequence = 1 WHERE 1", "extra {control}.dead_letters"),
        ("DELETE FROM {control}.findings WHERE 1", "batches {control}.batches"),
        ("ALTER TABLE {control}.policies UPDATE content = 'x' WHERE 1", "altered {control}.policies"),
        ("ALTER TABLE {control}.policies UPDATE groups = 'x' WHERE 1", "altered {control}.policies"),
        ("DELETE FROM {control}.policies WHERE partition = 1", "missing {control}.policies"),
        (
            "INSERT INTO {control}.policies SELECT * REPLACE (sequence + 1 AS sequence) FROM {control}.policies",
            "extra {control}.policies",
        ),
        ("DELETE FROM {control}.batches WHERE topic = 'copies'", "batches {control}.batches"),
        ("DELETE FROM {control}.batches WHERE topic = 'journal' AND first_sequence = 4", "batches {control}.batches"),
        ("DELETE FROM {control}.journal WHERE partition = 1", "batches {control}.batches"),
        ("TRUNCATE TABLE {control}.journal", "extra {alpha}.messages"),
        (
            "INSERT INTO {control}.journal SELECT * REPLACE (-9223372036854775808 AS sequence) FROM {control}.journal LIMIT 1",
            "altered {control}.journal",
        ),
    ],
)
def test_what_is_wrong_is_named(archive: SmallArchive, statement: str, fault: str) -> None:
    names = {"control": archive.control, "alpha": archive.alpha, "beta": archive.beta}
    archive.client.command(statement.format(**names), settings={"mutations_sync": 2, "insert_deduplicate": 0})
    report = verify(archive.client, archive.settings)
    assert fault.format(**names) in report.counts, report.faults


def test_directions_depend_on_the_domains(archive: SmallArchive) -> None:
    databases = archive.settings.clickhouse.databases
    others = (databases[0].model_copy(update={"domains": ("elsewhere.example",)}), databases[1])
    settings = Settings(clickhouse=ClickHouse(url=archive.settings.clickhouse.url, databases=others))
    report = verify(archive.client, settings)
    assert {(fault.kind, fault.table, fault.column) for fault in report.faults} == {
        ("altered", f"{archive.alpha}.copies", "direction")
    }


def test_databases_of_others_are_named_and_left_alone(archive: SmallArchive) -> None:
    mine = archive.settings.clickhouse.databases[:1]
    settings = Settings(clickhouse=ClickHouse(url=archive.settings.clickhouse.url, databases=mine))
    report = verify(archive.client, settings)
    assert report.whole, report.faults
    assert report.elsewhere == [archive.beta]


def test_an_archive_that_is_not_there(clickhouse: Database) -> None:
    settings = settings_for(clickhouse.url, "verify_nothing")
    client = connect(settings)
    client.database = None
    with pytest.raises(Misconfigured, match="verify_nothing"):
        verify(client, settings)
    client.close()
