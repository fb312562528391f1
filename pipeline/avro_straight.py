"""A straight-line reader of events: the schema becomes one Python function, without a call for each field.

Half the time of a function a type, and as strict: whatever is not written in the common way (a number of more bytes, a
block that says its size, a map of several entries) goes to the reader in `avro_reader`, so that there is one judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from pipeline import avro_reader

ReadEvent = Callable[[bytes, int], tuple[dict[str, Any], int, int, int]]
"""Bytes and a place in them; the record, where one field of it begins and ends, and where the record ends."""
_EIGHT_BYTES: Final = 0x0080808080808080
_ALL_BITS: Final = 0x8080808080808080
_GOES_ON: Final = sum(0x80 << 7 * place for place in range(7))
_MOST_SYMBOLS: Final = 64


def compile_event(schema: Mapping[str, Any], split: str) -> ReadEvent:
    """Make the reader of a record.

    Args:
        schema: as fastavro.parse_schema gives it, without logical types.
        split: name of the field whose place is wanted.

    Raises:
        ValueError: the schema has a type that Avro has not.
    """
    names: dict[str, Any] = {
        "long_number": avro_reader._long_number,  # noqa: SLF001 - one module in two files
        "wrong": avro_reader._wrong,  # noqa: SLF001
        "from_bytes": int.from_bytes,
    }
    named: dict[str, avro_reader.Read] = {}
    lines = ["length = len(raw)"]
    for number, field in enumerate(schema["fields"]):
        names[f"slow{number}"] = avro_reader._compile(field["type"], named)  # noqa: SLF001
        inner = _field(number, field["type"], names)
        lines += ["start = at", *inner, "stop = at"] if field["name"] == split else inner
    # Field names go in as literals, everything else by number: a schema is data from a stranger.
    made = ", ".join(f"{field['name']!r}: f{number}" for number, field in enumerate(schema["fields"]))
    source = "\n".join(["def read(raw, at):", *_inner(lines), f"    return {{{made}}}, start, stop, at"])
    exec(compile(source, f"<reader of {schema['name']!r}>", "exec"), names)  # noqa: S102 - made here, see above
    return cast("ReadEvent", names["read"])


def _field(number: int, schema: Any, names: dict[str, Any]) -> list[str]:
    """Lines that read the field at `at` into f<number>."""
    target, slow = f"f{number}", [f"f{number}, at = slow{number}(raw, at)"]
    kind = schema["type"] if isinstance(schema, Mapping) else schema
    if kind == "string":
        return _text(f"{target} = ")
    if kind == "long":
        return _long(target)
    if kind == ["null", "string"]:
        text = _inner(_text(f"{target} = "))
        return [
            "if raw[at] == 0:",
            f"    {target} = None",
            "    at += 1",
            "elif raw[at] == 2:",
            "    at += 1",
            *text,
            "else:",
            *_inner(slow),
        ]
    if kind == "enum":
        names[f"symbols{number}"] = schema["symbols"]
        limit = 2 * min(_MOST_SYMBOLS, len(schema["symbols"]))
        return [
            f"if raw[at] < {limit} and not raw[at] & 1:",
            f"    {target} = symbols{number}[raw[at] >> 1]",
            "    at += 1",
            "else:",
            *_inner(slow),
        ]
    if kind == "array":
        many = _strings(target, slow) if schema["items"] == "string" else []
        return ["if not raw[at]:", f"    {target} = []", "    at += 1", *many, "else:", *_inner(slow)]
    if kind == "map":
        one = _one_pair(target, slow) if schema["values"] == "string" else []
        return ["if not raw[at]:", f"    {target} = {{}}", "    at += 1", *one, "else:", *_inner(slow)]
    return slow


def _text(take: str, end: str = "") -> list[str]:
    return [
        "size = raw[at]",
        "if size < 0x80:",
        "    at += 1",
        "else:",
        "    size, at = long_number(raw, at)",
        "end = at + (size >> 1)",
        "if size & 1 or end > length:",
        "    wrong('a length that is negative, or more than there is')",
        f"{take}raw[at:end].decode(){end}",
        "at = end",
    ]


def _long(target: str) -> list[str]:
    """A time in microseconds takes eight bytes from 1987 to 2112; seven bits of each count."""
    return [
        "number = raw[at]",
        "if number < 0x80:",
        "    at += 1",
        "else:",
        "    eight = raw[at : at + 8]",
        f"    if len(eight) == 8 and eight[7] and from_bytes(eight, 'little') & {_ALL_BITS} == {_EIGHT_BYTES}:",
        "        a, b, c, d, e, f, g, h = eight",
        "        number = a + (b << 7) + (c << 14) + (d << 21)",
        f"        number += (e << 28) + (f << 35) + (g << 42) + (h << 49) - {_GOES_ON}",
        "        at += 8",
        "    else:",
        "        number, at = long_number(raw, at)",
        f"{target} = (number >> 1) ^ -(number & 1)",
    ]


def _strings(target: str, slow: Sequence[str]) -> list[str]:
    """One block of less than 64 strings, and the end of the array."""
    return [
        "elif raw[at] < 0x80 and not raw[at] & 1 and raw[at] >> 1 < length - at:",
        "    begin = at",
        "    count = raw[at] >> 1",
        "    at += 1",
        f"    {target} = []",
        "    for _ in range(count):",
        *_inner(_text(f"{target}.append(", ")"), 2),
        "    if raw[at]:",
        "        at = begin",
        *_inner(slow, 2),
        "    else:",
        "        at += 1",
    ]


def _one_pair(target: str, slow: Sequence[str]) -> list[str]:
    """One block of one entry, and the end of the map."""
    return [
        "elif raw[at] == 2:",
        "    begin = at",
        "    at += 1",
        *_inner(_text("name = ")),
        *_inner(_text("text = ")),
        "    if raw[at]:",
        "        at = begin",
        *_inner(slow, 2),
        "    else:",
        f"        {target} = {{name: text}}",
        "        at += 1",
    ]


def _inner(lines: Sequence[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]
