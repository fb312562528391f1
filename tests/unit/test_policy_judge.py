"""What rules and walls say together."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from pipeline.records import OK, Judgement
from tests.support.captures import capture

POLICY = """
version: 1
domains: bank.example
groups:
  research: [ann@bank.example]
  sales: [cy@bank.example, dee@bank.example]
walls:
  - {id: wall, reason: a wall, severity: high, between: [research, sales]}
rules:
  - id: night
    action: alert
    when: {hours: {days: [mon, tue, wed, thu, fri], from: "22:00", to: "06:00", zone: Europe/Berlin}}
  - id: chief
    action: ok
    when: {senders: chief@bank.example}
  - id: outside
    reason: nothing leaves
    action: block
    when: {kinds: [chat, file_post], directions: outbound}
    unless: {recipients: "*@lawyers.example"}
  - id: no-joins
    reason: closed
    action: block
    when: {kinds: join}
  - id: no-broadcast
    reason: nothing leaves
    action: block
    when: {conversation_types: broadcast, recipients: "*"}
""".replace('"*"}', '"*@far.example"}')


def judge(**fields: Any) -> Judgement:
    event: Any = capture(**fields)
    return RulePolicy(read(POLICY), "d").judge(event, tuple(event["recipients"]))


NOON, NIGHT_OF_FRIDAY, NIGHT_OF_SUNDAY = 1_768_561_200, 1_768_604_400, 1_768_777_200
"""2026-01-16 12:00, 2026-01-17 00:00 (a Saturday, after a Friday), 2026-01-19 00:00 (a Monday, after a Sunday), Berlin."""


def test_most_of_it_is_ok() -> None:
    assert judge(sender="bob@bank.example", recipients=["cy@bank.example"], sent_at=NOON * 1_000_000) is OK


def test_a_wall_before_some() -> None:
    found = judge(
        sender="ann@bank.example",
        recipients=["bob@bank.example", "cy@bank.example", "DEE@bank.example"],
        sent_at=NOON * 1_000_000,
    )
    assert (found.decision, found.reason, found.rules) == ("modified", "a wall", ("wall",))
    assert [one[:3] for one in found.outcomes] == [((1, 2), "blocked", None)]
    assert [(one.rule, one.severity, one.person) for one in found.findings] == [("wall", "high", "ann@bank.example")]


def test_walls_and_rules_together() -> None:
    found = judge(
        sender="ann@bank.example",
        recipients=["x@far.example", "cy@bank.example", "y@lawyers.example"],
        conversation_type="broadcast",
        sent_at=NOON * 1_000_000,
    )
    assert found.decision == "modified"
    assert found.reason == "a wall; nothing leaves"
    assert found.rules == ("wall", "outside", "no-broadcast")
    assert {one.recipients: (one.rules, one.reason) for one in found.outcomes} == {
        (0,): (("outside", "no-broadcast"), "nothing leaves"),
        (1,): (("wall",), "a wall"),
    }


def test_ok_ends_the_rules_but_no_wall() -> None:
    found = judge(sender="chief@bank.example", recipients=["x@far.example"], sent_at=NOON * 1_000_000)
    assert (found.decision, found.rules, found.outcomes, found.findings) == ("ok", ("chief",), (), ())


def test_all_blocked() -> None:
    found = judge(sender="bob@bank.example", recipients=["x@far.example"], sent_at=NOON * 1_000_000)
    assert (found.decision, found.reason) == ("blocked", "nothing leaves")


def test_an_event_without_recipients() -> None:
    found = judge(kind="join", sender="bob@bank.example", recipients=[], sent_at=NOON * 1_000_000)
    assert (found.decision, found.reason, found.outcomes) == ("blocked", "closed", ())


@pytest.mark.parametrize(("at", "fires"), [(NOON, False), (NIGHT_OF_FRIDAY, True), (NIGHT_OF_SUNDAY, False)])
def test_hours_over_midnight_are_those_of_the_day_before(at: int, fires: bool) -> None:
    found = judge(sender="bob@bank.example", recipients=["cy@bank.example"], sent_at=at * 1_000_000)
    assert found.decision == "ok"
    assert [one.rule for one in found.findings] == (["night"] if fires else [])
