"""Where Avro schemas come from: files with fixed ids, or a schema registry.

Every value on Kafka names its writer schema by an id. Without a registry the ids are fixed: 1 is schemas/event.avsc, and
so on as pipeline.codec numbers them. With one, producers register event schemas of their own, as they add fields; each
must still be readable as the event of version 1, and each has a copy schema derived from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NoReturn, Protocol, cast

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from pipeline import codec, resources
from pipeline.codec import AvroSchema
from pipeline.errors import Misconfigured, Poison, Unavailable
from pipeline.settings import Kafka

FIXED_IDS: Final[Mapping[str, int]] = {
    "event": codec.EVENT,
    "journal": codec.JOURNAL,
    "copy": codec.COPY,
    "verdict": codec.VERDICT,
    "finding": codec.FINDING,
    "dead_letter": codec.DEAD_LETTER,
    "batch": codec.BATCH,
    "head": codec.HEAD,
    "policy": codec.POLICY,
}
"""Schema ids without a registry, by the name of the file in schemas/."""
TOPICS: Final[Mapping[str, str]] = {
    "journal": "journal",
    "copy": "copies",
    "verdict": "verdicts",
    "finding": "findings",
    "dead_letter": "dead-letters",
    "head": "heads",
    "policy": "policies",
}
"""Topics, without the prefix, whose values are registered: PREFIX.TOPIC-value is the subject."""
REGISTRY_TIMEOUT_S: Final = 10
UNKNOWN_FOR_S: Final = 10.0
"""So long an id that the registry does not know is not asked for again, in seconds."""
UNKNOWN_IDS: Final = 10_000
"""Most such ids that are remembered."""
EVENT_SCHEMAS: Final = 1000
"""Most event schemas of one worker; more of them are a producer that registers one for each record."""
_SCHEMA_NOT_FOUND: Final = 40403
_NAMES: Final = {number: name for name, number in FIXED_IDS.items()}
_PROMOTED: Final = ["int", "long"]  # the first is written just as the second


class Schemas(Protocol):
    """Schemas by id, and the ids of our own."""

    @property
    def copy_schema_ids(self) -> Mapping[int, int]:
        """The copies' schema id for each event schema id that `event_schema` has returned."""
        ...

    def schema(self, schema_id: int) -> AvroSchema:
        """The writer schema with this id.

        Raises:
            Poison: there is none (unknown_schema), or it is not Avro (incompatible_schema).
            Unavailable: the registry does not answer.
        """
        ...

    def event_schema(self, schema_id: int) -> AvroSchema:
        """The same, of an event: it can be read as one of version 1, and its copies have a schema.

        Raises:
            Poison: it is unknown, or it cannot be read so (incompatible_schema).
            Unavailable: the registry does not answer.
            Misconfigured: the registry refuses the copies' schema.
        """
        ...

    def id_of(self, name: str) -> int:
        """The id that our own records of this name (journal, verdict ...) are written with."""
        ...


@cache
def load_schema(name: str) -> AvroSchema:
    """The schema in schemas/NAME.avsc, as JSON. Treated as frozen."""
    schema: AvroSchema = json.loads((resources.schemas() / f"{name}.avsc").read_text(encoding="utf-8"))
    return schema


def open_schemas(kafka: Kafka) -> Schemas:
    """The registry of the settings; without one, the fixed ids.

    Raises:
        Unavailable: the registry does not answer.
        Misconfigured: it refuses us or our schemas.
    """
    return RegistrySchemas(kafka) if kafka.registry_url else FixedSchemas()


class FixedSchemas:
    """The schemas of schemas/ under their fixed ids."""

    copy_schema_ids: Mapping[int, int] = {codec.EVENT: codec.COPY}

    def schema(self, schema_id: int) -> AvroSchema:
        if schema_id not in _NAMES:
            raise Poison("decode", "unknown_schema", f"schema id {schema_id}, and no schema registry is configured")
        return load_schema(_NAMES[schema_id])

    def event_schema(self, schema_id: int) -> AvroSchema:
        if schema_id != codec.EVENT:
            raise Poison("decode", "unknown_schema", f"schema id {schema_id} is not the event's, {codec.EVENT}")
        return load_schema("event")

    def id_of(self, name: str) -> int:
        return FIXED_IDS[name]


class RegistrySchemas:
    """Schemas of a registry with Confluent's REST API; our own are registered at once, under PREFIX.TOPIC-value.

    What was fetched is kept: the schema of an id never changes.

    Args:
        kafka: registry_url, prefix, and the certificates that the registry shares with the brokers.
        clock: seconds, monotonic.

    Raises:
        Unavailable: the registry does not answer.
        Misconfigured: it refuses us or our schemas.
    """

    def __init__(self, kafka: Kafka, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = _client(kafka)
        self._prefix, self._clock = kafka.prefix, clock
        self._schemas: dict[int, AvroSchema] = {}
        self._events: dict[int, AvroSchema] = {}
        self._unknown: dict[int, float] = {}
        self._copies: dict[int, int] = {}
        self._own = {name: self._register(name, load_schema(name)) for name in TOPICS}

    @property
    def copy_schema_ids(self) -> Mapping[int, int]:
        return self._copies

    def schema(self, schema_id: int) -> AvroSchema:
        found = self._schemas.get(schema_id)
        if found is None:
            found = self._schemas[schema_id] = self._fetch(schema_id)
        return found

    def event_schema(self, schema_id: int) -> AvroSchema:
        if schema_id not in self._events:
            schema = self.schema(schema_id)
            check_event_schema(schema)
            if len(self._events) >= EVENT_SCHEMAS:
                raise Poison("decode", "incompatible_schema", f"more than {EVENT_SCHEMAS} event schemas")
            self._copies[schema_id] = self._register("copy", copy_schema(schema))
            self._events[schema_id] = schema
        return self._events[schema_id]

    def id_of(self, name: str) -> int:
        return self._own[name]

    def _fetch(self, schema_id: int) -> AvroSchema:
        now = self._clock()
        if now - self._unknown.get(schema_id, -UNKNOWN_FOR_S) < UNKNOWN_FOR_S:
            raise Poison("decode", "unknown_schema", f"schema id {schema_id}")
        try:
            answer = self._client.get_schema(schema_id)
        except Exception as error:  # noqa: BLE001 - the client raises its HTTP library's errors as well
            if getattr(error, "error_code", None) != _SCHEMA_NOT_FOUND:  # a bare 404 is no registry's answer
                _raise_for(error)
            if len(self._unknown) >= UNKNOWN_IDS:
                self._unknown.clear()
            self._unknown[schema_id] = now
            raise Poison("decode", "unknown_schema", f"schema id {schema_id}") from None
        if answer.schema_type != "AVRO" or answer.references:
            raise Poison("decode", "incompatible_schema", f"schema id {schema_id} is not Avro in one piece")
        try:
            schema = json.loads(answer.schema_str)
        except ValueError:
            schema = None
        if not isinstance(schema, dict):
            raise Poison("decode", "incompatible_schema", f"schema id {schema_id} is no record")
        return schema

    def _register(self, name: str, schema: AvroSchema) -> int:
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415 - see _client

        subject = f"{self._prefix}.{TOPICS[name]}-value"
        try:
            number: int = self._client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
        except Exception as error:  # noqa: BLE001 - the client raises its HTTP library's errors as well
            if getattr(error, "http_status_code", None) in {409, 422}:
                raise Misconfigured(f"schema registry: it does not take {subject}: {error}") from None
            _raise_for(error)
        self._schemas[number] = schema
        return number


def _client(kafka: Kafka) -> Any:
    # Imported here, for it brings an HTTP client and OAuth that nobody without a registry needs to load.
    from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415

    config: dict[str, Any] = {"url": kafka.registry_url, "timeout": REGISTRY_TIMEOUT_S, "max.retries": 0}
    files = {
        "ssl.ca.location": kafka.ca_file,
        "ssl.certificate.location": kafka.certificate_file,
        "ssl.key.location": kafka.key_file,
    }
    config |= {name: str(path) for name, path in files.items() if path is not None}
    try:
        return SchemaRegistryClient(config)
    except (ValueError, OSError) as error:
        raise Misconfigured(f"schema registry: {error}") from None


def _raise_for(error: Exception) -> NoReturn:
    """Unavailable, unless the registry's answer says that a person must act."""
    status = getattr(error, "http_status_code", None)
    if status is not None and 400 <= status < 500 and status not in {408, 429}:
        raise Misconfigured(f"schema registry: {error}") from None
    raise Unavailable(f"schema registry: {type(error).__name__}: {error}") from None


def copy_schema(event: AvroSchema) -> AvroSchema:
    """The schema of an event's copies: the copy's header, then the event's own fields.

    Raises:
        Poison: the event's names and the header's are in each other's way.
    """
    mine = load_schema("copy")
    header = mine["fields"][: -len(load_schema("event")["fields"])]
    # With full names, so that types of the event's namespace are still found from within another record.
    fields = _parsed(event)["fields"]
    schema = {**mine, "fields": [*header, *fields]}
    _parsed(schema)
    return schema


def check_event_schema(schema: AvroSchema) -> None:
    """Make sure that what was written with `schema` can be read, stored and derived as an event of version 1.

    Raises:
        Poison: incompatible_schema; a field is missing or of another type, or a new one has a name of ours.
    """
    fields = {field["name"]: field["type"] for field in _parsed(schema).get("fields", ())}
    mine = _parsed(load_schema("event"))
    for field in mine["fields"]:
        name = field["name"]
        if name not in fields:
            # recipients are what a copy's bytes are cut at; the rest may be filled in.
            if "default" not in field or name == "recipients":
                _refuse(f"no {name}")
        elif not _readable(fields[name], field["type"]):
            _refuse(f"{name} is of another type")
    new = fields.keys() - {field["name"] for field in mine["fields"]}
    if taken := sorted(new & _own_names()):
        _refuse(f"{taken[0]} is a field of the archive's own")


def _own_names() -> set[str]:
    names = {field["name"] for name in ("journal", "copy") for field in load_schema(name)["fields"]}
    return names | {"schema_id", "journal_event_id", "message_id"}


def _refuse(why: str) -> NoReturn:
    raise Poison("decode", "incompatible_schema", why)


def _parsed(schema: AvroSchema) -> dict[str, Any]:
    try:
        parsed = cast("dict[str, Any]", fastavro.parse_schema(dict(schema), _write_hint=False))
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, RecursionError) as error:
        _refuse(f"{type(error).__name__}: {error}")
    if parsed.get("type") != "record":
        _refuse("it is no record")
    return parsed


def _readable(written: Any, read: Any) -> bool:
    """Whether what was written is, without any conversion, what is read."""
    if isinstance(read, list):
        if isinstance(written, list):
            return len(written) == len(read) and all(any(_readable(one, other) for other in read) for one in written)
        return any(_readable(written, other) for other in read)
    if not isinstance(written, dict) or not isinstance(read, dict):
        return bool(written == read or [written, read] == _PROMOTED)
    if written["type"] != read["type"] or written.get("logicalType") != read.get("logicalType"):
        return False
    match read["type"]:
        case "array":
            return _readable(written["items"], read["items"])
        case "map":
            return _readable(written["values"], read["values"])
        case "enum":
            return "default" in read or set(written["symbols"]) <= set(read["symbols"])
        case "record":
            given = {field["name"]: field["type"] for field in written["fields"]}
            return all(_readable(given.get(field["name"]), field["type"]) for field in read["fields"])
        case _:
            return True
