"""Dead letters on a real Kafka: listed with their bytes, put back once and as they were."""

from __future__ import annotations

import base64

import pytest
from confluent_kafka import Message, Producer, TopicPartition

from pipeline import deadletters, topics
from pipeline.errors import BadInput, Doubt
from pipeline.kafka_clients import producer_config, topic_name
from pipeline.kafka_read import read_to_end
from pipeline.settings import Settings
from tests.support.drain import fill, settings_for
from tests.support.records import dead_letter
from tests.support.servers import Broker

pytestmark = pytest.mark.kafka
PARTITIONS = 3
COUNT = 10


@pytest.fixture
def settings(kafka: Broker, prefix: str) -> Settings:
    settings = settings_for(kafka.bootstrap, prefix, PARTITIONS)
    topics.create(settings)
    return settings


def letters(settings: Settings, *numbers: int) -> None:
    fill(
        settings,
        "dead-letters",
        [
            (
                number % PARTITIONS,
                dead_letter(
                    topic=topic_name(settings, "events"), partition=number % PARTITIONS, offset=number,
                    value=b"\xff%d" % number, key=b"key-%d" % number if number else None,
                    headers=[{"name": "h", "value": b"\0"}, {"name": "h", "value": None}],
                ),
            )
            for number in numbers
        ],
        transaction=2,
    )  # fmt: skip


def events(settings: Settings) -> list[Message]:
    topic = topic_name(settings, "events")
    starts = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    return sorted(read_to_end(settings, starts), key=lambda message: message.value() or b"")


def test_listed_with_place_reason_and_bytes(settings: Settings) -> None:
    letters(settings, *range(COUNT))
    fill(settings, "dead-letters", [(0, b"no dead letter")])
    found = sorted(deadletters.listed(settings), key=lambda letter: int(letter["offset"]))
    assert [letter["offset"] for letter in found] == list(range(COUNT))
    assert found[4] == {
        "topic": topic_name(settings, "events"), "partition": 1, "offset": 4, "stage": "decode", "reason": "not_avro",
        "at": "2023-11-14T22:13:20.000+00:00", "lineage": "l", "sequence": 0,
        "value": base64.b64encode(b"\xff4").decode(), "key": base64.b64encode(b"key-4").decode(),
        "headers": [{"name": "h", "value": "AA=="}, {"name": "h", "value": None}],
    }  # fmt: skip
    assert len(list(deadletters.listed(settings, limit=3))) == 3


def test_put_back_once_and_as_they_were(settings: Settings) -> None:
    letters(settings, *range(COUNT))
    assert deadletters.replay(settings) == COUNT
    assert deadletters.replay(settings) == 0
    back = events(settings)
    assert [message.value() for message in back] == sorted(b"\xff%d" % number for number in range(COUNT))
    assert [message.key() for message in back][:2] == [None, b"key-1"]
    assert back[0].headers() == [("h", b"\0"), ("h", None)]
    letters(settings, 77)
    assert deadletters.replay(settings) == 1


def test_the_partition_is_murmur2_of_the_key(settings: Settings) -> None:
    letters(settings, *range(1, COUNT))
    deadletters.replay(settings)
    producer = Producer(producer_config(settings, partitioner="murmur2"))
    placed: dict[bytes, int] = {}

    def note(_: object, message: Message) -> None:
        placed[message.key() or b""] = message.partition() or 0

    for number in range(1, COUNT):
        producer.produce(topic_name(settings, "alerts"), b"", b"key-%d" % number, on_delivery=note)
    producer.flush()
    assert {message.key(): message.partition() for message in events(settings)} == placed


def test_single_ones_then_all(settings: Settings) -> None:
    letters(settings, *range(COUNT))
    topic = topic_name(settings, "events")
    chosen = [f"{topic}/1@4", f"{topic}/0@9", f"{topic}/1@04"]
    assert deadletters.replay(settings, chosen) == 2
    assert deadletters.replay(settings, chosen) == 0
    assert deadletters.replay(settings, limit=5) == 5
    assert deadletters.replay(settings) == COUNT - 7
    assert len(events(settings)) == COUNT


@pytest.mark.parametrize("place", ["x", "im.events/1", "im.events/1@x", "im.events/0@424242"])
def test_a_place_without_a_letter_is_bad_input(settings: Settings, place: str) -> None:
    letters(settings, 0)
    with pytest.raises(BadInput, match=place):
        deadletters.replay(settings, [f"{topic_name(settings, 'events')}/0@0", place])
    assert events(settings) == []


def test_a_second_replay_fences_the_first(settings: Settings) -> None:
    letters(settings, 0, 1)
    first = deadletters._Replay(settings)
    assert deadletters.replay(settings) == 2
    found = list(deadletters._letters(settings))

    def go_on() -> None:
        with first:
            for letter in found:
                first.put_back(letter)

    with pytest.raises(Doubt):
        go_on()
    assert len(events(settings)) == 2
