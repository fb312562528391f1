"""Schemas by id. The registry here is a mock by hand (tests/support/registry.py); a real one was never asked."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form

from pipeline import codec
from pipeline.codec import EventCodec, RecordCodec
from pipeline.errors import Misconfigured, Poison, Unavailable
from pipeline.registry import (
    FIXED_IDS,
    TOPICS,
    UNKNOWN_FOR_S,
    FixedSchemas,
    RegistrySchemas,
    Schemas,
    check_event_schema,
    copy_schema,
    load_schema,
    open_schemas,
)
from pipeline.settings import Kafka
from tests.support.events import encode
from tests.support.examples import examples
from tests.support.registry import MockRegistry, mock_registry

EVENT = examples("event")[2]  # with an attachment and two recipients
LANGUAGE = {"name": "language", "type": ["null", "string"], "default": None}


@pytest.fixture
def registry() -> Iterator[MockRegistry]:
    with mock_registry() as mock:
        yield mock


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def event_schema(**types: Any) -> dict[str, Any]:
    """The event's schema with other types for some fields; None takes a field out, a new name stands last."""
    schema = copy.deepcopy(dict(load_schema("event")))
    fields = {field["name"]: field for field in schema["fields"]}
    for name, kind in types.items():
        if kind is None:
            del fields[name]
        else:
            fields[name] = {"name": name, "type": kind}
    return {**schema, "fields": list(fields.values())}


# -- fixed ids ------------------------------------------------------------------------------------------------------


def test_without_a_registry_the_ids_are_fixed() -> None:
    schemas: Schemas = open_schemas(Kafka())
    assert isinstance(schemas, FixedSchemas)
    assert list(FIXED_IDS.values()) == list(range(1, 10))
    for name, number in FIXED_IDS.items():
        assert schemas.schema(number) == load_schema(name)
        assert schemas.id_of(name) == number
    assert schemas.event_schema(codec.EVENT) == load_schema("event")
    assert schemas.copy_schema_ids == {codec.EVENT: codec.COPY}
    for number in (0, 10, 1 << 31):
        with pytest.raises(Poison, match="unknown_schema"):
            schemas.schema(number)
    for number in (0, 2, 10):
        with pytest.raises(Poison, match="unknown_schema"):
            schemas.event_schema(number)


# -- a registry -----------------------------------------------------------------------------------------------------


def test_our_own_schemas_are_registered_at_once(registry: MockRegistry) -> None:
    schemas = open_schemas(Kafka(registry_url=registry.url, prefix="acme"))
    assert isinstance(schemas, RegistrySchemas)
    assert set(registry.subjects) == {f"acme.{topic}-value" for topic in TOPICS.values()}
    for name, topic in TOPICS.items():
        assert registry.subjects[f"acme.{topic}-value"] == [schemas.id_of(name)]
        assert json.loads(registry.schemas[schemas.id_of(name)]["schema"]) == schemas.schema(schemas.id_of(name))
    again = open_schemas(Kafka(registry_url=registry.url, prefix="acme"))
    assert [again.id_of(name) for name in TOPICS] == [schemas.id_of(name) for name in TOPICS]


def test_an_event_schema_is_fetched_once_and_its_copies_get_one(registry: MockRegistry) -> None:
    number = registry.add(event_schema(language=["null", "string"]))
    schemas = RegistrySchemas(Kafka(registry_url=registry.url))
    asked = len(registry.asked)
    events = EventCodec(schemas.event_schema, load_schema("event"))
    value = encode({**EVENT, "language": "en"}, event_schema(language=["null", "string"]), number)
    capture = events.decode(value)
    for _ in range(5):
        assert events.decode(value) == capture
    assert len(registry.asked) == asked + 2  # the schema, and the copies' schema
    assert capture.event == {**EVENT, "language": "en"}
    copies = schemas.copy_schema_ids[number]
    assert copies in registry.subjects["im.copies-value"]
    assert copies != schemas.id_of("copy")
    header = {key: value for key, value in examples("copy")[1].items() if key not in EVENT}
    out = RecordCodec(copy_schema({"type": "record", "name": "H", "fields": []}), copies).encode(header)
    made = RecordCodec(schemas.schema(copies), copies).decode(out + capture.without_recipients())
    assert made == {**header, **EVENT, "language": "en", "recipients": []}


def test_the_event_of_version_1_shares_our_copy_schema(registry: MockRegistry) -> None:
    number = registry.add(dict(load_schema("event")))
    schemas = RegistrySchemas(Kafka(registry_url=registry.url))
    schemas.event_schema(number)
    derived = schemas.schema(schemas.copy_schema_ids[number])
    assert canonical(derived) == canonical(load_schema("copy"))


def test_an_unknown_id_is_poison_and_not_asked_for_again_at_once(registry: MockRegistry) -> None:
    clock = Clock()
    schemas = RegistrySchemas(Kafka(registry_url=registry.url), clock)
    asked = len(registry.asked)
    for _ in range(5):
        with pytest.raises(Poison, match="unknown_schema"):
            schemas.event_schema(5)
    assert len(registry.asked) == asked + 1
    registry.schemas[5] = {"schema": json.dumps(load_schema("event"))}
    clock.now += UNKNOWN_FOR_S
    assert schemas.event_schema(5) == load_schema("event")


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_registry_that_does_not_answer_is_waited_for(registry: MockRegistry, status: int) -> None:
    schemas = RegistrySchemas(Kafka(registry_url=registry.url))
    number = registry.add(dict(load_schema("event")))
    registry.fail = status
    with pytest.raises(Unavailable):
        schemas.event_schema(number)
    with pytest.raises(Unavailable):
        RegistrySchemas(Kafka(registry_url=registry.url))
    registry.fail = None
    assert schemas.event_schema(number) == load_schema("event")


def test_a_registry_that_is_away_is_waited_for() -> None:
    with mock_registry() as mock:
        schemas = RegistrySchemas(Kafka(registry_url=mock.url))
    with pytest.raises(Unavailable):
        schemas.schema(5)
    with pytest.raises(Unavailable):
        RegistrySchemas(Kafka(registry_url=mock.url))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_registry_that_refuses_us_is_misconfigured(registry: MockRegistry, status: int) -> None:
    schemas = RegistrySchemas(Kafka(registry_url=registry.url))
    registry.fail = status
    with pytest.raises(Misconfigured):  # above all no Poison: what answers 404 to everything is no registry
        schemas.event_schema(5)
    with pytest.raises(Misconfigured):
        RegistrySchemas(Kafka(registry_url=registry.url))


def test_a_registry_that_refuses_our_schema_is_misconfigured(registry: MockRegistry) -> None:
    registry.refuse_subject = "im.journal-value"
    with pytest.raises(Misconfigured, match=r"im\.journal-value"):
        RegistrySchemas(Kafka(registry_url=registry.url))
    with pytest.raises(Misconfigured):
        RegistrySchemas(Kafka(registry_url="ftp://nowhere"))


@pytest.mark.parametrize(
    "body",
    [
        {"schema": "{", "schemaType": "AVRO"},
        {"schema": '"string"'},
        {"schema": "[]"},
        {"schema": "{}"},
        {"schema": "{}", "schemaType": "JSON"},
        {"schema": json.dumps(load_schema("verdict"))},
        {"schema": json.dumps(load_schema("event")), "references": [{"name": "a", "subject": "b", "version": 1}]},
    ],
)
def test_what_is_no_event_schema_is_poison(registry: MockRegistry, body: dict[str, Any]) -> None:
    schemas = RegistrySchemas(Kafka(registry_url=registry.url))
    registry.schemas[7] = body
    with pytest.raises(Poison, match="incompatible_schema"):
        schemas.event_schema(7)
    assert 7 not in schemas.copy_schema_ids


# -- which schemas an event may have --------------------------------------------------------------------------------


def canonical(schema: Any) -> str:
    return to_parsing_canonical_form(fastavro.parse_schema(schema))


def test_the_copy_schema_in_schemas_is_the_one_derived_from_the_event() -> None:
    assert canonical(copy_schema(load_schema("event"))) == canonical(load_schema("copy"))


def test_an_event_of_another_namespace_has_copies_too() -> None:
    schema = {**event_schema(), "namespace": "com.acme", "name": "Capture"}
    schema["fields"].append({"name": "second_kind", "type": "Kind", "default": "other"})
    check_event_schema(schema)
    derived = copy_schema(schema)
    types = {field["name"]: field["type"] for field in derived["fields"]}
    assert types["second_kind"] == types["kind"]["name"] == "com.acme.Kind"
    fastavro.parse_schema(dict(derived))


def test_types_of_the_same_name_as_the_headers_are_refused() -> None:
    decision = {"type": "enum", "name": "Decision", "symbols": ["yes", "no"]}
    with pytest.raises(Poison, match="incompatible_schema"):
        copy_schema(event_schema(vote=decision))


KIND = next(field["type"] for field in load_schema("event")["fields"] if field["name"] == "kind")


@pytest.mark.parametrize(
    "types",
    [
        {"language": "string"},
        {"language": ["null", "string"]},
        {"thread": None},  # it has a default
        {"thread": "string"},
        {"thread": ["string", "null"]},
        {"kind": {**KIND, "symbols": [*KIND["symbols"], "call"]}},  # a reader takes it for other
        {"phase": {"type": "enum", "name": "Phase", "symbols": ["sent"]}},
    ],
)
def test_a_schema_that_reads_as_version_1_is_taken(types: dict[str, Any]) -> None:
    check_event_schema(event_schema(**types))
    copy_schema(event_schema(**types))


@pytest.mark.parametrize(
    ("types", "why"),
    [
        ({"event_id": None}, "no event_id"),
        ({"sent_at": None}, "no sent_at"),
        ({"recipients": None}, "no recipients"),
        ({"recipients": "string"}, "recipients is of another type"),
        ({"recipients": {"type": "array", "items": "bytes"}}, "recipients is of another type"),
        ({"body": "bytes"}, "body is of another type"),
        ({"body": ["null", "string"]}, "body is of another type"),
        ({"thread": ["null", "bytes"]}, "thread is of another type"),
        ({"sent_at": "long"}, "sent_at is of another type"),
        ({"sent_at": {"type": "long", "logicalType": "timestamp-millis"}}, "sent_at is of another type"),
        ({"phase": {"type": "enum", "name": "Phase", "symbols": ["sent", "read"]}}, "phase is of another type"),
        ({"attributes": {"type": "map", "values": "long"}}, "attributes is of another type"),
        ({"attachments": {"type": "array", "items": "string"}}, "attachments is of another type"),
        (
            {
                "attachments": {
                    "type": "array",
                    "items": {"type": "record", "name": "A", "fields": [{"name": "name", "type": "string"}]},
                }
            },
            "attachments is of another type",
        ),
        ({"sequence": "long"}, "sequence is a field of the archive's own"),
        ({"delivered_body": "string"}, "delivered_body is a field of the archive's own"),
        ({"extra": "no.such.type"}, "UnknownType"),
    ],
)
def test_a_schema_that_does_not_is_poison(types: dict[str, Any], why: str) -> None:
    with pytest.raises(Poison) as caught:
        check_event_schema(event_schema(**types))
    assert caught.value.reason == "incompatible_schema"
    assert why in caught.value.detail
