"""Direction and databases, and the bytes of copies."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
import pytest

from pipeline.codec import without_logical_types
from pipeline.registry import load_schema
from pipeline.settings import Database
from pipeline.stages.fanout import Keeper, domain_of
from tests.support.captures import Bench, SmallPolicy, Took, capture, database
from tests.support.events import encode

ALICE, BOB, CAROL, EVE = "alice@alpha.example", "bob@beta.example", "carol@beta.example", "eve@elsewhere.example"
COPY: Any = fastavro.parse_schema(without_logical_types(load_schema("copy")))
BOTH = (database("alpha", "alpha.example"), database("beta", "beta.example"))


def placed(took: Took) -> list[tuple[str, str, str]]:
    return [(copy["database"], copy["recipient"], copy["direction"]) for copy in took.copies]


class TestBytes:
    def test_fastavro_reads_every_field(self) -> None:
        event = capture(recipients=[BOB, CAROL, BOB], origin_id="o", attributes={"k": "v"})
        bench = Bench(policy=SmallPolicy("p", blocks=frozenset([BOB]), rewrites={CAROL: "!"}))
        bench.take(b"")
        values = self.values(bench, event)
        assert [key for key, _ in values] == [BOB.encode(), CAROL.encode()]
        found = []
        for _, value in values:
            assert value[:5] == b"\0\0\0\0\3"
            source = BytesIO(value[5:])
            found.append(fastavro.schemaless_reader(source, COPY, None))
            assert source.read() == b""
        header = {"direction": "internal", "database": "compliance", "lineage": "00112233aabbccdd", "partition": 0,
                  "sequence": 1, "into": 1, "message_event_id": event["event_id"], "taken": False,
                  "rules": ["p-rule"], "reason": "p says so", "delivered_files": []}  # fmt: skip
        assert found == [
            {**event, **header, "recipients": [], "recipient": BOB, "copy_index": 0, "decision": "blocked",
             "delivered_body": None},
            {**event, **header, "recipients": [], "recipient": CAROL, "copy_index": 1, "decision": "modified",
             "delivered_body": "hello!"},
        ]  # fmt: skip

    def test_the_recipient_list_is_not_repeated_in_each_copy(self) -> None:
        event = capture(recipients=[f"someone-{number}@beta.example" for number in range(1000)])
        alone = len(encode({**event, "recipients": []}))
        for _, value in self.values(Bench(), event):
            assert len(value) < alone + 200

    @staticmethod
    def values(bench: Bench, event: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        from pipeline.records import Ingest

        record = Ingest(bench.offset + 1, bench.arrival, None, encode(event))
        return list(bench.partition.process(record, bench.policy).copies.records)


class TestDirection:
    @pytest.mark.parametrize(
        ("sender", "recipient", "direction"),
        [(ALICE, ALICE, "internal"), (ALICE, BOB, "outbound"), (BOB, ALICE, "inbound"), (BOB, EVE, "federated")],
    )
    def test_seen_from_a_cluster(self, sender: str, recipient: str, direction: str) -> None:
        assert Keeper("alpha", frozenset(["alpha.example"])).direction(sender, recipient) == direction

    @pytest.mark.parametrize(
        ("address", "domain"), [("a@B.Example", "b.example"), ("b.example", "b.example"), ("a@b@c", "c"), ("", "")]
    )
    def test_domains_do_not_differ_by_case(self, address: str, domain: str) -> None:
        assert domain_of(address) == domain


class TestDatabases:
    def test_by_default_one_for_all_in_both_directions(self) -> None:
        took = Bench().take(capture(sender=EVE, recipients=[BOB, EVE]))
        assert placed(took) == [("compliance", BOB, "internal"), ("compliance", EVE, "internal")]

    def test_each_cluster_that_has_a_sender_or_recipient_gets_the_whole_message(self) -> None:
        took = Bench(databases=BOTH).take(capture(recipients=[BOB, EVE], cluster="gamma.example"))
        assert placed(took) == [
            ("alpha", BOB, "outbound"), ("alpha", EVE, "outbound"), ("beta", BOB, "inbound"), ("beta", EVE, "federated"),
        ]  # fmt: skip
        assert took.journal["databases"] == ["alpha", "beta"]
        assert [copy["copy_index"] for copy in took.copies] == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("sender", "recipients", "kept"),
        [(ALICE, [BOB], ["beta"]), (BOB, [ALICE], ["alpha"]), (ALICE, [ALICE], ["alpha"]), (ALICE, [], []),
         (EVE, [ALICE, BOB], ["alpha", "beta"]), (ALICE, [EVE], [])],
    )  # fmt: skip
    def test_inbound_only(self, sender: str, recipients: list[str], kept: list[str]) -> None:
        keepers = [database(name, f"{name}.example", inbound=True) for name in ("alpha", "beta")]
        took = Bench(databases=keepers).take(capture(sender=sender, recipients=recipients))
        assert took.journal["databases"] == kept
        assert [copy["database"] for copy in took.copies] == [name for name in kept for _ in recipients]

    def test_what_no_database_keeps_is_accepted_and_its_record_says_so(self) -> None:
        took = Bench(databases=BOTH).take(capture(sender=EVE, recipients=[EVE]))
        assert (took.status, took.journal["databases"], took.copies) == ("accepted", [], [])
        assert took.verdict is not None

    def test_databases_that_left_the_settings_get_nothing_more_and_new_ones_the_whole_message(self) -> None:
        before = Bench(databases=BOTH)
        first = before.take(capture(event_id="1", origin_id="o", recipients=[BOB]))
        assert first.journal["databases"] == ["alpha", "beta"]
        after = Bench(databases=[database("gamma")], head=before.partition.head)
        after.partition.fold(first.journal)
        second = after.take(capture(event_id="2", origin_id="o", recipients=[EVE]))
        assert (second.status, second.journal["databases"], second.journal["new_databases"]) == (
            "merged", ["gamma"], ["gamma"],
        )  # fmt: skip
        assert [(copy["database"], copy["recipient"]) for copy in second.copies] == [("gamma", EVE), ("gamma", BOB)]

    def test_rooms_in_one_of_their_own(self) -> None:
        keepers = [database("rooms", only=["room"]), database("rest", only=["direct", "group", "broadcast"])]
        bench = Bench(databases=keepers)
        assert bench.take(capture()).journal["databases"] == ["rooms"]
        direct = capture(conversation="direct:a|b", conversation_type="direct")
        assert bench.take(direct).journal["databases"] == ["rest"]

    def test_clusters_may_share_one(self) -> None:
        shared = Database(name="shared", domains=("alpha.example", "BETA.example"))
        took = Bench(databases=[shared]).take(capture(recipients=[BOB, EVE]))
        assert placed(took) == [("shared", BOB, "internal"), ("shared", EVE, "outbound")]

    def test_a_message_without_recipients_goes_to_its_senders(self) -> None:
        assert Bench(databases=BOTH).take(capture(recipients=[])).journal["databases"] == ["alpha"]

    def test_a_merged_capture_brings_a_database_and_it_gets_the_earlier_recipients_too(self) -> None:
        policy = SmallPolicy("p", blocks=frozenset([ALICE]), rewrites={EVE: "!"})
        bench = Bench(databases=BOTH, policy=policy)
        first = bench.take(capture(origin_id="o", recipients=[ALICE, EVE]))
        assert first.journal["databases"] == ["alpha"]
        bench.policy = SmallPolicy("q")
        second = bench.take(capture(origin_id="o", recipients=[BOB]))
        assert (second.journal["databases"], second.journal["new_databases"]) == (["alpha", "beta"], ["beta"])
        assert [
            (copy["database"], copy["recipient"], copy["decision"], copy["delivered_body"]) for copy in second.copies
        ] == [
            ("alpha", BOB, "ok", None),
            ("beta", BOB, "ok", None),
            ("beta", ALICE, "blocked", None),
            ("beta", EVE, "modified", "hello!"),
        ]
        assert {copy["into"] for copy in second.copies} == {first.sequence}
        assert second.journal["copies"] == 4
        third = bench.take(capture(origin_id="o", recipients=[CAROL, BOB]))
        assert placed(third) == [("alpha", CAROL, "outbound"), ("beta", CAROL, "inbound")]
        assert (third.journal["databases"], third.journal["new_databases"]) == (["alpha", "beta"], [])

    def test_one_that_no_database_kept_may_be_kept_later(self) -> None:
        bench = Bench(databases=BOTH)
        bench.take(capture(sender=EVE, origin_id="o", recipients=[EVE]))
        second = bench.take(capture(sender=EVE, origin_id="o", recipients=[BOB]))
        assert second.journal["new_databases"] == ["beta"]
        assert placed(second) == [("beta", BOB, "inbound"), ("beta", EVE, "federated")]
