"""Whether a schema may follow a released one: old readers with new writers, and the reverse.

Stricter than Avro's own rules, for bytes are also cut and joined by hand, hashed, and read by ClickHouse by position:
what was released keeps its name, type, default and place; what is new has a default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.codec import AvroSchema

ORDERED: Final = frozenset({"Event", "JournalRecord"})
"""Records whose bytes are cut at known fields: what is new stands behind what was released."""
_MISSING: Final = object()


def breaking_changes(old: AvroSchema, new: AvroSchema) -> list[str]:
    """What keeps `new` from following `old`, a line each; empty if nothing does."""
    return list(_compare(old["name"], old, new, {}, {}))


def _compare(where: str, old: Any, new: Any, olds: dict[str, Any], news: dict[str, Any]) -> Iterator[str]:
    if isinstance(old, list) or isinstance(new, list):
        yield from _compare_unions(where, old, new, olds, news)
        return
    old, new = _resolved(old, olds), _resolved(new, news)
    for key in ("type", "logicalType", "name", "size"):
        if old.get(key) != new.get(key):
            yield f"{where}: {key} {old.get(key)} became {new.get(key)}"
            return
    match old["type"]:
        case "record":
            yield from _compare_records(where, old, new, olds, news)
        case "enum":
            yield from _compare_enums(where, old, new)
        case "array":
            yield from _compare(f"{where}[]", old["items"], new["items"], olds, news)
        case "map":
            yield from _compare(f"{where}{{}}", old["values"], new["values"], olds, news)


def _resolved(schema: Any, named: dict[str, Any]) -> Mapping[str, Any]:
    made: Mapping[str, Any] = named.get(schema, {"type": schema}) if isinstance(schema, str) else schema
    if "name" in made:
        named[made["name"]] = made
    return made


def _compare_unions(where: str, old: Any, new: Any, olds: dict[str, Any], news: dict[str, Any]) -> Iterator[str]:
    if not isinstance(old, list) or not isinstance(new, list) or len(old) != len(new):
        yield f"{where}: the branches of a union changed"
        return
    for before, after in zip(old, new, strict=True):
        yield from _compare(where, before, after, olds, news)


def _compare_enums(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if new["symbols"][: len(old["symbols"])] != old["symbols"]:
        yield f"{where}: released symbols changed"
    if old.get("default") != new.get("default"):
        yield f"{where}: the enum's default changed"
    if new["symbols"] != old["symbols"] and "default" not in old:
        yield f"{where}: an old reader has no symbol for a new one"


def _compare_records(
    where: str, old: Mapping[str, Any], new: Mapping[str, Any], olds: dict[str, Any], news: dict[str, Any]
) -> Iterator[str]:
    after = {field["name"]: field for field in new["fields"]}
    before = [field["name"] for field in old["fields"]]
    for field in old["fields"]:
        path = f"{where}.{field['name']}"
        if field["name"] not in after:
            yield f"{path}: removed"
            continue
        other = after[field["name"]]
        yield from _compare(path, field["type"], other["type"], olds, news)
        if field.get("default", _MISSING) != other.get("default", _MISSING):
            yield f"{path}: the default changed"
    for name, field in after.items():
        if name not in before and "default" not in field:
            yield f"{where}.{name}: new, without a default"
    if old["name"] in ORDERED and list(after)[: len(before)] != before:
        yield f"{where}: released fields changed places"
