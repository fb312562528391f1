"""Put the events of a file into the ingest topic, as a messaging server would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, Message, Producer

from pipeline import topics
from pipeline.codec import WIRE_HEADER, wire_header
from pipeline.errors import BadInput, Unavailable
from pipeline.jsonl import BadLine, parse_line, read_lines
from pipeline.kafka_clients import producer_config, to_error, topic_name
from pipeline.registry import open_schemas
from pipeline.terminal import Progress, no_progress

if TYPE_CHECKING:
    from pipeline.settings import Settings

FLUSH_S = 60.0
FULL_QUEUE_POLL_S = 0.1
REPORT_LINES = 1_000


def produce_file(settings: Settings, source: str, *, from_line: int = 1, progress: Progress = no_progress) -> int:
    """Produce each line of a file, keyed by conversation; how many, all of them acknowledged.

    Args:
        settings: the settings.
        source: path of a file of JSON lines, also gzip; "-" for standard input.
        from_line: begin at this line (from 1).
        progress: told how many lines are done.

    Raises:
        BadInput: a line is no event; what came before it is acknowledged.
        Unavailable: the brokers did not take all of it.
        Misconfigured: the topics are not as they must be.
    """
    topics.check(settings)
    header = wire_header(open_schemas(settings.kafka).id_of("event"))
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer, topic, count = Producer(producer_config(settings)), topic_name(settings, "events"), 0
    bad: BadLine | None = None
    try:
        for number, line in read_lines(source):
            if number < from_line:
                continue
            parsed = parse_line(line, source=source, number=number)
            key = parsed.conversation.encode()
            while True:
                try:
                    producer.produce(topic, header + parsed.value[WIRE_HEADER:], key, on_delivery=delivered)
                except BufferError:
                    producer.poll(FULL_QUEUE_POLL_S)
                else:
                    break
            count += 1
            if number % REPORT_LINES == 0:
                producer.poll(0)
                progress(number, None)
    except BadLine as error:
        bad = error
    left = producer.flush(FLUSH_S)
    if failed:
        raise to_error(failed[0], f"{len(failed)} of {count} events were not taken")
    if left:
        raise Unavailable(f"{left} of {count} events were not acknowledged within {FLUSH_S:.0f} s")
    if bad is not None:
        raise BadInput(f"{bad}; {count} events before it were taken; once mended, go on with --from-line {bad.number}")
    return count
