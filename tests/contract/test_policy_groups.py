"""Groups from the compacted topic: the last record of each counts, a change makes another policy, a wrong one changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from pipeline import topics
from pipeline.errors import BadInput
from pipeline.kafka_clients import producer_config, topic_name
from pipeline.policy.past import Past
from pipeline.policy_groups import GroupsTopic
from pipeline.policy_source import Refused, Watch
from pipeline.records import Event
from pipeline.settings import Policy, Settings
from tests.support.captures import capture
from tests.support.drain import settings_for
from tests.support.pipeline import until
from tests.support.servers import Broker
from tests.unit.test_policy_source import taken

pytestmark = pytest.mark.kafka
POLICY = """version: 1
directory: [research, sales]
walls:
  - {id: wall, between: [research, sales]}
"""


@pytest.fixture
def settings(kafka: Broker, prefix: str) -> Settings:
    settings = settings_for(kafka.bootstrap, prefix, 3)
    topics.create(settings)
    return settings


@pytest.fixture
def watch(settings: Settings, tmp_path: Path) -> Iterator[Watch]:
    (tmp_path / "policy.yaml").write_text(POLICY)
    made = Watch(Policy(file=tmp_path / "policy.yaml", check_every_s=0.05), groups=GroupsTopic(settings).read)
    yield made
    made.close()


def put(settings: Settings, **groups: object) -> None:
    producer = Producer(producer_config(settings))
    for name, members in groups.items():
        value = members if isinstance(members, bytes) or members is None else orjson.dumps(members)
        producer.produce(topic_name(settings, "groups"), value, name.encode())
    assert producer.flush(10) == 0


def blocked(watch: Watch) -> bool:
    event: Event = capture(sender="ann@bank.example", recipients=["cy@bank.example"])  # type: ignore[assignment]
    return watch.policy.judge(event, ("cy@bank.example",), Past()).decision == "blocked"


def test_a_change_makes_another_policy_whose_groups_are_kept(settings: Settings, watch: Watch) -> None:
    empty = watch.policy.digest
    assert not blocked(watch)
    put(
        settings, research=["ann@bank.example"], sales=[{"who": "*@bank.example", "since": "2020-01-01"}], other=["x@y"]
    )
    until(lambda: taken(watch) is None and blocked(watch), 20, "wall")
    assert watch.policy.digest != empty
    assert watch.policy.text is not None
    assert orjson.loads(watch.policy.text.groups) == {
        "research": [{"who": "ann@bank.example"}],
        "sales": [{"who": "*@bank.example", "since": "2020-01-01T00:00:00Z"}],
    }
    put(settings, research=None)
    until(lambda: taken(watch) is None and not blocked(watch), 20, "group taken away")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"{", "Invalid JSON"),
        (b'["sales"]', "no address"),
        (b'[{"who": "a@b", "x": 1}]', "0.x"),
        (b'[{"who": 1}]', "0.who"),
    ],
)
def test_a_wrong_record_is_named_and_changes_nothing(settings: Settings, watch: Watch, value: bytes, says: str) -> None:
    put(settings, research=["ann@bank.example"], sales=["cy@bank.example"])
    until(lambda: taken(watch) is None and blocked(watch), 20, "wall")
    put(settings, research=value)
    refused: list[Refused | None] = []

    def told() -> Refused | None:
        refused.append(taken(watch))
        return refused[-1]

    until(told, 20, "refusal")
    assert refused[-1] is not None
    assert "group 'research'" in refused[-1].why
    assert says in refused[-1].why
    assert blocked(watch)
    put(settings, research=[])
    until(lambda: taken(watch) is None and not blocked(watch), 20, "mended group")


def test_no_start_with_a_wrong_record(settings: Settings, tmp_path: Path) -> None:
    put(settings, research=b"?")
    (tmp_path / "policy.yaml").write_text(POLICY)
    with pytest.raises(BadInput, match=r"groups/\d, offset 0: group 'research'"):
        Watch(Policy(file=tmp_path / "policy.yaml"), groups=GroupsTopic(settings).read)


def test_a_wrong_record_of_another_group_is_of_no_matter(settings: Settings, watch: Watch) -> None:
    put(settings, strangers=b"?", research=["ann@bank.example"], sales=["cy@bank.example"])
    until(lambda: taken(watch) is None and blocked(watch), 20, "wall")
    put(settings, sales=b"?", research=[])
    until(lambda: taken(watch) is not None, 20, "refusal")
    until(lambda: taken(watch) is None and not blocked(watch), 20, "the group beside it")
