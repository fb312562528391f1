"""Bank accounts (IBAN, ABA routing) and the numbers of US tax payers (SSN, ITIN)."""

from __future__ import annotations

import re
from typing import Final

from stdnum import iban
from stdnum.exceptions import ValidationError
from stdnum.us import rtn

from pipeline.policy.findings import Hit, Strength, near, words

IBAN_GATE: Final = r"[A-Za-z]{2}[0-9]{2}(?:[ .\-]?[0-9A-Za-z]){11}"
NINE_GATE: Final = r"[0-9](?:[ .\-]?[0-9]){8}"

_IBAN: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:[A-Z]{2}[0-9]{2}(?:[ .\-]?[0-9A-Z]){11,30}|[a-z]{2}[0-9]{2}(?:[ .\-]?[0-9a-z]){11,30})"
)
"""Country and check digits stand together, and letters are all capitals or all small: nobody writes it otherwise."""
_IBAN_LENGTHS: Final = (15, 34)
_SEPARATORS: Final = str.maketrans("", "", " .-")

_SSN: Final = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9A-Za-z][\-.,/])([0-9]{3})([\-. ]?)([0-9]{2})([\-. ]?)([0-9]{4})(?![0-9A-Za-z_])(?![\-.,/][0-9A-Za-z])"
)
_SSN_WORDS: Final = words("ssns?", "ss#", "ssn#", "social security", "social", "soc sec", "s\\.s\\.n\\.?")
_FILLERS: Final = frozenset(("078051120", "219099999", "457555462", "123456789"))
"""Numbers of advertisements and forms, which are nobody's."""
_ITIN_GROUPS: Final = frozenset((*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)))
_ITIN_WORDS: Final = words("itins?", "tax ?payer", "tax id", "individual tax")

_ABA: Final = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9A-Za-z][\-.,/])(?:[0-9]{9}|[0-9]{4}-[0-9]{4}-[0-9])(?![0-9A-Za-z_])(?![\-.,/][0-9A-Za-z])"
)
_ABA_WORDS: Final = words("aba", "aba#", "routing", "rtn", "transit", "bank", "wire", "ach")
_ABA_PREFIXES: Final = frozenset((*range(13), *range(21, 33), *range(61, 73), 80))
"""Federal Reserve districts, thrifts, electronic, traveller's cheques."""


def find_iban(text: str) -> list[Hit]:
    """IBANs: the country's structure and both check digits are right."""
    found: list[Hit] = []
    at = 0
    while (row := _IBAN.search(text, at)) is not None:
        hit = _longest_iban(text, row)
        at = hit.end if hit is not None else row.start() + 4
        if hit is not None:
            found.append(hit)
    return found


def _longest_iban(text: str, row: re.Match[str]) -> Hit | None:
    """A country has one length, so at most one end fits; what follows may be the next word of a sentence."""
    start, letters = row.start(), []
    ends: list[int] = []
    for at in range(start, min(row.end(), start + 3 * _IBAN_LENGTHS[1])):
        if _is_ascii(text[at]):
            letters.append(text[at])
            ends.append(at + 1)
    compact = "".join(letters).upper()
    for length in range(min(_IBAN_LENGTHS[1], len(compact)), _IBAN_LENGTHS[0] - 1, -1):
        end = ends[length - 1]
        if end < len(text) and _is_ascii(text[end]):
            continue
        if int("".join(str(int(one, 36)) for one in compact[4:length] + compact[:4])) % 97 == 1 and _is_iban(
            compact[:length]
        ):
            even = _in_fours(text[start:end])
            return Hit(start, end, Strength.STRONG if even else Strength.LIKELY, compact[:2])
    return None


def _is_ascii(character: str) -> bool:
    """A letter or digit of ASCII. Scripts that part words by no space may stand beside a number."""
    return character.isascii() and character.isalnum()


def _is_iban(number: str) -> bool:
    try:
        iban.validate(number, check_country=False)
    except ValidationError:
        return False
    return True


def _in_fours(written: str) -> bool:
    groups = re.split(r"[ .\-]", written)
    return len(groups) == 1 or (all(len(group) == 4 for group in groups[:-1]) and len(groups[-1]) <= 4)


def find_ssn(text: str) -> list[Hit]:
    """US Social Security numbers: area, group and serial that can have been given out.

    STRONG in the form 3-2-4 with hyphens, or with a word that says so; LIKELY with dots or spaces; WEAK bare or with
    one of the two separators: those are other numbers more often than not.
    """
    return [
        Hit(found.start(), found.end(), _tax_strength(text, found, _SSN_WORDS), "")
        for found in _SSN.finditer(text)
        if _separated(found) and _is_ssn(found[1], found[3], found[5])
    ]


def find_itin(text: str) -> list[Hit]:
    """US Individual Taxpayer Identification numbers: area 9xx and a group that is in use; strengths as for SSN."""
    return [
        Hit(found.start(), found.end(), _tax_strength(text, found, _ITIN_WORDS), "")
        for found in _SSN.finditer(text)
        if _separated(found) and found[1][0] == "9" and int(found[3]) in _ITIN_GROUPS
    ]


def _separated(found: re.Match[str]) -> bool:
    """Both separators are the same; or just one is there, a hyphen."""
    first, second = found[2], found[4]
    return first == second or {first, second} == {"", "-"}


def _is_ssn(area: str, group: str, serial: str) -> bool:
    if area in {"000", "666"} or area[0] == "9" or group == "00" or serial == "0000":
        return False
    number = area + group + serial
    return len(set(number)) > 1 and number not in _FILLERS


def _tax_strength(text: str, found: re.Match[str], said: re.Pattern[str]) -> Strength:
    whole = found[2] == found[4] != ""
    if whole and found[2] == "-":
        return Strength.STRONG
    if near(text, found.start(), found.end(), said):
        return Strength.STRONG
    return Strength.LIKELY if whole else Strength.WEAK


def find_aba(text: str) -> list[Hit]:
    """ABA routing numbers: a prefix in use and the check digit. Bare digits are WEAK but where a word says so."""
    found: list[Hit] = []
    for row in _ABA.finditer(text):
        digits = row[0].translate(_SEPARATORS)
        if int(digits[:2]) in _ABA_PREFIXES and len(set(digits)) > 1 and rtn.is_valid(digits):
            said = near(text, row.start(), row.end(), _ABA_WORDS)
            strength = Strength.STRONG if said else Strength.LIKELY if "-" in row[0] else Strength.WEAK
            found.append(Hit(row.start(), row.end(), strength, ""))
    return found
