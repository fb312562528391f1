"""The example records in schemas/examples: JSON in which bytes are base64, fixed are hex, and times are ISO 8601."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipeline import resources
from pipeline.registry import load_schema

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UNITS: Final = {
    "timestamp-micros": timedelta(microseconds=1),
    "timestamp-millis": timedelta(milliseconds=1),
}


def examples(name: str) -> list[dict[str, Any]]:
    """The example records of schemas/NAME.avsc, with bytes as bytes and times as numbers."""
    text = (resources.schemas() / "examples" / f"{name}.json").read_text(encoding="utf-8")
    return [_walk(record, load_schema(name), {}, _from_json) for record in json.loads(text)]


def to_json(name: str, records: list[dict[str, Any]]) -> str:
    """What schemas/examples/NAME.json holds for these records."""
    made = [_walk(record, load_schema(name), {}, _to_json) for record in records]
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _walk(value: Any, schema: Any, named: dict[str, Any], leaf: Callable[[Any, Any], Any]) -> Any:
    if isinstance(schema, list):
        return None if value is None else _walk(value, schema[1], named, leaf)
    schema = named.get(schema, {"type": schema}) if isinstance(schema, str) else schema
    if "name" in schema:
        named[schema["name"]] = schema
    match schema["type"]:
        case "record":
            assert value.keys() == {field["name"] for field in schema["fields"]}
            return {
                field["name"]: _walk(value[field["name"]], field["type"], named, leaf) for field in schema["fields"]
            }
        case "array":
            # also where it is empty, for the names within
            return [_walk(one, schema["items"], named, leaf) for one in value]
        case "map":
            return {key: _walk(one, schema["values"], named, leaf) for key, one in value.items()}
        case _:
            return leaf(value, schema)


def _from_json(value: Any, schema: Any) -> Any:
    if schema.get("logicalType") in UNITS:
        return (datetime.fromisoformat(value) - EPOCH) // UNITS[schema["logicalType"]]
    match schema["type"]:
        case "bytes":
            return base64.b64decode(value, validate=True)
        case "fixed":
            return bytes.fromhex(value)
        case _:
            return value


def _to_json(value: Any, schema: Any) -> Any:
    if schema.get("logicalType") in UNITS:
        return (EPOCH + value * UNITS[schema["logicalType"]]).isoformat(timespec="microseconds").replace("+00:00", "Z")
    match schema["type"]:
        case "bytes":
            return base64.b64encode(value).decode()
        case "fixed":
            return value.hex()
        case _:
            return value
