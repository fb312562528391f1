"""The words in which a policy says why it does not fire, and what it finds where it does."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.explain import Explanation, File, What, explain, look
from pipeline.policy.judge import RulePolicy
from pipeline.policy.past import Past
from tests.support.captures import attachment, capture

POLICY = """
version: 1
domains: bank.example
groups:
  research: [ann@bank.example]
  sales: [cy@bank.example, dee@bank.example]
walls:
  - id: wall
    reason: a wall
    between: [research, sales]
    kinds: [chat, presence, file_post]
    conversation_types: [room, direct]
    except: {people: dee@bank.example, chaperones: lou@bank.example}
  - {id: out, from: sales, to: "*@far.example", except: {people: cy@bank.example}}
rules:
  - {id: chief, action: ok, when: {senders: chief@bank.example, recipients: "*@bank.example"}}
  - {id: narrow, action: alert, when: {kinds: [presence, edit, poll], conversation_types: direct}}
  - {id: clusters, action: alert, when: {clusters: [one, two]}}
  - {id: night, action: alert, when: {hours: {days: [sat, sun], from: "20:00", to: "06:00", zone: Europe/Berlin}}}
  - {id: far, action: alert, when: {recipients: ["*@far.example", "x@y"], directions: [outbound, federated]}}
  - {id: cards, action: modify, replace: "[card]", when: {content: {entities: credit_card, keywords: falcon}}}
  - {id: many, action: alert, when: {content: {patterns: "[0-9]{4}", count: 5}}}
  - {id: exe, action: modify, file: {name: gone.txt, content: gone}, when: {files: {names: "*.exe", more_than: 1}}}
  - {id: spared, action: alert, unless: {senders: "*@bank.example"}}
  - {id: told, action: disclaim, text: recorded, once_every: 1h}
"""
READY = RulePolicy(read(POLICY), PolicyText(b""))
CARD = "4012 8888 8888 1881"


def explained(past: Past | None = None, **fields: Any) -> Explanation:
    event: Any = capture(**{"sender": "bob@bank.example", "recipients": ["cy@bank.example"], **fields})
    past = past or Past()
    return explain(READY, event, past, look(READY, event, past))


WHY: list[tuple[str, dict[str, Any], str]] = [
    ("wall", {}, "between: the sender `bob@bank.example` is on neither side"),
    ("wall", {"kind": "join"}, "kinds: is `join`, wanted chat, presence or file_post"),
    ("wall", {"conversation_type": "group"}, "conversation_types: is `group`, wanted room or direct"),
    ("wall", {"sender": "dee@bank.example"}, "except.people: the sender `dee@bank.example` may cross it"),
    ("wall", {"sender": "ann@bank.example", "recipients": ["x@y"]}, "between: no recipient is in `sales`"),
    ("wall", {"sender": "cy@bank.example", "recipients": ["x@y"]}, "between: no recipient is in `research`"),
    ("wall", {"sender": "ann@bank.example", "recipients": []}, "between: nobody is sent it"),
    (
        "wall",
        {"sender": "ann@bank.example", "recipients": ["dee@bank.example"]},
        "except.people: `dee@bank.example` may be sent it",
    ),
    (
        "wall",
        {"sender": "ann@bank.example", "recipients": ["cy@bank.example", "lou@bank.example"]},
        "except.chaperones: `lou@bank.example` is in the conversation",
    ),
    ("out", {}, "from: the sender `bob@bank.example` is not in `sales`"),
    ("out", {"sender": "dee@bank.example"}, "to: no recipient is in `*@far.example`"),
    ("chief", {}, "senders: `bob@bank.example` is not in `chief@bank.example`"),
    ("chief", {"sender": "chief@bank.example", "recipients": ["x@y"]}, "recipients: none is in `*@bank.example`"),
    ("chief", {"sender": "chief@bank.example", "recipients": []}, "recipients: nobody is sent it"),
    ("narrow", {}, "kinds: is `chat`, wanted presence, edit or poll"),
    ("narrow", {"kind": "edit"}, "conversation_types: is `room`, wanted direct"),
    ("clusters", {}, "clusters: is `alpha.example`, wanted one or two"),
    (
        "night",
        {"sent_at": 1_768_561_200_000_000},
        "hours: is fri 2026-01-16 12:00 in Europe/Berlin, wanted sat or sun from 20:00 to 06:00",
    ),
    ("far", {}, "recipients: none is in `*@far.example`, `x@y`"),
    (
        "far",
        {"sender": "bob@far.example", "recipients": ["x@far.example", "cy@bank.example"]},
        "",
    ),
    ("far", {"recipients": []}, "recipients: nobody is sent it"),
    ("cards", {}, "content: nothing found"),
    ("cards", {"body": "536904399 4012888888881882"}, "content: nothing found"),
    ("many", {"body": "1234 1234"}, "content: found 2, wanted 5"),
    ("exe", {}, "files: none is attached"),
    ("exe", {"attachments": [attachment(), attachment()]}, "files: none of 2 is like this, wanted more than 1"),
    ("exe", {"attachments": [attachment(name="a.exe")]}, "files: 1 of 1 is like this, wanted more than 1"),
    ("spared", {}, "unless: it holds for each of them"),
    ("spared", {"recipients": []}, "unless: it holds"),
    ("told", {"kind": "presence"}, "kinds: is `presence`, wanted "),
    ("told", {}, ""),
    ("clusters", {"sender": "chief@bank.example", "cluster": "one"}, "said ok by rule `chief` before"),
]


@pytest.mark.parametrize(("name", "fields", "why"), WHY, ids=[f"{name}-{why[:30]}" for name, _, why in WHY])
def test_why_not(name: str, fields: dict[str, Any], why: str) -> None:
    said = {one.id: one for one in explained(**fields).said}[name]
    assert said.fired is (why == "")
    assert said.why_not.startswith(why) if name == "told" else said.why_not == why


def test_less_sure_findings_are_counted() -> None:
    policy = RulePolicy(
        read("version: 1\nrules:\n  - {id: a, action: alert, when: {content: {entities: us_ssn}}}"), PolicyText(b"")
    )
    event: Any = capture(body="536904399")
    assert explain(policy, event, Past(), look(policy, event, Past())).said[0].why_not == (
        "content: nothing found, 1 less sure than strong"
    )


def test_directions() -> None:
    policy = RulePolicy(
        read("version: 1\ndomains: a.example\nrules:\n  - {id: a, action: alert, when: {directions: [internal]}}"),
        PolicyText(b""),
    )
    for recipients, why in (
        (["x@b.example", "y@b.example"], "directions: is `outbound`, wanted internal"),
        ([], "directions: nobody is sent it"),
    ):
        event: Any = capture(sender="x@a.example", recipients=recipients)
        assert explain(policy, event, Past(), look(policy, event, Past())).said[0].why_not == why


def test_a_disclaimer_is_said_once() -> None:
    past = Past()
    event: Any = capture()
    past.now = 1000
    past.take(event, 1000, "modified", ["told"])
    said = {one.id: one for one in explained(past).said}
    assert said["told"].why_not == "once_every: shown in this conversation already"


def test_somebody_who_is_there_already_is_a_chaperone() -> None:
    past = Past()
    joined: Any = capture(kind="join", sender="lou@bank.example")
    past.take(joined, 0, "ok", ())
    said = explained(past, sender="ann@bank.example").said[0]
    assert said.why_not == "except.chaperones: `lou@bank.example` is in the conversation"


def test_what_fired_says_for_whom_and_by_what() -> None:
    found = explained(
        sender="ann@bank.example",
        recipients=["cy@bank.example", "x@far.example"],
        body=f"F\u0430lcon {CARD}",
        attributes={"topic": "the falcon"},
    )
    said = {one.id: one for one in found.said}
    assert (said["wall"].fired, said["wall"].recipients, said["wall"].sort) == (True, ("cy@bank.example",), "wall")
    assert said["far"].recipients == ("x@far.example",)
    assert said["cards"].found == (
        What("keyword 'falcon'", "body", 0, 6, "F\u0430lcon", ""),
        What("credit_card (visa)", "body", 7, 26, CARD, ""),
        What("keyword 'falcon'", "attribute topic", 4, 10, "falcon", ""),
    )
    assert [(one.recipient, one.decision, one.rules, one.reason) for one in found.given] == [
        ("cy@bank.example", "blocked", ("wall", "cards"), "a wall"),
        ("x@far.example", "blocked", ("cards",), ""),
    ]


def test_what_each_is_given() -> None:
    found = explained(
        recipients=["cy@bank.example", "x@far.example"],
        kind="file_post",
        body=f"see {CARD}",
        attachments=[attachment(name="a.exe"), attachment(name="b.txt"), attachment(name="c.exe")],
    )
    assert (found.decision, found.kind, found.sender) == ("modified", "file_post", "bob@bank.example")
    assert {one.delivered_body for one in found.given} == {"see [card]\nrecorded"}
    files = (File("a.exe", "gone.txt", "gone"), File("c.exe", "gone.txt", "gone"))
    assert [one.files for one in found.given] == [files, files]
    assert {one.id: one.files for one in found.said}["exe"] == ("a.exe", "c.exe")


def test_ok_is_as_sent_for_those_it_is_said_of() -> None:
    found = explained(sender="chief@bank.example", recipients=["cy@bank.example", "x@far.example"], body=CARD)
    said = {one.id: one for one in found.said}
    assert (said["cards"].fired, said["cards"].recipients) == (True, ("x@far.example",))
    assert [(one.decision, one.delivered_body) for one in found.given] == [
        ("ok", None),
        ("modified", "[card]\nrecorded"),
    ]
