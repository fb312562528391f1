"""The real Kafka that tests and `compliance local up` run on, through the real client."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pipeline.errors import Misconfigured, Unavailable
from pipeline.local.kafka import LocalKafka
from tests.support.servers import Broker

pytestmark = pytest.mark.kafka


def _create(bootstrap: str, topic: str) -> None:
    new = NewTopic(topic, 2, 1, config={"message.timestamp.type": "LogAppendTime"})
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})  # must live until the answer is there
    admin.create_topics([new])[topic].result(10)


def _commit(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value, partition=0)
    producer.commit_transaction(30)


def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [value for message in consumer.consume(count, timeout=20) if (value := message.value()) is not None]
    finally:
        consumer.close()


def test_a_transaction_is_read_back(kafka: Broker, prefix: str) -> None:
    topic = f"{prefix}.events"
    _create(kafka.bootstrap, topic)
    _commit(kafka.bootstrap, topic, b"one")
    assert _read(kafka.bootstrap, topic, 1) == [b"one"]


@pytest.mark.slow
def test_what_was_committed_outlives_kill_and_stop(kafka_factory: Callable[..., LocalKafka]) -> None:
    broker = kafka_factory(overrides={"num.network.threads": 2})
    _create(broker.bootstrap, "x")
    _commit(broker.bootstrap, "x", b"before")
    broker.kill()
    assert not broker.running
    with pytest.raises(Unavailable):
        _ = broker.pid
    broker.start()
    _commit(broker.bootstrap, "x", b"killed")
    broker.stop()
    broker = kafka_factory(directory=broker.directory)  # other ports, the same log
    assert _read(broker.bootstrap, "x", 2) == [b"before", b"killed"]
    with pytest.raises(Misconfigured):
        broker.start()


@pytest.mark.slow
def test_a_frozen_broker_answers_again(kafka_factory: Callable[..., LocalKafka]) -> None:
    broker = kafka_factory()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    assert admin.list_topics(timeout=10).brokers
    broker.pause()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=1)
    threading.Timer(0.5, broker.resume).start()
    assert admin.list_topics(timeout=20).brokers
    broker.pause()
    broker.stop()  # a frozen one ends too
    assert not broker.running


@pytest.mark.slow
def test_clients_are_sent_to_the_advertised_port(kafka_factory: Callable[..., LocalKafka]) -> None:
    broker = kafka_factory(advertised_port=9)
    metadata = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0}).list_topics(timeout=10)
    assert [one.port for one in metadata.brokers.values()] == [9]
