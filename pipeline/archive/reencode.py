"""SQL that encodes columns as Avro again, so that ClickHouse itself can recompute the journal's hashes.

The expression is generated from the schema. It covers what the journal uses: fixed, bytes, string, int, long (times in
milliseconds or microseconds included), boolean, enum, union of null and one type, record, and array in the one form
that the project writes: one block with a positive count, then 0.

Nearly all of Avro is a number and then bytes: a string is its length and its text, an array its count and its items.
So a record becomes two arrays, numbers and bytes, and one lambda that encodes a number is all there is of varints.
Written out for each field it was 42,000 characters, and each query of the table paid 50 ms to analyse them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from pipeline.codec import AvroSchema

_LONG_BYTES: Final = 10  # of the longest Avro long


def encoded(schema: AvroSchema, leave_out: Sequence[str] = ()) -> str:
    """A SQL expression for the Avro datum of a row whose columns are named as the schema's fields.

    Args:
        schema: a record schema.
        leave_out: fields that are not part of it.
    """
    return _Encoder().record(schema, leave_out)


class _Piece(NamedTuple):
    """SQL for one value: a number to encode (none: ""), and the bytes behind it."""

    number: str
    rest: str


class _Encoder:
    """Walks a schema; named types stand for what they were when they were first met."""

    def __init__(self) -> None:
        self._named: dict[str, Any] = {}
        self._variables = count()

    def record(self, schema: AvroSchema, leave_out: Sequence[str]) -> str:
        pieces = []
        for field in schema["fields"]:
            piece = self._one(field["type"], f"`{field['name']}`")  # also for those left out: they name types
            if field["name"] not in leave_out:
                pieces.append(piece)
        return self._joined(pieces)

    def _joined(self, pieces: list[_Piece]) -> str:
        """The pieces behind each other."""
        head = [piece.rest for piece in pieces[: _first_number(pieces)]]
        numbers: list[str] = []
        rests: list[list[str]] = []
        for piece in pieces[_first_number(pieces) :]:
            if piece.number:
                numbers.append(piece.number)
                rests.append([piece.rest])
            else:
                rests[-1].append(piece.rest)
        if numbers:
            rest = ", ".join(_concat([part for part in parts if part != "''"]) for parts in rests)
            n, s = f"n{next(self._variables)}", f"s{next(self._variables)}"
            encode = f"({n}, {s}) -> concat({_varint(n)}, {s})"
            head.append(f"arrayStringConcat(arrayMap({encode}, [{', '.join(numbers)}], [{rest}]))")
        return _concat(head)

    def _one(self, schema: Any, value: str) -> _Piece:
        if isinstance(schema, list):
            return self._optional(schema, value)
        if isinstance(schema, str):
            schema = self._named.get(schema, {"type": schema})
        elif "name" in schema:
            self._named[schema["name"]] = schema
        match schema["type"]:
            case "fixed":
                return _Piece("", value)  # as it is: toString() would cut zeros off its end
            case "boolean":
                return _Piece("", f"char(toUInt8({value}))")
            case "int" | "long":
                return _Piece(_zigzag(_integer(schema, value)), "''")
            case "string" | "bytes":
                return _Piece(f"toUInt64(2 * length({value}))", value)
            case "enum":
                symbols = ", ".join(f"'{symbol}'" for symbol in schema["symbols"])
                return _Piece("", f"char(2 * (indexOf([{symbols}], toString({value})) - 1))")
            case "array":
                item = f"i{next(self._variables)}"
                inner = self._joined([self._one(schema["items"], item)])
                items = f"arrayStringConcat(arrayMap({item} -> {inner}, {value}))"
                return _Piece(f"toUInt64(2 * length({value}))", rf"if(empty({value}), '', concat({items}, '\0'))")
            case "record":
                parts = [self._one(f["type"], f"tupleElement({value}, '{f['name']}')") for f in schema["fields"]]
                return _Piece("", self._joined(parts))
        raise ValueError(f"no SQL for Avro {schema['type']}")

    def _optional(self, union: list[Any], value: str) -> _Piece:
        if len(union) != 2 or union[0] != "null":
            raise ValueError("a union is null and one other type")
        inner = self._joined([self._one(union[1], f"assumeNotNull({value})")])
        return _Piece("", rf"if(isNull({value}), '\0', concat('\x02', {inner}))")


def _first_number(pieces: list[_Piece]) -> int:
    return next((place for place, piece in enumerate(pieces) if piece.number), len(pieces))


def _concat(parts: list[str]) -> str:
    return f"concat({', '.join(parts)})" if len(parts) > 1 else "".join(parts) or "''"


def _integer(schema: Mapping[str, Any], value: str) -> str:
    unit = {"timestamp-millis": "Milli", "timestamp-micros": "Micro"}.get(schema.get("logicalType", ""))
    return f"toUnixTimestamp64{unit}({value})" if unit else f"toInt64({value})"


def _zigzag(value: str) -> str:
    return f"reinterpretAsUInt64(bitXor(bitShiftLeft({value}, 1), bitShiftRight({value}, 63)))"


def _varint(n: str) -> str:
    """Seven bits a byte, the lowest first; nearly all numbers take one to three bytes, which go without a lambda.

    char() takes its arguments modulo 256, so that the higher bits need no mask.
    """
    rest = f"bitShiftRight({n}, 7 * p)"
    every = (
        f"arrayStringConcat(arrayMap(p -> char(if({rest} > 127, bitOr({rest}, 128), {rest})), "
        f"arrayFilter(p -> {rest} > 0, range({_LONG_BYTES}))))"
    )
    return (
        f"multiIf({n} < 128, char({n}), {n} < 16384, char(bitOr({n}, 128), bitShiftRight({n}, 7)), "
        f"{n} < 2097152, char(bitOr({n}, 128), bitOr(bitShiftRight({n}, 7), 128), bitShiftRight({n}, 14)), {every})"
    )
