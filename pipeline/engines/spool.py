"""What the embedded engine is about to insert, on disk first: after a crash that very cut is inserted again, whole.

It does for a directory what the plan in Kafka's offset metadata does for the archive worker.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import fastavro

from pipeline.archive.sink import Cut, Sink

_SCHEMA: Final = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Cut",
        "fields": [
            {"name": "topic", "type": "string"},
            {"name": "partition", "type": "int"},
            {"name": "first", "type": "long"},
            {"name": "last", "type": "long"},
            {"name": "values", "type": {"type": "array", "items": "bytes"}},
        ],
    }
)


class Spool:
    """One batch of cuts, in a file that is there only while they are being inserted.

    Args:
        directory: of the archive.
        sink: where cuts go.
    """

    def __init__(self, directory: Path, sink: Sink) -> None:
        self._file = directory / "inserting.avro"
        self._sink = sink

    def recover(self) -> None:
        """Insert what was being inserted when the process ended."""
        if self._file.exists():
            with self._file.open("rb") as source:
                cuts = [Cut(**cast("dict[str, Any]", record)) for record in fastavro.reader(source)]
            self._insert(cuts)

    def insert(self, cuts: Sequence[Cut]) -> None:
        """Insert all cuts, or have `recover` do it."""
        beside = self._file.with_suffix(".part")
        with beside.open("wb") as target:
            fastavro.writer(target, _SCHEMA, [_record(cut) for cut in cuts])
            target.flush()
            os.fsync(target.fileno())
        beside.replace(self._file)
        self._insert(cuts)

    def _insert(self, cuts: Sequence[Cut]) -> None:
        for cut in cuts:
            self._sink.write(cut)
        self._file.unlink()


def _record(cut: Cut) -> dict[str, Any]:
    return {
        "topic": cut.topic,
        "partition": cut.partition,
        "first": cut.first,
        "last": cut.last,
        "values": list(cut.values),
    }
