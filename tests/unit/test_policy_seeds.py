"""What the Cisco and Sametime documents ask of a compliance product, said as rules: one test a function. docs/policy.md has the table."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from pipeline.policy.model import KINDS
from tests.support.captures import Bench, attachment, capture

ANN, BOB, CY = "ann@one.example", "bob@one.example", "cy@two.example"
SAID = "Entered text was modified to comply with corporate policies"


def bench(policy: str) -> Bench:
    text = f"version: 1\n{policy}"
    return Bench(policy=RulePolicy(read(text), PolicyText(text.encode())))


def event(**fields: Any) -> Any:
    return capture(**{"sender": ANN, "recipients": [BOB, CY], **fields})


class TestEveryKind:
    """userJoin ... chatTextDelete, and their on... methods: each event can be blocked, changed or found fault with."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_blocked_with_a_reason_and_archived(self, kind: str) -> None:
        on = bench(f"rules: [{{id: r, reason: not here, action: block, when: {{kinds: {kind}}}}}]")
        took = on.take(event(kind=kind, body="text"))
        assert took.verdict is not None
        assert (took.verdict["decision"], took.verdict["reason"]) == ("blocked", "not here")
        assert [(one["decision"], one["body"]) for one in took.copies] == [("blocked", "text")] * 2, "kept, not given"
        assert (took.journal["decision"], took.journal["rules"]) == ("blocked", ["r"])
        alone = on.take(event(kind=kind, body="alone", recipients=[]))
        assert alone.verdict is not None
        assert alone.verdict["decision"] == "blocked"

    @pytest.mark.parametrize("kind", KINDS)
    def test_has_its_text_changed(self, kind: str) -> None:
        on = bench("rules: [{id: r, reason: why, action: modify, replace: '#', when: {content: {keywords: falcon}}}]")
        took = on.take(event(kind=kind, body="the falcon"))
        assert took.verdict is not None
        assert (took.verdict["decision"], took.verdict["reason"], took.verdict["delivered_body"]) == (
            "modified",
            "why",
            "the #",
        )
        assert {(one["body"], one["delivered_body"]) for one in took.copies} == {("the falcon", "the #")}

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_an_alert_or_goes_to_compliance_servers(self, kind: str) -> None:
        on = bench(f"""rules:
  - {{id: a, severity: high, action: alert, when: {{kinds: {kind}}}}}
  - {{id: b, action: route, to: one, when: {{kinds: {kind}}}}}
  - {{id: c, action: route, to: two, when: {{kinds: {kind}}}}}
""")
        took = on.take(event(kind=kind))
        assert [(one["rule"], one["severity"], one["person"]) for one in took.findings] == [("a", "high", ANN)]
        assert [one.topic for one in took.step.others if one.topic.startswith("route.")] == ["route.one", "route.two"]
        assert [one["decision"] for one in took.copies] == ["ok", "ok"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_passes_no_wall(self, kind: str) -> None:
        took = bench(f"walls: [{{id: w, between: [{ANN}, {CY}]}}]").take(event(kind=kind))
        assert [one["decision"] for one in took.copies] == ["ok", "blocked"]


def test_the_sample_that_blocks_content() -> None:
    """ChatRoomTextBlocker, its keywords and its patterns as they stand there."""
    on = bench(r"""rules:
  - id: restricted
    reason: Entered text was modified to comply with corporate policies
    action: modify
    replace: "[Unacceptable word or pattern]"
    when:
      conversation_types: room
      content:
        keywords: [USER NAME, PASSWORD, CREDIT CARD NUMBER]
        patterns:
          - '\b(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|3[47][0-9]{13})\b'
          - '\b\d{3}[- ]?\d{2}[- ]?\d{4}\b'
""")
    instead = "[Unacceptable word or pattern]"
    for body, delivered in (
        ("my PASSWORD is 4111111111111111", f"my {instead} is {instead}"),
        ("user name ann, 536-90-4399", f"{instead} ann, {instead}"),
    ):
        took = on.take(event(body=body, conversation_type="room"))
        assert {one["delivered_body"] for one in took.copies} == {delivered}
        assert took.verdict is not None
        assert (took.verdict["decision"], took.verdict["reason"]) == ("modified", SAID)
    assert on.take(event(body="PASSWORD", conversation_type="direct")).copies[0]["decision"] == "ok"


def test_content_by_originator_and_recipient() -> None:
    on = bench(f"""rules:
  - {{id: r, action: modify, replace: "#", when: {{senders: {ANN}, recipients: "*@two.example", content: {{keywords: falcon}}}}}}
""")
    assert [one["delivered_body"] for one in on.take(event(body="falcon")).copies] == [None, "#"]
    assert [one["decision"] for one in on.take(event(body="falcon", sender="x@one.example")).copies] == ["ok", "ok"]


def test_a_file_is_looked_at_before_it_is_posted() -> None:
    """PluginFilePostHandler: blocked, overwritten, shown by another name; and its deletion disallowed."""
    on = bench("""rules:
  - {id: big, reason: too large, action: block, when: {kinds: file_post, files: {larger_than: 5}}}
  - {id: text, action: modify, file: {name: seen.txt, content: "-"}, when: {files: {types: text/plain}}}
  - {id: stay, action: block, when: {kinds: file_delete}}
""")
    small = on.take(event(kind="file_post", attachments=[attachment(content=b"abc", size=3)]))
    assert small.copies[0]["delivered_files"] == [{"place": 0, "display_name": "seen.txt", "content": b"-"}]
    assert small.copies[0]["attachments"][0]["content"] == b"abc", "archived as it was"
    large = on.take(event(kind="file_post", attachments=[attachment(size=6)]))
    assert large.copies[0]["decision"] == "blocked"
    assert on.take(event(kind="file_delete")).copies[0]["decision"] == "blocked"
