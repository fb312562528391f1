"""What can never be taken: rejected, to the dead letters, with a blocked verdict where its id can be read."""

from __future__ import annotations

import pytest

from tests.support.captures import START, Bench, Took, capture
from tests.support.events import encode

EVENT = capture(event_id="the-id", body="text that no log may show")
VALUE = encode(EVENT)
YEAR = 31_556_952_000_000


def check_rejected(bench: Bench, value: bytes | None, reason: str, event_id: str) -> Took:
    before = bench.partition.journal.sequence
    took = bench.take(value, key=b"k\xff")
    assert (took.status, took.rule, took.copies, took.sequence) == ("rejected", reason, [], before + 1)
    journal = took.journal
    assert (journal["raw"], journal["event_id"], journal["into"]) == (value or b"", event_id, -1)
    assert (journal["decision"], journal["rule"]) == ("blocked", reason)
    assert "no log" not in journal["reason"]
    if event_id:
        assert took.verdict is not None
        assert (took.verdict["event_id"], took.verdict["decision"]) == (event_id, "blocked")
        assert took.verdict["message_event_id"] == ""
    else:
        assert took.verdict is None
    (letter,) = took.dead_letters
    assert letter == {
        "value": value, "key": b"k\xff", "headers": [{"name": "h", "value": b"1"}], "topic": "im.events",
        "partition": 0, "offset": bench.offset, "stage": letter["stage"], "reason": journal["reason"],
        "lineage": journal["lineage"], "sequence": took.sequence, "at": bench.arrival,
    }  # fmt: skip
    return took


@pytest.mark.parametrize(
    ("value", "reason", "event_id"),
    [
        (None, "empty", ""),
        (b"", "empty", ""),
        (b"\0\0\0\0", "not_avro", ""),
        (b"{}", "not_avro", ""),
        (b"\x01" + VALUE[1:], "not_avro", ""),
        (b"\0\0\0\0\x63" + VALUE[5:], "unknown_schema", ""),
        (VALUE[:-1], "not_avro", "the-id"),
        (VALUE[:20], "not_avro", "the-id"),
        (VALUE[:8], "not_avro", ""),
        (VALUE + b"\0", "trailing_bytes", "the-id"),
        (VALUE + VALUE[5:], "trailing_bytes", "the-id"),
        (VALUE[:5] + b"\x03" + VALUE[6:], "not_avro", ""),
        (VALUE[:5] + b"\xff" * 9 + b"\x7f" + VALUE[6:], "not_avro", ""),
        (VALUE.replace(b"text that", b"\xff\xfe\xfd\xfc that"), "not_avro", "the-id"),
        (encode({**EVENT, "sent_at": -1}), "time_out_of_range", "the-id"),
        (encode({**EVENT, "captured_at": 231 * YEAR}), "time_out_of_range", "the-id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_poison_of_each_sort(value: bytes | None, reason: str, event_id: str) -> None:
    bench = Bench()
    check_rejected(bench, value, reason, event_id)
    took = bench.take(VALUE)
    assert (took.status, took.sequence) == ("accepted", 1), "it goes on, and what was rejected is not remembered"


def test_an_event_too_large() -> None:
    bench = Bench(event_bytes=2000)
    check_rejected(bench, encode({**EVENT, "body": "x" * 2000}), "too_large", "the-id")
    exact = {**EVENT, "body": "", "event_id": "at the limit"}
    exact["body"] = "x" * (2000 - len(encode({**exact, "body": "x" * 1000})) + 1000)
    assert len(encode(exact)) == 2000
    assert bench.take(exact).status == "accepted"


def test_too_many_recipients() -> None:
    bench = Bench(recipients=3)
    check_rejected(bench, encode({**EVENT, "recipients": ["a", "b", "c", "d"]}), "too_many_recipients", "the-id")
    assert bench.take(capture(recipients=["a", "b", "c"])).status == "accepted"


@pytest.mark.parametrize(
    "field",
    ["conversation", "sender", "sender_resource", "origin_id", "recipient_resource", "cluster", "refers_to", "thread"],
)
@pytest.mark.parametrize("long", ["x" * 101, "ü" * 51])
def test_an_id_or_address_too_long(field: str, long: str) -> None:
    bench = Bench(id_bytes=100)
    check_rejected(bench, encode({**EVENT, field: long}), "id_too_long", "the-id")
    assert bench.take(encode({**EVENT, field: "y" * 100})).status == "accepted"


@pytest.mark.parametrize(
    "fields", [{"recipients": ["a", "x" * 101]}, {"stanza_ids": {"x" * 101: "a"}}, {"stanza_ids": {"a": "x" * 101}}]
)
def test_an_id_or_address_too_long_in_a_list(fields: dict[str, object]) -> None:
    check_rejected(Bench(id_bytes=100), encode({**EVENT, **fields}), "id_too_long", "the-id")


def test_an_event_id_too_long_is_not_told() -> None:
    check_rejected(Bench(id_bytes=100), encode({**EVENT, "event_id": "x" * 101}), "id_too_long", "")


def test_a_text_may_be_longer_than_an_id() -> None:
    assert Bench(id_bytes=100).take(capture(body="x" * 1000)).status == "accepted"


def test_a_fan_out_too_large() -> None:
    bench = Bench(fan_out_bytes=10_000)
    many = [f"someone-{number}@beta.example" for number in range(100)]
    check_rejected(bench, encode({**EVENT, "recipients": many}), "fan_out_too_large", "the-id")
    assert bench.take(VALUE).status == "accepted", "nothing of it is remembered"


def test_a_merged_fan_out_too_large_leaves_its_message_as_it_was() -> None:
    bench = Bench(fan_out_bytes=10_000)
    many = [f"someone-{number}@beta.example" for number in range(100)]
    ids = {"origin_id": "o", "body": EVENT["body"]}
    first = bench.take(capture(**ids))
    check_rejected(bench, encode({**EVENT, "origin_id": "o", "recipients": many}), "fan_out_too_large", "the-id")
    took = bench.take(capture(**ids, recipients=["bob@beta.example", many[0]]))
    assert (took.into, took.recipients) == (first.sequence, [many[0]])
    assert bench.take({**EVENT, "origin_id": "o"}).rule == "origin_id", "its event_id is free"


def test_times_at_the_edges_are_taken() -> None:
    bench = Bench()
    for number, micros in enumerate((0, 7_258_118_400_000_000 - 1, START * 1000)):
        assert bench.take(capture(sent_at=micros, captured_at=micros, body=str(number))).status == "accepted"
