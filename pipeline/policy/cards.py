"""Payment cards: digits in a card's layout, with a brand's prefix and length, that Luhn confirms.

One number in ten passes Luhn and a third of all numbers begin as some card does, so the layout decides how sure it is:

    STRONG  bare, or in the groups that cards are printed in with one separator throughout, of a brand with one length;
            or digits one by one, evenly apart
    LIKELY  the same, but in the middle of a longer row of such groups; or in uneven groups, one sign between them
    WEAK    a brand whose cards have nearly any length (Maestro) or hardly a prefix, bare and without a word such as
            "card" near; uneven groups and signs; digits glued to a word or within an address of the web

Digits within a longer number, a decimal fraction or a serial number of letters and digits are no card.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pipeline.policy.findings import Hit, Strength, near, words

SHORTEST: Final = 12
LONGEST: Final = 19


class _Brand(NamedTuple):
    name: str
    first: int
    last: int
    lengths: tuple[int, ...]
    distinct: bool = True
    """Prefix and length say enough; for the others a word near must tell, or a card's layout."""

    def fits(self, digits: str) -> bool:
        return len(digits) in self.lengths and self.first <= int(digits[: len(str(self.first))]) <= self.last


_ANY: Final = tuple(range(12, 20))
_LONG: Final = (16, 17, 18, 19)
_BRANDS: Final = (
    _Brand("visa", 4, 4, (16,)),
    _Brand("visa", 4, 4, (13, 18, 19), distinct=False),
    _Brand("mastercard", 51, 55, (16,)),
    _Brand("mastercard", 2221, 2720, (16,)),
    _Brand("american_express", 34, 34, (15,)),
    _Brand("american_express", 37, 37, (15,)),
    _Brand("diners", 300, 305, (14,)),
    _Brand("diners", 3095, 3095, (14,)),
    _Brand("diners", 36, 36, (14,)),
    _Brand("diners", 38, 39, (14,)),
    _Brand("diners", 300, 305, _LONG, distinct=False),
    _Brand("diners", 36, 36, (15, *_LONG), distinct=False),
    _Brand("diners", 38, 39, (15, *_LONG), distinct=False),
    _Brand("jcb", 3528, 3589, (16,)),
    _Brand("jcb", 3528, 3589, (17, 18, 19), distinct=False),
    _Brand("jcb", 1800, 1800, (15, 16), distinct=False),
    _Brand("jcb", 2131, 2131, (15, 16), distinct=False),
    _Brand("discover", 6011, 6011, (16,)),
    _Brand("discover", 644, 659, (16,)),
    _Brand("unionpay", 62, 62, (16,)),
    _Brand("unionpay", 62, 62, (14, 15, 17, 18, 19), distinct=False),
    _Brand("unionpay", 810, 817, (14, 15, 16, 17, 18, 19), distinct=False),
    _Brand("mir", 2200, 2204, (16,)),
    _Brand("mir", 2200, 2204, (17, 18, 19), distinct=False),
    _Brand("rupay", 82, 82, (16,), distinct=False),
    _Brand("troy", 9792, 9792, (16,)),
    _Brand("uzcard", 8600, 8600, (16,), distinct=False),
    _Brand("humo", 9860, 9860, (16,), distinct=False),
    _Brand("mada", 9682, 9682, (16,), distinct=False),
    _Brand("uatp", 1, 1, (15,), distinct=False),
    _Brand("fuel", 7050, 7050, _LONG, distinct=False),
    _Brand("fuel", 7006, 7006, _LONG, distinct=False),
    _Brand("maestro", 5018, 5018, (16,)),
    _Brand("maestro", 5020, 5020, (16,)),
    _Brand("maestro", 5038, 5038, (16,)),
    _Brand("maestro", 6304, 6304, (16,)),
    _Brand("maestro", 6759, 6763, (16,)),
    _Brand("dankort", 5019, 5019, (16,)),
    _Brand("maestro", 50, 50, _ANY, distinct=False),
    _Brand("maestro", 56, 59, _ANY, distinct=False),
    _Brand("maestro", 60, 69, _ANY, distinct=False),
)
_LAYOUTS: Final = frozenset(
    (
        (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 1), (4, 4, 4, 4, 2), (4, 4, 4, 4, 3), (4, 4, 4, 3), (4, 4, 4, 2),
        (4, 4, 4, 1), (4, 4, 5), (4, 3, 3, 3), (4, 5, 6), (8, 8), (6, 10), (6, 13), (4, 12), (4, 4, 8), (4, 8, 4),
    )
)  # fmt: skip
_MOST_GROUPS: Final = max(len(layout) for layout in _LAYOUTS)
GATE: Final = r"[0-9](?:[^0-9A-Za-z]{0,3}[0-9]){11}"
"""What every card has; a scan for it leaves nearly all messages out."""
_ROW: Final = re.compile(r"[0-9](?:[\W_]{0,3}[0-9])*")
_GROUP: Final = re.compile(r"[0-9]+")
_ALIKE: Final = 2  # a number of one digit over and over is a filler
_PARTS: Final = frozenset(".-_\u00b7")
"""Between digits these make one number of two; a space, comma, colon, bar or slash may part a card from its date."""
_WORDS: Final = words(
    "cards?", "credit", "debit", "visa", "master ?card", "maestro", "amex", "american express", "discover", "diners?",
    "jcb", "union ?pay", "uatp", "cc", "ccn", "cc#", "pan", "cvv2?", "cvc2?", "csc", "exp", "expires?", "expiry", "carte",
    "karte", "kreditkarte", "tarjeta", "carta",
)  # fmt: skip
_WEB: Final = re.compile(r"(?:https?:|www\.|[/?&=#])\S*\Z", re.IGNORECASE)
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(digits: str) -> bool:
    """Whether the check digit is right."""
    values = [int(one) for one in reversed(digits)]
    return (sum(values[::2]) + sum(_DOUBLED[one] for one in values[1::2])) % 10 == 0


def brand(digits: str) -> tuple[str, bool] | None:
    """The first brand whose prefix and length these are, and whether those two say enough; None: of no brand."""
    for one in _BRANDS:
        if one.fits(digits):
            return one.name, one.distinct
    return None


def find(text: str) -> list[Hit]:
    """Payment cards in a text, not overlapping."""
    found: list[Hit] = []
    for row in _ROW.finditer(text):
        if row.end() - row.start() >= SHORTEST:
            groups = [group.span() for group in _GROUP.finditer(text, *row.span())]
            at = 0
            while at < len(groups):
                taken, hit = _from(text, groups, at)
                at += taken
                if hit is not None:
                    found.append(hit)
    return found


def _from(text: str, groups: list[tuple[int, int]], first: int) -> tuple[int, Hit | None]:
    """The best card that begins with a group, and how many groups it takes; (1, None): none does."""
    best: tuple[tuple[bool, int], int, Hit] | None = None
    digits = ""
    sizes: tuple[int, ...] = ()
    most = LONGEST if first == 0 and len(groups) <= LONGEST else _MOST_GROUPS
    for last in range(first, min(len(groups), first + most)):
        digits += text[groups[last][0] : groups[last][1]]
        sizes += (groups[last][1] - groups[last][0],)
        if len(digits) > LONGEST:
            break
        whole = first == 0 and last + 1 == len(groups)
        if not whole and len(sizes) > 1 and sizes not in _LAYOUTS:
            continue  # uneven groups, or digits one by one, are a card only where they are all that is there
        if len(digits) < SHORTEST or not luhn(digits) or len(set(digits)) < _ALIKE:
            continue
        kind = brand(digits)
        if kind is None:
            continue
        strength = _strength(text, groups, first, last, distinct=kind[1])
        if strength is not None:
            # a layout that cards are printed in goes before uneven groups, then the longer
            rank = (strength is Strength.STRONG, len(digits))
            if best is None or rank > best[0]:
                best = rank, last - first + 1, Hit(groups[first][0], groups[last][1], strength, kind[0])
    return (1, None) if best is None else best[1:]


def _strength(text: str, groups: list[tuple[int, int]], first: int, last: int, *, distinct: bool) -> Strength | None:
    """How sure it is that these groups are one card; None: they are not."""
    start, end = groups[first][0], groups[last][1]
    left, right = text[start - 1 : start] if start else "", text[end : end + 1]
    before = text[groups[first - 1][1] : start] if first else ""
    after = text[end : groups[last + 1][0]] if last + 1 < len(groups) else ""
    if _PARTS.intersection(before) or _PARTS.intersection(after) or (right.isascii() and right.isalpha()):
        return None
    named = near(text, start, end, _WORDS)
    glued = left.isascii() and left.isalnum()
    if glued and not _after_word(text, start):
        return None
    separators = {text[groups[one][1] : groups[one + 1][0]] for one in range(first, last)}
    sizes = tuple(groups[one][1] - groups[one][0] for one in range(first, last + 1))
    regular = len(sizes) == 1 or (len(separators) == 1 and (sizes in _LAYOUTS or set(sizes) == {1}))
    alone = not before and not after
    if not regular:
        one_sign = len(set("".join(separators))) == 1
        return (Strength.LIKELY if distinct and one_sign else Strength.WEAK) if alone else None
    in_row = len(sizes) > 1 and (before in separators or after in separators) and not alone
    if glued or (not named and _WEB.search(text[max(0, start - 80) : start]) is not None):
        return Strength.WEAK
    if named or (len(sizes) > 1 and set(sizes) != {1} and not in_row and distinct):
        return Strength.STRONG
    if not distinct:
        return Strength.WEAK
    return Strength.LIKELY if in_row and not _whole_cards(sizes, len(groups)) else Strength.STRONG


def _after_word(text: str, start: int) -> bool:
    """Glued to a word ("card4111..."), not to a serial number's letters."""
    at = start
    while at and text[at - 1].isalpha():
        at -= 1
    return start - at >= 2 and not (at and text[at - 1].isalnum())


def _whole_cards(sizes: tuple[int, ...], groups: int) -> bool:
    """A row that is made of several cards, all in the same layout."""
    return groups % len(sizes) == 0
