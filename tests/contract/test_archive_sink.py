"""The sink, the tables and the views; the same on the embedded ClickHouse and over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from clickhouse_connect.driver.client import Client

from pipeline.archive.client import connect, connect_embedded, rows
from pipeline.archive.migrations import LATEST, check, migrate
from pipeline.archive.sink import Cut, Sink
from pipeline.errors import Misconfigured
from pipeline.registry import FixedSchemas
from pipeline.settings import ClickHouse, Database, Settings
from tests.support.records import Chain, dead_letter, event, finding

pytestmark = pytest.mark.clickhouse
TABLES = ("journal", "messages", "merges", "copies", "batches")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "db"


@pytest.fixture(scope="module")
def embedded(folder: Path) -> Iterator[Client]:
    one = connect_embedded(folder)
    yield one
    one.close()


@pytest.fixture
def control() -> str:
    return f"control_{uuid4().hex[:12]}"


@pytest.fixture(params=["embedded", "http"])
def client(request: pytest.FixtureRequest, control: str) -> Iterator[Client]:
    if request.param == "embedded":
        one: Client = request.getfixturevalue("embedded")
    else:
        at = urlsplit(request.getfixturevalue("clickhouse").url)
        at = at._replace(netloc=at.netloc if "@" in at.netloc else f"default@{at.netloc}", path=f"/{control}", query="")
        one = connect(Settings(clickhouse=ClickHouse(url=at.geturl())))
    yield one
    one.database = None  # a test may not have made it
    for row in rows(one, f"SELECT name FROM system.databases WHERE startsWith(name, '{control}')"):
        one.command(f"DROP DATABASE {row['name']} SYNC", use_database=False)
    if request.param == "http":
        one.close()


@pytest.fixture
def settings(control: str) -> Settings:
    return with_databases(control)


def with_databases(control: str, *names: str) -> Settings:
    databases = tuple(Database(name=name) for name in names)
    return Settings(clickhouse=ClickHouse(url=f"http://default@127.0.0.1:8123/{control}", databases=databases))


def sink_of(client: Client, settings: Settings) -> Sink:
    migrate(client, settings)
    return Sink(client, settings, FixedSchemas(), "worker-0")


def cut(topic: str, values: list[bytes], first: int = 0, partition: int = 0) -> Cut:
    return Cut(topic, partition, first, first + len(values) - 1, list(values))


def count(client: Client, table: str, final: str = "") -> int:
    return int(rows(client, f"SELECT count() AS n FROM {table} {final}")[0]["n"])


def broken(client: Client, control: str) -> int:
    return int(rows(client, f"SELECT countIf(hash != recomputed_hash) AS n FROM {control}.journal FINAL")[0]["n"])


def outcome(**fields: Any) -> dict[str, Any]:
    return {
        "recipients": [0],
        "decision": "modified",
        "delivered_body": "***",
        "rules": ["r1"],
        "reason": "no",
        **fields,
    }


def chain(control: str) -> Chain:
    """Every status, negative and large numbers, and arrays of all kinds."""
    made = Chain(databases=[control])
    for number in range(300):
        first = made.accept(event(body=f"word{number} ☃", recipients=["b@x", "c@x"], sent_at=number * 10**13))
        if number % 3 == 0:
            made.merge(event(recipients=["c@x", "d@x"]), first, also=[first + 70, -1, 1 << 40])
        if number % 50 == 0:
            made.merge(event(recipients=["e@x"]), first, rule="retry")
    made.accept(event(body="x" * 3_000_000, recipients=["b@x"]), rules=["r" * 200, ""], decision="modified",
                outcomes=[outcome(), outcome(recipients=[70, 1 << 30], delivered_body=None, decision="blocked")])  # fmt: skip
    made.reject(b"\xff" * 70)
    made.reroute(event(), 5)
    made.gap(1 << 62)
    return made


def test_a_cut_is_where_it_belongs_and_a_repeat_changes_nothing(
    client: Client, settings: Settings, control: str
) -> None:
    sink, made = sink_of(client, settings), chain(control)
    merges = sum(record["status"] == "merged" and record["rule"] != "retry" for record in made.records)
    due = {"journal": len(made.journal), "messages": 301, "merges": merges, "copies": len(made.copies), "batches": 2}
    for _ in range(2):
        assert sink.write(cut("journal", made.journal)) == due["journal"] + due["messages"] + due["merges"]
        assert sink.write(cut("copies", made.copies)) == due["copies"]
        assert {table: count(client, f"{control}.{table}") for table in TABLES} == due
    assert broken(client, control) == 0
    batch = rows(client, "SELECT first_sequence, last_sequence, lineage, hex(last_hash) AS hash "
                 f"FROM {control}.batches FINAL WHERE topic = 'journal'")[0]  # fmt: skip
    assert (batch["first_sequence"], batch["last_sequence"]) == (0, len(made.journal) - 1)
    assert bytes.fromhex(batch["hash"]) == made.records[-1]["hash"]
    assert batch["lineage"] == made.lineage


def test_an_insert_is_one_part_however_many_years_it_spans(client: Client, settings: Settings, control: str) -> None:
    sink, made = sink_of(client, settings), chain(control)
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    parts = rows(
        client, f"SELECT table, max(max_block_number) AS blocks FROM system.parts WHERE database = '{control}' "
        "AND table IN ('journal', 'copies', 'messages', 'merges') GROUP BY table")  # fmt: skip
    assert {row["table"]: row["blocks"] for row in parts} == dict.fromkeys(
        ("journal", "copies", "messages", "merges"), 1
    )


def test_final_is_right_when_the_deduplication_log_is_lost(
    embedded: Client, settings: Settings, control: str, folder: Path
) -> None:
    sink, made = sink_of(embedded, settings), chain(control)
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    before = {table: count(embedded, f"{control}.{table}", "FINAL") for table in TABLES}
    for table in TABLES:
        embedded.command(f"DETACH TABLE {control}.{table} SYNC")
    for logs in folder.rglob("deduplication_logs"):
        shutil.rmtree(logs)
    for table in TABLES:
        embedded.command(f"ATTACH TABLE {control}.{table}")
        embedded.command(f"SYSTEM STOP MERGES {control}.{table}")
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    assert count(embedded, f"{control}.copies") == 2 * len(made.copies)
    assert {table: count(embedded, f"{control}.{table}", "FINAL") for table in TABLES} == before
    assert broken(embedded, control) == 0


def test_altering_any_field_of_the_journal_shows_in_its_hash(client: Client, settings: Settings, control: str) -> None:
    sink = sink_of(client, settings)
    made = Chain(databases=[control])
    for _ in range(3):
        made.accept(event())
    sink.write(cut("journal", made.journal))
    for column, value in {"reason": "'x'", "skipped": "skipped + 1", "raw": "concat(raw, 'x')", "taken": "NOT taken",
                          "arrival": "arrival + INTERVAL 1 MILLISECOND", "rules": "['x']",
                          "status": "'gap'", "previous_hash": "hash"}.items():  # fmt: skip
        where = "sequence = 1 SETTINGS mutations_sync = 1"
        client.command(f"CREATE TABLE {control}.kept_{column} AS {control}.journal")
        client.command(f"INSERT INTO {control}.kept_{column} SELECT * FROM {control}.journal")
        client.command(f"ALTER TABLE {control}.kept_{column} UPDATE {column} = {value} WHERE {where}")
        changed = rows(client, f"SELECT sequence FROM {control}.kept_{column} FINAL WHERE hash != recomputed_hash")
        assert changed == [{"sequence": 1}], column


def test_times_keep_microseconds_from_1970_to_2200(client: Client, settings: Settings, control: str) -> None:
    made = Chain(databases=[control])
    times = [0, 1, 7_258_118_399_999_999]
    for time in times:
        made.accept(event(sent_at=time, captured_at=time))
    sink = sink_of(client, settings)
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    for table in ("messages", "copies"):
        kept = rows(client, f"SELECT toUnixTimestamp64Micro(sent_at) AS t, toUnixTimestamp64Micro(captured_at) AS u FROM "
                    f"{control}.{table} FINAL ORDER BY sequence")  # fmt: skip
        assert kept == [{"t": time, "u": time} for time in times]
    arrivals = rows(
        client, f"SELECT toUnixTimestamp64Milli(arrival) AS t FROM {control}.journal FINAL ORDER BY sequence"
    )
    assert [row["t"] for row in arrivals] == [time // 1000 for time in times]
    assert broken(client, control) == 0


def test_everything_an_event_can_hold_comes_back(client: Client, settings: Settings, control: str) -> None:
    attachment = {"name": "a", "display_name": None, "media_type": "image/png", "size": 3, "sha256": "00", "uri": None,
                  "content": b"\0\xff"}  # fmt: skip
    made = Chain(databases=[control])
    made.accept(event(attachments=[attachment], attributes={"k": "v"}, kind="file_post", recipients=[], thread="t"))
    sink_of(client, settings).write(cut("journal", made.journal))
    row = rows(client, f"SELECT kind, attributes, thread, recipients, attachments[1].name AS name, "
               f"hex(assumeNotNull(attachments[1].content)) AS content, attachments[1].uri AS uri "
               f"FROM {control}.messages FINAL")[0]  # fmt: skip
    assert row == {"kind": "file_post", "attributes": {"k": "v"}, "thread": "t", "recipients": [], "name": "a",
                   "content": "00FF", "uri": None}  # fmt: skip


def test_each_database_gets_what_its_records_say_and_a_new_one_the_first_capture(client: Client, control: str) -> None:
    one, two = f"{control}_one", f"{control}_two"
    sink = sink_of(client, with_databases(control, one, two))
    made = Chain(databases=[one])
    early = made.accept(event(recipients=["b@x"]))
    made.accept(event(recipients=["b@x"]), databases=[one, two])
    made.accept(event(recipients=["b@x"]), databases=[])
    made.accept(event(recipients=["b@x"]), databases=[two, "elsewhere"])
    cuts = [cut("journal", made.journal)]
    late = made.accept(event(recipients=["b@x"]))
    made.merge(event(recipients=["c@y"]), early, new_databases=[two])
    made.merge(event(recipients=["c@y"]), late, new_databases=[two])
    made.merge(event(recipients=["c@y"]), late, rule="retry")
    cuts.append(cut("journal", made.journal[4:], first=4))
    for each in [*cuts, *cuts, cut("copies", made.copies)]:
        sink.write(each)

    def sequences(table: str) -> list[int]:
        return [row["sequence"] for row in rows(client, f"SELECT sequence FROM {table} ORDER BY sequence")]

    assert sequences(f"{one}.messages") == [0, 1, 4]
    assert sequences(f"{two}.messages") == [0, 1, 3, 4]
    assert sequences(f"{one}.merges") == sequences(f"{two}.merges") == [5, 6]
    assert count(client, f"{control}.journal") == 8
    for database in (one, two):
        where = {row["database"] for row in rows(client, f"SELECT DISTINCT database FROM {database}.copies")}
        assert where == {database}
    reached = rows(client, f"SELECT recipients FROM {two}.message_view WHERE sequence IN (0, 4) ORDER BY sequence")
    assert reached == [{"recipients": ["b@x", "c@y"]}] * 2


def test_findings_and_dead_letters(client: Client, settings: Settings, control: str) -> None:
    sink = sink_of(client, settings)
    for _ in range(2):
        assert sink.write(cut("findings", [finding(finding_id="l/0/0/0"), finding(finding_id="l/0/0/1")])) == 2
        assert sink.write(cut("dead-letters", [dead_letter(), dead_letter(value=None, offset=1)])) == 2
    assert count(client, f"{control}.findings") == count(client, f"{control}.dead_letters") == 2
    letters = rows(client, f"SELECT hex(assumeNotNull(value)) AS bytes, isNull(value) AS none, key FROM {control}.dead_letters "
                   "ORDER BY offset")  # fmt: skip
    assert letters == [{"bytes": "FFFE", "none": 0, "key": None}, {"bytes": "", "none": 1, "key": None}]


def test_topics_made_anew_are_not_taken_for_repeats(client: Client, settings: Settings, control: str) -> None:
    sink = sink_of(client, settings)
    for lineage in ("a" * 16, "b" * 16):
        made = Chain(lineage=lineage, databases=[control])
        made.accept(event())
        sink.write(cut("journal", made.journal))
    assert count(client, f"{control}.journal", "FINAL") == 2
    assert count(client, f"{control}.batches", "FINAL") == 2


def test_an_outage_is_one_row_however_often_it_is_told(client: Client, settings: Settings, control: str) -> None:
    sink = sink_of(client, settings)
    began = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    for seconds in (60, 61, 61):
        sink.outage(began, began + timedelta(seconds=seconds), "Unavailable")
    assert rows(client, f"SELECT began, ended, error FROM {control}.outages FINAL") == [
        {"began": "2026-01-02 03:04:05.678", "ended": "2026-01-02 03:05:06.678", "error": "Unavailable"}
    ]


def test_an_empty_cut_leaves_a_batch_record(client: Client, settings: Settings, control: str) -> None:
    sink = sink_of(client, settings)
    assert sink.write(Cut("journal", 3, 7, 9, [])) == 0
    assert rows(client, f"SELECT partition, rows, last_offset FROM {control}.batches") == [
        {"partition": 3, "rows": 0, "last_offset": 9}
    ]


def test_a_late_duplicate_and_a_capture_that_fits_two_are_told_once(
    client: Client, settings: Settings, control: str
) -> None:
    made = Chain(databases=[control])
    said = {"body": "same", "origin_id": "o", "conversation": "room:dup"}
    first = made.accept(event(**said, event_id="first", recipients=["b@x"]))
    made.merge(event(**{**said, "origin_id": None}, stanza_ids={"s": "only-merged"}, recipients=["c@x"]), first)
    made.accept(event(**said, stanza_ids={}, event_id="late", recipients=["d@x"]))
    made.accept(
        event(**{**said, "origin_id": None}, stanza_ids={"s": "only-merged"}, event_id="later", recipients=["e@x"])
    )
    made.accept(event(**{**said, "body": "other"}, event_id="other", recipients=["b@x"]))
    folded = made.accept(event(body="two", conversation="room:dup", event_id="folded", recipients=["f@x"]))
    made.merge(event(body="two", conversation="room:dup"), first, also=[folded])
    sink = sink_of(client, settings)
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    seen = rows(client, f"SELECT message_id, duplicate_of, folded_into FROM {control}.message_view "
                "WHERE conversation = 'room:dup' ORDER BY sequence")  # fmt: skip
    assert [(row["message_id"], row["duplicate_of"], row["folded_into"]) for row in seen] == [
        ("first", "", ""), ("late", "first", ""), ("later", "first", ""), ("other", "", ""), ("folded", "", "first")
    ]  # fmt: skip
    told = rows(client, f"SELECT message, reached, kept_as FROM {control}.transcript ORDER BY message")
    assert told == [
        {"message": "first", "reached": ["b@x", "bob@beta.example", "c@x", "d@x", "e@x", "f@x"], "kept_as": 4},
        {"message": "other", "reached": ["b@x"], "kept_as": 1},
    ]


def test_what_is_edited_or_deleted_stays_and_is_linked(client: Client, settings: Settings, control: str) -> None:
    made = Chain(databases=[control])
    room: dict[str, Any] = {"conversation": "room:rev", "recipients": ["b@x"], "stanza_ids": {}, "origin_id": None}
    at = 1_700_000_000_000_000
    first = made.accept(event(**{**room, "origin_id": "o1"}, event_id="first", body="one", sent_at=at))
    made.merge(event(**{**room, "origin_id": "o1"}, event_id="fork", body="one") | {"stanza_ids": {"s": "s1"}}, first)
    made.accept(event(**{**room, "stanza_ids": {"s": "s2"}}, event_id="second", body="two", sent_at=at + 2_000_000))
    made.accept(event(**room, event_id="edit", kind="edit", refers_to="o1", body="uno", sent_at=at + 3_000_000))
    made.accept(event(**room, event_id="gone", kind="delete", refers_to="s1", body="", sent_at=at + 4_000_000),
                decision="blocked", reason="not here")  # fmt: skip
    made.accept(event(**{**room, "conversation": "room:else"}, event_id="else", kind="edit", refers_to="o1"))
    made.accept(event(**room, event_id="range", kind="delete_range", body="", sent_at=at + 5_000_000, attributes={
        "from": "2023-11-14T22:13:21Z", "to": "2023-11-14T22:13:22.500000+00:00"}))  # fmt: skip
    made.accept(event(**room, event_id="room", kind="room_delete", body="", sent_at=at + 1_500_000))
    sink = sink_of(client, settings)
    sink.write(cut("journal", made.journal))
    seen = rows(client, f"SELECT message, was, what, by_message, text, decision, reason FROM {control}.revisions "
                "WHERE conversation = 'room:rev' ORDER BY message, at")  # fmt: skip
    assert [tuple(row.values()) for row in seen] == [
        ("first", "one", "room_delete", "room", "", "ok", ""),
        ("first", "one", "edit", "edit", "uno", "ok", ""),
        ("first", "one", "delete", "gone", "", "blocked", "not here"),
        ("second", "two", "delete_range", "range", "", "ok", ""),
    ]


def test_ids_that_are_none_join_nothing_and_a_late_retry_is_a_duplicate(
    client: Client, settings: Settings, control: str
) -> None:
    made = Chain(databases=[control])
    room = {"conversation": "room:ids", "recipients": ["b@x"]}
    for event_id in ("a1", "a2"):
        made.accept(event(**room, event_id=event_id, body="no id", origin_id="", stanza_ids={}))
    made.accept(event(**room, event_id="b1", body="ids of two sorts", origin_id="x", stanza_ids={}))
    made.accept(event(**room, event_id="b2", body="ids of two sorts", origin_id=None, stanza_ids={"": "x"}))
    for _ in range(2):
        made.accept(event(**room, event_id="c", body="sent again after the window", origin_id="o", stanza_ids={}))
    sink = sink_of(client, settings)
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    seen = rows(client, f"SELECT event_id, duplicate_of FROM {control}.message_view "
                "WHERE conversation = 'room:ids' ORDER BY sequence")  # fmt: skip
    assert [(row["event_id"], row["duplicate_of"]) for row in seen] == [
        ("a1", ""), ("a2", ""), ("b1", ""), ("b2", ""), ("c", ""), ("c", "c")
    ]  # fmt: skip


def test_what_a_message_became_is_told_from_its_copies(client: Client, settings: Settings, control: str) -> None:
    made = Chain(databases=[control])
    blocked = outcome(decision="blocked", delivered_body=None)
    made.accept(event(recipients=["b@x"]), outcomes=[outcome()], decision="modified")
    made.accept(event(recipients=["b@x"]), outcomes=[blocked], decision="blocked")
    made.accept(event(recipients=["b@x", "c@x"], body="as sent"), outcomes=[blocked], decision="modified")
    made.accept(event(recipients=[], body="to nobody"))
    made.accept(event(recipients=["b@x"], event_id="id"), taken=True)
    sink = sink_of(client, settings)
    sink.write(cut("journal", made.journal))
    sink.write(cut("copies", made.copies))
    seen = rows(client, f"SELECT decision, delivered_body, message_id FROM {control}.message_view ORDER BY sequence")
    assert [(row["decision"], row["delivered_body"]) for row in seen[:4]] == [
        ("modified", "***"), ("blocked", None), ("modified", "as sent"), ("ok", "to nobody")
    ]  # fmt: skip
    assert seen[4]["message_id"] == "id~4"
    verdicts = rows(client, f"SELECT decision, message_event_id FROM {control}.verdicts ORDER BY sequence")
    assert [row["decision"] for row in verdicts] == ["modified", "blocked", "modified", "ok", "ok"]


def test_words_are_found_whatever_their_case(client: Client, settings: Settings, control: str) -> None:
    made = Chain(databases=[control])
    made.accept(event(body="The Quick brown fox"))
    made.accept(event(body="nothing here"))
    sink_of(client, settings).write(cut("journal", made.journal))
    found = rows(client, f"SELECT sequence FROM {control}.messages FINAL WHERE hasAllTokens(body, 'QUICK fox')")
    assert found == [{"sequence": 0}]


def test_migrating_twice_does_nothing_and_a_database_added_later_gets_all(client: Client, control: str) -> None:
    assert migrate(client, with_databases(control)) == [LATEST]
    assert migrate(client, with_databases(control)) == []
    later = with_databases(control, f"{control}_later")
    with pytest.raises(Misconfigured, match="compliance migrate"):
        check(client, later)
    assert migrate(client, later) == [LATEST]
    check(client, later)


def test_a_database_from_a_newer_program_is_refused(client: Client, settings: Settings, control: str) -> None:
    migrate(client, settings)
    client.command(
        f"INSERT INTO {control}.schema_migrations VALUES ('control', '{control}', {LATEST + 1}, 'later', now())"
    )
    for way in (migrate, check):
        with pytest.raises(Misconfigured):
            way(client, settings)


def test_without_tables_the_sink_says_what_to_do(client: Client, settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="compliance migrate"):
        Sink(client, settings, FixedSchemas(), "w").write(cut("findings", [finding()]))
    with pytest.raises(Misconfigured, match="verdicts"):
        Sink(client, settings, FixedSchemas(), "w").write(cut("verdicts", []))
