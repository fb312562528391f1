"""`compliance produce`: a file's events on the ingest topic, as a messaging server would put them there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from pipeline import topics
from pipeline.kafka_clients import topic_name
from pipeline.kafka_read import read_to_end
from tests.support.pipeline import SAMPLE, environment, settings_for
from tests.support.servers import Broker

pytestmark = pytest.mark.kafka


def test_a_file_and_a_bad_line(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    settings = settings_for(kafka.bootstrap, "http://default@127.0.0.1:1/compliance", prefix=prefix)
    topics.create(settings)
    captures = SAMPLE.plain(tmp_path)
    lines = captures.events.read_bytes().splitlines(keepends=True)
    captures.events.write_bytes(b"".join([*lines[:50], b'{"event_id": 5}\n', *lines[51:100]]))

    def produce(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipeline.cli", "produce", str(captures.events), *more]
        return subprocess.run(command, env=environment(settings), capture_output=True, text=True, check=False)

    first = produce()
    assert (first.returncode, first.stdout) == (2, "")
    for part in ("line 51", "event_id", "50 events before it were taken", "--from-line 51"):
        assert part in first.stderr
    captures.events.write_bytes(b"".join(lines[:100]))
    rest = produce("--from-line", "51", "--json")
    assert (rest.returncode, rest.stdout) == (0, '{"events":50}\n')
    starts = [TopicPartition(topic_name(settings, "events"), number, 0) for number in range(settings.kafka.partitions)]
    found = [(message.key(), message.value()) for message in read_to_end(settings, starts)]
    expected = SAMPLE.records[:100]
    assert sorted(found) == sorted(expected)
    for key in {key for key, _ in expected}:
        assert [one for one in found if one[0] == key] == [one for one in expected if one[0] == key]
