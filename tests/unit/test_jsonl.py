from __future__ import annotations

import base64
import gzip
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import jsonl, resources
from pipeline.codec import EVENT, LATEST, EventCodec, wire_header
from pipeline.errors import BadInput
from pipeline.jsonl import BadLine, Parsed, event_to_json, parse_line, read_lines
from pipeline.registry import FixedSchemas, load_schema
from tests.support.events import encode, events

PARSED_WITH_TIMES: Any = fastavro.parse_schema(dict(load_schema("event")))
CODEC = EventCodec(FixedSchemas().event_schema, load_schema("event"))
SAMPLE = Path(jsonl.__file__).parent / "local" / "sample"
MINIMAL: dict[str, Any] = {
    "event_id": "e1", "kind": "chat", "conversation": "room:a", "sender": "a@x", "sent_at": "2020-01-01T00:00:00Z",
    "captured_at": "2020-01-01T00:00:01.5+02:00", "cluster": "x", "body": "hello", "conversation_type": "room",
}  # fmt: skip
ATTACHMENT: dict[str, Any] = {"name": "n", "media_type": "text/plain", "size": 3}


def parse(line: bytes | str | dict[str, Any]) -> Parsed:
    if isinstance(line, dict):
        line = json.dumps(line)
    return parse_line(line if isinstance(line, bytes) else line.encode(), source="in.jsonl", number=7)


def refused(line: bytes | str | dict[str, Any]) -> BadLine:
    with pytest.raises(BadLine) as caught:
        parse(line)
    error = caught.value
    assert str(error).startswith("in.jsonl: line 7: ")
    assert "\n" not in str(error)
    assert isinstance(error, BadInput)
    return error


def test_a_field_left_out_takes_its_default() -> None:
    parsed = parse(MINIMAL)
    event = CODEC.decode(parsed.value).event
    defaults = {field["name"]: field["default"] for field in load_schema("event")["fields"] if "default" in field}
    assert {name: event[name] for name in defaults} == defaults  # type: ignore[literal-required]
    assert event["sent_at"] == 1_577_836_800_000_000
    assert parsed.captured_at == event["captured_at"] == 1_577_829_601_500_000  # +02:00 is two hours earlier
    assert parsed.conversation == "room:a"
    assert parsed.value[:5] == wire_header(EVENT)


@given(events())
def test_bytes_are_those_of_fastavro_and_the_way_back_is_the_same(event: dict[str, Any]) -> None:
    made = event_to_json(event)
    parsed = parse(json.dumps(made, ensure_ascii=False))
    assert parsed.value == encode(event)
    assert parse(json.dumps(made, ensure_ascii=True, indent=1, separators=(" ,", "\t :\r"))).value == parsed.value
    decoded = fastavro.schemaless_reader(io.BytesIO(parsed.value[5:]), PARSED_WITH_TIMES, None)
    assert event_to_json(decoded) == made  # type: ignore[arg-type]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_an_event_or_bad_input(line: bytes) -> None:
    with pytest.raises(BadLine):
        parse(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), JSON)
def test_any_value_in_any_field_is_taken_as_it_is_or_refused_by_name(data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from([field["name"] for field in load_schema("event")["fields"]]))
    named = ""
    try:
        event = event_to_json(CODEC.decode(parse({**MINIMAL, name: value}).value).event)
    except BadLine as error:
        named = error.field.split(".")[0] or name  # the line as a whole: a lone surrogate, NaN
    else:
        named = name
        if name != "attachments":  # whose own defaults are filled in
            assert event[name] == value
    assert named == name


@pytest.mark.parametrize("name", list(MINIMAL))
def test_a_missing_field_is_named(name: str) -> None:
    error = refused({key: value for key, value in MINIMAL.items() if key != name})
    assert (error.field, error.why) == (name, "is missing")


@pytest.mark.parametrize(
    ("more", "field", "why"),
    [
        ({"foo": 1}, "foo", "no such field"),
        ({"Body": ""}, "Body", "no such field"),
        ({"a\nb" * 100: ""}, "'a\\nb", "no such field"),
        ({"kind": "chitchat"}, "kind", "unknown Kind: chitchat"),
        ({"kind": 1}, "kind", "must be a string"),
        ({"kind": None}, "kind", "must be a string"),
        ({"kind": ["chat"]}, "kind", "must be a string"),
        ({"conversation_type": "dm"}, "conversation_type", "unknown ConversationType"),
        ({"phase": "read"}, "phase", "unknown Phase"),
        ({"body": None}, "body", "must be a string"),
        ({"body": 5}, "body", "must be a string"),
        ({"sender_resource": 5}, "sender_resource", "must be a string or null"),
        ({"recipients": "a@x"}, "recipients", "must be an array"),
        ({"recipients": ["a@x", 5]}, "recipients.1", "must be a string"),
        ({"recipients": {}}, "recipients", "must be an array"),
        ({"stanza_ids": []}, "stanza_ids", "must be an object"),
        ({"stanza_ids": {"x": None}}, "stanza_ids.x", "must be a string"),
        ({"attributes": {"x": 1}}, "attributes.x", "must be a string"),
        ({"attachments": [ATTACHMENT, {**ATTACHMENT, "size": "3"}]}, "attachments.1.size", "whole number"),
        ({"attachments": [{**ATTACHMENT, "size": 3.0}]}, "attachments.0.size", "whole number"),
        ({"attachments": [{**ATTACHMENT, "size": True}]}, "attachments.0.size", "whole number"),
        ({"attachments": [{**ATTACHMENT, "size": 1 << 63}]}, "attachments.0.size", "out of range"),
        ({"attachments": [{**ATTACHMENT, "size": 1 << 64}]}, "attachments.0.size", "whole number"),
        ({"attachments": [{**ATTACHMENT, "colour": "red"}]}, "attachments.0.colour", "no such field"),
        ({"attachments": [{"name": "n", "size": 1}]}, "attachments.0.media_type", "is missing"),
        ({"attachments": [{**ATTACHMENT, "content": "a b="}]}, "attachments.0.content", "not base64"),
        ({"attachments": [{**ATTACHMENT, "content": "YQ"}]}, "attachments.0.content", "not base64"),
        ({"attachments": [{**ATTACHMENT, "content": "YR=="}]}, "attachments.0.content", "not base64"),
        ({"attachments": [{**ATTACHMENT, "content": "YQ==\n"}]}, "attachments.0.content", "not base64"),
        ({"attachments": [{**ATTACHMENT, "content": "é"}]}, "attachments.0.content", "not base64"),
        ({"sent_at": "2020-01-01T00:00:00"}, "sent_at", "without offset"),
        ({"sent_at": "2020-01-01T00:00:00.123"}, "sent_at", "without offset"),
        ({"sent_at": 1577836800}, "sent_at", "must be a string"),
        ({"sent_at": None}, "sent_at", "must be a string"),
        ({"sent_at": []}, "sent_at", "must be a string"),
        ({"sent_at": "2020-01-01"}, "sent_at", "not a time"),
        ({"sent_at": "2020-01-01 00:00:00Z"}, "sent_at", "not a time"),
        ({"sent_at": "20200101T000000Z"}, "sent_at", "not a time"),
        ({"sent_at": "2020-W01-1T00:00:00Z"}, "sent_at", "not a time"),
        ({"sent_at": "2020-01-01T00:00:00.1234567Z"}, "sent_at", "not a time"),
        ({"sent_at": "2020-01-01T00:00:00,5Z"}, "sent_at", "not a time"),
        ({"sent_at": "٢٠٢٠-01-01T00:00:00Z"}, "sent_at", "not a time"),
        ({"sent_at": "2020-01-01T00:00:00Z\n"}, "sent_at", "not a time"),
        ({"sent_at": "2020-02-30T00:00:00Z"}, "sent_at", "no such time"),
        ({"sent_at": "2020-01-01T00:00:60Z"}, "sent_at", "no such time"),
        ({"sent_at": "0000-01-01T00:00:00Z"}, "sent_at", "no such time"),
        ({"sent_at": "1969-12-31T23:59:59.999999Z"}, "sent_at", "outside 1970-2200"),
        ({"sent_at": "1970-01-01T00:00:00+00:01"}, "sent_at", "outside 1970-2200"),
        ({"captured_at": "2200-01-01T00:00:00Z"}, "captured_at", "outside 1970-2200"),
    ],
)
def test_what_is_wrong_is_refused_by_field(more: dict[str, Any], field: str, why: str) -> None:
    error = refused({**MINIMAL, **more})
    assert error.field.startswith(field)
    assert why in error.why
    assert len(str(error)) < 250


@pytest.mark.parametrize(
    ("at", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T05:30:00+05:30", 0),
        ("1970-01-01T05:30:00.25+0530", 250_000),
        ("2199-12-31T23:59:59.999999Z", LATEST - 1),
        ("2199-12-31T23:59:59.999999-00:00", LATEST - 1),
    ],
)
def test_times_are_exact_to_the_microsecond(at: str, micros: int) -> None:
    assert parse({**MINIMAL, "captured_at": at}).captured_at == micros


def object_with(text: str) -> str:
    return json.dumps(MINIMAL)[:-1] + ", " + text + "}"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (object_with('"body": "hello"'), "body"),
        (object_with('"body"\t:"other"'), "body"),
        (object_with('"b\\u006fdy": "other"'), "body"),
        (object_with('"body" : ":)"'), "body"),
        (object_with('"stanza_ids": {"x": "1", "x": "2"}'), "x"),
        (object_with('"attributes": {"x": "1", "y": "\\":", "x": "1"}'), "x"),
        (object_with('"attachments": [{"name": "n", "media_type": "t", "size": 1, "size": 1}]'), "size"),
        (object_with('"attachments": [], "attachments": []'), "attachments"),
    ],
)
def test_a_key_that_stands_twice_is_refused(line: str, field: str) -> None:
    error = refused(line)
    assert (error.field, error.why) == (field, "stands twice")


@pytest.mark.parametrize("body", [":)", '":', '"a":"b"', '{"body": "x"}', ' " : ', "\\", '\\":', "\n\t:", "\x00"])
def test_a_body_that_looks_like_json_is_only_a_body(body: str) -> None:
    for ascii_only in (True, False):
        line = json.dumps({**MINIMAL, "body": body, "attributes": {body: body}}, ensure_ascii=ascii_only)
        event = CODEC.decode(parse(line).value).event
        assert (event["body"], event["attributes"]) == (body, {body: body})


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"{}", b"\xef\xbb\xbf{}", b"{} {}", b"{'a': 1}", b"[" * 100_000,
        object_with('"attachments": NaN').encode(), object_with('"attachments": 1e999').encode(),
        object_with('"thread": "\\ud800"').encode(), object_with('"thread": "\\udc00\\ud800"').encode(),
        object_with('"attributes": {"\\ud800": "a"}').encode(), object_with('"thread": "a\nb"').encode(),
        object_with('"a": ' + "[" * 5000 + "]" * 5000).encode(), object_with('"size": ' + "9" * 10_000).encode(),
    ],
)  # fmt: skip
def test_what_is_no_object_of_json_is_refused(line: bytes) -> None:
    refused(line)


def test_what_is_not_utf8_is_said_so_with_the_place() -> None:
    assert refused(b'{"body": "\xff"}').why == "not UTF-8, at byte 11"
    assert refused(b'{"body": "\xed\xa0\x80"}').why.startswith("not UTF-8")


def test_an_error_never_shows_the_text_of_a_message() -> None:
    secret = "the secret words"
    for line in (json.dumps({**MINIMAL, "body": [secret]}), f'{{"body": "{secret}', f'{{"body": "{secret}"}} x'):
        assert secret not in str(refused(line))


def test_attachments_content_is_base64() -> None:
    content = bytes(range(256))
    line = {**MINIMAL, "attachments": [{**ATTACHMENT, "content": base64.b64encode(content).decode()}, ATTACHMENT]}
    attachments = CODEC.decode(parse(line).value).event["attachments"]
    assert [one["content"] for one in attachments] == [content, None]


def test_the_order_of_keys_makes_no_difference() -> None:
    event = {**MINIMAL, "attributes": {"b": "1", "a": "2"}}
    other = dict(reversed({**MINIMAL, "attributes": {"a": "2", "b": "1"}}.items()))
    assert parse(event).value == parse(other).value


def test_what_is_over_a_limit_is_left_to_the_transform() -> None:
    event = {**MINIMAL, "body": "x" * (9 << 20), "recipients": [f"p{n}@x" for n in range(100_001)]}
    assert len(parse(event).value) > 9 << 20


# -- reading --------------------------------------------------------------------------------------------------------


def test_lines_are_numbered_from_1_and_blank_ones_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"one\n\n  \t\r\ntwo\r\n\nthree")
    assert list(read_lines(str(file))) == [(1, b"one\n"), (4, b"two\r\n"), (6, b"three")]
    file.write_bytes(b"")
    assert list(read_lines(str(file))) == []


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_gzip_is_read_by_its_name_or_its_first_byte(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))  # as cat joins them
    assert list(read_lines(str(file))) == [(1, b"one\n"), (2, b"two\n")]


def test_a_gzip_that_is_cut_gives_its_lines_and_then_names_the_next(tmp_path: Path) -> None:
    lines = [b"%d %s\n" % (n, bytes([n % 251 + 1]).hex().encode() * (n % 90)) for n in range(50_000)]
    whole = gzip.compress(b"".join(lines))
    file = tmp_path / "a.jsonl.gz"
    for cut in (5, 12, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        file.write_bytes(whole[:cut])
        got: list[Any] = []
        with pytest.raises(BadLine) as caught:
            got.extend(read_lines(str(file)))
        assert [number for number, _ in got] == list(range(1, len(got) + 1))
        got = [line for _, line in got]
        assert got == lines[: len(got)]
        assert caught.value.number == len(got) + 1
        assert cut < len(whole) // 2 or len(got) > 20_000
    file.write_bytes(whole[: len(whole) // 2] + b"\xff" * 40 + whole[len(whole) // 2 + 40 :])
    with pytest.raises(BadLine):
        list(read_lines(str(file)))
    file.write_bytes(b"not gzip\n")
    with pytest.raises(BadLine):
        list(read_lines(str(file)))


def test_a_line_over_the_limit_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"12345678\n12345678\r\n123456789\n1\n")
    lines = read_lines(str(file), limit=8)
    assert next(lines) == (1, b"12345678\n")
    assert next(lines) == (2, b"12345678\r\n")
    with pytest.raises(BadLine, match="line 3: longer than 8 bytes"):
        next(lines)
    file.write_bytes(b"x" * 9)
    with pytest.raises(BadLine, match="line 1: longer"):
        list(read_lines(str(file), limit=8))


def test_standard_input_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (b"one\ntwo\n", gzip.compress(b"one\ntwo\n")):
        stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(data)))
        monkeypatch.setattr(sys, "stdin", stdin)
        assert list(read_lines("-")) == [(1, b"one\n"), (2, b"two\n")]
        assert not stdin.buffer.closed


def test_a_source_that_cannot_be_opened_is_bad_input(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "missing.jsonl", tmp_path / "missing.jsonl.gz"):
        with pytest.raises(BadInput, match=r"No such file|Is a directory"):
            list(read_lines(str(source)))


def test_a_line_is_given_before_the_next_is_there(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    keeper = os.open(pipe, os.O_RDWR)  # so that nobody waits for the other end
    os.write(keeper, b"one\n")
    lines = read_lines(str(pipe))
    assert next(lines) == (1, b"one\n")
    os.write(keeper, b"two\n")
    assert next(lines) == (2, b"two\n")
    os.close(keeper)
    assert list(lines) == []


def test_the_sample_is_whole_and_licensed() -> None:
    parsed = [
        parse_line(line, source="sample", number=number) for number, line in read_lines(str(SAMPLE / "events.jsonl.gz"))
    ]
    captured = {CODEC.decode(one.value).event["event_id"] for one in parsed}
    truth = [json.loads(line) for _, line in read_lines(str(SAMPLE / "truth.jsonl.gz"))]
    styles = {one["style"] for one in truth if len(one["captures"]) > 1}
    assert 1500 <= len(parsed) <= 2500
    assert captured == {capture for one in truth for capture in one["captures"]}
    assert styles == {"fork", "per_recipient", "both_sides", "resend", "server_ids", "no_ids"}
    assert {"repeat", "repeat_no_ids", "reused_id", "foreign_id"} <= {one["style"] for one in truth}
    assert "Attribution 4.0 International" in (SAMPLE / "LICENSE.txt").read_text()
    assert "Kummerfeld" in (SAMPLE / "README.md").read_text()
    assert resources.schemas().is_dir()
