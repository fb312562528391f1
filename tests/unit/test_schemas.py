"""The schemas: their examples decode, and they may follow what was released."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest

from pipeline import resources
from pipeline.codec import EventCodec, RecordCodec, without_logical_types
from pipeline.registry import FIXED_IDS, FixedSchemas, load_schema
from tests.support.compatibility import breaking_changes
from tests.support.examples import examples, to_json

RELEASED = Path(__file__).parents[1] / "data" / "schemas-v1"
NAMES = sorted(FIXED_IDS)


def released(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((RELEASED / f"{name}.avsc").read_text())
    return schema


def test_every_schema_has_an_id_examples_and_a_released_version() -> None:
    assert sorted(path.stem for path in resources.schemas().glob("*.avsc")) == NAMES
    assert sorted(path.stem for path in (resources.schemas() / "examples").glob("*.json")) == NAMES
    assert sorted(path.stem for path in RELEASED.glob("*.avsc")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_encoded_and_decoded(name: str) -> None:
    codec = RecordCodec(load_schema(name), FIXED_IDS[name])
    for record in examples(name):
        assert codec.decode(codec.encode(record)) == record
    assert to_json(name, examples(name)) == (resources.schemas() / "examples" / f"{name}.json").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_explained(name: str) -> None:
    if name != "event":  # it is given
        assert load_schema(name)["doc"]
        assert [field["name"] for field in load_schema(name)["fields"] if not field.get("doc")] == [
            field["name"] for field in load_schema("event")["fields"] if name == "copy" and not field.get("doc")
        ]


def test_the_journal_examples_are_a_chain_over_the_event_examples() -> None:
    codec = RecordCodec(load_schema("journal"), FIXED_IDS["journal"])
    events = EventCodec(FixedSchemas().event_schema, load_schema("event"))
    journal = examples("journal")
    previous = hashlib.sha256(f"{journal[0]['lineage']}/{journal[0]['partition']}".encode()).digest()
    for sequence, record in enumerate(journal):
        datum = codec.encode(record)[5:]
        assert record["sequence"] == sequence
        assert record["previous_hash"] == previous
        assert record["hash"] == datum[:32] == hashlib.sha256(datum[32:]).digest()
        previous = record["hash"]
    assert {record["status"] for record in journal} == {"accepted", "merged", "rerouted", "rejected", "gap"}
    assert previous == examples("head")[0]["hash"] == examples("batch")[0]["last_hash"]
    taken = {record["event_id"]: record["raw"] for record in journal if record["event_id"]}
    for event in examples("event"):
        assert events.decode(taken[event["event_id"]]).event == event


@pytest.mark.parametrize("name", NAMES)
def test_nothing_released_is_broken(name: str) -> None:
    assert breaking_changes(released(name), load_schema(name)) == []


def crosswise(name: str, old: Any, new: Any) -> None:
    """Old readers read what new writers wrote of the examples, and the reverse, and find the same in it."""
    for writer, reader in ((old, new), (new, old), (new, new)):
        written, read = (fastavro.parse_schema(without_logical_types(schema)) for schema in (writer, reader))
        shared = {field["name"] for field in released(name)["fields"]}
        for record in examples(name):
            out = io.BytesIO()
            fastavro.schemaless_writer(out, written, record)
            out.seek(0)
            got: Any = fastavro.schemaless_reader(out, written, read)
            assert {key: got[key] for key in shared} == {key: record[key] for key in shared}


@pytest.mark.parametrize("name", NAMES)
def test_old_readers_read_new_writers_and_the_reverse(name: str) -> None:
    crosswise(name, released(name), load_schema(name))


Change = Callable[[Any], Any]


def field_of(schema: Any, name: str) -> Any:
    return next(field for field in schema["fields"] if field["name"] == name)


def changed(name: str, change: Change) -> Any:
    schema = copy.deepcopy(dict(load_schema(name)))
    change(schema)
    assert schema != load_schema(name)
    return schema


def without(name: str) -> Change:
    return lambda schema: schema.update(fields=[field for field in schema["fields"] if field["name"] != name])


def adds(field: dict[str, Any], at: int = 1000) -> Change:
    return lambda schema: schema["fields"].insert(at, field)


def moves(schema: Any) -> None:
    schema["fields"].insert(3, schema["fields"].pop(6))


BREAKING: dict[str, tuple[str, Change, str]] = {
    "a field is removed": ("journal", without("rule"), "rule: removed"),
    "a field with a default is removed": ("event", without("thread"), "thread: removed"),
    "a field is renamed": ("verdict", lambda s: field_of(s, "rules").update(name="rule_ids"), "rules: removed"),
    "a type changes": ("journal", lambda s: field_of(s, "offset").update(type="int"), "offset: type"),
    "a type becomes wider": ("head", lambda s: field_of(s, "partition").update(type="long"), "partition: type"),
    "a unit changes": (
        "batch",
        lambda s: field_of(s, "inserted_at")["type"].update(logicalType="timestamp-millis"),
        "inserted_at: logicalType",
    ),
    "a time becomes a number": ("head", lambda s: field_of(s, "arrival").update(type="long"), "arrival: logicalType"),
    "null becomes possible": ("copy", lambda s: field_of(s, "reason").update(type=["null", "string"]), "union"),
    "a branch is added": ("verdict", lambda s: field_of(s, "delivered_body")["type"].append("bytes"), "union"),
    "branches change places": ("event", lambda s: field_of(s, "thread")["type"].reverse(), "thread: type"),
    "a field comes without a default": ("finding", adds({"name": "x", "type": "string"}), "x: new, without"),
    "one within a record does": (
        "event",
        lambda s: field_of(s, "attachments")["type"]["items"]["fields"].append({"name": "x", "type": "long"}),
        "attachments[].x: new, without",
    ),
    "a default goes": ("event", lambda s: field_of(s, "phase").pop("default"), "phase: the default changed"),
    "a default changes": ("event", lambda s: field_of(s, "phase").update(default="delivered"), "default changed"),
    "a symbol goes": ("event", lambda s: field_of(s, "kind")["type"]["symbols"].pop(), "symbols changed"),
    "a symbol comes first": (
        "event",
        lambda s: field_of(s, "kind")["type"]["symbols"].insert(0, "call"),
        "symbols changed",
    ),
    "symbols change places": (
        "copy",
        lambda s: field_of(s, "direction")["type"]["symbols"].reverse(),
        "symbols changed",
    ),
    "a symbol that old readers have no default for": (
        "journal",
        lambda s: field_of(s, "status")["type"]["symbols"].append("held"),
        "no symbol for a new one",
    ),
    "an enum's default goes": ("event", lambda s: field_of(s, "kind")["type"].pop("default"), "enum's default"),
    "a fixed grows": ("head", lambda s: field_of(s, "hash")["type"].update(size=64), "hash: size"),
    "a record is renamed": ("journal", lambda s: s.update(name="Ledger"), "JournalRecord: name"),
    "the items of an array change": ("journal", lambda s: field_of(s, "also")["type"].update(items="int"), "also[]"),
    "the values of a map change": ("event", lambda s: field_of(s, "attributes")["type"].update(values="bytes"), "{}"),
    "the journal's fields change places": ("journal", moves, "changed places"),
    "a field comes between the journal's": (
        "journal",
        adds({"name": "x", "type": "string", "default": ""}, 5),
        "changed places",
    ),
    "a field comes before an event's recipients": (
        "event",
        adds({"name": "x", "type": "string", "default": ""}, 5),
        "changed places",
    ),
}


@pytest.mark.parametrize("what", BREAKING)
def test_a_breaking_change_is_found(what: str) -> None:
    name, change, expected = BREAKING[what]
    found = breaking_changes(released(name), changed(name, change))
    assert any(expected in line for line in found), found


ALLOWED: dict[str, tuple[str, Change]] = {
    "a field with a default at the end": ("journal", adds({"name": "x", "type": "string", "default": ""})),
    "one of an event": ("event", adds({"name": "language", "type": ["null", "string"], "default": None})),
    "one between those of a verdict": ("verdict", adds({"name": "x", "type": "long", "default": 0}, 2)),
    "a symbol that old readers have a default for": (
        "event",
        lambda s: field_of(s, "kind")["type"]["symbols"].append("call"),
    ),
    "another doc": ("head", lambda s: field_of(s, "floor").update(doc="Otherwise.")),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_a_change_that_breaks_nothing_is_let_through(what: str) -> None:
    name, change = ALLOWED[what]
    new = changed(name, change)
    assert breaking_changes(released(name), new) == []
    crosswise(name, released(name), new)


def test_an_old_reader_takes_a_new_kind_for_other() -> None:
    name, change = ALLOWED["a symbol that old readers have a default for"]
    written, read = (fastavro.parse_schema(without_logical_types(s)) for s in (changed(name, change), released(name)))
    out = io.BytesIO()
    fastavro.schemaless_writer(out, written, {**examples(name)[0], "kind": "call"})
    out.seek(0)
    got: Any = fastavro.schemaless_reader(out, written, read)
    assert got == {**examples(name)[0], "kind": "other"}
