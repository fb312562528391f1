"""An explanation never disagrees with the judgement, and what it names is really what did not hold."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.explain import BODY, Explanation, Said, explain, look, recipients_of
from pipeline.policy.judge import RulePolicy
from pipeline.policy.model import Condition
from pipeline.policy.past import Past
from pipeline.records import Event, Judgement
from pipeline.stages.delivered import changed_by
from tests.support.captures import START, attachment, capture

TEXT = """
version: 1
domains: one.example
groups:
  as: ["a@*"]
  ones: ["*@one.example", {who: as, until: 2023-11-16}]
walls:
  - {id: apart, between: [as, b@two.example], except: {chaperones: c@one.example}}
  - {id: one-way, from: "*@two.example", to: ones, kinds: [chat, presence], except: {people: b@one.example}}
  - {id: rooms, between: [b@one.example, c@two.example], conversation_types: [room]}
rules:
  - {id: route, action: route, to: watch, when: {kinds: [chat, edit], clusters: one}}
  - {id: chief, action: ok, when: {senders: as, recipients: "*@one.example", conversation_types: direct}}
  - {id: cards, action: modify, when: {content: {entities: [credit_card, us_ssn], at_least: likely}}, unless: {clusters: two}}
  - {id: words, action: block, when: {directions: [outbound, federated], content: {keywords: falcon, count: 2}}}
  - {id: digits, action: alert, when: {content: {patterns: "[0-9]{3}"}, files: {names: "*.exe"}}}
  - {id: room, action: alert, when: {conversations: ["x*", "a name"]}}
  - {id: week, action: alert, when: {hours: {days: [tue, wed], from: "20:00", to: "08:00", zone: Europe/Berlin}}}
  - {id: hello, action: disclaim, text: recorded, unless: {recipients: "*@one.example"}, once_every: 1h}
  - {id: many, action: modify, file: {name: gone}, when: {files: {more_than: 1, larger_than: 5}}}
  - {id: all, action: ok, when: {kinds: [leave, chat], clusters: two}}
  - {id: late, action: block, when: {recipients: ones, directions: internal}, unless: {content: {keywords: ok}}}
  - {id: last, action: alert}
"""
DOCUMENT = read(TEXT)
POLICY = RulePolicy(DOCUMENT, PolicyText(TEXT.encode()))
RULES = {rule.id: rule for rule in DOCUMENT.rules}
PEOPLE = [f"{name}@{domain}.example" for name in "abc" for domain in ("one", "two")]
WORDS = ["falcon", "F A L C O N", "4012 8888 8888 1881", "123", "ok", "<b>fal</b>con", "536904399"]
HOUR = 3600 * 1_000_000
Events = list[dict[str, Any]]


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    files = st.builds(
        attachment,
        name=st.sampled_from(["a.exe", "falcon.txt"]),
        display_name=st.sampled_from([None, "b.EXE", "falcon"]),
        size=st.integers(0, 10),
    )
    at = START * 1000 + draw(st.integers(0, 72)) * HOUR
    return capture(
        kind=draw(st.sampled_from(["chat", "edit", "presence", "join", "leave"])),
        sender=draw(st.sampled_from(PEOPLE)),
        recipients=draw(st.lists(st.sampled_from(PEOPLE), max_size=3)),
        cluster=draw(st.sampled_from(["one", "two", "three"])),
        conversation=draw(st.sampled_from(["x", "y"])),
        conversation_type=draw(st.sampled_from(["direct", "room"])),
        body=" ".join(draw(st.lists(st.sampled_from(WORDS), max_size=3))),
        attributes=draw(st.dictionaries(st.sampled_from(["q", "r"]), st.sampled_from(WORDS), max_size=2)),
        attachments=draw(st.lists(files, max_size=2)),
        sent_at=at,
        captured_at=at,
    )


@cache
def alone(rule: str, keep: tuple[str, ...] | None, without: tuple[str, ...]) -> RulePolicy:
    """A policy of one rule: of its `when` only what is to be kept (None: all), and without these keys."""
    one = RULES[rule]
    action = "disclaim" if one.action == "disclaim" else "alert"
    changes = {"action": action, "when": _condition(one.when, keep), **dict.fromkeys(without)}
    document = DOCUMENT.model_copy(update={"walls": (), "rules": (one.model_copy(update=changes),)})
    return RulePolicy(document, PolicyText(b""))


def _condition(condition: Condition, keep: tuple[str, ...] | None) -> Condition:
    return Condition.model_construct(
        **{name: value if keep is None or name in keep else None for name, value in condition}
    )


def fires(policy: RulePolicy, event: Event, past: Past) -> bool:
    return bool(policy.fired(event, recipients_of(event), past))


def check_why(one: Said, event: Event, past: Past) -> None:
    name = one.why_not.partition(":")[0]
    if name == "kinds" and one.why_not.endswith("which people read"):
        assert not fires(alone(one.id, (), ("unless", "once_every")), event, past)
    elif name in Condition.model_fields:
        keep = ("recipients", "directions") if name == "directions" else (name,)
        assert not fires(alone(one.id, keep, ("unless", "once_every")), event, past), one
    elif name in ("unless", "once_every"):
        before = () if name == "once_every" else ("once_every",)
        assert not fires(alone(one.id, None, before), event, past)
        assert fires(alone(one.id, None, (*before, name)), event, past)
    else:
        assert one.why_not.startswith("said ok by rule `"), one
        assert one.why_not.split("`")[1] in ("chief", "all", "chief, all", "all, chief")
        assert fires(alone(one.id, None, ()), event, past), one


def check(explanation: Explanation, event: Event, judgement: Judgement, past: Past) -> None:
    fired = [one for one in explanation.said if one.fired]
    assert sorted(one.id for one in fired) == sorted(judgement.rules)
    rules = [one.id for one in fired if one.sort != "wall"]
    assert rules == [rule for rule in judgement.rules if rule in RULES]
    assert [bool(one.why_not) for one in explanation.said] == [not one.fired for one in explanation.said]
    recipients = recipients_of(event)
    for one in POLICY.fired(event, recipients, past):
        said = next(said for said in explanation.said if said.id == one.rule.id)
        assert said.recipients == tuple(recipients[place] for place in one.places)
        spans = tuple(sorted({(what.start, what.end) for what in said.found if what.where == BODY}))
        assert spans == one.hits.spans
        assert any(what.where != BODY for what in said.found) == one.hits.elsewhere
        assert all(what.excerpt == event["body"][what.start : what.end] for what in said.found if what.where == BODY)
    for said in explanation.said:
        if not said.fired and said.sort != "wall":
            check_why(said, event, past)
    outcomes = {recipients[place]: one for one in judgement.outcomes for place in one.recipients}
    for given_ in explanation.given:
        outcome = outcomes.get(given_.recipient)
        assert given_.decision == (outcome.decision if outcome else "ok")
        assert given_.delivered_body == (outcome.delivered_body if outcome else None)


@settings(max_examples=300, deadline=None)
@given(st.lists(events(), min_size=1, max_size=4))
def test_an_explanation_is_of_the_judgement(sent: Events) -> None:
    past = Past()
    for event in sent:
        one: Any = event
        past.now = max(past.now, one["captured_at"] // 1000)
        judgement = POLICY.judge(one, recipients_of(one), past)
        seen = look(POLICY, one, past)
        assert seen.judgement == judgement
        check(explain(POLICY, one, past, seen), one, judgement, past)
        past.take(one, past.now, judgement.decision, changed_by(judgement))


def test_the_policy_names_every_condition_there_is() -> None:
    """One that is added is to be explained, too."""
    named = {name for rule in DOCUMENT.rules for name, value in rule.when if value is not None}
    assert named == set(Condition.model_fields)
