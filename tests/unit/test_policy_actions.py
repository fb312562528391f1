"""What each action of a rule does to an event, in a partition: disclaimers, files, routes, chaperones, what is put on record."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import codec
from pipeline.codec import RecordCodec
from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from pipeline.policy.past import MOST, MOST_PEOPLE, Past
from pipeline.records import Event, Judgement
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


class TestChaperones:
    def test_the_wall_is_open_while_one_is_in_the_room(self) -> None:
        on = bench("  []", CHAPERONED)

        def blocked() -> bool:
            took = on.take(capture(sender=BOB, recipients=[CY], body=str(len(on.taken))))
            return bool(took.copies[0]["decision"] == "blocked")

        assert blocked()
        on.take(capture(kind="join", sender="lou@bank.example", recipients=[]))
        assert not blocked()
        on.take(capture(kind="join", sender="lou@bank.example", recipients=[], conversation="room:other"))
        on.take(capture(kind="leave", sender="lou@bank.example", recipients=[]))
        assert blocked()

    def test_not_one_whose_join_was_blocked_and_a_leave_is_one_in_any_case(self) -> None:
        on = bench("  - {id: closed, action: block, when: {kinds: join, senders: lou@bank.example}}", CHAPERONED)
        on.take(capture(kind="join", sender="lou@bank.example", recipients=[]))
        assert on.take(capture(sender=BOB, recipients=[CY])).copies[0]["decision"] == "blocked"
        on = bench("  []", CHAPERONED)
        on.take(capture(kind="join", sender="Lou@Bank.example", recipients=[]))
        assert on.take(capture(sender=BOB, recipients=[CY])).copies[0]["decision"] == "ok"
        on.take(capture(kind="leave", sender="lou@bank.example", recipients=[]))
        assert on.take(capture(sender=BOB, recipients=[CY], body="2")).copies[0]["decision"] == "blocked"

    def test_nobody_is_walled_off_from_their_own_devices(self) -> None:
        on = bench("  []", "walls:\n  - {id: wall, between: ['*@bank.example', '*@bank.example']}\n")
        took = on.take(capture(sender="Bob@bank.example", recipients=[BOB, CY]))
        assert [copy["decision"] for copy in took.copies] == ["ok", "blocked"]


class TestSeam:
    """What is split over two messages of one sender in one conversation."""

    RULES = """
  - {id: card, action: block, when: {content: {entities: credit_card}}}
  - {id: word, action: modify, replace: x, when: {content: {keywords: project falcon}}}
"""

    def test_the_second_one_is_judged_by_both(self) -> None:
        on = bench(self.RULES)
        assert on.take(message(body="it is 4012 8888")).copies[0]["decision"] == "ok"
        assert on.take(message(body="8888 1881", conversation="room:other")).copies[0]["decision"] == "ok"
        assert on.take(message(body="8888 1881", sender=BOB)).copies[0]["decision"] == "ok"
        took = on.take(message(body="8888 1881 ok?"))
        assert took.copies[0]["decision"] == "blocked"
        assert took.findings[0]["spans"] == [{"start": 0, "end": 9}]
        on.take(message(body="now project"))
        assert said(on.take(message(body="falcon flies"))) == [("modified", "x flies"), ("modified", "x flies")]

    def test_whom_another_capture_brings_is_judged_as_the_first_ones(self) -> None:
        on = bench(self.RULES)
        on.take(message(body="4012 8888"))
        assert on.take(message(body="8888 1881", origin_id="o")).copies[0]["decision"] == "blocked"
        assert on.take(message(body="8888 1881", origin_id="o", recipients=["x@y"])).copies[0]["decision"] == "blocked"
        on.take(message(body="40128888 88881881"[:8]))
        own = on.take(message(body="88", origin_id="p"))
        assert (
            own.copies[0]["decision"],
            on.take(message(body="88", origin_id="p", recipients=["x@y"])).copies[0]["decision"],
        ) == (
            "ok",
            "ok",
        )


class TestPast:
    def test_it_is_bounded(self) -> None:
        past = Past()
        event = capture(kind="join")

        def join(number: int, rules: list[str], **fields: str) -> None:
            one: Any = {**event, **fields}
            past.take(one, number, "ok", rules)

        for number in range(MOST + 10):
            join(number, ["rule"], conversation=f"room:{number}")
        for number in range(MOST_PEOPLE + 10):
            join(number, [], sender=f"p{number}@x")
        assert not past.was_shown("rule", "room:9", 1 << 60)
        assert past.was_shown("rule", "room:10", 1 << 60)
        assert not past.people("room:9")
        assert past.people(f"room:{MOST}")
        assert len(past.people(event["conversation"])) == MOST_PEOPLE
        assert "p9@x" not in past.people(event["conversation"])


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


class TestHtml:
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
