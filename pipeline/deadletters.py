"""List dead letters, and put them back where they stood once whatever refused them is mended.

A letter is put back once: the records and the mark that they were put back (offsets and metadata of the group
PREFIX-replay) are one Kafka transaction. The mark lasts as long as the broker keeps offsets of an idle group
(offsets.retention.minutes); a letter put back again after that is a `retry` for the transform, within its window.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from pipeline.codec import RecordCodec, schema_id_of
from pipeline.errors import BadInput, Misconfigured, Poison
from pipeline.kafka_clients import consumer_config, group_name, producer_config, to_error, topic_name
from pipeline.kafka_read import TIMEOUT_S, partitions_of, read_to_end
from pipeline.registry import Schemas, open_schemas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.settings import Settings

ROUTE: Final = "dead-letters"
STAGE: Final = "replay"
METADATA_BYTES: Final = 4000
"""Most bytes of an offset's metadata; the broker's own limit (offset.metadata.max.bytes) is 4096."""
BATCH_LETTERS: Final = 1000
BATCH_BYTES: Final = 16 * 1024 * 1024
_PLACE: Final = re.compile(r"(?P<topic>[^/\s]+)/(?P<partition>\d+)@(?P<offset>\d+)")

log = structlog.get_logger(__name__)


class Letter(NamedTuple):
    """A dead letter and where it stands itself in PREFIX.dead-letters."""

    partition: int
    offset: int
    record: dict[str, Any]
    """As schemas/dead_letter.avsc has it."""

    @property
    def place(self) -> str:
        """Where the record stood that was refused: TOPIC/PARTITION@OFFSET."""
        return f"{self.record['topic']}/{self.record['partition']}@{self.record['offset']}"


def listed(settings: Settings, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The dead letters as JSON objects, up to the topic's present end: place, stage, reason, time; bytes in base64.

    Raises:
        Unavailable: the brokers do not answer.
        Misconfigured: there is no such topic.
    """
    for count, letter in enumerate(_letters(settings)):
        if count == limit:
            return
        record = letter.record
        yield {
            **{name: record[name] for name in ("topic", "partition", "offset", "stage", "reason")},
            "at": datetime.fromtimestamp(record["at"] / 1000, UTC).isoformat(timespec="milliseconds"),
            "lineage": record["lineage"],
            "sequence": record["sequence"],
            "value": _base64(record["value"]),
            "key": _base64(record["key"]),
            "headers": [{"name": one["name"], "value": _base64(one["value"])} for one in record["headers"]],
        }


def replay(settings: Settings, letters: Sequence[str] = (), limit: int | None = None) -> int:
    """Put letters back with their bytes, key and headers as they were; how many. Those put back before are left out.

    Args:
        settings: the settings.
        letters: TOPIC/PARTITION@OFFSET of each; none: all.
        limit: at most so many.

    Raises:
        BadInput: a place is not of that form, or no letter is from there; nothing is put back then.
        Unavailable: the brokers do not answer; what was put back is marked, so that the same call goes on.
        Misconfigured: the brokers refuse.
        Doubt: another replay has begun.
    """
    wanted = {_canonical(place) for place in letters}
    if wanted:
        missing = wanted - {letter.place for letter in _letters(settings)}
        if missing:
            raise BadInput(f"no dead letter from {', '.join(sorted(missing))}")
    with _Replay(settings) as run:
        for letter in _letters(settings):
            if run.count == limit:
                break
            if not wanted or letter.place in wanted:
                run.put_back(letter)
            run.passed(letter)
    return run.count


class Done:
    """Which letters of one partition were put back: those below an offset, and single runs behind it."""

    def __init__(self, below: int = 0, runs: Sequence[tuple[int, int]] = ()) -> None:
        self.below = below
        self._runs = [list(run) for run in runs]

    @classmethod
    def decode(cls, offset: int, metadata: str | None) -> Done:
        """From a committed offset and its metadata."""
        return cls(max(offset, 0), [(first, last) for first, last in orjson.loads(metadata or "[]")])

    def encode(self) -> str:
        """The metadata to commit with the offset `below`.

        Raises:
            BadInput: too many single letters have been put back to be remembered.
        """
        encoded = orjson.dumps(self._runs).decode()
        if len(encoded) > METADATA_BYTES:
            raise BadInput("too many single dead letters were put back: put back all")
        return encoded

    def __contains__(self, offset: int) -> bool:
        return offset < self.below or any(first <= offset <= last for first, last in self._runs)

    def add(self, offset: int, previous: int) -> None:
        """Mark a letter; `previous`: offset of the letter before it in the partition, -1 if none.

        Between the two are only transaction markers, so marks on both sides of them are one run.
        """
        if previous < self.below:
            self.below = max(self.below, offset + 1)
            self._runs = [run for run in self._runs if run[1] >= self.below]
        elif offset not in self:
            run = next((run for run in self._runs if run[1] == previous), None)
            if run is None:
                self._runs = sorted([*self._runs, [offset, offset]])
            else:
                run[1] = offset


class _Replay:
    """Puts letters back in transactions; a context manager that commits the last one, or aborts it on an error."""

    def __init__(self, settings: Settings) -> None:
        self._events = topic_name(settings, "events")
        self._topic = topic_name(settings, ROUTE)
        self.count = 0
        self._open, self._bytes = 0, 0
        self._previous: dict[int, int] = {}
        self._consumer = Consumer(consumer_config(settings, group_name(settings, STAGE)))
        self._producer = Producer(producer_config(settings, transactional_id=group_name(settings, STAGE)))
        try:
            self._producer.init_transactions(TIMEOUT_S)
            places = [TopicPartition(self._topic, one) for one in partitions_of(self._consumer, self._topic)]
            found = self._consumer.committed(places, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise to_error(error.args[0], "begin to put dead letters back") from None
        self._done = {one.partition: Done.decode(one.offset, one.metadata) for one in found}

    def __enter__(self) -> _Replay:  # noqa: PYI034 - private, never subclassed
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._commit()
            elif self._open:
                self._producer.abort_transaction(TIMEOUT_S)
        except KafkaException as error:
            if kind is None:
                raise to_error(error.args[0], "put dead letters back") from None
        finally:
            self._consumer.close()

    def put_back(self, letter: Letter) -> None:
        """Put one letter back, unless it was before."""
        done, record = self._done[letter.partition], letter.record
        previous = self._previous.get(letter.partition, -1)
        if letter.offset in done:
            done.add(letter.offset, previous)  # what lies below may have been filled up
            return
        if record["topic"] != self._events:
            raise Misconfigured(f"dead letter from {letter.place}: only what came from {self._events} can be put back")
        try:
            if not self._open:
                self._producer.begin_transaction()
            self._produce(record)
        except KafkaException as error:
            raise to_error(error.args[0], f"put back {letter.place}") from None
        done.add(letter.offset, previous)
        self.count += 1
        self._open += 1
        self._bytes += len(record["value"] or b"")
        if self._open >= BATCH_LETTERS or self._bytes >= BATCH_BYTES:
            self._commit()

    def passed(self, letter: Letter) -> None:
        """Letters come in the order of their partition; the next one comes behind this."""
        self._previous[letter.partition] = letter.offset

    def _produce(self, record: dict[str, Any]) -> None:
        headers = [(one["name"], one["value"]) for one in record["headers"]]
        while True:
            try:
                self._producer.produce(self._events, record["value"], record["key"], headers=headers)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _commit(self) -> None:
        if not self._open:
            return
        marks = [TopicPartition(self._topic, one, done.below, done.encode()) for one, done in self._done.items()]
        try:
            self._producer.send_offsets_to_transaction(marks, self._consumer.consumer_group_metadata(), TIMEOUT_S)
            self._producer.commit_transaction(TIMEOUT_S)
        except KafkaException as error:
            raise to_error(error.args[0], "put dead letters back") from None
        self._open, self._bytes = 0, 0


def _letters(settings: Settings) -> Iterator[Letter]:
    topic = topic_name(settings, ROUTE)
    schemas = open_schemas(settings.kafka)
    codecs: dict[int, RecordCodec] = {}
    asking = Consumer(consumer_config(settings, None))
    try:
        starts = [TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions_of(asking, topic)]
    finally:
        asking.close()
    for message in read_to_end(settings, starts):
        partition, offset = message.partition() or 0, message.offset() or 0
        try:
            yield Letter(partition, offset, _decode(message.value() or b"", schemas, codecs))
        except Poison as error:  # whoever may produce can put anything on a topic
            log.warning("not a dead letter", topic=topic, partition=partition, offset=offset, reason=error.reason)


def _decode(value: bytes, schemas: Schemas, codecs: dict[int, RecordCodec]) -> dict[str, Any]:
    number = schema_id_of(value)
    if number not in codecs:
        codecs[number] = RecordCodec(schemas.schema(number), number)
    return codecs[number].decode(value)


def _canonical(place: str) -> str:
    match = _PLACE.fullmatch(place)
    if match is None:
        raise BadInput(f"{place!r}: not TOPIC/PARTITION@OFFSET")
    return f"{match['topic']}/{int(match['partition'])}@{int(match['offset'])}"


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()
