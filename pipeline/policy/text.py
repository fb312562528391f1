"""A body as its reader sees it, with the way back to what was sent.

Markup is taken away (pipeline.policy.markup) and characters are folded, one at a time:

    what                                                        becomes
    decimal digits of every script, superscript, circled        0-9
    letters that NFKC says are others in disguise               those (full-width, mathematical, ligatures ...)
    accents and marks that stand on any letter                  nothing
    format characters: zero-width, bidi, soft hyphen ...        nothing
    variation selectors, fillers                                nothing
    line breaks, tabs, spaces of all widths                     a space each
    dashes, quotes, full stops of other scripts                 the ASCII one that they look like

Letters of other scripts that look like ASCII (Unicode's confusables) are folded only where they stand in for ASCII:
in a word that also has ASCII letters or digits, or that has nothing but such letters. So ordinary Russian or Greek
stays what it is, and what is left is searched as it is.

Nearly all chat is printable ASCII without markup: that is its own view, at the cost of three checks. The map back is
made only when somebody asks for a place.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from confusable_homoglyphs import confusables

from pipeline.policy.markup import Piece, pieces
from pipeline.policy.places import Places
from pipeline.records import Span

_SPACE: Final = " "
_MARKS: Final = ((0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F))
"""Marks that stand on any letter; those of one script (Thai vowels, say) are letters to its readers and stay."""
_INVISIBLE: Final = (
    (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0000, 0xE0FFF),
)  # fmt: skip
_LETTER_ROWS: Final = (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
"""Squared, negative and regional A to Z; NFKC leaves most of them."""
_BLANK: Final = "\u2800"  # a braille cell without dots
_QUOTES: Final = dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
_ZERO: Final = "\u3007"  # an ideograph, and no decimal digit to Unicode
_WORD: Final = re.compile(r"\w+")
_ODD: Final = re.compile(r"[^ -~]")


def _look_alikes() -> dict[int, str]:
    """Characters outside ASCII that look like one ASCII character, by Unicode's table."""
    found: dict[int, str] = {}
    for character, others in confusables.confusables_data.items():
        if len(character) == 1 and not character.isascii():
            for other in others:
                if len(other["c"]) == 1 and other["c"].isascii():
                    found[ord(character)] = other["c"]
    return found


_LOOK_ALIKES: Final = _look_alikes()
_LETTERS: Final = {
    code: ascii_
    for code, ascii_ in _LOOK_ALIKES.items()
    if chr(code).isalnum() and ascii_.isalnum() and unicodedata.normalize("NFKC", chr(code)) == chr(code)
}
"""Letters and numerals that pass for an ASCII letter or digit."""


class _Folding(dict[int, str]):
    """What becomes of a character; str.translate asks it, and it works each one out once."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold(chr(code))
        return folded


_FOLDED: Final = _Folding()


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)


def _fold(character: str) -> str:
    code = ord(character)
    category = unicodedata.category(character)
    if character.isspace() or category.startswith("Z") or character == _BLANK:
        return _SPACE
    if category in {"Cc", "Cf", "Me"} or _within(code, _INVISIBLE) or _within(code, _MARKS):
        return ""
    if code < 0x80:
        return character
    if category == "Cs":
        return "\ufffd"
    digit = unicodedata.digit(character, None)
    if digit is not None or character == _ZERO:
        return str(digit or 0)
    for row in _LETTER_ROWS:
        if row <= code < row + 26:
            return chr(code - row + ord("A"))
    return _without_disguise(character, category)


def _without_disguise(character: str, category: str) -> str:
    apart = unicodedata.normalize("NFKD", character)
    bare = "".join(one for one in apart if not _within(ord(one), _MARKS))
    normal = unicodedata.normalize("NFKC", character) if bare == apart else unicodedata.normalize("NFC", bare)
    if normal != character:
        return "".join(_FOLDED[ord(one)] for one in normal)
    if category[0] in "PS":
        alike = _QUOTES.get(character) or _LOOK_ALIKES.get(ord(character), character)
        return alike if not alike.isalnum() else character
    return character


def _latinised(found: re.Match[str]) -> str:
    """A word with the letters of other scripts that pass for ASCII in it, replaced one for one."""
    word: str = found[0]
    if word.isascii():
        return word
    stands_in = any(one.isascii() and one != "_" for one in word) or all(ord(one) in _LETTERS for one in word)
    return word.translate(_LETTERS) if stands_in else word


class View:
    """What a reader sees of a body, and where it stood."""

    __slots__ = ("_caseless", "_pieces", "_places", "body", "text")

    def __init__(self, body: str, text: str, from_pieces: tuple[Piece, ...] | None) -> None:
        self.body = body
        self.text = text
        self._pieces = from_pieces
        self._places: Places | None = None
        self._caseless: str | None = None

    @property
    def is_own(self) -> bool:
        """The body is what its reader sees, character by character."""
        return self._pieces is None

    @property
    def caseless(self) -> str:
        """The text without regard to case, character by character at the same places."""
        if self._caseless is None:
            folded = self.text.casefold()
            if len(folded) != len(self.text):
                folded = "".join(low if len(low := one.casefold()) == 1 else one for one in self.text)
            self._caseless = folded
        return self._caseless

    def original(self, start: int, end: int) -> Span:
        """Where in the body the text from `start` to `end` stood, with the marks on its last letter."""
        if self._pieces is None:
            return Span(start, end)
        if self._places is None:
            self._places = _places(self._pieces)
        if start < end:
            return self._places.original(start, end)
        at = self._places.original(start, start + 1).start if start < len(self.text) else len(self.body)
        return Span(at, at)


def _places(parts: tuple[Piece, ...]) -> Places:
    """Where each character of the folded text stood. Runs of characters that were folded to one each stay runs."""
    places = Places()
    for part in parts:
        if not part.verbatim:
            places.instead(part.start, part.end, sum(len(_FOLDED[ord(one)]) for one in part.text))
            continue
        run = 0  # where it began
        for odd in _ODD.finditer(part.text):
            at, folded = odd.start(), _FOLDED[ord(odd[0])]
            if len(folded) == 1:
                continue
            places.as_is(part.start + run, part.start + at)
            places.instead(part.start + at, part.start + at + 1, len(folded))
            if not folded and unicodedata.category(odd[0]).startswith("M"):
                places.widen(part.start + at + 1)
            run = at + 1
        places.as_is(part.start + run, part.end)
    return places


def view(body: str, *, html: bool | None = None) -> View:
    """What a reader sees; `html` says whether the body is markup (None: by its looks)."""
    plain = ("<" not in body and "&" not in body) or html is False
    if plain and body.isascii() and body.isprintable():
        return View(body, body, None)
    parts = (Piece(body, 0, len(body), verbatim=True),) if plain else pieces(body, html=html)
    shown = "".join(part.text for part in parts)
    text = shown.translate(_FOLDED)
    if not text.isascii():
        text = _WORD.sub(_latinised, text)
    return View(body, text, None if text == body else parts)
