"""Only Poison leaves the codec, whatever the bytes; what decodes is exact; and nothing that ClickHouse would refuse decodes."""

from __future__ import annotations

import contextlib
import resource
import time
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.codec import EVENT, LATEST, EventCodec, RecordCodec, long, read_long, texts, wire_header
from pipeline.errors import Poison
from pipeline.records import Capture
from pipeline.registry import FIXED_IDS, FixedSchemas, load_schema
from tests.support.events import EVENT_FIELDS, encode, events

CODEC = EventCodec(FixedSchemas().event_schema, load_schema("event"))
HEADER = wire_header(EVENT)
SLOW_S = 2.0
PLAIN: dict[str, Any] = {
    "event_id": "e1", "kind": "chat", "conversation": "room:a", "sender": "a@x", "sender_resource": None,
    "origin_id": "o1", "stanza_ids": {"x": "s1"}, "recipient_resource": None, "sent_at": 5, "captured_at": 6,
    "cluster": "x", "body": "hello", "refers_to": None, "thread": None, "conversation_type": "room",
    "conversation_name": None, "attachments": [], "attributes": {}, "phase": "sent", "recipients": ["b@x", "c@x"],
}  # fmt: skip


def decode(value: bytes | None) -> Capture | None:
    """The capture, or None for Poison; anything else fails the test, and so does a decode that takes its time."""
    begin = time.process_time()
    try:
        return CODEC.decode(value)
    except Poison:
        return None
    finally:
        assert time.process_time() - begin < SLOW_S


def pieces(event: dict[str, Any]) -> dict[str, bytes]:
    """The event's Avro bytes by field."""
    made = {}
    for name, schema in EVENT_FIELDS.items():
        out = BytesIO()
        fastavro.schemaless_writer(out, schema, event[name])
        made[name] = out.getvalue()
    return made


def with_bytes(**changed: bytes) -> bytes:
    """PLAIN in wire format, some fields' bytes replaced."""
    return HEADER + b"".join((pieces(PLAIN) | changed).values())


@given(events())
def test_what_is_encoded_decodes_the_same_and_is_split_exactly(event: dict[str, Any]) -> None:
    value = encode(event)
    capture = decode(value)
    assert capture is not None
    assert capture.event == event
    assert capture.value[capture.recipients_start : capture.recipients_end] == texts(event["recipients"])
    assert capture.without_recipients() == encode({**event, "recipients": []})[5:]


@given(st.binary(max_size=300))
@example(b"")
def test_random_bytes_are_poison_or_an_event(value: bytes) -> None:
    decode(value)
    decode(HEADER + value)


def test_no_value_is_poison() -> None:
    for value in (None, b"", b"\0", HEADER, HEADER[:3]):
        with pytest.raises(Poison):
            CODEC.decode(value)


@given(events(), st.data())
@settings(max_examples=300)
def test_mutated_events_are_poison_or_an_exact_event(event: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(encode(event))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(5, len(value) - 1))
        match data.draw(st.sampled_from(["flip", "set", "cut", "insert", "delete", "repeat"])):
            case "flip":
                value[at] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                value[at] = data.draw(st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0xFF]))
            case "cut":
                del value[max(at, 6) :]
            case "insert":
                value[at:at] = data.draw(st.binary(min_size=1, max_size=12))
            case "delete":
                del value[at : at + data.draw(st.integers(1, 8))]
            case _:
                value[at:at] = value[at : at + 16]
        if len(value) <= 6:
            break
    capture = decode(bytes(value))
    if capture is not None:  # then it says what the bytes say, and no reader sees anything else
        again = decode(encode(dict(capture.event)))
        assert again is not None
        assert again.event == capture.event
        assert strictly_avro(bytes(value[5:]))


@given(events(), st.data())
def test_truncated_and_extended_events_are_poison(event: dict[str, Any], data: st.DataObject) -> None:
    value = encode(event)
    assert decode(value[: data.draw(st.integers(0, len(value) - 1))]) is None
    assert decode(value + data.draw(st.binary(min_size=1, max_size=40))) is None
    assert decode(value + value[5:]) is None


HUGE = [1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 62), (1 << 63) - 1]
NEGATIVE = [-1, -2, -5, -(1 << 31), -(1 << 40), -(1 << 63)]


@pytest.mark.parametrize("name", ["event_id", "conversation", "sender", "cluster", "body"])
@pytest.mark.parametrize("length", HUGE + NEGATIVE)
def test_a_text_of_wrong_length_is_poison(name: str, length: int) -> None:
    assert decode(with_bytes(**{name: long(length) + b"abc"})) is None


@pytest.mark.parametrize("name", ["sender_resource", "origin_id", "refers_to", "thread", "conversation_name"])
@pytest.mark.parametrize("branch", [-1, -2, -3, 2, 3, 1 << 20, *HUGE, *NEGATIVE])
def test_a_wrong_union_branch_is_poison(name: str, branch: int) -> None:
    assert decode(with_bytes(**{name: long(branch)})) is None
    assert decode(with_bytes(**{name: long(branch) + b"\2a"})) is None


@pytest.mark.parametrize("name", ["kind", "conversation_type", "phase"])
@pytest.mark.parametrize("symbol", [-1, -2, -4, 25, 100, *HUGE, *NEGATIVE])
def test_an_enum_out_of_range_is_poison(name: str, symbol: int) -> None:
    assert decode(with_bytes(**{name: long(symbol)})) is None


@pytest.mark.parametrize("name", ["stanza_ids", "attributes", "attachments", "recipients"])
@pytest.mark.parametrize("count", HUGE + NEGATIVE)
def test_a_wrong_block_count_is_poison(name: str, count: int) -> None:
    assert decode(with_bytes(**{name: long(count)})) is None
    assert decode(with_bytes(**{name: long(count) + b"\0"})) is None
    assert decode(with_bytes(**{name: long(count) + long(1 << 40) + b"\2a\0"})) is None


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"])
@pytest.mark.parametrize("name", ["event_id", "body", "sender"])
def test_invalid_utf8_is_poison(name: str, raw: bytes) -> None:
    assert decode(with_bytes(**{name: long(len(raw)) + raw})) is None
    assert decode(with_bytes(attributes=b"\2" + long(len(raw)) + raw + b"\2a\0")) is None
    assert decode(with_bytes(recipients=b"\2" + long(len(raw)) + raw + b"\0")) is None


@pytest.mark.parametrize("name", ["sent_at", "captured_at", "kind", "body", "recipients"])
@pytest.mark.parametrize("raw", [b"\x80" * 10 + b"\0", b"\x82" + b"\x80" * 9 + b"\0", b"\xff" * 9 + b"\x02",
                                 b"\xff" * 9 + b"\x7f", b"\xff" * 11, b"\xff" * 40 + b"\0"])  # fmt: skip
def test_a_number_beyond_64_bits_is_poison(name: str, raw: bytes) -> None:
    assert decode(with_bytes(**{name: raw})) is None


@pytest.mark.parametrize("at", [-1, LATEST, LATEST + 1, (1 << 63) - 1, -(1 << 63)])
@pytest.mark.parametrize("name", ["sent_at", "captured_at"])
def test_times_outside_the_range_are_poison(name: str, at: int) -> None:
    assert decode(with_bytes(**{name: long(at)})) is None
    assert decode(with_bytes(**{name: long(LATEST - 1)})) is not None
    assert decode(with_bytes(**{name: long(0)})) is not None


def test_recipients_in_several_blocks_and_sized_blocks_are_split_exactly() -> None:
    sized = long(-2) + long(8) + b"\x06b@x\x06c@x" + b"\0"
    for raw in (sized, b"\2\x06b@x\2\x06c@x\0", b"\4\x06b@x\x06c@x\0"):
        capture = decode(with_bytes(recipients=raw))
        assert capture is not None
        assert capture.event == PLAIN
        assert capture.without_recipients() == encode({**PLAIN, "recipients": []})[5:]


@pytest.mark.parametrize("recipients", [100_001, 300_000])
def test_too_many_recipients_decode_in_bounded_time(recipients: int) -> None:
    event = {**PLAIN, "recipients": [f"p{number}@x" for number in range(recipients)]}
    capture = decode(encode(event))
    assert capture is not None  # the transform's limit refuses it, naming the event
    assert len(capture.event["recipients"]) == recipients


def test_lengths_that_were_only_declared_take_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for length in HUGE:
        for name in ("body", "recipients", "attributes", "attachments"):
            decode(with_bytes(**{name: long(length) + b"abc"}))
            decode(with_bytes(**{name: long(-length) + long(length) + b"abc"}))
    content = long(1) + long(1 << 40)
    decode(with_bytes(attachments=b"\2" + b"\2a" + b"\0" + b"\2b" + b"\0" + b"\0" + b"\0" + content))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB


@given(st.sampled_from(sorted(FIXED_IDS)), st.binary(max_size=200))
def test_only_poison_leaves_the_codec_of_our_own_records(name: str, raw: bytes) -> None:
    codec = RecordCodec(load_schema(name), FIXED_IDS[name])
    for value in (raw, wire_header(FIXED_IDS[name]) + raw):
        with contextlib.suppress(Poison):
            codec.decode(value)


def test_another_schema_id_is_poison() -> None:
    for schema_id in (0, 2, 7, 1 << 20, (1 << 32) - 1):
        with pytest.raises(Poison, match="unknown_schema"):
            CODEC.decode(wire_header(schema_id) + encode(PLAIN)[5:])
    with pytest.raises(Poison):
        CODEC.decode(b"\1" + encode(PLAIN)[1:])


def strictly_avro(datum: bytes) -> bool:
    """A reader of our own, by the specification and slow: what it takes, any other reader takes."""
    try:
        at = 0
        for schema in EVENT_FIELDS.values():
            at = _walk(datum, at, schema)
    except (ValueError, IndexError):
        return False
    return at == len(datum)


def _number(datum: bytes, at: int) -> tuple[int, int]:
    number, end = read_long(datum, at)
    if end - at > 10 or not -(1 << 63) <= number < 1 << 63:
        raise ValueError("no 64-bit number")
    return number, end


def _walk(datum: bytes, at: int, schema: Any) -> int:
    if isinstance(schema, list):
        branch, at = _number(datum, at)
        if not 0 <= branch < len(schema):
            raise ValueError("no such branch")
        return _walk(datum, at, schema[branch])
    kind = schema if isinstance(schema, str) else schema["type"]
    match kind:
        case "null":
            return at
        case "long":
            return _number(datum, at)[1]
        case "enum":
            place, at = _number(datum, at)
            if not 0 <= place < len(schema["symbols"]):
                raise ValueError("no such symbol")
            return at
        case "string" | "bytes":
            length, at = _number(datum, at)
            if not 0 <= length <= len(datum) - at:
                raise ValueError("too short")
            if kind == "string":
                datum[at : at + length].decode()
            return at + length
        case "record":
            for field in schema["fields"]:
                at = _walk(datum, at, field["type"])
            return at
        case _:
            return _walk_blocks(datum, at, schema)


def _walk_blocks(datum: bytes, at: int, schema: Any) -> int:
    while True:
        count, at = _number(datum, at)
        if count == 0:
            return at
        if count > len(datum) or count < -len(datum):
            raise ValueError("too many")
        size = None
        if count < 0:
            count, (size, at) = -count, _number(datum, at)
        begin = at
        for _ in range(count):
            if schema["type"] == "map":
                at = _walk(datum, at, "string")
            at = _walk(datum, at, schema["items"] if schema["type"] == "array" else schema["values"])
        if size is not None and size != at - begin:
            raise ValueError("a block of another size")
