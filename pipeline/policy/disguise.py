"""Ways in which people hide a number or a word from a matcher, undone: another text, with the way back.

    spelt       four one one one ...                digits said as words
    alike       4111 llll O0O0                      letters for digits, within a number
    leet        s3cr3t, $ecret                      digits and signs for letters
    spread      s e c r e t, s.e.c.r.e.t            letters one by one
    encoded     c2VjcmV0, 736563726574, %73%65...   base64, hexadecimal, percent signs
    backwards   terces

Each has a gate, a pattern that a text has if there is anything to undo; all gates are sought in the one scan for
everything else, so that ordinary text pays nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from pipeline.policy.places import Places
from pipeline.records import Span


class Undone(NamedTuple):
    """A text without its disguise, and where each character stood in the disguised one."""

    text: str
    places: Places

    def original(self, start: int, end: int) -> Span:
        return self.places.original(start, end)


_DIGIT_WORDS: Final = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "null": "0", "eins": "1", "zwei": "2", "drei": "3", "vier": "4", "sechs": "6",
    "sieben": "7", "acht": "8", "neun": "9", "cero": "0", "uno": "1", "dos": "2", "tres": "3", "cuatro": "4",
    "cinco": "5", "seis": "6", "siete": "7", "ocho": "8", "nueve": "9", "un": "1", "deux": "2", "trois": "3",
    "quatre": "4", "cinq": "5", "sept": "7", "huit": "8", "neuf": "9",
}  # fmt: skip
_SAID: Final = "|".join(_DIGIT_WORDS)
SPELT_GATE: Final = rf"\b(?:(?:{_SAID})[^0-9A-Za-z]{{1,3}}){{6}}"
ALIKE_GATE: Final = r"[0-9OIlSBZ|](?:[ .\-]?[0-9OIlSBZ|]){11}"
LEET_GATE: Final = r"[a-z][013456789@$!|]{1,2}[a-z]|\b[013456789][a-z]{3}|[@$][a-z]{3}|[a-z]{3}[013456789$]\b"
SPREAD_GATE: Final = r"\b[A-Za-z0-9@$](?:[ ._\-*/|]{1,3}[A-Za-z0-9@$]){4}\b"
ENCODED_GATE: Final = r"[A-Za-z0-9+/_\-]{16}|[A-Za-z0-9+/_\-]{7}=|[0-9A-Fa-f]{10}|(?:%[0-9A-Fa-f]{2}){4}"

_WORD: Final = re.compile(rf"\b(?:{_SAID})\b", re.IGNORECASE)
_ALIKE_ROW: Final = re.compile(r"[0-9OolISBZ|](?:[ .\-]?[0-9OolISBZ|]){8,40}")
_ALIKE: Final = str.maketrans("OolISBZ|", "00115821")
_ALIKE_DIGITS: Final = 8  # of true digits, for a row of letters is a word
_LEET_I: Final = str.maketrans("013456789@$!|", "oieasgtbgasil")
_LEET_L: Final = str.maketrans("013456789@$!|", "oleasgtbgasll")
_SPREAD_ROW: Final = re.compile(
    r"(?<![^\W_])[^\W_](?:[ ._\-*/|]{1,3}[^\W_@$])+(?![^\W_])|(?<![^\W_])[\w@$](?:[ ._\-*/|]{1,3}[\w@$])+(?![^\W_])"
)
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_\-]{8,4000}={0,2}")
_PERCENTS: Final = re.compile(r"(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._\-]{0,20}){4,1000}")
_PERCENT: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){5,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-]+={0,2}")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_PRINTABLE: Final = re.compile(r"[\s!-~\u00a0-\U0010ffff]{5,}")


def _rebuilt(text: str, changes: Iterable[tuple[int, int, str]]) -> Undone:
    """The text with stretches replaced; a replacement's characters all stood where the stretch did."""
    pieces: list[str] = []
    places = Places()
    at = 0
    for start, end, instead in changes:
        pieces += (text[at:start], instead)
        places.as_is(at, start)
        places.instead(start, end, len(instead))
        at = end
    pieces.append(text[at:])
    places.as_is(at, len(text))
    return Undone("".join(pieces), places)


def spelt(text: str) -> list[Undone]:
    """Digits said as words."""
    said = [(one.start(), one.end(), _DIGIT_WORDS[one[0].lower()]) for one in _WORD.finditer(text)]
    return [_rebuilt(text, said)] if said else []


def alike(text: str) -> list[Undone]:
    """Letters that look like digits, within a number that has enough true ones."""
    rows = [
        (row.start(), row.end())
        for row in _ALIKE_ROW.finditer(text)
        if not row[0].isdigit() and sum(one.isdigit() for one in row[0]) >= _ALIKE_DIGITS
    ]
    changes = [
        (at, at + 1, changed)
        for start, end in rows
        for at in range(start, end)
        if (changed := text[at].translate(_ALIKE)) != text[at]
    ]
    return [_rebuilt(text, changes)] if changes else []


def leet(text: str) -> list[Undone]:
    """Digits and signs that stand for letters; 1 may be an i or an l."""
    places = Places()
    places.as_is(0, len(text))
    both = {text.translate(_LEET_I): None, text.translate(_LEET_L): None}
    return [Undone(one, places) for one in both if one != text]


def _parts(gap: str, least: int, *, spaced: bool) -> bool:
    """Whether a gap is the end of a word: wider than the others, or a space where letters are parted by signs."""
    return len(gap) > least or (gap.isspace() and not spaced)


def spread(text: str) -> list[Undone]:
    """Letters one by one."""
    changes: list[tuple[int, int, str]] = []
    for row in _SPREAD_ROW.finditer(text):
        gaps = list(re.finditer(r"[ ._\-*/|]{1,3}(?=[^ .\-*/|])", row[0]))
        if len(gaps) < 3:
            continue
        least = min(len(gap[0]) for gap in gaps)
        spaced = sum(gap[0].isspace() for gap in gaps) * 2 > len(gaps)
        changes += [
            (row.start() + gap.start(), row.start() + gap.end(), " " if _parts(gap[0], least, spaced=spaced) else "")
            for gap in gaps
        ]
    if not changes:
        return []
    joined = _rebuilt(text, changes)
    return [joined, *(Undone(one.text, joined.places) for one in leet(joined.text))]


def encoded(text: str) -> list[Undone]:
    """What is readable in base64, hexadecimal or percent signs; all of it stood where the code did."""
    shown = [
        (code, _PERCENT.sub(lambda one: chr(int(one[1], 16)), code[0]))
        for code in (_PERCENTS.finditer(text) if "%" in text else ())
    ]
    shown += [(code, decoded) for code in _ENCODED.finditer(text) for decoded in _decoded(code[0])]
    return [Undone(decoded, _at_once(code, decoded)) for code, decoded in shown]


def _at_once(code: re.Match[str], decoded: str) -> Places:
    places = Places()
    places.instead(code.start(), code.end(), len(decoded))
    return places


def _decoded(code: str) -> list[str]:
    found: list[str] = []
    if _HEX.fullmatch(code):
        found += _readable(bytes.fromhex(code))
    # base64 of a few words has letters of both cases; names and paths seldom have
    if code not in {code.lower(), code.upper()} and _BASE64.fullmatch(code):
        bare = code.rstrip("=").translate(_URL_SAFE)
        with suppress(binascii.Error):  # no base64 either
            found += _readable(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    return found


def _readable(data: bytes) -> list[str]:
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        return []
    return [decoded] if _PRINTABLE.fullmatch(decoded) else []


class Disguise(NamedTuple):
    """One way, how to see that it may be there, and what it is used for."""

    gate: str
    undo: Callable[[str], list[Undone]]
    numbers: bool
    keywords: bool
    case: bool = False
    """Whether case matters to the gate."""


DISGUISES: Final = {
    "spelt": Disguise(SPELT_GATE, spelt, numbers=True, keywords=False),
    "alike": Disguise(ALIKE_GATE, alike, numbers=True, keywords=False, case=True),
    "leet": Disguise(LEET_GATE, leet, numbers=False, keywords=True),
    "spread": Disguise(SPREAD_GATE, spread, numbers=False, keywords=True),
    "encoded": Disguise(ENCODED_GATE, encoded, numbers=True, keywords=True),
}
"""By name. Backwards has no gate of its own: what is sought is sought backwards as well (pipeline.policy.content)."""
