"""Files in: one JSON object a line becomes the Kafka value that a producer would have sent.

Checking and encoding are one pass: the Avro schema of the event is compiled, once, into one function a type, which
takes the JSON value, refuses what is not exactly right and returns Avro bytes. So there is no second description of
the event to keep in step, and nothing that was checked can be encoded otherwise.

Limits of size (bytes of an event, recipients, length of ids) are not judged here: an event over them is well formed,
and the transform makes a dead letter of it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, BinaryIO, Final, cast

import orjson

from pipeline.codec import EARLIEST, EVENT, LATEST, long, wire_header
from pipeline.errors import BadInput
from pipeline.registry import load_schema

LINE_LIMIT: Final = 64 * 1024 * 1024
"""Longest line, in bytes without its end."""
READ_BUFFER: Final = 1024 * 1024
"""Bytes that one read of a file asks for."""

_GZIP: Final = b"\x1f"  # no line of JSON begins with it
_SHOWN: Final = 60  # characters of somebody's field name or enum symbol in an error
_MISSING: Final = object()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64: Final = 1 << 63
_INT32: Final = 1 << 31
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
)
_NO_OFFSET: Final = re.compile(r".*T[0-9:.]*", re.DOTALL)
_KEY: Final = re.compile(rb'"\s*:')

_Json = Any  # what orjson gives: checked here, field by field
_Encode = Callable[[_Json], bytes]


class BadLine(BadInput):
    """A line that is no event.

    `source` is the file as the user named it, `number` the line from 1, `field` the field's path ('' where the line
    as a whole is wrong), `why` says what is wrong. The text never holds a field's value, except an unknown name or
    enum symbol.
    """

    def __init__(self, source: str, number: int, field: str, why: str) -> None:
        super().__init__(f"{source}: line {number}: {field + ': ' if field else ''}{why}")
        self.source, self.number, self.field, self.why = source, number, field, why


@dataclass(frozen=True, slots=True)
class Parsed:
    """One line of a file, ready for ingest."""

    value: bytes
    """The Kafka value: wire header with the fixed id of the event schema, then the Avro datum."""
    captured_at: int
    """The event's captured_at in microseconds since 1970."""
    conversation: str
    """The event's conversation, whose UTF-8 is the record's key."""


class _FaultError(Exception):
    """What is wrong with a value; the records around it add the names on the way out."""

    def __init__(self, why: str, *path: str) -> None:
        super().__init__(why)
        self.why, self.path = why, path


def parse_line(line: bytes, *, source: str, number: int) -> Parsed:
    """Make the Kafka value of one line.

    Raises:
        BadLine: the line is no event; the error names file, line and field.
    """
    try:
        event = orjson.loads(line)
        datum = _encode_event(event)
        # Only a key is followed by a colon, and every key is: as many as the event has fields means that none stands
        # twice. A text may hold the same two characters, so that more of them are no proof but a reason to look.
        if len(_KEY.findall(line)) != _count_keys(event):
            _refuse_duplicates(line)
        return Parsed(_HEADER + datum, _micros(event["captured_at"]), event["conversation"])
    except _FaultError as fault:
        raise BadLine(source, number, ".".join(fault.path), fault.why) from None
    except orjson.JSONDecodeError as error:
        raise BadLine(source, number, "", _why_no_json(line, error)) from None


def read_lines(source: str, *, limit: int = LINE_LIMIT) -> Iterator[tuple[int, bytes]]:
    """Read the lines of `source`: a path, a path of a gzip file, or '-' for standard input.

    Yields the number of each line, from 1, and its bytes; blank lines are counted and left out. It reads as it goes:
    no more than one line and one buffer is held.

    Raises:
        BadInput: the source cannot be opened.
        BadLine: a line is longer than `limit` bytes, or the file cannot be read to its end (truncated gzip).
    """
    number = 0
    with _open(source) as stream:
        try:
            # Room for limit bytes and a line's end of one or two; what comes back without an end is too long.
            while line := stream.readline(limit + 2):
                number += 1
                if len(line) > limit and len(line.rstrip(b"\r\n")) > limit:
                    raise BadLine(source, number, "", f"longer than {limit} bytes")
                if not line.isspace():
                    yield number, line
        except (EOFError, zlib.error, OSError) as error:
            raise BadLine(source, number + 1, "", f"cannot be read from here: {_say(error)}") from None


def event_to_json(event: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON object of a decoded event: times in ISO 8601 with an offset, attachments' content in base64.

    `event` is as fastavro decodes it or with times as microseconds since 1970. parse_line() takes the result back.
    """
    made = dict(event)
    for name in _TIMES:
        at = made[name]
        moment = at if isinstance(at, datetime) else _EPOCH + timedelta(microseconds=at)
        made[name] = moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    made["attachments"] = [
        {**one, "content": None if one["content"] is None else base64.b64encode(one["content"]).decode()}
        for one in made["attachments"]
    ]
    return made


# -- reading --------------------------------------------------------------------------------------------------------


def _open(source: str) -> AbstractContextManager[BinaryIO]:
    if source == "-":
        return nullcontext(_plain(sys.stdin.buffer, zipped=False))  # not ours to close
    try:
        return _plain(open(source, "rb", buffering=READ_BUFFER), zipped=source.endswith(".gz"))  # noqa: PTH123 - a file's name as the user wrote it
    except OSError as error:
        raise BadInput(f"{source}: {_say(error)}") from None


def _plain(stream: BinaryIO, *, zipped: bool) -> BinaryIO:
    if zipped or cast("io.BufferedReader", stream).peek(1)[:1] == _GZIP:
        return cast("BinaryIO", io.BufferedReader(_Unzipped(stream), READ_BUFFER))
    return stream


class _Unzipped(gzip.GzipFile):
    """A gzip stream that closes the file below it too."""

    def __init__(self, below: BinaryIO) -> None:
        super().__init__(fileobj=below, mode="rb")
        self._below = below

    def close(self) -> None:
        super().close()
        if self._below is not sys.stdin.buffer:
            self._below.close()


def _say(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _why_no_json(line: bytes, error: Exception) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return f"not UTF-8, at byte {wrong.start + 1}"
    return f"not JSON: {str(error).replace('line 1 column', 'column')}"


# -- duplicate keys -------------------------------------------------------------------------------------------------


def _count_keys(event: Mapping[str, Any]) -> int:
    count = len(event)
    for name in _MAPS:
        if name in event:
            count += len(event[name])
    if attachments := event.get("attachments"):
        count += sum(map(len, attachments))
    return count


def _refuse_duplicates(line: bytes) -> None:
    def refuse(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise _FaultError("stands twice", _shown(twice))
        return made

    json.loads(line, object_pairs_hook=refuse)


# -- JSON values to Avro bytes, one function a type -----------------------------------------------------------------


def _compile(schema: Any) -> _Encode:
    """Make the function that encodes a JSON value of this Avro type.

    Raises:
        TypeError: the schema has a type that no event has had so far.
    """
    if isinstance(schema, list):
        return _optional(_compile(_other_than_null(schema)))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and schema.get("logicalType") == "timestamp-micros":
        return _time
    makers: dict[str, Callable[[Any], _Encode]] = {
        "record": _record,
        "enum": lambda it: _enum(it["name"], it["symbols"]),
        "array": lambda it: _array(_compile(it["items"])),
        "map": lambda it: _map(_compile(it["values"])),
        "string": lambda _: _text,
        "bytes": lambda _: _base64,
        "long": lambda _: _integer(_INT64),
        "int": lambda _: _integer(_INT32),
    }
    if kind not in makers:
        raise TypeError(f"{kind}: no such type in an event")
    return makers[kind](schema)


def _other_than_null(branches: list[Any]) -> Any:
    if len(branches) != 2 or branches[0] != "null":
        raise TypeError(f"{branches}: an event's unions are null and one other")
    return branches[1]


def _record(schema: Mapping[str, Any]) -> _Encode:
    fields = []
    for field in schema["fields"]:
        encode = _compile(field["type"])
        fields.append((field["name"], encode, encode(field["default"]) if "default" in field else None))
    names = {name for name, _, _ in fields}

    def encode_record(value: _Json) -> bytes:
        if type(value) is not dict:
            raise _FaultError("must be an object")
        parts, found, get = [], 0, value.get
        for name, encode, default in fields:
            given = get(name, _MISSING)
            if given is _MISSING:
                if default is None:
                    raise _FaultError("is missing", name)
                parts.append(default)
                continue
            found += 1
            try:
                parts.append(encode(given))
            except _FaultError as fault:
                fault.path = (name, *fault.path)
                raise
        if found != len(value):
            raise _FaultError("no such field", _shown(next(name for name in value if name not in names)))
        return b"".join(parts)

    return encode_record


def _optional(encode: _Encode) -> _Encode:
    if encode is _text:
        return _optional_text
    return lambda value: b"\0" if value is None else b"\x02" + encode(value)


def _array(encode: _Encode) -> _Encode:
    def encode_array(value: _Json) -> bytes:
        if type(value) is not list:
            raise _FaultError("must be an array")
        if not value:
            return b"\0"
        parts = [long(len(value))]
        for place, one in enumerate(value):
            try:
                parts.append(encode(one))
            except _FaultError as fault:
                fault.path = (str(place), *fault.path)
                raise
        parts.append(b"\0")
        return b"".join(parts)

    return encode_array


def _map(encode: _Encode) -> _Encode:
    def encode_map(value: _Json) -> bytes:
        if type(value) is not dict:
            raise _FaultError("must be an object")
        if not value:
            return b"\0"
        parts = [long(len(value))]
        # An object's order means nothing in JSON; sorted, one capture written twice is the same bytes.
        for name in sorted(value) if len(value) > 1 else value:
            try:
                parts += (_text(name), encode(value[name]))
            except _FaultError as fault:
                fault.path = (_shown(name), *fault.path)
                raise
        parts.append(b"\0")
        return b"".join(parts)

    return encode_map


def _enum(kind: str, symbols: list[str]) -> _Encode:
    places = {symbol: long(place) for place, symbol in enumerate(symbols)}

    def encode_enum(value: _Json) -> bytes:
        if type(value) is not str:
            raise _FaultError("must be a string")
        place = places.get(value)
        if place is None:
            raise _FaultError(f"unknown {kind}: {_shown(value)} (schemas/event.avsc lists them)")
        return place

    return encode_enum


def _text(value: _Json) -> bytes:
    if type(value) is not str:
        raise _FaultError("must be a string")
    data = value.encode()
    length = len(data)
    return (_LENGTHS[length] if length < _SHORT else long(length)) + data


def _optional_text(value: _Json) -> bytes:
    if value is None:
        return b"\0"
    if type(value) is not str:
        raise _FaultError("must be a string or null")
    data = value.encode()
    length = len(data)
    return (_OPTIONAL_LENGTHS[length] if length < _SHORT else b"\x02" + long(length)) + data


def _base64(value: _Json) -> bytes:
    if type(value) is not str:
        raise _FaultError("must be a string")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _FaultError("not base64") from None
    if base64.b64encode(data).decode() != value:
        raise _FaultError("not base64: bits behind its end")
    return long(len(data)) + data


def _integer(limit: int) -> _Encode:
    def encode_integer(value: _Json) -> bytes:
        if type(value) is not int:
            raise _FaultError("must be a whole number below 2^63" if type(value) is float else "must be a whole number")
        if not -limit <= value < limit:
            raise _FaultError("out of range")
        return long(value)

    return encode_integer


def _time(value: _Json) -> bytes:
    if type(value) is not str:
        raise _FaultError("must be a string: a time in ISO 8601 with an offset")
    return long(_micros(value))


@lru_cache(maxsize=1024)  # captures of one message share sent_at; captured_at is asked for twice
def _micros(value: str) -> int:
    if not _TIME.fullmatch(value):
        raise _FaultError(
            "a time without offset" if _NO_OFFSET.fullmatch(value) else "not a time in ISO 8601 with an offset"
        )
    try:
        micros = (datetime.fromisoformat(value) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        raise _FaultError("no such time") from None
    if not EARLIEST <= micros < LATEST:
        raise _FaultError("a time outside 1970-2200")
    return micros


def _shown(name: str) -> str:
    text = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    return text if text.isprintable() and text else ascii(text)


_SHORT: Final = 2048  # lengths below it are looked up
_LENGTHS: Final = tuple(map(long, range(_SHORT)))
_OPTIONAL_LENGTHS: Final = tuple(b"\x02" + length for length in _LENGTHS)
_SCHEMA: Final = load_schema("event")
_MAPS: Final = tuple(
    field["name"] for field in _SCHEMA["fields"] if isinstance(field["type"], dict) and field["type"]["type"] == "map"
)
_TIMES: Final = tuple(
    field["name"] for field in _SCHEMA["fields"] if isinstance(field["type"], dict) and "logicalType" in field["type"]
)
_HEADER: Final = wire_header(EVENT)
_encode_event: Final = _compile(_SCHEMA)
