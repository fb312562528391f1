"""What a detector says: where, what kind, how sure; and the words around a number that say what it is."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.records import Span


class Strength(IntEnum):
    """How sure a detector is. A rule has a threshold of its own, apart from what is detected."""

    WEAK = 1
    """It can be one, but so can other things that people write: nine bare digits."""
    LIKELY = 2
    """It looks like one; there are few other readings."""
    STRONG = 3
    """A person who reads the message would say that it is one."""


class Hit(NamedTuple):
    """Something found, in code points of the text that was searched; `end` is exclusive."""

    start: int
    end: int
    strength: Strength
    kind: str
    """The brand, country or form; '' where there is but one."""

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


CONTEXT_BEFORE: Final = 48
CONTEXT_AFTER: Final = 32
"""How far from a number a word may stand that says what it is."""


def near(text: str, start: int, end: int, words: re.Pattern[str]) -> bool:
    """Whether such a word stands shortly before or after a place."""
    before = text[max(0, start - CONTEXT_BEFORE) : start]
    return words.search(before) is not None or words.search(text[end : end + CONTEXT_AFTER]) is not None


def words(*alternatives: str) -> re.Pattern[str]:
    """Any of these (regular expressions without groups), as whole words, in any case."""
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(alternatives)})(?![^\W_])", re.IGNORECASE)


class Taken:
    """Places that do not overlap; asked and added to in the logarithm of their number."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, start: int, end: int) -> bool:
        """Take a place; False where it overlaps one that was taken."""
        at = bisect_right(self._starts, start)
        if at and self._ends[at - 1] > start:
            return False
        if at < len(self._starts) and self._starts[at] < end:
            return False
        self._starts.insert(at, start)
        self._ends.insert(at, end)
        return True


def apart(hits: Iterable[Hit]) -> list[Hit]:
    """Hits that do not overlap: the stronger first, then the longer, then the one that begins first."""
    taken = Taken()
    ranked = sorted(hits, key=lambda one: (-one.strength, one.start - one.end, one.start))
    return sorted(hit for hit in ranked if taken.take(hit.start, hit.end))
