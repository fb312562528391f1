"""Status on a real Kafka: drained means drained, whatever transaction markers stand at the ends."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline import status as module
from pipeline import topics
from pipeline.errors import Misconfigured
from pipeline.kafka_clients import consumer_config, group_name, producer_config, topic_name
from pipeline.settings import Settings
from pipeline.status import status
from tests.support.drain import Notebook, Worker, drained, fill, numbered, settings_for
from tests.support.servers import Broker

pytestmark = pytest.mark.kafka
PARTITIONS = 2


@pytest.fixture
def settings(kafka: Broker, prefix: str) -> Settings:
    settings = settings_for(kafka.bootstrap, prefix, PARTITIONS)
    topics.create(settings)
    return settings


def test_empty_topics_are_drained(settings: Settings) -> None:
    assert status(settings) == {
        "drained": True,
        "lag": dict.fromkeys(
            [
                "transform",
                "archive.journal",
                "archive.copies",
                "archive.findings",
                "archive.dead-letters",
                "archive.policies",
            ],
            0,
        ),
    }


def test_records_are_counted_not_markers(settings: Settings) -> None:
    fill(settings, "journal", numbered(30, PARTITIONS), transaction=3)
    fill(settings, "events", numbered(7, PARTITIONS), transaction=1)
    found = status(settings)
    assert not found["drained"]
    assert (found["lag"]["archive.journal"], found["lag"]["transform"]) == (30, 7)


def test_many_are_not_counted_one_by_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 10)
    fill(settings, "journal", numbered(100, PARTITIONS), transaction=100)
    assert status(settings)["lag"]["archive.journal"] == 100 + PARTITIONS


def test_an_offset_with_only_markers_behind_it_is_drained(settings: Settings) -> None:
    fill(settings, "copies", numbered(100, PARTITIONS), transaction=5)
    with Worker(settings, Notebook()):
        drained(settings)
    assert status(settings)["drained"]
    _aborted(settings, "copies")
    assert status(settings)["drained"]


def test_an_open_transaction_is_on_its_way(settings: Settings) -> None:
    producer = Producer(producer_config(settings, transactional_id=f"open-{settings.kafka.prefix}"))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic_name(settings, "journal"), b"x", partition=1)
    producer.flush()
    assert status(settings)["lag"]["archive.journal"] == 1
    producer.commit_transaction()
    assert status(settings)["lag"]["archive.journal"] == 1
    assert not status(settings)["drained"]


def test_the_transforms_own_offsets(settings: Settings) -> None:
    fill(settings, "events", numbered(10, PARTITIONS), transaction=10)
    consumer = Consumer(consumer_config(settings, group_name(settings, "transform")))
    topic = topic_name(settings, "events")
    consumer.commit(offsets=[TopicPartition(topic, 0, 5), TopicPartition(topic, 1, 3)], asynchronous=False)
    consumer.close()
    assert status(settings)["lag"]["transform"] == 2


def test_missing_topics_are_named(kafka: Broker, prefix: str) -> None:
    with pytest.raises(Misconfigured, match=f"no topic {prefix}.events"):
        status(settings_for(kafka.bootstrap, prefix))


def _aborted(settings: Settings, route: str) -> None:
    producer = Producer(producer_config(settings, transactional_id=f"aborted-{settings.kafka.prefix}"))
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(topic_name(settings, route), b"never", partition=partition)
    producer.flush()
    producer.abort_transaction()
