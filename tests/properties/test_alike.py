"""Messages that nothing tells apart but their paths, against a list that is looked through."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.stages.alike import Alike


class Naive:
    def __init__(self) -> None:
        self.paths: dict[int, set[int]] = {}

    def lacking(self, path: int) -> list[int]:
        return sorted(number for number, paths in self.paths.items() if path not in paths)

    def add(self, number: int, path: int) -> bool:
        new = number not in self.paths
        self.paths.setdefault(number, set()).add(path)
        return new

    def forget_below(self, number: int) -> bool:
        self.paths = {known: paths for known, paths in self.paths.items() if known >= number}
        return bool(self.paths)


@pytest.mark.parametrize("number", range(30))
def test_it_agrees_with_a_list(seed: int, number: int) -> None:
    """Mostly as captures do it: to the first that lacks the path, else a new one; long enough for what is remembered."""
    chance = Random(f"{seed}/{number}")
    quick, naive, newest = Alike(), Naive(), 0
    for _ in range(300):
        what, path = chance.random(), chance.choice([0, 0, 0, 1, 2])
        found = naive.lacking(path)
        assert quick.lacking(path) == found
        if what < 0.8:
            newest = max([newest, *naive.paths]) + chance.randint(1, 3)
            to = found[0] if found else newest
        else:
            to = chance.randint(0, newest)
        assert quick.add(to, path) == naive.add(to, path)
        if what > 0.98:
            end = chance.randint(0, newest)
            assert quick.forget_below(end) == naive.forget_below(end)
