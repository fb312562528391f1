"""A strict Avro reader for bytes from strangers: the schema is compiled, once, into one function a type.

fastavro is lenient where it must not be. It takes a negative branch of a union or place in an enum (Python counts those
from the end), numbers of more than 64 bits, and blocks that are longer or shorter than they say; ClickHouse, which is
given the same bytes, reads something else or refuses the whole insert. Here each datum has one way to be written, but for
the blocks of arrays and maps, and what is read is what every reader reads.

No length is believed: time and memory are bounded by the bytes that are there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

Read = Callable[[bytes, int], tuple[Any, int]]
"""Takes bytes and a place in them; returns the value and the place behind it.

Raises:
    ValueError: the bytes are no such value (UnicodeDecodeError is one).
    IndexError: they end within it.
    RecursionError: it is nested too deeply.
"""

_LONG_BYTES: Final = 10
_INT32: Final = 1 << 31
_NAMED: Final = ("record", "enum", "fixed")


def compile_reader(schema: Any) -> Read:
    """Make the reader of a type: a schema as fastavro.parse_schema gives it, without logical types.

    Raises:
        ValueError: the schema has a type that Avro has not.
    """
    return _compile(schema, {})


def _compile(schema: Any, named: dict[str, Read]) -> Read:
    if isinstance(schema, list):
        return _union([_compile(branch, named) for branch in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in named:
        return named[kind]
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind in _NAMED:
        return _named(schema, named)
    if kind == "array":
        return _array(_compile(schema["items"], named))
    if kind == "map":
        return _map(_compile(schema["values"], named))
    raise ValueError(f"{kind}: no such type")


def _named(schema: Mapping[str, Any], named: dict[str, Read]) -> Read:
    name = schema["name"]
    if schema["type"] == "enum":
        named[name] = _enum(schema["symbols"])
    elif schema["type"] == "fixed":
        named[name] = _fixed(schema["size"])
    else:
        # A record may hold itself: the name stands for the reader before there is one.
        fields: list[tuple[str, Read]] = []
        named[name] = _record(fields)
        fields += [(field["name"], _compile(field["type"], named)) for field in schema["fields"]]
    return named[name]


def _wrong(why: str) -> NoReturn:
    raise ValueError(why)


def _long_number(raw: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, of more than one byte, before zigzag is undone."""
    number = raw[at] & 0x7F
    for shift in range(7, 7 * _LONG_BYTES, 7):
        at += 1
        byte = raw[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte or number >> 64:
                _wrong("a number of more than 64 bits, or written longer than it is")
            return number, at + 1
    _wrong("a number of more than ten bytes")


def _read_long(raw: bytes, at: int) -> tuple[int, int]:
    number, at = (raw[at], at + 1) if raw[at] < 0x80 else _long_number(raw, at)
    return (number >> 1) ^ -(number & 1), at


def _read_int(raw: bytes, at: int) -> tuple[int, int]:
    number, at = _read_long(raw, at)
    if not -_INT32 <= number < _INT32:
        _wrong("an int of more than 32 bits")
    return number, at


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    size = raw[at]
    if size < 0x80:
        at += 1
    else:
        size, at = _long_number(raw, at)
    end = at + (size >> 1)
    if size & 1 or end > len(raw):
        _wrong("a length that is negative, or more than there is")
    return raw[at:end].decode(), end


def _read_bytes(raw: bytes, at: int) -> tuple[bytes, int]:
    size, at = _read_long(raw, at)
    end = at + size
    if size < 0 or end > len(raw):
        _wrong("a length that is negative, or more than there is")
    return raw[at:end], end


def _read_null(_raw: bytes, at: int) -> tuple[None, int]:
    return None, at


def _read_boolean(raw: bytes, at: int) -> tuple[bool, int]:
    if raw[at] > 1:
        _wrong("neither true nor false")
    return raw[at] == 1, at + 1


def _floating(layout: str) -> Read:
    unpacker = struct.Struct(layout)

    def read_floating(raw: bytes, at: int) -> tuple[float, int]:
        if at + unpacker.size > len(raw):
            _wrong("too short")
        return unpacker.unpack_from(raw, at)[0], at + unpacker.size

    return read_floating


_SIMPLE: Final[Mapping[str, Read]] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": _read_int,
    "long": _read_long,
    "float": _floating("<f"),
    "double": _floating("<d"),
    "string": _read_text,
    "bytes": _read_bytes,
}


def _fixed(size: int) -> Read:
    def read_fixed(raw: bytes, at: int) -> tuple[bytes, int]:
        if at + size > len(raw):
            _wrong("too short")
        return raw[at : at + size], at + size

    return read_fixed


def _enum(symbols: list[str]) -> Read:
    def read_enum(raw: bytes, at: int) -> tuple[str, int]:
        place, at = _read_long(raw, at)
        if place < 0:
            _wrong("a negative place in an enum")
        return symbols[place], at

    return read_enum


def _union(branches: list[Read]) -> Read:
    def read_union(raw: bytes, at: int) -> tuple[Any, int]:
        branch, at = _read_long(raw, at)
        if branch < 0:
            _wrong("a negative branch of a union")
        return branches[branch](raw, at)

    def read_optional_text(raw: bytes, at: int) -> tuple[str | None, int]:
        branch = raw[at]
        if branch == 0:
            return None, at + 1
        if branch != 2:
            _wrong("no such branch of a union")
        return _read_text(raw, at + 1)

    return read_optional_text if branches == [_read_null, _read_text] else read_union


def _record(fields: list[tuple[str, Read]]) -> Read:
    def read_record(raw: bytes, at: int) -> tuple[dict[str, Any], int]:
        made = {}
        for name, read in fields:
            made[name], at = read(raw, at)
        return made, at

    return read_record


def _block(raw: bytes, at: int) -> tuple[int, int, int | None]:
    """The items of the block at `at`, the place of the first, and the place behind the last where the block says it."""
    count, at = _read_long(raw, at)
    end = None
    if count < 0:
        count = -count
        size, at = _read_long(raw, at)
        end = at + size
    if count > len(raw) - at:  # also of items that take no bytes: nobody is made to count to 2^63
        _wrong("more items than bytes")
    return count, at, end


def _array(read: Read) -> Read:
    def read_array(raw: bytes, at: int) -> tuple[list[Any], int]:
        made: list[Any] = []
        if raw[at] == 0:
            return made, at + 1
        while True:
            count, at, end = _block(raw, at)
            if not count:
                return made, at
            for _ in range(count):
                value, at = read(raw, at)
                made.append(value)
            if end is not None and at != end:
                _wrong("a block of another size than it says")

    return read_array


def _map(read: Read) -> Read:
    def read_map(raw: bytes, at: int) -> tuple[dict[str, Any], int]:
        made: dict[str, Any] = {}
        if raw[at] == 0:
            return made, at + 1
        total = 0
        while True:
            count, at, end = _block(raw, at)
            if not count:
                if len(made) != total:
                    _wrong("a key stands twice")
                return made, at
            total += count
            for _ in range(count):
                name, at = _read_text(raw, at)
                made[name], at = read(raw, at)
            if end is not None and at != end:
                _wrong("a block of another size than it says")

    return read_map
