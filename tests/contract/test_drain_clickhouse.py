"""The archive worker between a real Kafka and ClickHouse over HTTP: every row, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from pipeline import topics
from pipeline.archive.client import connect, rows
from pipeline.archive.migrations import migrate
from pipeline.local.clickhouse import LocalClickHouse
from pipeline.settings import Settings
from tests.support.drain import ROOT, Worker, drained, fill, settings_for
from tests.support.records import Chain, dead_letter, event, finding
from tests.support.servers import Broker, Database

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse]
PARTITIONS = 3


def archive_settings(kafka: Broker, prefix: str, server: str, database: str, **archive: Any) -> Settings:
    settings = settings_for(
        kafka.bootstrap, prefix, PARTITIONS, clickhouse={"url": f"{server.rsplit('/', 1)[0]}/{database}"},
        archive={"batch_rows": 200, **archive},
    )  # fmt: skip
    topics.create(settings)
    migrate(connect(settings), settings)
    return settings


def chains(database: str, messages: int, seed: int) -> list[Chain]:
    """A journal with copies, merges and refusals in each partition."""
    chooser = random.Random(seed)
    made = [Chain(partition=partition, databases=[database]) for partition in range(PARTITIONS)]
    for chain in made:
        for _ in range(messages):
            match chooser.randrange(10):
                case 0:
                    chain.reject(b"\xff" * chooser.randrange(50))
                case 1 | 2 if accepted := [r["sequence"] for r in chain.records if r["status"] == "accepted"]:
                    into = chooser.choice(accepted)
                    chain.merge(event(recipients=[f"r{chooser.randrange(9)}@x"]), into)
                case _:
                    chain.accept(event(recipients=[f"r{number}@x" for number in range(chooser.randrange(1, 6))]))
    return made


def produce(settings: Settings, made: list[Chain]) -> None:
    for route in ("journal", "copies"):
        values = [(chain.partition, value) for chain in made for value in getattr(chain, route)]
        fill(settings, route, values, transaction=100)
    fill(settings, "findings", [(n % PARTITIONS, finding(finding_id=f"f{n}", sequence=n)) for n in range(20)])
    fill(settings, "dead-letters", [(n % PARTITIONS, dead_letter(offset=n, sequence=n)) for n in range(20)])


def check_archive(client: Client, database: str, made: list[Chain]) -> None:
    """Exactly the rows of the chains; and no batch record that contradicts another."""

    def count(sql: str) -> int:
        (row,) = rows(client, f"SELECT count() AS n FROM {sql}")
        return int(row["n"])

    journal = rows(client, f"SELECT partition, sequence, hex(hash) AS hash FROM {database}.journal FINAL ORDER BY 1, 2")
    assert [(row["partition"], row["sequence"], row["hash"].lower()) for row in journal] == [
        (chain.partition, record["sequence"], record["hash"].hex()) for chain in made for record in chain.records
    ]
    assert count(f"{database}.copies FINAL") == sum(len(chain.copies) for chain in made)
    statuses = [record["status"] for chain in made for record in chain.records]
    assert count(f"{database}.messages FINAL") == statuses.count("accepted")
    assert count(f"{database}.merges FINAL") == statuses.count("merged")
    assert count(f"{database}.findings FINAL WHERE finding_id LIKE 'f%'") == 20
    assert count(f"{database}.dead_letters FINAL") == 20
    batches = rows(
        client,
        "SELECT topic, partition, first_offset, last_offset, uniqExact(digest) AS digests "
        f"FROM {database}.batches GROUP BY ALL ORDER BY topic, partition, first_offset",
    )
    assert {row["digests"] for row in batches} == {1}
    for earlier, later in pairwise(batches):
        if (earlier["topic"], earlier["partition"]) == (later["topic"], later["partition"]):
            assert earlier["last_offset"] < later["first_offset"]


@contextmanager
def workers(settings: Settings, count: int) -> Iterator[list[Worker]]:
    started = [Worker(settings, None) for _ in range(count)]
    try:
        yield started
    finally:
        for worker in started:
            worker.stop()
    for worker in started:
        if worker.error is not None:
            raise worker.error


def test_two_workers_archive_everything(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, seed: int
) -> None:
    settings = archive_settings(kafka, prefix, clickhouse.url, database)
    made = chains(database, 300, seed)
    produce(settings, made)
    with workers(settings, 2):
        drained(settings)
    check_archive(connect(settings), database, made)


@pytest.mark.slow
@pytest.mark.faults
def test_workers_are_killed_at_any_moment(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, seed: int
) -> None:
    settings = archive_settings(kafka, prefix, clickhouse.url, database, batch_rows=60)
    made = chains(database, 900, seed)
    chooser = random.Random(seed)
    environment = os.environ | {
        "COMPLIANCE_KAFKA": settings.kafka.model_dump_json(),
        "COMPLIANCE_CLICKHOUSE": settings.clickhouse.model_dump_json(),
        "COMPLIANCE_ARCHIVE": settings.archive.model_dump_json(),
        "COMPLIANCE_METRICS__PORT": "0",
    }

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from pipeline.cli import main; raise SystemExit(main())", "run", "archive"]
        return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)

    processes = [start(), start()]
    producing = threading.Thread(target=produce, args=(settings, made))
    producing.start()
    try:
        for _ in range(8):
            time.sleep(chooser.uniform(0.8, 2.0))
            victim = processes.pop(0)
            assert victim.poll() is None
            victim.kill()
            victim.wait()
            processes.append(start())
        producing.join()
        drained(settings)
        for process in processes:
            process.terminate()
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        producing.join()
        for process in processes:
            process.kill()
    check_archive(connect(settings), database, made)


@pytest.mark.slow
@pytest.mark.faults
def test_clickhouse_is_killed_while_it_is_written_to(
    kafka: Broker, clickhouse_server_factory: Callable[[], LocalClickHouse], prefix: str, database: str, seed: int
) -> None:
    server = clickhouse_server_factory()
    settings = archive_settings(kafka, prefix, server.url, database, batch_rows=50)
    made = chains(database, 600, seed)
    over = threading.Event()

    def trouble() -> None:
        chooser = random.Random(seed)
        for _ in range(3):
            time.sleep(chooser.uniform(0.3, 1.5))
            server.kill()
            time.sleep(1)
            server.start()
        over.set()

    troubling = threading.Thread(target=trouble)
    with workers(settings, 2):
        troubling.start()
        produce(settings, made)
        troubling.join()
        assert over.is_set()
        drained(settings)
        time.sleep(0.5)
        drained(settings)  # the findings that the outages raised
    client = connect(settings)
    check_archive(client, database, made)
    (outages,) = rows(client, f"SELECT count() AS n, countIf(ended > began) AS proper FROM {database}.outages FINAL")
    assert outages["n"] >= 1
    assert outages["proper"] == outages["n"]
    raised = rows(client, f"SELECT DISTINCT rule FROM {database}.findings FINAL WHERE person = 'pipeline' ORDER BY 1")
    assert [row["rule"] for row in raised] == ["archive_back", "archive_unavailable"]
