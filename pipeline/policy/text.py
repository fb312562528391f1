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

    __slots__ = ("_caseless", "_ends", "_pieces", "_starts", "body", "text")

    def __init__(self, body: str, text: str, from_pieces: tuple[Piece, ...] | None) -> None:
        self.body = body
        self.text = text
        self._pieces = from_pieces
        self._starts: list[int] | None = None
        self._ends: list[int] = []
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
        if self._pieces is None or start >= end:
            return Span(start, end) if self._pieces is None else Span(self._place(start), self._place(start))
        starts = self._map()
        return Span(starts[start], self._ends[end - 1])

    def _place(self, position: int) -> int:
        starts = self._map()
        return starts[position] if position < len(starts) else len(self.body)

    def _map(self) -> list[int]:
        if self._starts is None:
            starts: list[int] = []
            ends = self._ends
            for piece in self._pieces or ():
                at = piece.start
                for character in piece.text:
                    end = at + 1 if piece.verbatim else piece.end
                    folded = _FOLDED[ord(character)]
                    for _ in folded:
                        starts.append(at)
                        ends.append(end)
                    if not folded and ends and unicodedata.category(character).startswith("M"):
                        ends[-1] = max(ends[-1], end)
                    if piece.verbatim:
                        at = end
            self._starts = starts
        return self._starts


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
