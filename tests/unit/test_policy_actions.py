"""What each action of a rule does to an event, in a partition: disclaimers, files, routes, chaperones, what is put on record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import codec
from pipeline.codec import RecordCodec
from pipeline.policy.api import PolicyText
from pipeline.policy.conditions import Hits
from pipeline.policy.document import read
from pipeline.policy.judge import Fired, RulePolicy, replaced
from pipeline.policy.model import EventRule
from pipeline.policy.past import Past
from pipeline.records import Event, Judgement, Span
from pipeline.registry import load_schema
from tests.support.captures import Bench, Fields, SmallPolicy, Took, attachment, capture, refold
from tests.unit.made_files import AES_ZIP, zipped

POLICIES = RecordCodec(load_schema("policy"), codec.POLICY)
ANN, BOB, CY = "ann@bank.example", "bob@bank.example", "cy@bank.example"


def policy(rules: str, rest: str = "") -> RulePolicy:
    text = f"version: 1\n{rest}rules:\n{rules}"
    return RulePolicy(read(text), PolicyText(text.encode()))


def bench(rules: str, rest: str = "") -> Bench:
    return Bench(policy=policy(rules, rest))


def said(took: Took) -> list[tuple[str, str | None]]:
    return [(copy["decision"], copy["delivered_body"]) for copy in took.copies]


def message(**fields: Any) -> Fields:
    return capture(**{"sender": ANN, "recipients": [BOB, CY], **fields})


class TestDisclaimers:
    def test_before_and_after_in_the_order_of_the_file_behind_what_is_replaced(self) -> None:
        on = bench("""
  - {id: a, action: disclaim, text: one, place: before}
  - {id: b, action: disclaim, text: two, reason: archived}
  - {id: c, action: modify, replace: "#", when: {content: {keywords: falcon}}}
  - {id: d, action: disclaim, text: three, place: before, when: {recipients: bob@bank.example}}
  - {id: e, action: disclaim, text: four}
""")
        took = on.take(message(body="the falcon flies"))
        assert said(took) == [
            ("modified", "one\nthree\nthe # flies\ntwo\nfour"),
            ("modified", "one\nthe # flies\ntwo\nfour"),
        ]
        assert took.verdict is not None
        assert (took.verdict["decision"], took.verdict["reason"]) == ("modified", "archived")
        assert [one["rule"] for one in took.findings] == ["c"], "a disclaimer is no finding"

    def test_in_html_it_is_text_as_well(self) -> None:
        took = bench("  - {id: a, action: disclaim, text: 'a < b'}").take(message(body="<p>hello</p>"))
        assert said(took)[0] == ("modified", "<p>hello</p><br/>a &lt; b")

    def test_nothing_but_the_disclaimer_where_there_is_no_text(self) -> None:
        took = bench("  - {id: a, action: disclaim, text: hush}").take(message(kind="file_post", body=""))
        assert said(took)[0] == ("modified", "hush")

    @pytest.mark.parametrize("kind", ["reaction", "receipt", "presence", "join", "delete", "edit"])
    def test_not_to_what_nobody_reads_unless_it_is_named(self, kind: str) -> None:
        assert bench("  - {id: a, action: disclaim, text: x}").take(message(kind=kind)).copies[0]["decision"] == "ok"
        named = bench(f"  - {{id: a, action: disclaim, text: x, when: {{kinds: {kind}}}}}")
        assert named.take(message(kind=kind)).copies[0]["decision"] == "modified"

    def test_on_a_join_it_is_the_reason(self) -> None:
        on = bench("  - {id: a, action: disclaim, text: This room is recorded., when: {kinds: join}}")
        took = on.take(capture(kind="join", sender=ANN, recipients=[], body=""))
        assert took.verdict is not None
        assert (took.verdict["decision"], took.verdict["reason"]) == ("modified", "This room is recorded.")
        assert took.verdict["delivered_body"] == "This room is recorded."

    def test_on_a_join_that_others_are_told_of_too(self) -> None:
        took = bench("  - {id: a, action: disclaim, text: recorded, when: {kinds: join}}").take(
            message(kind="join", body="")
        )
        assert took.verdict is not None
        assert took.verdict["reason"] == "recorded"

    def test_not_in_the_reason_of_what_is_blocked(self) -> None:
        on = bench("  - {id: a, action: disclaim, text: x, reason: told}\n  - {id: b, action: block, reason: no}")
        took = on.take(message())
        assert took.verdict is not None
        assert (took.verdict["reason"], took.verdict["rules"]) == ("no", ["a", "b"])

    def test_once_in_a_conversation_and_period(self) -> None:
        on = bench("  - {id: a, action: disclaim, text: x, once_every: 30m}")
        shown = [
            on.take(message(body=str(at), conversation=room), at=at).copies[0]["decision"] == "modified"
            for at, room in (
                (0, "room:1"),
                (1, "room:1"),
                (2, "room:2"),
                (1799, "room:1"),
                (1800, "room:1"),
                (1801, "room:1"),
            )
        ]
        assert shown == [True, False, True, False, True, False]

    def test_who_takes_over_knows_what_was_shown_and_who_is_there(self) -> None:
        on = bench("  - {id: a, action: disclaim, text: x, once_every: 1d}", CHAPERONED)
        on.take(message(body="1"))
        on.take(capture(kind="join", sender="lou@bank.example", recipients=[]))
        fresh = refold(on, [took.step.journal for took in on.taken])
        on.partition = fresh
        took = on.take(message(body="2", sender=BOB, recipients=[CY, ANN]))
        assert said(took) == [("ok", None), ("ok", None)]
        assert fresh.head.policy == on.policy.digest


CHAPERONED = """walls:
  - {id: wall, between: [bob@bank.example, cy@bank.example], except: {chaperones: lou@bank.example}}
"""


class TestTooLarge:
    """What a policy makes of an event must fit the records; what does not is a dead letter, and blocked."""

    @pytest.mark.parametrize(
        "rules",
        [
            "  - {id: a, action: modify, replace: '" + "x" * 60_000 + "', when: {content: {patterns: a}}}",
            "  - {id: a, action: modify, file: {content: '" + "x" * 60_000 + "'}, when: {files: {names: '*'}}}",
        ],
    )
    def test_one_outcome(self, rules: str) -> None:
        on = bench(rules)
        files = [attachment(name="b.exe") for _ in range(300)]
        took = on.take(message(body="a b " * 300, attachments=files))
        assert (took.status, took.verdict and took.verdict["decision"]) == ("rejected", "blocked")
        assert on.take(message(body="b")).status == "accepted"

    def test_many_outcomes(self) -> None:
        rules = "\n".join(
            f"  - {{id: d{n}, action: disclaim, text: x, when: {{recipients: p{n}@x.example}}}}" for n in range(40)
        )
        on = bench(rules)
        took = on.take(message(body="y" * 500_000, recipients=[f"p{n}@x.example" for n in range(40)]))
        assert (took.status, took.journal["rule"]) == ("rejected", "outcome_too_large")

    def test_many_copies(self) -> None:
        on = Bench(policy=policy(f"  - {{id: d, action: disclaim, text: {'x' * 60_000}}}"), fan_out_bytes=50_000_000)
        took = on.take(message(recipients=[f"p{n}@x.example" for n in range(1_000)]))
        assert (took.status, took.journal["rule"]) == ("rejected", "fan_out_too_large")


class TestFiles:
    def test_by_content_not_by_name(self) -> None:
        on = bench(
            "  - {id: exe, action: block, when: {files: {types: application/vnd.microsoft.portable-executable}}}"
        )
        program = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(200)
        found = [
            on.take(message(body=str(n), attachments=[attachment(name=name, content=content)])).copies[0]["decision"]
            for n, (name, content) in enumerate([("cat.jpg", program), ("real.exe", b"only text"), ("gone.exe", None)])
        ]
        assert found == ["blocked", "ok", "ok"]

    def test_what_has_no_content_is_what_it_says(self) -> None:
        on = bench("  - {id: pdf, action: block, when: {files: {types: [application/pdf, image/*]}}}")
        for declared, decision in (("application/pdf", "blocked"), ("image/png", "blocked"), ("text/plain", "ok")):
            took = on.take(message(body=declared, attachments=[attachment(media_type=declared)]))
            assert took.copies[0]["decision"] == decision

    @pytest.mark.parametrize(
        ("wanted", "file", "fires"),
        [
            ("names: '*.EXE'", {"name": "a.exe"}, True),
            ("names: '*.exe'", {"name": "a.txt", "display_name": "b.Exe"}, True),
            ("names: '*.exe'", {"name": "exe.txt"}, False),
            ("larger_than: 3", {"size": 4}, True),
            ("larger_than: 3", {"size": 3}, False),
            ("larger_than: 3", {"size": 0, "content": b"four"}, True),
            ("archive: true", {"content": zipped("a.txt")}, True),
            ("archive: true", {"content": b"text"}, False),
            ("archive: false", {"content": b"text"}, True),
            ("encrypted: true", {"content": AES_ZIP}, True),
            ("encrypted: true", {"content": zipped("a.txt")}, False),
            ("{names: '*.zip', encrypted: true}", {"name": "a.txt", "content": AES_ZIP}, False),
        ],
    )
    def test_each_condition(self, wanted: str, file: Fields, *, fires: bool) -> None:
        wanted = wanted if wanted.startswith("{") else f"{{{wanted}}}"
        on = bench(f"  - {{id: f, action: block, when: {{files: {wanted}}}}}")
        took = on.take(message(attachments=[attachment(), attachment(**file)] if fires else [attachment(**file)]))
        expected = "blocked" if fires else "ok"
        if wanted == "{archive: false}":
            assert on.take(message(body="zip", attachments=[attachment(content=AES_ZIP)])).copies[0]["decision"] == "ok"
        assert took.copies[0]["decision"] == expected

    def test_more_than_so_many(self) -> None:
        on = bench("  - {id: f, action: block, when: {files: {names: '*.txt', more_than: 2}}}")
        for count, decision in ((2, "ok"), (3, "blocked")):
            files = [attachment(name="x.doc"), *[attachment(name=f"{n}.txt") for n in range(count)]]
            assert on.take(message(body=str(count), attachments=files)).copies[0]["decision"] == decision

    def test_shown_by_another_name_and_overwritten(self) -> None:
        on = bench("""
  - {id: name, action: modify, file: {name: held-back.txt}, when: {files: {names: "*.exe"}}}
  - {id: content, action: modify, reason: no programs, file: {name: other.txt, content: "Removed."}, when: {files: {names: "a*"}}}
""")
        took = on.take(message(attachments=[attachment(), attachment(name="b.exe"), attachment(name="a.exe")]))
        changed = [
            {"place": 0, "display_name": "other.txt", "content": b"Removed."},
            {"place": 1, "display_name": "held-back.txt", "content": None},
            {"place": 2, "display_name": "held-back.txt", "content": b"Removed."},
        ]
        assert [copy["delivered_files"] for copy in took.copies] == [changed, changed]
        assert [copy["attachments"][2]["name"] for copy in took.copies] == ["a.exe", "a.exe"], (
            "the copy has what was sent"
        )
        assert said(took) == [("modified", None), ("modified", None)]
        assert took.verdict is not None
        assert (took.verdict["delivered_files"], took.verdict["reason"]) == (changed, "no programs")
        assert took.journal["outcomes"][0]["delivered_files"] == changed
        fork = on.take(message(event_id="fork", origin_id="o", attachments=[attachment(name="a.exe")]))
        again = on.take(
            message(event_id="again", origin_id="o", recipients=["x@y"], attachments=[attachment(name="a.exe")])
        )
        assert (fork.status, again.status) == ("accepted", "merged")
        assert again.verdict is not None
        assert again.verdict["delivered_files"] == fork.journal["outcomes"][0]["delivered_files"]


class TestBesideTheBody:
    """What stands in attributes and files' names is found; it cannot be replaced, so what would be replaced is blocked."""

    @pytest.mark.parametrize(
        "where", [{"attributes": {"option": "is it falcon?"}}, {"attachments": [attachment(name="falcon.txt")]},
                  {"attachments": [attachment(display_name="a falcon")]}],
    )  # fmt: skip
    @pytest.mark.parametrize(("action", "decision"), [("alert", "ok"), ("block", "blocked"), ("modify", "blocked")])
    def test_it_is_found(self, where: Fields, action: str, decision: str) -> None:
        took = bench(f"  - {{id: f, action: {action}, when: {{content: {{keywords: falcon}}}}}}").take(message(**where))
        assert took.copies[0]["decision"] == decision
        (finding,) = took.findings
        assert "beside the body" in finding["detail"]
        assert finding["spans"] == []


class TestOverlaps:
    def test_what_is_left_of_a_later_finding_is_replaced_too(self) -> None:
        on = bench("""
  - {id: a, action: modify, replace: "[w]", when: {content: {keywords: account}}}
  - {id: b, action: modify, replace: "[n]", when: {content: {patterns: "my account [0-9]+"}}}
""")
        assert said(on.take(message(body="is my account 998877 ok")))[0] == ("modified", "is [n][w] ok")

    @given(st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=4), max_size=4))
    def test_nothing_found_is_left(self, found: list[list[tuple[int, int]]]) -> None:
        body = "abcdefghijklmnopqrstuvwxyz"
        rule = EventRule.model_validate(
            {"id": "a", "action": "modify", "replace": "", "when": {"content": {"keywords": "x"}}}
        )
        fired = [Fired(rule, (0,), Hits(tuple(sorted(Span(at, at + size) for at, size in one)))) for one in found]
        gone = {place for one in found for at, size in one for place in range(at, at + size)}
        assert replaced(body, fired) == "".join(letter for place, letter in enumerate(body) if place not in gone)


class TestHtml:
    @pytest.mark.parametrize(
        "body",
        ["<b 4012 8888 8888 1881>", "<b>x</b><!-- 4012 8888 8888 1881 -->", "<b>x</b><script></SCRIPT> 4012888888881881</script>",
         "<b>x</b><!--> 4012 8888 8888 1881-->", "<style>4012 8888 8888 1881</style>"],
    )  # fmt: skip
    def test_nothing_hides_in_what_may_be_no_html(self, body: str) -> None:
        on = bench("  - {id: card, action: block, when: {content: {entities: credit_card}}}")
        assert on.take(message(body=body)).copies[0]["decision"] == "blocked"

    def test_what_was_found_comes_back_as_no_tag(self) -> None:
        on = bench("  - {id: a, action: modify, replace: '[n]', when: {content: {patterns: 'pw=[^ ]+'}}}")
        ((_, given), *_) = said(on.take(message(body="<p>pw=<hunter2</p>")))
        assert given is not None
        assert "hunter2" not in given

    @pytest.mark.parametrize(
        ("body", "given"),
        [
            ("<p>the falcon</p>", "<p>the &lt;gone&gt;</p>"),
            ("<p>the <b>fal</b>con</p>", "<p>the <b>&lt;gone&gt;</b></p>"),
            ("<p>fal<i title='secret'>con</i> flies</p>", "<p>&lt;gone&gt;<i></i> flies</p>"),
            ("the falcon < eagle", "the <gone> < eagle"),
        ],
    )
    def test_what_is_put_in_is_text_and_tags_stay(self, body: str, given: str) -> None:
        on = bench("  - {id: a, action: modify, replace: <gone>, when: {content: {keywords: falcon}}}")
        assert said(on.take(message(body=body)))[0] == ("modified", given)


class TestConversations:
    @pytest.mark.parametrize(
        ("wanted", "fires"),
        [("room:deal-*", True), ("ROOM:DEAL-1", True), ("the deal", True), ("'* deal'", True), ("room:deal", False)],
    )
    def test_by_id_or_name(self, wanted: str, *, fires: bool) -> None:
        on = bench(f"  - {{id: a, action: block, when: {{conversations: {wanted}}}}}")
        took = on.take(message(conversation="room:deal-1", conversation_name="The deal"))
        assert took.copies[0]["decision"] == ("blocked" if fires else "ok")


class TestRoutes:
    def test_the_event_goes_to_the_server_as_it_came(self) -> None:
        on = bench("  - {id: r, action: route, to: archive-two, when: {kinds: chat}}")
        took = on.take(message())
        (sent,) = [record for record in took.step.others if record.topic == "route.archive-two"]
        assert sent.key == b"room:one"
        assert (sent.value or b"").endswith(took.journal["raw"])
        assert (took.copies[0]["decision"], took.journal["rules"], took.findings) == ("ok", ["r"], [])
        assert not [one for one in on.take(message(kind="presence")).step.others if one.topic.startswith("route")]


class TestFailing:
    def test_what_a_policy_fails_on_is_a_dead_letter_and_the_next_one_is_judged(self) -> None:
        class Failing(SmallPolicy):
            def judge(self, event: Event, recipients: tuple[str, ...], past: Past) -> Judgement:
                if event["body"] == "bad":
                    raise ZeroDivisionError("4012 8888 8888 1881")
                return super().judge(event, recipients, past)

        on = Bench(policy=Failing("p"))
        took = on.take(message(body="bad"))
        assert (took.status, took.journal["decision"], took.journal["reason"]) == (
            "rejected",
            "blocked",
            "policy_failed: ZeroDivisionError",
        )
        assert took.verdict is not None
        assert (took.verdict["decision"], len(took.dead_letters)) == ("blocked", 1)
        assert on.take(message()).status == "accepted"


class TestOnRecord:
    """A policy is put on record with the first journal record that was made under it."""

    def recorded(self, took: Took) -> list[Fields]:
        return [POLICIES.decode(one.value or b"") for one in took.step.others if one.topic == "policies"]

    def test_once_in_a_partition_and_again_when_it_comes_back(self) -> None:
        one, other = policy("  []"), policy("  - {id: a, action: alert}")
        on = Bench()
        on.take(message(body="no policy"))
        found = []
        for number, now in enumerate([one, one, other, one]):
            on.policy = now
            found.append(self.recorded(on.take(message(body=str(number)))))
        assert [[record["sequence"] for record in records] for records in found] == [[1], [], [3], [4]]
        assert found[0][0]["digest"] == one.digest == on.taken[1].journal["policy"]
        assert found[0][0]["content"] == one.text.content

    def test_what_is_rejected_or_a_retry_is_judged_by_none(self) -> None:
        on = bench("  []")
        assert self.recorded(on.take(b"\xff")) == []
        first = message()
        assert len(self.recorded(on.take(first))) == 1
        on.policy = policy("  - {id: a, action: alert}")
        assert self.recorded(on.take(first)) == []
        assert len(self.recorded(on.take(message(event_id="fork", recipients=["x@y"])))) == 1
