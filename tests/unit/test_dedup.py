"""When two captures are one message: one test a rule, in INGEST.md's words."""

from __future__ import annotations

import pytest

from pipeline.stages.dedup import MergeState
from tests.support.captures import START, WINDOW, Bench, SmallPolicy, attachment, capture

BOB, CAROL, DAVE = "bob@beta.example", "carol@beta.example", "dave@gamma.example"


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestRuleNought:
    """The same event_id."""

    def test_with_the_same_bytes_it_is_the_same_capture_again(self, bench: Bench) -> None:
        event = capture(origin_id="o")
        first, again = bench.take(event), bench.take(event)
        assert (again.status, again.rule, again.into) == ("merged", "retry", first.sequence)
        assert again.copies == []
        assert again.journal["into_event_id"] == event["event_id"]
        assert again.findings == []
        assert again.verdict is not None

    def test_a_retry_of_a_merged_capture_goes_where_that_went(self, bench: Bench) -> None:
        first = bench.take(capture(origin_id="o"))
        fork = capture(origin_id="o", recipients=[CAROL])
        assert bench.take(fork).rule == "origin_id"
        again = bench.take(fork)
        assert (again.rule, again.into, again.copies) == ("retry", first.sequence, [])

    def test_with_other_bytes_it_is_a_message_of_its_own_and_a_finding(self, bench: Bench) -> None:
        first = bench.take(capture(event_id="e", origin_id="o"))
        other = bench.take(capture(event_id="e", origin_id="o", recipients=[CAROL]))
        assert (other.status, other.into) == ("accepted", other.sequence)
        assert other.rules_found == ["event_id_reused"]
        assert (first.journal["taken"], other.journal["taken"]) == (False, True)
        assert [copy["taken"] for copy in other.copies] == [True]

    def test_its_own_retry_goes_to_it(self, bench: Bench) -> None:
        first, second = capture(event_id="e", body="one"), capture(event_id="e", body="two")
        bench.take(first)
        other = bench.take(second)
        again = bench.take(second)
        assert (again.rule, again.into, again.journal["taken"]) == ("retry", other.sequence, True)
        assert bench.take(first).into == 0

    def test_a_third_is_a_message_of_its_own_too(self, bench: Bench) -> None:
        events = [capture(event_id="e", body=body) for body in ("one", "two", "three")]
        sequences = [bench.take(event).sequence for event in events]
        assert [bench.take(event).into for event in events] == sequences
        assert [took.status for took in bench.taken] == ["accepted"] * 3 + ["merged"] * 3

    def test_it_is_still_taken_when_the_first_is_forgotten_but_not_the_second(self, bench: Bench) -> None:
        events = [capture(event_id="e", body=body) for body in ("one", "two", "three")]
        bench.take(events[0], at=0)
        second = bench.take(events[1], at=1800)
        assert bench.take(events[1], at=WINDOW + 1).into == second.sequence
        third = bench.take(events[2])
        assert (third.status, third.rules_found, third.journal["taken"]) == ("accepted", ["event_id_reused"], True)

    def test_bytes_that_only_a_forgotten_message_had_are_other_bytes(self, bench: Bench) -> None:
        one, two = capture(event_id="e", body="one"), capture(event_id="e", body="two")
        bench.take(one, at=0)
        bench.take(capture(body="between"), at=1000)
        bench.take(two, at=WINDOW + 1)
        late = bench.take(one)
        assert (late.status, late.journal["taken"]) == ("accepted", True)

    def test_captures_of_it_are_merged_into_it_by_their_ids(self, bench: Bench) -> None:
        bench.take(capture(event_id="e", body="one"))
        other = bench.take(capture(event_id="e", body="two", origin_id="o"))
        fork = bench.take(capture(body="two", origin_id="o", recipients=[CAROL]))
        assert (fork.rule, fork.into, fork.journal["also"]) == ("origin_id", other.sequence, [])
        assert fork.journal["taken"]
        assert fork.journal["into_event_id"] == "e"

    def test_ids_that_it_shares_stay_with_the_earlier_message(self, bench: Bench) -> None:
        first = bench.take(capture(event_id="e", origin_id="o"))
        other = bench.take(capture(event_id="e", origin_id="o", captured_at=START * 1000 + 1))
        fork = bench.take(capture(origin_id="o", recipients=[CAROL]))
        assert (fork.into, fork.journal["also"]) == (first.sequence, [other.sequence])


class TestIds:
    """They agree in conversation, sender and content, and share an id."""

    def test_the_same_origin_id(self, bench: Bench) -> None:
        first = bench.take(capture(origin_id="o"))
        second = bench.take(capture(origin_id="o", stanza_ids={"b": "1"}, cluster="beta.example", sent_at=1))
        assert (second.rule, second.into) == ("origin_id", first.sequence)

    def test_the_same_server_and_the_same_id(self, bench: Bench) -> None:
        first = bench.take(capture(stanza_ids={"a": "1", "b": "2"}))
        second = bench.take(capture(stanza_ids={"b": "2", "c": "3"}))
        assert (second.rule, second.into) == ("stanza_id", first.sequence)

    @pytest.mark.parametrize("other", [{"b": "1"}, {"a": "2"}, {}])
    def test_another_server_or_another_id_is_no_entry_in_common(self, bench: Bench, other: dict[str, str]) -> None:
        bench.take(capture(stanza_ids={"a": "1"}))
        assert bench.take(capture(stanza_ids=other, recipients=[CAROL])).status == "accepted"

    def test_an_origin_id_is_no_stanza_id_whatever_the_server_is_called(self, bench: Bench) -> None:
        bench.take(capture(origin_id="o"))
        assert bench.take(capture(stanza_ids={"origin": "o"})).status == "accepted"

    @pytest.mark.parametrize(
        "field",
        [{"kind": "edit"}, {"body": "other"}, {"refers_to": "x"}, {"thread": "t"}, {"attachments": [attachment()]},
         {"conversation": "room:two"}, {"sender": "mallory@alpha.example"}],
    )  # fmt: skip
    def test_one_id_with_another_content_conversation_or_sender(self, bench: Bench, field: dict[str, object]) -> None:
        ids = {"origin_id": "o", "stanza_ids": {"a": "1"}}
        bench.take(capture(**ids))
        assert bench.take(capture(**ids, **field)).status == "accepted"

    @pytest.mark.parametrize(
        "field",
        [
            {"name": "b"},
            {"display_name": "B"},
            {"media_type": "x"},
            {"size": 4},
            {"sha256": "0"},
            {"uri": "u"},
            {"content": b"1"},
        ],
    )
    def test_attachments_are_content(self, bench: Bench, field: dict[str, object]) -> None:
        files = [attachment(), attachment(content=b"0")]
        first = bench.take(capture(origin_id="o", attachments=files))
        assert bench.take(capture(origin_id="o", attachments=files)).into == first.sequence
        other = [attachment(), attachment(**{"content": b"0", **field})]
        assert bench.take(capture(origin_id="o", attachments=other)).status == "accepted"
        assert bench.take(capture(origin_id="o", attachments=files[::-1])).status == "accepted"

    @pytest.mark.parametrize("sizes", [(-1, -2), (0, (1 << 61) - 1), (1, 1 << 61)])
    def test_sizes_that_python_hashes_alike_are_two(self, bench: Bench, sizes: tuple[int, int]) -> None:
        taken = [bench.take(capture(origin_id="o", attachments=[attachment(size=size)])) for size in sizes]
        assert [took.status for took in taken] == ["accepted", "accepted"]

    def test_the_same_text_sent_again_with_a_new_id(self, bench: Bench) -> None:
        bench.take(capture(origin_id="o", stanza_ids={"a": "1"}))
        assert bench.take(capture(origin_id="p", stanza_ids={"a": "2"})).status == "accepted"

    def test_what_is_no_content_may_differ(self, bench: Bench) -> None:
        bench.take(capture(origin_id="o"))
        other = capture(origin_id="o", sender_resource="r", recipient_resource="d", sent_at=5, captured_at=6,
                        cluster="beta.example", conversation_name="n", attributes={"a": "b"})  # fmt: skip
        assert bench.take(other).rule == "origin_id"

    def test_ids_of_a_merged_capture_lead_to_its_message(self, bench: Bench) -> None:
        first = bench.take(capture(origin_id="o"))
        bench.take(capture(origin_id="o", stanza_ids={"b": "1"}))
        bench.take(capture(stanza_ids={"b": "1", "c": "2"}))
        assert bench.take(capture(stanza_ids={"c": "2"})).into == first.sequence


class TestPaths:
    """Neither has any id at all, they agree in sent_at, and they took different paths."""

    @pytest.mark.parametrize("field", [{"cluster": "b"}, {"recipients": [CAROL]}, {"recipient_resource": "r"}])
    def test_a_different_path(self, bench: Bench, field: dict[str, object]) -> None:
        first = bench.take(capture())
        second = bench.take(capture(**field))
        assert (second.rule, second.into) == ("path", first.sequence)

    def test_another_sent_at(self, bench: Bench) -> None:
        bench.take(capture())
        assert bench.take(capture(sent_at=START * 1000 + 1, recipients=[CAROL])).status == "accepted"

    @pytest.mark.parametrize("ids", [{"origin_id": "o"}, {"stanza_ids": {"a": "1"}}])
    def test_neither_may_have_an_id(self, bench: Bench, ids: dict[str, object]) -> None:
        bench.take(capture())
        assert bench.take(capture(recipients=[CAROL], **ids)).status == "accepted"
        bench.take(capture(body="b", **ids))
        assert bench.take(capture(body="b", recipients=[CAROL])).status == "accepted"

    def test_the_same_path_twice_is_two_messages(self, bench: Bench) -> None:
        bench.take(capture())
        assert bench.take(capture()).status == "accepted"

    def test_recipients_in_another_order_are_no_other_path(self, bench: Bench) -> None:
        bench.take(capture(recipients=[BOB, CAROL]))
        assert bench.take(capture(recipients=[CAROL, BOB])).status == "accepted"

    def test_a_path_that_a_merged_capture_took_is_taken(self, bench: Bench) -> None:
        bench.take(capture())
        bench.take(capture(recipients=[CAROL]))
        assert bench.take(capture(recipients=[CAROL])).status == "accepted"

    def test_a_fork_of_one_of_two_goes_to_the_earlier_and_the_next_to_the_later(self, bench: Bench) -> None:
        one, two = bench.take(capture()), bench.take(capture())
        fork = bench.take(capture(recipient_resource="r"))
        assert (fork.into, fork.journal["also"]) == (one.sequence, [two.sequence])
        fork = bench.take(capture(recipient_resource="r"))
        assert (fork.into, fork.journal["also"]) == (two.sequence, [])
        assert bench.take(capture(recipient_resource="r")).status == "accepted"


class TestTwoMessages:
    """A capture that fits two messages goes to the earlier one; the journal names the other, and both stay."""

    def test_goes_to_the_earlier_one(self, bench: Bench) -> None:
        one = bench.take(capture(stanza_ids={"a": "1"}))
        two = bench.take(capture(origin_id="o"))
        both = bench.take(capture(origin_id="o", stanza_ids={"a": "1"}, recipients=[CAROL]))
        assert (both.rule, both.into, both.journal["also"]) == ("stanza_id", one.sequence, [two.sequence])
        assert both.recipients == [CAROL]

    def test_both_stay_and_no_id_is_bound_anew(self, bench: Bench) -> None:
        one = bench.take(capture(stanza_ids={"a": "1"}))
        two = bench.take(capture(stanza_ids={"b": "1"}))
        bench.take(capture(stanza_ids={"a": "1", "b": "1", "c": "1"}))
        into = [bench.take(capture(stanza_ids={server: "1"})).into for server in "abc"]
        assert into == [one.sequence, two.sequence, one.sequence]

    def test_three(self, bench: Bench) -> None:
        for server in "cba":
            bench.take(capture(stanza_ids={server: "1"}))
        all_three = bench.take(capture(stanza_ids={"a": "1", "b": "1", "c": "1"}))
        assert (all_three.into, all_three.journal["also"]) == (0, [1, 2])


class TestDelivered:
    """A capture of phase delivered fits a message, by the same ids, also by a text that it was delivered with."""

    def test_by_the_delivered_text(self) -> None:
        bench = Bench(policy=SmallPolicy("p", rewrites={BOB: "!"}))
        first = bench.take(capture(origin_id="o", stanza_ids={"a": "1"}))
        assert bench.take(capture(origin_id="o", body="hello!")).status == "accepted", "phase sent"
        assert bench.take(capture(origin_id="p", body="hello!", phase="delivered")).status == "accepted", "other id"
        for ids in (
            {"origin_id": "o", "stanza_ids": {"b": "2"}},
            {"stanza_ids": {"a": "1"}},
            {"stanza_ids": {"b": "2"}},
        ):
            delivered = bench.take(capture(body="hello!", phase="delivered", captured_at=5, **ids))
            assert delivered.into == first.sequence, ids

    def test_by_the_text_as_sent(self, bench: Bench) -> None:
        first = bench.take(capture(origin_id="o"))
        assert bench.take(capture(origin_id="o", phase="delivered")).into == first.sequence

    def test_not_by_a_text_that_nobody_was_given(self) -> None:
        bench = Bench(policy=SmallPolicy("p", rewrites={BOB: "!"}))
        bench.take(capture(origin_id="o"))
        assert bench.take(capture(origin_id="o", body="hello?", phase="delivered")).status == "accepted"

    def test_its_text_is_not_bound_to_the_message_for_captures_of_phase_sent(self) -> None:
        bench = Bench(policy=SmallPolicy("p", rewrites={BOB: "!"}))
        bench.take(capture(origin_id="o"))
        bench.take(capture(origin_id="o", body="hello!", phase="delivered"))
        own = bench.take(capture(origin_id="o", body="hello!"))
        fork = bench.take(capture(origin_id="o", body="hello!", recipient_resource="r"))
        assert (own.status, fork.into) == ("accepted", own.sequence)

    def test_two_messages_that_were_delivered_alike(self) -> None:
        bench = Bench(policy=SmallPolicy("p", rewrites={BOB: "b!"}))
        one = bench.take(capture(origin_id="o", body="a"))
        bench.policy = SmallPolicy("q", rewrites={BOB: "!"})
        two = bench.take(capture(origin_id="o", body="ab"))
        fits = bench.take(capture(origin_id="o", body="ab!", phase="delivered"))
        assert (fits.into, fits.journal["also"]) == (one.sequence, [two.sequence])

    def test_what_was_blocked_for_its_recipient_is_a_finding(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB])))
        bench.take(capture(origin_id="o", recipients=[BOB, CAROL]))
        fine = bench.take(capture(origin_id="o", recipients=[CAROL], phase="delivered"))
        assert fine.findings == []
        event = capture(origin_id="o", phase="delivered")
        seen = bench.take(event)
        assert seen.status == "merged"
        assert [(one["rule"], one["person"]) for one in seen.findings] == [("delivered_though_blocked", BOB)]
        assert bench.take(event).findings == [], "a retry tells nothing new"

    def test_another_text_than_was_decided_is_a_finding(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([DAVE]), rewrites={BOB: "!"}))
        bench.take(capture(origin_id="o", recipients=[BOB, CAROL, DAVE]))
        right = bench.take(capture(origin_id="o", recipients=[BOB], body="hello!", phase="delivered"))
        assert (right.status, right.findings) == ("merged", [])
        as_sent = bench.take(capture(origin_id="o", recipients=[BOB, CAROL], phase="delivered"))
        assert [(one["rule"], one["severity"], one["person"]) for one in as_sent.findings] == [
            ("delivered_otherwise", "high", BOB)
        ]
        another_ones = bench.take(capture(origin_id="o", recipients=[CAROL], body="hello!", phase="delivered"))
        assert [(one["rule"], one["person"]) for one in another_ones.findings] == [("delivered_otherwise", CAROL)]
        third = bench.take(capture(origin_id="o", recipients=[BOB, DAVE], body="hello?", phase="delivered"))
        assert third.status == "accepted"
        assert {(one["rule"], one["person"]) for one in third.findings} == {
            ("delivered_otherwise", BOB),
            ("delivered_though_blocked", DAVE),
        }

    def test_one_that_comes_first_is_judged_too(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB])))
        assert bench.take(capture(phase="delivered")).rules_found == ["delivered_though_blocked"]


class TestWindow:
    """Measured on arrival; what has been forgotten is a floor that each journal record carries."""

    @pytest.mark.parametrize(("at", "status"), [(WINDOW, "merged"), (WINDOW + 0.001, "accepted")])
    def test_its_edge(self, bench: Bench, at: float, status: str) -> None:
        bench.take(capture(origin_id="o"), at=0)
        assert bench.take(capture(origin_id="o", captured_at=1), at=at).status == status

    @pytest.mark.parametrize("year", [0, 200])
    def test_an_events_own_clock_cannot_shrink_it(self, bench: Bench, year: int) -> None:
        forged = year * 31_536_000_000_000
        bench.take(capture(origin_id="o"), at=0)
        bench.take(capture(sent_at=forged, captured_at=forged))
        assert bench.take(capture(origin_id="o", sent_at=forged, captured_at=forged), at=1).status == "merged"

    def test_arrivals_that_step_back_forget_nothing_early_and_nothing_late(self, bench: Bench) -> None:
        bench.take(capture(body="later"), at=100)
        bench.take(capture(origin_id="o"), at=0)
        assert bench.take(capture(origin_id="o", captured_at=1), at=WINDOW + 100).status == "merged"
        assert bench.take(capture(origin_id="o", captured_at=2), at=WINDOW + 100.001).status == "accepted"

    def test_a_late_duplicate_is_a_message_of_its_own(self, bench: Bench) -> None:
        event = capture(origin_id="o")
        bench.take(event, at=0)
        late = bench.take(event, at=WINDOW + 1)
        assert (late.status, late.journal["taken"], late.findings) == ("accepted", False, [])
        assert late.recipients == [BOB]

    def test_the_floor_is_the_oldest_message_remembered(self, bench: Bench) -> None:
        for number in range(5):
            bench.take(capture(body=str(number)), at=number * 1000)
        bench.take(capture(body="4", recipients=[CAROL]))
        assert [took.journal["floor"] for took in bench.taken] == [0, 0, 0, 0, 1, 1], "the first one at 4000 s"

    def test_with_nothing_remembered_the_floor_is_the_records_own_sequence(self, bench: Bench) -> None:
        bench.take(capture(), at=0)
        assert bench.take(b"junk", at=WINDOW + 1).journal["floor"] == 1
        assert bench.partition.head.floor == 2


class TestMemory:
    """A limit in entries and bytes; at the limit it forgets the oldest and says so."""

    def test_entries(self) -> None:
        bench = Bench(max_entries=100)
        for number in range(1000):
            bench.take(capture(origin_id=str(number)))
            assert bench.partition.merge.entries <= 102
        assert bench.partition.merge.take_forgotten() > 900
        assert bench.partition.merge.take_forgotten() == 0
        assert bench.take(capture(origin_id="0")).status == "accepted"
        newest = bench.take(capture(origin_id="999"))
        assert (newest.status, newest.into) == ("merged", 999)
        assert newest.journal["floor"] > 900

    def test_bytes(self) -> None:
        bench = Bench(max_bytes=1_000_000)
        most = 0
        for number in range(5000):
            bench.take(capture(origin_id=str(number)))
            most = max(most, bench.partition.merge.bytes)
        assert 900_000 < most < 1_001_000
        assert bench.take(capture(origin_id="4999")).status == "merged"
        assert bench.take(capture(origin_id="0")).status == "accepted"

    def test_all_is_given_back_that_was_charged(self) -> None:
        policies = [SmallPolicy(name, rewrites={BOB: name}) for name in "pq"]
        bench = Bench()
        for number in range(3000):
            bench.policy = policies[number // 100 % 2]
            ids = {"origin_id": str(number % 1000)} if number % 3 else {}
            bench.take(capture(event_id=str(number % 2500), phase=("sent", "delivered")[number % 2], **ids), at=number)
        bench.take(b"", at=2 * WINDOW + 3000)
        assert (bench.partition.merge.entries, bench.partition.merge.bytes, bench.partition.merge.messages) == (0, 0, 0)

    def test_an_empty_state_is_empty(self) -> None:
        state = MergeState(10, 10)
        assert (state.entries, state.bytes, state.messages, state.floor(7)) == (0, 0, 0, (7, 0))
