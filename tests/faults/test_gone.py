"""FAULTS row 15: retention took ingest records before they were journaled. Never silently, and the rest exact."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.kafka_clients import admin_config, topic_name
from pipeline.settings import Settings
from pipeline.status import status
from tests.support.pipeline import SAMPLE, Feeder, Pipeline, compliance, export_all, settings_for, verify
from tests.support.servers import Broker, Database
from tests.support.truth import read_rows

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.faults, pytest.mark.timeout(300)]
FIRST, REST, GONE = 300, 600, 10


def test_ingest_records_are_gone(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, tmp_path: Path
) -> None:
    records = SAMPLE.plain(tmp_path).records[: FIRST + REST]
    settings = settings_for(kafka.bootstrap, clickhouse.url, prefix=prefix, database=database)
    with Pipeline(settings, tmp_path / "run") as pipeline:
        pipeline.start("transform", 0)
        _feed(settings, records[:FIRST])
        pipeline.follower.wait_for(FIRST)
        pipeline.stop("transform", 0)
        journaled = _places(pipeline)
        _feed(settings, records[FIRST:])
        waiting = _places(pipeline) - journaled
        busy, following = min(waiting, key=lambda place: (-Counter(number for number, _ in waiting)[place[0]], place))
        gone = {(busy, offset) for offset in range(following, following + GONE)}
        _delete(settings, busy, following + GONE)
        pipeline.start("transform", 0)
        pipeline.start("archive", 0)
        pipeline.follower.wait_for(len(records) - GONE + 1)
        deadline = time.monotonic() + 60
        while not status(settings)["drained"]:
            assert time.monotonic() < deadline
            time.sleep(0.5)

    export_all(tmp_path, "--clickhouse", settings.clickhouse.url)
    rows = read_rows(tmp_path / "journal.jsonl")
    gaps = [row for row in rows if row["status"] == "gap"]
    assert [(row["partition"], row["offset"]) for row in gaps] == [(busy, following + GONE - 1)]
    assert {(row["partition"], row["offset"]) for row in rows} - {(busy, following + GONE - 1)} == (
        journaled | waiting
    ) - gone
    compliance("export", "findings", "--clickhouse", settings.clickhouse.url, "--output", str(tmp_path / "findings"))
    findings = [row for row in read_rows(tmp_path / "findings") if row["rule"] == "gap"]
    assert [row["severity"] for row in findings] == ["critical"]
    assert verify("--clickhouse", settings.clickhouse.url) == []


def _feed(settings: Settings, records: list[tuple[bytes, bytes]]) -> None:
    feeder = Feeder(settings, records, 1_000.0)
    feeder.start()
    feeder.join()
    assert feeder.failed == []


def _places(pipeline: Pipeline) -> set[tuple[int, int]]:
    return {(one.partition, one.offset) for one in pipeline.ingested()}


def _delete(settings: Settings, partition: int, before: int) -> None:
    """What retention does, at once."""
    admin = AdminClient(admin_config(settings))
    for done in admin.delete_records([TopicPartition(topic_name(settings, "events"), partition, before)]).values():
        done.result()
