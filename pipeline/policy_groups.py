"""Groups from the compacted groups topic, `PREFIX.groups`: one record for each, the last of each key counts.

Key: the group's name, in UTF-8. Value: JSON, a list of members as in the policy file, `"ann@bank.example"` or
`{"who": ..., "since": ..., "until": ...}`, addresses and patterns only; a null value takes the group away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pydantic import AfterValidator, TypeAdapter, ValidationError

from pipeline.errors import BadInput, Unavailable
from pipeline.kafka_clients import consumer_config, to_error, topic_name
from pipeline.kafka_read import bounds, partitions_of, read_to_end
from pipeline.policy.model import Member
from pipeline.settings import Settings

Directory = Mapping[str, tuple[Member, ...]]
"""Members by name of the group."""
TOPIC: Final = "groups"


class Groups(NamedTuple):
    """What stands in the topic."""

    members: Directory
    faults: Mapping[str, str]
    """By name, what is wrong with the newest record of a group."""


log = structlog.get_logger(__name__)


def _no_group(members: tuple[Member, ...]) -> tuple[Member, ...]:
    for member in members:
        if "@" not in member.who:
            raise ValueError(f"{member.who!r} is no address: groups of this topic are not nested")
    return members


_MEMBERS: Final = TypeAdapter(Annotated[tuple[Member, ...], AfterValidator(_no_group)])


class GroupsTopic:
    """Reads the topic, whole, whenever it has grown. For one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = topic_name(settings, TOPIC)
        self._ends: dict[int, int] = {}
        self._known = Groups({}, {})

    def read(self) -> Groups:
        """The groups as they are now; one whose record is no list of members stays as it was.

        Raises:
            Unavailable: the brokers do not answer.
            Misconfigured: there is no such topic.
        """
        ends = self._ask_ends()
        if ends == self._ends:
            return self._known
        raw: dict[str, tuple[bytes | None, str]] = {}
        try:
            for message in read_to_end(self._settings, [TopicPartition(self._topic, number, 0) for number in ends]):
                place = f"{self._topic}/{message.partition()}, offset {message.offset()}"
                raw[(message.key() or b"").decode(errors="replace")] = message.value(), place
        except KafkaException as error:
            raise to_error(error.args[0], f"read {self._topic}") from None
        self._ends = ends
        found: dict[str, tuple[Member, ...]] = {}
        faults: dict[str, str] = {}
        for name, (value, place) in raw.items():
            try:
                if value is not None:
                    found[name] = _members(name, value, place)
            except BadInput as error:
                faults[name] = str(error)
                if name in self._known.members:
                    found[name] = self._known.members[name]
        self._known = Groups(found, faults)
        return self._known

    def _ask_ends(self) -> dict[int, int]:
        consumer = Consumer(consumer_config(self._settings, None))
        try:
            return {number: bounds(consumer, self._topic, number)[1] for number in partitions_of(consumer, self._topic)}
        except KafkaException as error:
            raise Unavailable(f"ask for the end of {self._topic}: {error.args[0].str()}") from None
        finally:
            consumer.close()


def canonical(directory: Directory) -> str:
    """The groups as JSON with sorted keys, the same for the same members; empty for none."""
    if not directory:
        return ""
    return _CANONICAL.dump_json({name: directory[name] for name in sorted(directory)}, exclude_none=True).decode()


_CANONICAL: Final = TypeAdapter(dict[str, tuple[Member, ...]])


def _members(name: str, value: bytes, place: str) -> tuple[Member, ...]:
    try:
        return _MEMBERS.validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the value"
        message = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{place}: group {name!r}: {where}: {message}") from None
