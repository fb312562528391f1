"""What `export` writes, line by line, of an archive with something of everything."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from pipeline.archive.client import connect
from pipeline.audit.export import export
from pipeline.errors import BadInput, Misconfigured
from tests.support.servers import Database
from tests.support.small_archive import PARTITIONS, SmallArchive, build, settings_for

pytestmark = [pytest.mark.clickhouse]

Line = dict[str, Any]


@pytest.fixture(scope="module")
def archive(clickhouse: Database) -> Iterator[SmallArchive]:
    settings = settings_for(clickhouse.url, "audit_export")
    client = connect(settings)
    small = build(client, settings)
    yield small
    for name in small.names():
        client.command(f"DROP DATABASE IF EXISTS {name}")
    client.close()


def lines(archive: SmallArchive, what: str, database: str | None = None) -> list[Line]:
    return [json.loads(line) for line in export(archive.client, archive.settings, what, database=database)]


def by_body(archive: SmallArchive, database: str) -> dict[str, Line]:
    return {one["body"]: one for one in lines(archive, "messages", database) if one["partition"] == 0}


def test_messages(archive: SmallArchive) -> None:
    found = by_body(archive, archive.alpha)
    secret = found["a secret"]
    assert secret["message_id"] == secret["event_id"] == "secret-0"
    assert (secret["decision"], secret["delivered_body"]) == ("modified", "a ******")  # two of three who got it
    assert secret["recipients"] == [
        "bob@alpha.example",
        "carol@beta.example",
        "erin@beta.example",
        "mallory@alpha.example",
    ]
    assert (secret["sequence"], secret["partition"], secret["offset"]) == (3, 0, 7)
    assert datetime.fromisoformat(secret["sent_at"]).utcoffset() is not None
    blocked = found["only Mallory"]
    assert (blocked["decision"], blocked["delivered_body"]) == ("blocked", None)
    nobody = found[""]
    assert (nobody["kind"], nobody["decision"], nobody["delivered_body"], nobody["recipients"]) == (
        "join",
        "ok",
        "",
        [],
    )
    taken = found["other bytes under the same id"]
    assert taken["message_id"] == f"{taken['event_id']}~{taken['sequence']}" == "secret-0~5"
    card = next(one for one in found.values() if one["attachments"])
    assert card["attachments"][0]["content"] == base64.b64encode(b"\0\xffa").decode()
    assert card["attributes"] == {"b": "1", "a": "ü"}
    assert "nobody keeps this" not in found


def test_a_message_that_a_later_capture_brought_into_a_database_is_there_whole(archive: SmallArchive) -> None:
    inside = next(one for one in lines(archive, "messages", archive.beta) if one["event_id"] == "inside-0")
    assert inside["recipients"] == [
        f"{name}" for name in ("bob@alpha.example", "carol@beta.example", "dave@beta.example", "frank@alpha.example")
    ]
    assert inside["recipients"] == by_body(archive, archive.alpha)[inside["body"]]["recipients"]


def test_copies(archive: SmallArchive) -> None:
    copies = lines(archive, "copies", archive.alpha)
    ids = {one["message_id"] for one in lines(archive, "messages", archive.alpha)}
    assert {one["message_id"] for one in copies} <= ids
    assert len({(one["message_id"], one["recipient"]) for one in copies}) == len(copies)
    secret = {one["recipient"]: one for one in copies if one["message_id"] == "secret-0"}
    assert [secret[name]["delivered_body"] for name in sorted(secret)] == ["a secret", "a ******", "a ******", None]
    assert secret["erin@beta.example"]["event_id"] == "secret-0"
    assert secret["erin@beta.example"]["capture_event_id"] == "fork-0"
    assert (secret["erin@beta.example"]["direction"], secret["bob@alpha.example"]["direction"]) == (
        "outbound",
        "internal",
    )


def test_merges_without_retries(archive: SmallArchive) -> None:
    merges = {one["event_id"]: one for one in lines(archive, "merges", archive.alpha)}
    assert {"later-0", "fork-0", "late-0", "again-0"} <= set(merges)
    assert "inside-0" not in merges
    assert (merges["later-0"]["into"], merges["later-0"]["rule"]) == ("inside-0", "stanza_id")
    assert merges["later-0"]["into_message_id"] == "inside-0"


def test_verdicts_one_for_each_event(archive: SmallArchive) -> None:
    verdicts = lines(archive, "verdicts")
    with_id = [step for step in archive.steps if step.verdict is not None]
    assert len(verdicts) == len(with_id)
    assert {"event_id", "decision", "reason", "rules", "policy"} <= set(verdicts[0])


def test_the_journal_in_its_order(archive: SmallArchive) -> None:
    journal = lines(archive, "journal")
    places = [(one["lineage"], one["partition"], one["sequence"]) for one in journal]
    assert places == sorted(places)
    assert len(places) == len(archive.steps)
    for before, after in pairwise(journal):
        if before["partition"] == after["partition"]:
            assert after["previous_hash"] == before["hash"]
    assert base64.b64decode(next(one["raw"] for one in journal if one["status"] == "rejected")) == b"not avro"


def test_dead_letters_and_findings(archive: SmallArchive) -> None:
    letters = lines(archive, "dead-letters")
    assert len(letters) == 2 * PARTITIONS
    first = letters[0]
    assert (first["topic"], first["stage"], base64.b64decode(first["bytes"])) == ("im.events", "decode", b"not avro")
    assert first["headers"] == [{"name": "header", "value": base64.b64encode(b"\xff").decode()}]
    assert {"event_id_reused", "misrouted", "no-secrets", "gap"} <= {one["rule"] for one in lines(archive, "findings")}


def test_the_same_lines_each_time(archive: SmallArchive) -> None:
    for what, database in (
        ("messages", archive.beta),
        ("copies", archive.alpha),
        ("merges", archive.beta),
        ("journal", None),
    ):
        assert lines(archive, what, database) == lines(archive, what, database)


@pytest.mark.parametrize("what", ["messages", "copies", "merges"])
def test_one_of_several_databases_must_be_named(archive: SmallArchive, what: str) -> None:
    with pytest.raises(BadInput, match="audit_export_alpha, audit_export_beta"):
        export(archive.client, archive.settings, what)
    with pytest.raises(BadInput, match="no archive database"):
        export(archive.client, archive.settings, what, database="nothing")


def test_alerts_are_not_built_yet(archive: SmallArchive) -> None:
    with pytest.raises(BadInput, match="not built yet"):
        export(archive.client, archive.settings, "alerts")
    with pytest.raises(BadInput, match="none of"):
        export(archive.client, archive.settings, "secrets")


def test_an_archive_that_is_not_there(clickhouse: Database) -> None:
    settings = settings_for(clickhouse.url, "audit_nothing")
    client = connect(settings)
    client.database = None
    with pytest.raises(Misconfigured):
        list(export(client, settings, "journal"))
    client.close()
