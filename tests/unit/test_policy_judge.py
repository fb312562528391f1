"""What rules and walls say together."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from pipeline.policy.past import Past
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
    return RulePolicy(read(POLICY), PolicyText(b"")).judge(event, tuple(event["recipients"]), Past())


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


CONTENT = """
version: 1
rules:
  - {id: chief, action: ok, when: {senders: chief@bank.example}}
  - {id: leak, action: block, reason: secret, when: {content: {keywords: [project falcon]}, recipients: "*@far.example"}}
  - {id: cards, action: modify, replace: "[card]", reason: no cards, when: {content: {entities: credit_card}}}
  - {id: digits, action: modify, replace: "#", when: {content: {patterns: ["[0-9]{4}"], count: 2}}}
  - {id: many, action: alert, when: {content: {patterns: ["[0-9]{4}"], count: 5}}}
"""
CARD = "4012 8888 8888 1881"


def read_text(body: str, *recipients: str, sender: str = "bob@bank.example") -> Judgement:
    event: Any = capture(sender=sender, body=body, recipients=list(recipients or ["cy@bank.example"]))
    return RulePolicy(read(CONTENT), PolicyText(b"")).judge(event, tuple(event["recipients"]), Past())


def test_what_is_found_is_replaced_and_the_first_rule_has_the_place() -> None:
    found = read_text(f"pay with {CARD} by 2026")
    assert (found.decision, found.reason, found.rules) == ("modified", "no cards", ("cards", "digits", "many"))
    assert [(one.recipients, one.delivered_body) for one in found.outcomes] == [((0,), "pay with [card] by #")]
    assert [(one.rule, len(one.spans)) for one in found.findings] == [("cards", 1), ("digits", 5), ("many", 5)]
    assert found.findings[0].spans == ((9, 28),)


def test_too_few_are_none() -> None:
    assert read_text("call 1234") is OK
    assert read_text(f"pay with {CARD}", sender="chief@bank.example").decision == "ok"


def test_blocked_for_some_and_changed_for_others() -> None:
    body = f"Project\u00a0Falc\u200bon costs {CARD}"
    found = read_text(body, "cy@bank.example", "x@far.example")
    assert found.decision == "modified"
    assert {one.recipients: (one.decision, one.delivered_body, one.rules) for one in found.outcomes} == {
        (0,): ("modified", "Project\u00a0Falc\u200bon costs [card]", ("cards", "digits")),
        (1,): ("blocked", None, ("leak",)),
    }
    assert found.reason == "secret; no cards"


def test_an_event_without_recipients() -> None:
    found = judge(kind="join", sender="bob@bank.example", recipients=[], sent_at=NOON * 1_000_000)
    assert (found.decision, found.reason, found.outcomes) == ("blocked", "closed", ())


def test_no_rule_names_the_recipient_of_an_event_that_nobody_is_sent() -> None:
    found = judge(
        kind="leave", sender="bob@bank.example", conversation_type="broadcast", recipients=[], sent_at=NOON * 1_000_000
    )
    assert found is OK


@pytest.mark.parametrize(("at", "fires"), [(NOON, False), (NIGHT_OF_FRIDAY, True), (NIGHT_OF_SUNDAY, False)])
def test_hours_over_midnight_are_those_of_the_day_before(at: int, fires: bool) -> None:
    found = judge(sender="bob@bank.example", recipients=["cy@bank.example"], sent_at=at * 1_000_000)
    assert found.decision == "ok"
    assert [one.rule for one in found.findings] == (["night"] if fires else [])
