"""Topics on a real Kafka: made as the design demands, checked where they are there, named by their lineage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # not re-exported in its types

from pipeline import topics
from pipeline.errors import Misconfigured, Unavailable
from pipeline.kafka_clients import admin_config, event_topic_bytes, producer_config, topic_bytes, topic_name
from pipeline.settings import Settings
from pipeline.topology import ROUTES
from tests.support.servers import Broker

pytestmark = pytest.mark.kafka
MIB = 1024 * 1024


@pytest.fixture
def settings(kafka: Broker, prefix: str) -> Settings:
    return _settings(kafka, prefix)


def _settings(kafka: Broker, prefix: str, **fields: object) -> Settings:
    return Settings(kafka={"bootstrap_servers": kafka.bootstrap, "prefix": prefix, "partitions": 3, **fields})


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    return AdminClient(admin_config(settings))


def test_created_once_and_then_only_checked(settings: Settings, admin: AdminClient) -> None:
    assert topics.create(settings) == [topic_name(settings, route) for route in ROUTES]
    assert topics.create(settings) == []
    configs = topics._configs(admin, [topic_name(settings, route) for route in ROUTES])
    for route in ROUTES:
        config = {name: entry.value for name, entry in configs[topic_name(settings, route)].items()}
        assert config["message.timestamp.type"] == "LogAppendTime"
        assert config["unclean.leader.election.enable"] == "false"
        assert config["min.insync.replicas"] == "1"
        assert config["cleanup.policy"] == ("compact" if route in {"heads", "groups"} else "delete")
        assert config["max.message.bytes"] == str(10 * MIB if route == "events" else 32 * MIB)
        if route in {"journal", "copies", "findings", "dead-letters", "policies"}:
            assert (config["retention.ms"], config["retention.bytes"]) == ("-1", "-1")


def test_created_by_several_at_once(settings: Settings) -> None:
    with ThreadPoolExecutor() as pool:
        made = [name for names in pool.map(lambda _: topics.create(settings), range(3)) for name in names]
    assert sorted(made) == sorted(topic_name(settings, route) for route in ROUTES)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"message.timestamp.type": "CreateTime"}, "message.timestamp.type CreateTime, not LogAppendTime"),
        ({"retention.ms": "1000"}, "retention.ms 1000, not -1"),
        ({"cleanup.policy": "compact"}, "cleanup.policy compact, not delete"),
        ({"max.message.bytes": "1000"}, "max.message.bytes 1000, not"),
    ],
)
def test_a_topic_made_otherwise_is_refused(
    settings: Settings, admin: AdminClient, config: dict[str, str], complaint: str
) -> None:
    name = topic_name(settings, "journal")
    config = topics.topic_settings(settings, "journal") | config
    admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1, config=config)])[name].result()
    with pytest.raises(Misconfigured, match=complaint):
        topics.create(settings)


def test_another_number_of_partitions_is_refused(kafka: Broker, settings: Settings, prefix: str) -> None:
    topics.create(settings)
    with pytest.raises(Misconfigured, match="has 3 partitions, not 5"):
        topics.check(_settings(kafka, prefix, partitions=5))


def test_what_the_cluster_cannot_make_is_said(kafka: Broker, prefix: str) -> None:
    with pytest.raises(Misconfigured, match="replication"):
        topics.create(_settings(kafka, prefix, replication=9))
    with pytest.raises(Misconfigured, match="min_insync"):
        topics.create(_settings(kafka, prefix, min_insync=2))


def test_missing_topics_are_named(settings: Settings, admin: AdminClient, prefix: str) -> None:
    with pytest.raises(Misconfigured, match=f"no topic {prefix}.events, .*compliance topics create"):
        topics.check(settings)
    with pytest.raises(Misconfigured, match="compliance topics create"):
        topics.lineage(admin, settings)


def test_recreated_topics_have_another_lineage(settings: Settings, admin: AdminClient) -> None:
    topics.create(settings)
    before = topics.lineage(admin, settings)
    assert len(before) == 16
    assert int(before, 16) >= 0
    assert topics.lineage(AdminClient(admin_config(settings)), settings) == before
    admin.delete_topics([topic_name(settings, "journal")])[topic_name(settings, "journal")].result()
    topics.create(settings)
    assert topics.lineage(admin, settings) != before


def test_a_dead_letter_holds_the_largest_event(settings: Settings) -> None:
    topics.create(settings)
    producer, failures = Producer(producer_config(settings, compression_type="none")), []
    largest = event_topic_bytes(settings)
    assert topic_bytes(settings) > largest
    producer.produce(topic_name(settings, "dead-letters"), bytes(largest + MIB), b"k" * 100_000,
                     on_delivery=lambda error, _: failures.append(error))  # fmt: skip
    assert producer.flush(30) == 0
    assert failures == [None]


def test_brokers_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TIMEOUT_S", 0.5)
    with pytest.raises(Unavailable):
        topics.check(Settings(kafka={"bootstrap_servers": "127.0.0.1:1"}))
