"""What a policy remembers of the events before: notices, chaperones, texts that were split; and how addresses are compared."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.policy.past import MOST, MOST_PEOPLE, MOST_SPEAKERS, Past
from pipeline.records import Event
from tests.support.captures import capture
from tests.unit.test_policy_actions import BOB, CHAPERONED, CY, bench, message, said


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

    def test_not_one_from_whom_the_message_is_kept(self) -> None:
        on = bench("  - {id: keep, action: block, when: {recipients: lou@bank.example}}", CHAPERONED)
        took = on.take(capture(sender=BOB, recipients=[CY, "lou@bank.example"]))
        assert [copy["decision"] for copy in took.copies] == ["blocked", "blocked"]

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

    def test_equal_halves_and_other_devices(self) -> None:
        on = bench(self.RULES)
        assert on.take(message(body="4242 4242", origin_id="1")).copies[0]["decision"] == "ok"
        assert (
            on.take(message(body="4242 4242", origin_id="2", sender="ANN@bank.example")).copies[0]["decision"]
            == "blocked"
        )

    def test_captures_for_each_recipient_are_judged_alike(self) -> None:
        on = bench(self.RULES)
        bodies = ["it is 4012 8888", "8888 1881", "and so"]
        for person in (BOB, CY):
            found = [
                on.take(message(body=body, origin_id=body, recipients=[person])).copies[0]["decision"]
                for body in bodies
            ]
            assert found == ["ok", "blocked", "ok"], person


class TestAddresses:
    """However an address is written, the wall stands before it."""

    @pytest.mark.parametrize(
        "recipient", ["CY@Bank.Example", "cy@bank.example/phone", "cy@bank.example.", "\uff43y@bank.example"]
    )
    def test_a_wall(self, recipient: str) -> None:
        on = bench("  []", CHAPERONED)
        assert on.take(capture(sender=BOB, recipients=[recipient])).copies[0]["decision"] == "blocked"
        assert (
            on.take(capture(sender=f"{BOB}/desk", recipients=[recipient], body="2")).copies[0]["decision"] == "blocked"
        )

    def test_what_is_behind_the_slash_is_no_domain(self) -> None:
        on = bench("  - {id: out, action: block, when: {directions: outbound}}", "domains: bank.example\n")
        took = on.take(message(recipients=["spy@evil.example/x@bank.example", "x@bank.example/y@evil.example"]))
        assert [copy["decision"] for copy in took.copies] == ["blocked", "ok"]


class TestOnce:
    def test_all_of_a_message_are_shown_it_whoever_captures_them(self) -> None:
        on = bench("  - {id: a, action: disclaim, text: x, once_every: 1d}")
        shown = [
            on.take(message(body=body, origin_id=body, recipients=[to])).copies[0]["decision"]
            for body, to in (("1", BOB), ("1", CY), ("2", BOB), ("2", CY), ("1", "z@x.example"))
        ]
        assert shown == ["modified", "modified", "ok", "ok", "modified"]


class TestPast:
    def test_it_is_bounded(self) -> None:
        past = Past()
        event = capture(kind="join")

        def join(number: int, rules: list[str], **fields: str) -> None:
            one: Any = {**event, **fields}
            past.take(one, number, "ok", rules)

        def in_room(number: int) -> Event:
            one: Any = {**event, "conversation": f"room:{number}"}
            return one  # type: ignore[no-any-return]

        for number in range(MOST + 10):
            join(number, ["rule"], conversation=f"room:{number}")
        for number in range(MOST_PEOPLE + 10):
            join(number, [], sender=f"p{number}@x")
        for number in range(MOST_SPEAKERS + 10):
            join(number, [], kind="chat", conversation=f"room:{number}", body=str(number))
        assert past.tail(in_room(9)) == ""
        assert past.tail(in_room(10)) == "10"
        assert not past.was_shown("rule", in_room(9), 1 << 60)
        assert past.was_shown("rule", in_room(10), 1 << 60)
        assert not past.people("room:9")
        assert past.people(f"room:{MOST}")
        assert len(past.people(event["conversation"])) == MOST_PEOPLE
        assert "p9@x" not in past.people(event["conversation"])
