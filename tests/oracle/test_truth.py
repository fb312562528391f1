"""The checker itself: whatever is taken away, doubled or altered in a good archive, it says so."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.support.truth import Archive, Ingested, Row, faults, journal_faults

PLACE = {"lineage": "l", "partition": 0}
EVENTS: list[Row] = [
    {"event_id": event_id, "conversation": "room:1"} for event_id in ("one", "again", "one", "other")
]  # "again" is merged into "one", the second "one" is a retry
TRUTH: list[Row] = [
    {"captures": ["again", "one"], "kind": "chat", "conversation": "room:1", "sender": "a", "body": "hello",
     "recipients": ["b", "c"], "style": "fork"},
    {"captures": ["other"], "kind": "chat", "conversation": "room:1", "sender": "a", "body": "bye",
     "recipients": ["b"], "style": "once"},
]  # fmt: skip
INGESTED = [Ingested(0, offset, event["event_id"]) for offset, event in enumerate(EVENTS)]


def archive() -> Archive:
    event = {"kind": "chat", "conversation": "room:1", "sender": "a", "decision": "ok"}
    return Archive(
        messages=[
            {**PLACE, **event, "event_id": "one", "body": "hello", "delivered_body": "hello", "recipients": ["b", "c"], "sequence": 0},
            {**PLACE, **event, "event_id": "other", "body": "bye", "delivered_body": "bye", "recipients": ["b"], "sequence": 3},
        ],
        copies=[
            {"event_id": name, "recipient": to, "delivered_body": body, "decision": "ok"}
            for name, to, body in (("one", "b", "hello"), ("one", "c", "hello"), ("other", "b", "bye"))
        ],
        merges=[{"event_id": "again", "into": "one"}],
        verdicts=[{"event_id": event["event_id"], "decision": "ok"} for event in EVENTS],
        journal=[
            {**PLACE, "sequence": number, "offset": number, "event_id": event["event_id"],
             "status": "merged" if number in (1, 2) else "accepted"}
            for number, event in enumerate(EVENTS)
        ],
    )  # fmt: skip


def everything(made: Archive) -> list[str]:
    return faults(TRUTH, EVENTS, made) + journal_faults(INGESTED, made.journal)


def test_a_good_archive_is_good() -> None:
    assert everything(archive()) == []


def test_nothing_proves_nothing() -> None:
    assert faults([], [], Archive([], [], [], [], []))


@pytest.mark.parametrize("table", ["messages", "copies", "merges", "verdicts", "journal"])
@pytest.mark.parametrize(
    "alter", [lambda rows: rows.pop(), lambda rows: rows.append(deepcopy(rows[0]))], ids=["dropped", "doubled"]
)
def test_each_row_counts(table: str, alter: Callable[[list[Row]], object]) -> None:
    made = archive()
    alter(getattr(made, table))
    assert everything(made)


@pytest.mark.parametrize("table", ["messages", "copies", "merges", "verdicts", "journal"])
def test_each_field_counts(table: str) -> None:
    for name, value in getattr(archive(), table)[0].items():
        made = archive()
        getattr(made, table)[0][name] = 7 if isinstance(value, int) else "altered"
        if name != "lineage" or table == "journal":
            assert everything(made), name


def test_order_counts() -> None:
    made = archive()
    made.journal[0]["event_id"], made.journal[1]["event_id"] = "again", "one"
    assert everything(made)
    assert any("order" in fault for fault in everything(made))
