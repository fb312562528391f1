"""From places in a text back to places in the one that it was made of, kept as runs: one that is long is as cheap as a short."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from pipeline.records import Span

_AS_IS: Final = -1


class Places:
    """Written from the beginning to the end, then asked."""

    __slots__ = ("_ends", "_length", "_made", "_olds")

    def __init__(self) -> None:
        self._made: list[int] = []  # where a run begins in the text that was made
        self._olds: list[int] = []  # where it began
        self._ends: list[int] = []  # where all of it ended; _AS_IS: character by character
        self._length = 0

    def as_is(self, start: int, end: int) -> None:
        """What stood from `start` to `end` goes on as it was."""
        if start < end:
            self._add(start, _AS_IS, end - start)

    def instead(self, start: int, end: int, length: int) -> None:
        """So many characters stand for what stood from `start` to `end`."""
        if length:
            self._add(start, end, length)

    def widen(self, end: int) -> None:
        """The last character took up what stood until `end`."""
        if not self._made:
            return
        if self._ends[-1] != _AS_IS:
            self._ends[-1] = max(self._ends[-1], end)
            return
        last = self._length - 1
        old = self._olds[-1] + last - self._made[-1]
        if self._made[-1] == last:
            self._ends[-1] = end
        else:
            self._made.append(last)
            self._olds.append(old)
            self._ends.append(end)

    def _add(self, start: int, end: int, length: int) -> None:
        self._made.append(self._length)
        self._olds.append(start)
        self._ends.append(end)
        self._length += length

    def original(self, start: int, end: int) -> Span:
        """Where the characters from `start` to `end`, of which there is one at least, stood."""
        return Span(self._place(start)[0], self._place(end - 1)[1])

    def _place(self, at: int) -> tuple[int, int]:
        run = bisect_right(self._made, at) - 1
        old, end = self._olds[run], self._ends[run]
        if end != _AS_IS:
            return old, end
        old += at - self._made[run]
        return old, old + 1

    def __len__(self) -> int:
        return self._length
