"""Identifiers that states and their offices give to people, firms and vehicles.

    STRONG  a check confirms it and letters, groups or a word near set it off from other numbers
    LIKELY  a check confirms it and it has letters or groups; or its layout is all there is and a word names it
    WEAK    bare digits with one check digit, of which every tenth number has one; a layout that other names share

Digits without check or layout of their own (nine digits of a US passport) are a finding only where a word names them.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from pipeline.policy.findings import Hit, Strength, apart, near
from pipeline.policy.national_kinds import KINDS as FIRST
from pipeline.policy.national_kinds import Kind
from pipeline.policy.national_more import KINDS as MORE
from pipeline.policy.patterns import Matcher, Pattern

GATE: Final = (
    r"[A-Z]{0,6}[0-9](?:[.\-:/ _+()]{0,2}[0-9A-Z]){4}|(?:[0-9A-F]{2}[:\-]){5}|(?:[0-9A-F]{4}\.){2}"
    r"|(?-i:GIR ?0AA|HR[AB] ?[0-9]|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}|[A-Z][0-9]{1,3} ?[A-Z]{3}|[A-Z]{3} ?[0-9]{1,3}[A-Z])"
)
"""Five digits and letters that begin with a digit; and the shorter ones, of post and vehicles."""
KINDS: Final = FIRST + MORE
"""Every identifier that is known."""
_SEPARATORS: Final = re.compile(r"[\W_]+")
_SOMETHING: Final = re.compile(r"[0-9]|[A-Fa-f]{2}[:.\-]")  # an address of a network card may be all letters
_KEPT: Final = frozenset(("FI_PERSONAL_IDENTITY_CODE",))
"""Kinds in which a separator says something (the century)."""


@cache
def _gates() -> Matcher:
    """Of sixty ways to write an identifier hardly any is in a text; one scan says which (RE2: it compiles them in no time)."""
    return Matcher((Pattern(kind.name, kind.gate) for kind in KINDS), "re2")


def find(text: str) -> list[Hit]:
    """Identifiers of all known kinds, not overlapping."""
    if _SOMETHING.search(text) is None:
        return []
    return apart(hit for number in _gates().hits(text) for hit in _of_kind(text, KINDS[number]))


def _of_kind(text: str, kind: Kind) -> list[Hit]:
    found: list[Hit] = []
    for one in kind.written.finditer(text):
        named = kind.named is not None and near(text, one.start(), one.end(), kind.named)
        if not named and not kind.bare:
            continue
        if " " in one[0] and _goes_on(text, one.start(), one.end()):
            continue
        number = one[0].upper() if kind.name in _KEPT else _SEPARATORS.sub("", one[0]).upper()
        if kind.check is None or (len(set(number)) > 1 and kind.check(number)):
            found.append(Hit(one.start(), one.end(), _strength(one[0], kind, named=named), kind.name))
    return found


def _goes_on(text: str, start: int, end: int) -> bool:
    """A row of groups that began before or does not end here is a longer number."""
    return (text[start - 1 : start] == " " and text[start - 2 : start - 1].isdigit()) or (
        text[end : end + 1] == " " and text[end + 1 : end + 2].isdigit()
    )


def _strength(written: str, kind: Kind, *, named: bool) -> Strength:
    if kind.check is None:
        return Strength.LIKELY if named else Strength.WEAK
    if named:
        return Strength.STRONG
    return Strength.WEAK if written.isdigit() else Strength.LIKELY
