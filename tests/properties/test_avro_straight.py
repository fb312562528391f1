"""The straight-line reader of events and the reader of a function a type are one judge."""

from __future__ import annotations

import random
from typing import Any

import fastavro
import pytest

from pipeline.avro_reader import compile_reader
from pipeline.avro_straight import compile_event
from pipeline.codec import WIRE_HEADER, without_logical_types
from pipeline.jsonl import parse_line, read_lines
from pipeline.local.demo import SAMPLE
from pipeline.registry import load_schema

ROUNDS = 30_000


def _both(raw: bytes) -> tuple[Any, Any]:
    found: list[Any] = []
    for read in (_STRAIGHT, _PLAIN):
        try:
            found.append(read(raw, 0))
        except (ValueError, IndexError):
            found.append(None)
    straight, plain = found
    return (straight and (straight[0], straight[3])), plain


_SCHEMA: Any = fastavro.parse_schema(without_logical_types(load_schema("event")))
_STRAIGHT = compile_event(_SCHEMA, "recipients")
_PLAIN = compile_reader(_SCHEMA)


@pytest.fixture(scope="module")
def datums() -> list[bytes]:
    source = str(SAMPLE / "events.jsonl.gz")
    lines = list(read_lines(source))[:300]
    return [parse_line(line, source=source, number=number).value[WIRE_HEADER:] for number, line in lines]


def test_they_read_the_same(datums: list[bytes]) -> None:
    for raw in datums:
        straight, plain = _both(raw)
        assert straight == plain is not None


def test_they_refuse_the_same(datums: list[bytes], seed: int) -> None:
    chance = random.Random(seed)
    refused = 0
    for _ in range(ROUNDS):
        raw = bytearray(chance.choice(datums))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(raw))
            if chance.random() < 0.8:
                raw[at] = chance.choice((0, 1, 2, 3, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            else:
                del raw[at : at + chance.randint(1, 9)]
        straight, plain = _both(bytes(raw))
        assert straight == plain, bytes(raw).hex()
        refused += plain is None
    assert 0 < refused < ROUNDS  # else nothing was tried
