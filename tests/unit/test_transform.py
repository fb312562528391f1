"""What becomes of a capture: journal record, verdict, copies, findings."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from pipeline.policy.api import EmptyPolicy
from pipeline.records import Ingest
from pipeline.stages.partitioner import Partitioner
from tests.support.captures import JOURNAL, LINEAGE, Bench, SmallPolicy, attachment, capture
from tests.support.events import KINDS, encode

BOB, CAROL, DAVE, ERIN = (f"{name}@beta.example" for name in ("bob", "carol", "dave", "erin"))


def outcome(verdict: dict[str, Any] | None) -> tuple[str, str | None, list[str]]:
    assert verdict is not None
    return verdict["decision"], verdict["delivered_body"], verdict["blocked_recipients"]


class TestMergedCaptures:
    def test_leave_evidence(self) -> None:
        bench = Bench()
        first, second = capture(origin_id="o"), capture(origin_id="o", recipients=[CAROL, BOB])
        bench.take(first, at=0)
        took = bench.take(second, at=60)
        journal = took.journal
        assert (journal["event_id"], journal["into"], journal["into_event_id"]) == (
            second["event_id"],
            0,
            first["event_id"],
        )
        assert (journal["rule"], journal["arrival"]) == ("origin_id", bench.arrival)
        assert journal["new_recipients"] == [CAROL]
        assert journal["raw"] == encode(second)

    def test_give_a_copy_only_to_recipients_whom_the_message_had_not_reached(self) -> None:
        bench = Bench()
        assert bench.take(capture(origin_id="o", recipients=[BOB, BOB])).recipients == [BOB]
        assert bench.take(capture(origin_id="o", recipients=[CAROL, BOB, CAROL])).recipients == [CAROL]
        assert bench.take(capture(origin_id="o", recipients=[BOB, CAROL])).recipients == []
        last = bench.take(capture(origin_id="o", recipients=[DAVE]))
        assert [(copy["into"], copy["sequence"], copy["copy_index"]) for copy in last.copies] == [(0, 3, 0)]

    def test_copies_hold_the_capture_that_brought_them(self) -> None:
        bench = Bench()
        first = bench.take(capture(origin_id="o"))
        second = capture(origin_id="o", recipients=[CAROL], cluster="beta.example")
        copy = bench.take(second).copies[0]
        assert (copy["event_id"], copy["cluster"]) == (second["event_id"], "beta.example")
        assert copy["message_event_id"] == first.journal["event_id"]


class TestVerdicts:
    def test_one_for_every_event_merged_ones_included(self) -> None:
        bench = Bench()
        event = capture(origin_id="o")
        for one in (event, event, capture(origin_id="o")):
            verdict = bench.take(one).verdict
            assert verdict is not None
            assert verdict == {
                "event_id": one["event_id"], "decision": "ok", "reason": "", "delivered_body": None, "delivered_files": [],
                "blocked_recipients": [], "rules": [], "policy": EmptyPolicy.digest, "lineage": LINEAGE,
                "message_event_id": event["event_id"], "partition": 0, "sequence": verdict["sequence"],
            }  # fmt: skip
        assert [took.journal["sequence"] for took in bench.taken] == [0, 1, 2]

    def test_blocked_if_nobody_gets_it_modified_if_anybody_gets_it_changed_or_not(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB]), rewrites={CAROL: "!"}))
        for recipients, expected in (
            ([BOB], ("blocked", None, [BOB])),
            ([BOB, DAVE], ("modified", None, [BOB])),
            ([CAROL], ("modified", "hello!", [])),
            ([DAVE], ("ok", None, [])),
        ):
            took = bench.take(capture(origin_id=str(recipients), recipients=recipients))
            assert outcome(took.verdict) == expected
            assert took.journal["decision"] == expected[0]

    def test_a_merged_or_retried_capture_gets_the_one_on_record_whatever_the_policy_now_says(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB])))
        event = capture(origin_id="o")
        first = bench.take(event).verdict
        for policy in (EmptyPolicy(), SmallPolicy("q", rewrites={BOB: "!"})):
            bench.policy = policy
            for again in (event, capture(origin_id="o")):
                took = bench.take(again)
                assert outcome(took.verdict) == outcome(first) == ("blocked", None, [BOB])
                assert took.verdict is not None
                assert took.verdict["policy"] == SmallPolicy("p").digest
                assert took.journal["decision"] == "blocked"
        bench.policy = SmallPolicy("p", blocks=frozenset([CAROL]))
        fine = capture(origin_id="p", recipients=[DAVE])
        bench.take(fine)
        bench.policy = SmallPolicy("q", blocks=frozenset([DAVE]))
        assert outcome(bench.take(fine).verdict) == ("ok", None, [])

    def test_recipients_that_it_brings_are_judged_by_the_policy_now_in_force(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB])))
        bench.take(capture(origin_id="o"))
        bench.policy = SmallPolicy("q", rewrites={BOB: "?", CAROL: "!"})
        took = bench.take(capture(origin_id="o", recipients=[BOB, CAROL, DAVE]))
        assert [
            (copy["recipient"], copy["decision"], copy["delivered_body"], copy["rules"]) for copy in took.copies
        ] == [
            (CAROL, "modified", "hello!", ["q-rule"]),
            (DAVE, "ok", None, []),
        ]
        assert outcome(took.verdict) == ("modified", "hello!", [BOB])
        assert took.verdict is not None
        assert (took.verdict["rules"], took.verdict["policy"]) == (["p-rule", "q-rule"], bench.policy.digest)
        assert took.journal["outcomes"] == [
            {
                "recipients": [0],
                "decision": "modified",
                "delivered_body": "hello!",
                "rules": ["q-rule"],
                "reason": "q says so",
                "delivered_files": [],
            }
        ]

    @pytest.mark.parametrize(
        ("first", "then", "decision"),
        [(BOB, CAROL, "modified"), (CAROL, BOB, "modified"), (BOB, DAVE, "modified"), (BOB, ERIN, "blocked"),
         (CAROL, DAVE, "modified"), (DAVE, CAROL, "modified")],
    )  # fmt: skip
    def test_of_a_message_that_grew_is_of_all_its_recipients(self, first: str, then: str, decision: str) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB, ERIN]), rewrites={CAROL: "!"}))
        bench.take(capture(origin_id="o", recipients=[first]))
        assert outcome(bench.take(capture(origin_id="o", recipients=[then])).verdict)[0] == decision
        assert outcome(bench.take(capture(origin_id="o", recipients=[first])).verdict)[0] == decision

    def test_of_a_message_that_had_no_recipients_is_of_those_who_came(self) -> None:
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB])))
        bench.take(capture(origin_id="o", recipients=[]))
        assert outcome(bench.take(capture(origin_id="o")).verdict) == ("blocked", None, [BOB])

    def test_they_are_keyed_by_conversation_and_findings_by_person(self) -> None:
        bench = Bench()
        bench.take(capture(event_id="e"))
        step = bench.take(capture(event_id="e", body="x")).step
        assert step.verdict is not None
        assert (step.verdict.topic, step.verdict.key) == ("verdicts", b"room:one")
        assert [(record.topic, record.key) for record in step.others] == [("findings", b"alice@alpha.example")]


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_any_kind_without_recipients_has_its_journal_record_and_verdict(self, kind: str) -> None:
        bench = Bench()
        took = bench.take(capture(kind=kind, recipients=[], origin_id="o"))
        assert (took.status, took.copies, took.journal["databases"]) == ("accepted", [], ["compliance"])
        assert took.verdict is not None
        again = bench.take(capture(kind=kind, recipients=[], origin_id="o"))
        assert (again.status, again.into) == ("merged", took.sequence)

    def test_receipts_are_told_apart_by_what_they_are_about(self) -> None:
        bench = Bench()
        for message in ("m1", "m2"):
            assert bench.take(capture(kind="receipt", body="", refers_to=message, origin_id="r")).status == "accepted"
        assert bench.take(capture(kind="receipt", body="", refers_to="m2", origin_id="r")).into == 1

    def test_delete_range_keeps_its_attributes(self) -> None:
        event = capture(kind="delete_range", body="", attributes={"from": "m1", "to": "m9"})
        took = Bench().take(event)
        assert took.copies[0]["attributes"] == {"from": "m1", "to": "m9"}
        assert took.journal["raw"] == encode(event)

    def test_attachments_with_content_are_in_each_copy(self) -> None:
        files = [attachment(content=bytes(range(256)) * 40, size=10_240), attachment(uri="https://x/y")]
        took = Bench().take(capture(kind="file_post", attachments=files, recipients=[BOB, CAROL]))
        assert [copy["attachments"] for copy in took.copies] == [files, files]


class TestMisrouted:
    CONVERSATION = "room:one"
    HOME = Partitioner(8).partition(CONVERSATION)

    def test_is_sent_on_with_a_finding_and_no_verdict(self) -> None:
        away = (self.HOME + 1) % 8
        bench = Bench(partition=away, partitions=8)
        event = capture(conversation=self.CONVERSATION)
        took = bench.take(event, key=None)
        assert (took.status, took.verdict, took.copies) == ("rerouted", None, [])
        assert (took.journal["to_partition"], took.journal["raw"]) == (self.HOME, encode(event))
        assert (took.journal["event_id"], took.journal["into"]) == (event["event_id"], -1)
        assert took.rules_found == ["misrouted"]
        (sent,) = took.sent_on
        assert (sent.key, sent.value, sent.partition) == (b"room:one", encode(event), self.HOME)
        assert bench.take(event).status == "rerouted", "it is not remembered where it does not belong"

    def test_at_its_destination_it_is_taken_whatever_its_key(self) -> None:
        bench = Bench(partition=self.HOME, partitions=8)
        took = bench.take(capture(conversation=self.CONVERSATION), key=b"wrong")
        assert (took.status, took.findings, took.journal["to_partition"]) == ("accepted", [], -1)
        assert took.verdict is not None

    def test_what_cannot_be_taken_is_rejected_where_it_stands(self) -> None:
        bench = Bench(partition=(self.HOME + 1) % 8, partitions=8)
        assert bench.take(encode(capture())[:-1]).status == "rejected"


def test_a_gap_is_on_record_and_alarms() -> None:
    bench = Bench()
    bench.take(capture())
    step = bench.partition.gap(9, bench.arrival)
    entry = JOURNAL.decode(step.journal)
    assert (entry["status"], entry["raw"], entry["offset"], entry["skipped"], entry["sequence"]) == (
        "gap",
        b"",
        9,
        8,
        1,
    )
    assert (step.verdict, step.copies.count) == (None, 0)
    assert [record.topic for record in step.others] == ["findings"]
    bench.offset = 9
    took = bench.take(capture())
    assert (took.journal["offset"], took.journal["skipped"], took.sequence) == (10, 0, 2)


class TestLargeOnes:
    def test_a_broadcast_to_100_000_needs_no_room_for_all_its_copies(self) -> None:
        bench = Bench()
        recipients = [f"someone-{number}@beta.example" for number in range(100_000)]
        value = encode(capture(conversation_type="broadcast", recipients=recipients, body="x" * 2000))
        step = bench.partition.process(Ingest(0, bench.arrival, None, value), bench.policy)
        names, size = set(), 0
        tracemalloc.start()
        for number, (key, copy) in enumerate(step.copies.records, 1):
            names.add(key)
            size += len(copy)
            if number == 10_000:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
        assert step.copies.count == len(names) == 100_000
        assert size > 200_000_000
        assert peak < 5_000_000, "names, not 20 MB of copies"
        assert step.copies.size <= size

    def test_a_message_that_grows_by_one_recipient_each_time_takes_time_in_proportion(self) -> None:
        bench = Bench(policy=SmallPolicy("p", rewrites={f"r{number}@x": "!" for number in range(4000)}))
        took: list[float] = []
        for part in range(4):
            began = time.process_time()
            for number in range(part * 1000, part * 1000 + 1000):
                event = encode(capture(origin_id="o", recipients=[f"r{number}@x"]))
                step = bench.partition.process(Ingest(number, bench.arrival, None, event), bench.policy)
                assert step.copies.count == 1
            took.append(time.process_time() - began)
        assert min(took[2:]) < 3 * max(took[:2]), took
