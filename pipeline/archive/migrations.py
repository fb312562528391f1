"""Versioned migrations of the control database and of each archive database.

Every statement may run twice, so a migration that was cut short is simply applied again; a version is on record once all
of its statements have run. A released migration is never changed: what tables.py and views.py say may only change
together with a new version that brings older databases to the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client

from pipeline.archive import tables, views
from pipeline.archive.client import archive_databases, control_database, rows, translated
from pipeline.errors import Misconfigured
from pipeline.settings import Settings


class Migration(NamedTuple):
    """One version: what it does to the control database and to each archive database."""

    version: int
    title: str
    control: Callable[[str], list[str]]
    archive: Callable[[str], list[str]]


def _first_control(database: str) -> list[str]:
    return [table.create(database) for table in tables.CONTROL] + views.control_views(database)


def _first_archive(database: str) -> list[str]:
    return [table.create(database) for table in tables.ARCHIVE] + views.archive_views(database)


MIGRATIONS: Final = (Migration(1, "tables and views", _first_control, _first_archive),)
LATEST: Final = MIGRATIONS[-1].version


def migrate(client: Client, settings: Settings) -> list[int]:
    """Create and bring up to date the control database and every archive database; the versions that were applied.

    A database that is added to the settings later gets all versions then.

    Raises:
        Misconfigured: a database is from a newer version of this program, or the user may not create tables.
        Unavailable: ClickHouse is away.
    """
    control = control_database(settings)
    _run(client, f"CREATE DATABASE IF NOT EXISTS `{control}`")
    _run(client, _records(control))
    done = _versions(client, control)
    newest = max((version for versions in done.values() for version in versions), default=0)
    if newest > LATEST:
        raise Misconfigured(f"the archive is of version {newest}, this program knows {LATEST}: use a newer one")
    applied = set()
    for migration in MIGRATIONS:
        steps = [("control", control, migration.control)]
        steps += [("archive", database, migration.archive) for database in archive_databases(settings)]
        for role, database, statements in steps:
            if migration.version in done.get((role, database), ()):
                continue
            _run(client, f"CREATE DATABASE IF NOT EXISTS `{database}`")
            for statement in statements(database):
                _run(client, statement)
            _record(client, control, role, database, migration)
            applied.add(migration.version)
    return sorted(applied)


def check(client: Client, settings: Settings) -> None:
    """See that every database is there and of this version; for workers, at start.

    Raises:
        Misconfigured: one is not: `compliance migrate` has not run, or a newer program's has.
        Unavailable: ClickHouse is away.
    """
    control = control_database(settings)
    done = _versions(client, control)
    for role, database in [("control", control), *(("archive", name) for name in archive_databases(settings))]:
        version = max(done.get((role, database), ()), default=0)
        if version != LATEST:
            raise Misconfigured(f"{role} database {database} is of version {version}, not {LATEST}: compliance migrate")


def _records(control: str) -> str:
    return f"""CREATE TABLE IF NOT EXISTS `{control}`.schema_migrations
(
    `role` LowCardinality(String),
    `database` String,
    `version` UInt32,
    `title` String,
    `applied_at` DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree ORDER BY (role, database, version)"""


def _versions(client: Client, control: str) -> dict[tuple[str, str], set[int]]:
    done: dict[tuple[str, str], set[int]] = {}
    for row in rows(client, f"SELECT role, database, version FROM `{control}`.schema_migrations FINAL"):
        done.setdefault((row["role"], row["database"]), set()).add(row["version"])
    return done


def _record(client: Client, control: str, role: str, database: str, migration: Migration) -> None:
    _run(
        client,
        f"INSERT INTO `{control}`.schema_migrations SELECT '{role}', '{database}', {migration.version}, "
        f"'{migration.title}', now64(3) SETTINGS async_insert = 0",
    )


def _run(client: Client, statement: str) -> None:
    with translated():
        client.command(statement, use_database=False)
