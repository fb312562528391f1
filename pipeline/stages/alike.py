"""Messages without ids, which nothing tells apart but the paths by which they were captured."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

FEW: Final = 8
"""Messages alike in everything that are looked through one after the other."""


class Alike:
    """Messages without ids that share content and time, and by which paths each was captured.

    A capture goes to the first that lacks its path, so for each path those that have it stand in front: where the others
    begin is remembered, or many messages that are alike in everything would cost the square of their number.
    """

    __slots__ = ("_begins", "_numbers", "_paths")

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._paths: list[set[int]] = []
        self._begins: dict[int, int] = {}

    def lacking(self, path: int) -> list[int]:
        """Numbers of the messages that were not captured by this path, in order."""
        paths, end = self._paths, len(self._paths)
        begin = self._begins.get(path, 0)
        while begin < end and path in paths[begin]:
            begin += 1
        if begin > FEW:
            self._begins[path] = begin
        return [self._numbers[at] for at in range(begin, end) if path not in paths[at]]

    def add(self, number: int, path: int) -> bool:
        """Note that a message was captured by a path; whether it is new here."""
        at = bisect_left(self._numbers, number)
        if at < len(self._numbers) and self._numbers[at] == number:
            self._paths[at].add(path)
            return False
        self._numbers.insert(at, number)
        self._paths.insert(at, {path})
        if at + 1 < len(self._numbers):
            self._begins.clear()
        return True

    def forget_below(self, number: int) -> bool:
        """Forget older messages; whether any is left."""
        at = bisect_left(self._numbers, number)
        del self._numbers[:at], self._paths[:at]
        self._begins.clear()
        return bool(self._numbers)
