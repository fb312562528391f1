"""The archive worker on a real Kafka, with a sink that notes what it is given: each record once, whatever happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline import codec, topics
from pipeline.archive.sink import Cut
from pipeline.codec import RecordCodec
from pipeline.engines.buffers import Plan
from pipeline.errors import Misconfigured, Unavailable
from pipeline.kafka_clients import admin_config, topic_name
from pipeline.kafka_read import read_to_end
from pipeline.registry import load_schema
from pipeline.settings import Settings
from tests.support.drain import (
    Notebook,
    Process,
    Worker,
    check_exact,
    committed,
    distinct,
    drained,
    eventually,
    fill,
    numbered,
    settings_for,
)
from tests.support.servers import Broker

pytestmark = pytest.mark.kafka
PARTITIONS = 4


@pytest.fixture
def settings(kafka: Broker, prefix: str) -> Settings:
    settings = settings_for(kafka.bootstrap, prefix, PARTITIONS)
    topics.create(settings)
    return settings


def test_each_record_once_and_in_order(settings: Settings) -> None:
    copies, journal = numbered(2000, PARTITIONS), numbered(500, PARTITIONS)
    fill(settings, "copies", copies)
    sink = Notebook()
    with Worker(settings, sink) as worker:
        fill(settings, "journal", journal)
        drained(settings)
        assert worker.health.ready() == (True, "ready")
        assert worker.health.live()[0]
    check_exact(sink.cuts, "copies", copies)
    check_exact(sink.cuts, "journal", journal)
    assert max(len(cut.values) for cut in sink.cuts) <= settings.archive.batch_rows
    assert len(sink.cuts) == len(distinct(sink.cuts))
    assert committed(settings, "copies", 0)[1] == ""


def test_a_stopped_worker_leaves_nothing_half_done(settings: Settings) -> None:
    copies = numbered(4000, PARTITIONS)
    fill(settings, "copies", copies, transaction=500)
    sink = Notebook(before=lambda _: time.sleep(0.02))
    while True:
        with Worker(settings, sink):
            time.sleep(0.8)
        if sum(len(cut.values) for cut in distinct(sink.cuts)) == len(copies):
            break
    check_exact(sink.cuts, "copies", copies)


def test_memory_is_bounded_by_pausing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.engines.drain._PRESSED_S", 0.05)
    monkeypatch.setattr("pipeline.engines.drain.CONSUME", 100)
    paused: list[int] = []
    pause = Consumer.pause

    class Watched(Consumer):
        def pause(self, partitions: list[TopicPartition]) -> None:
            paused.append(len(partitions))
            pause(self, partitions)

    monkeypatch.setattr("pipeline.engines.drain.Consumer", Watched)
    small = settings.model_copy(
        update={"archive": settings.archive.model_copy(update={"batch_bytes": 10_000, "batch_rows": 1000})}
    )
    copies = numbered(6000, PARTITIONS)
    fill(settings, "copies", copies, transaction=500)
    sink = Notebook(before=lambda _: time.sleep(0.1))
    with Worker(small, sink):
        drained(settings)
    check_exact(sink.cuts, "copies", copies)
    assert paused


def test_a_database_that_is_away_is_waited_out_and_put_on_record(settings: Settings) -> None:
    away = threading.Event()
    away.set()

    def before(_: Cut) -> None:
        if away.is_set():
            raise Unavailable("connection refused")

    copies = numbered(500, PARTITIONS)
    fill(settings, "copies", copies)
    sink = Notebook(before)
    with Worker(settings, sink) as worker:
        eventually(lambda: "connection refused" in worker.health.ready()[1])
        time.sleep(3)  # beyond the session timeout: the group is polled all the while
        assert worker.health.live()[0]
        assert sink.cuts == []
        away.clear()
        drained(settings)
        eventually(lambda: len(_findings(settings)) == 2)
        drained(settings)
        assert worker.health.ready() == (True, "ready")
    check_exact(sink.cuts, "copies", copies)
    ((began, ended, error),) = sink.outages
    assert (ended - began).total_seconds() >= 3
    assert error == "Unavailable"
    first, second = sorted(_findings(settings), key=lambda finding: str(finding["found_at"]))
    assert (first["rule"], first["person"], first["severity"]) == ("archive_unavailable", "pipeline", "high")
    assert second["rule"] == "archive_back"
    assert {cut.topic for cut in sink.cuts} == {"copies", "findings"}


def _findings(settings: Settings) -> list[dict[str, object]]:
    finding = RecordCodec(load_schema("finding"), codec.FINDING)
    topic = topic_name(settings, "findings")
    starts = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    return [finding.decode(message.value() or b"") for message in read_to_end(settings, starts)]


def test_stopped_while_the_database_is_away(settings: Settings) -> None:
    def never(_: Cut) -> None:
        raise Unavailable("connection refused")

    copies = numbered(100, PARTITIONS)
    fill(settings, "copies", copies)
    with Worker(settings, Notebook(never)) as worker:
        eventually(lambda: "connection refused" in worker.health.ready()[1])
    sink = Notebook()
    with Worker(settings, sink):
        drained(settings)
    check_exact(sink.cuts, "copies", copies)


def test_no_waiting_mends_a_missing_table(settings: Settings) -> None:
    def missing(_: Cut) -> None:
        raise Misconfigured("no such table")

    fill(settings, "copies", numbered(10, PARTITIONS))
    worker = Worker(settings, Notebook(missing))
    eventually(worker.ended)
    assert isinstance(worker.error, Misconfigured)


def test_missing_topics_are_named(kafka: Broker, prefix: str) -> None:
    worker = Worker(settings_for(kafka.bootstrap, prefix), Notebook())
    eventually(worker.ended)
    assert isinstance(worker.error, Misconfigured)
    assert f"{prefix}.journal" in str(worker.error)


@pytest.mark.parametrize("before", [True, False], ids=["before the insert", "after the insert"])
def test_a_killed_workers_cut_is_repeated_to_the_letter(settings: Settings, tmp_path: Path, before: bool) -> None:
    copies = numbered(1000, PARTITIONS)
    fill(settings, "copies", copies)
    dead = Process(settings, tmp_path / "dead", die_at=3, die_before=before)
    assert dead.process.wait(60) == -signal.SIGKILL
    dead.end()
    (last,) = (dead.noted("begun") if before else dead.noted("written"))[-1:]
    assert committed(settings, "copies", last.partition) == (last.first, Plan(last.first, last.last).encode())
    # The successor would cut otherwise, were it not for the plan.
    sink = Notebook()
    with Worker(settings_for(settings.kafka.bootstrap_servers, settings.kafka.prefix, archive={"batch_rows": 7}), sink):
        drained(settings)
    again = next(cut for cut in sink.cuts if cut.partition == last.partition)
    assert (again.first, again.last, list(again.values)) == (last.first, last.last, list(last.values))
    check_exact([*dead.noted("written"), *sink.cuts], "copies", copies)


def test_killed_again_and_again(settings: Settings, tmp_path: Path, seed: int) -> None:
    copies = numbered(3000, PARTITIONS)
    fill(settings, "copies", copies)
    written: list[Cut] = []
    for life in range(4):
        dead = Process(settings, tmp_path / str(life), die_at=1 + (seed + life) % 5, die_before=bool(life % 2))
        assert dead.process.wait(60) == -signal.SIGKILL
        dead.end()
        written += dead.noted("written")
    sink = Notebook()
    with Worker(settings, sink):
        drained(settings)
    check_exact([*written, *sink.cuts], "copies", copies)


@pytest.mark.slow
def test_a_zombie_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    copies = numbered(1000, PARTITIONS)
    fill(settings, "copies", copies)
    zombie = Process(settings, tmp_path / "zombie", hold=True)
    eventually(lambda: bool(zombie.noted("begun")))
    zombie.signal(signal.SIGSTOP)
    sink = Notebook()
    (begun,) = zombie.noted("begun")
    with Worker(settings, sink):
        drained(settings)  # after the session timeout
        offsets = [committed(settings, "copies", partition) for partition in range(PARTITIONS)]
        (tmp_path / "zombie" / "go").touch()
        zombie.signal(signal.SIGCONT)
        eventually(lambda: bool(zombie.noted("written")))
        more = numbered(1000, PARTITIONS, start=1000)
        fill(settings, "copies", more)
        drained(settings)
    assert zombie.end() == 0
    first = next(cut for cut in sink.cuts if cut.partition == begun.partition)
    assert (first.first, first.last, list(first.values)) == (begun.first, begun.last, list(begun.values))
    check_exact([*zombie.noted("written"), *sink.cuts], "copies", copies + more)
    after = [committed(settings, "copies", partition)[0] for partition in range(PARTITIONS)]
    assert all(later > earlier for later, (earlier, _) in zip(after, offsets, strict=True))


@pytest.mark.slow
def test_workers_join_and_leave_while_records_flow(settings: Settings) -> None:
    sink = Notebook(before=lambda _: time.sleep(0.005))
    produced: list[tuple[int, bytes]] = []
    over = threading.Event()

    def flow() -> None:
        while not over.is_set():
            some = numbered(200, PARTITIONS, start=len(produced))
            fill(settings, "copies", some, transaction=50)
            produced.extend(some)

    flowing = threading.Thread(target=flow)
    flowing.start()
    try:
        workers = [Worker(settings, sink), Worker(settings, sink)]
        for _ in range(5):
            time.sleep(0.7)
            workers.append(Worker(settings, sink))
            time.sleep(0.7)
            workers.pop(0).stop()
    finally:
        over.set()
        flowing.join()
    drained(settings)
    for worker in workers:
        worker.stop()
        assert worker.error is None
    check_exact(sink.cuts, "copies", produced)


def test_records_deleted_before_they_were_archived_are_told(settings: Settings) -> None:
    fill(settings, "copies", numbered(400, PARTITIONS))
    with Worker(settings, Notebook()):
        drained(settings)
    at = committed(settings, "copies", 0)[0]
    fill(settings, "copies", numbered(400, PARTITIONS, start=400))
    admin, topic = AdminClient(admin_config(settings)), topic_name(settings, "copies")
    for deleted in admin.delete_records([TopicPartition(topic, 0, at + 20)]).values():
        deleted.result()
    sink = Notebook()
    with Worker(settings, sink):
        eventually(lambda: bool(_findings(settings)))
        drained(settings)
    (finding,) = _findings(settings)
    assert (finding["rule"], finding["severity"]) == ("archive_records_gone", "critical")
    assert f"{topic}/0: offsets {at} to {at + 19}" in str(finding["detail"])


def test_a_broker_that_is_killed_and_comes_back(kafka_factory: Callable[..., object], prefix: str) -> None:
    broker = kafka_factory()
    settings = settings_for(broker.bootstrap, prefix, PARTITIONS)  # type: ignore[attr-defined]
    topics.create(settings)
    copies = numbered(3000, PARTITIONS)
    fill(settings, "copies", copies, transaction=500)
    sink = Notebook(before=lambda _: time.sleep(0.02))
    with Worker(settings, sink):
        eventually(lambda: len(sink.cuts) > 5)
        broker.kill()  # type: ignore[attr-defined]
        time.sleep(2)
        broker.start()  # type: ignore[attr-defined]
        drained(settings)
    check_exact(sink.cuts, "copies", copies)
