"""E-mail addresses and telephone numbers."""

from __future__ import annotations

import re
from typing import Final

import phonenumbers
from phonenumbers import Leniency, NumberParseException, PhoneNumberMatcher, ValidationResult

from pipeline.policy.findings import CONTEXT_BEFORE, Hit, Strength, apart, near, words

EMAIL_GATE: Final = r"@|[\[({<]\s?at\s?[\])}>]|\sat\s[a-z0-9\-]+(?:\.|\s?[\[({<]?\s?dot\s)"
PHONE_GATE: Final = r"[0-9](?:[^0-9A-Za-z]{0,4}[0-9]){6}"

_LOCAL: Final = r"[^\W_](?:[\w.+\-'%&]{0,62}[\w+\-])?|_[\w.+\-]{0,62}"
_LABEL: Final = r"[^\W_](?:[\w\-]{0,61}[^\W_])?"
_TOP: Final = r"(?:[xX][nN]--[A-Za-z0-9\-]{2,59}|[^\W\d_]{2,24})"
_EMAIL: Final = re.compile(
    rf"(?<![\w.+\-])(?:{_LOCAL})@(?:{_LABEL}\.){{1,8}}{_TOP}(?!-{{0,2}}[\w]|@|\.[^\W_])", re.ASCII
)
_AT: Final = r"(?:\s{0,2}[\[({<]\s{0,2}at\s{0,2}[\])}>]\s{0,2}|\s{1,2}at\s{1,2})"
_DOT: Final = r"(?:\.|\s{0,2}[\[({<]\s{0,2}dot\s{0,2}[\])}>]\s{0,2}|\s{1,2}dot\s{1,2})"
_SPELT: Final = re.compile(
    rf"(?<![\w.+\-])([A-Za-z0-9][\w.+\-]{{0,62}})({_AT})((?:[A-Za-z0-9\-]{{1,62}}{_DOT}){{1,4}}[A-Za-z]{{2,24}})(?![\w@])",
    re.IGNORECASE,
)
_BRACKETED: Final = re.compile(r"[\[({<]")
_PROVIDERS: Final = re.compile(
    r"(?:gmail|googlemail|hotmail|outlook|live|yahoo|ymail|aol|icloud|gmx|protonmail|proton|fastmail|mail|web|msn)\b",
    re.IGNORECASE,
)
_EMAIL_WORDS: Final = words("e-?mails?", "mail", "address", "reach me", "write to", "contact")

_REGION: Final = "US"
_REGIONS: Final = {
    region: re.compile(rf"\b(?:(?i:{names})|{region})\b")
    for region, names in {
        "AU": "australian?", "BR": "brazil(?:ian)?", "CA": "canad(?:a|ian)", "CH": "switzerland|swiss", "CN": "china|chinese",
        "DE": "german(?:y)?", "ES": "spain|spanish", "FR": "france|french", "GB": "uk|british|britain", "GR": "greece|greek",
        "IE": "ireland|irish", "IL": "israeli?", "IN": "india|indian", "IT": "ital(?:y|ian)", "JP": "japan(?:ese)?",
        "KR": "korean?", "MX": "mexic(?:o|an)", "NL": "netherlands|dutch", "PH": "philippines?|filipino", "PL": "poland|polish",
        "RU": "russian?", "SE": "sweden|swedish", "SG": "singapore(?:an)?", "TR": "turkey|turkish", "ZA": "south african?",
    }.items()
}  # fmt: skip
"""Words before a number that say where it is from."""
_PHONE_WORDS: Final = words(
    "phones?", "tel", "telephone", "telefon\\w*", "cell", "mobile", "mob", "call", "called", "calling", "fax", "text me",
    "dial", "ring", "sms", "whatsapp", "numbers?", "reach me",
)  # fmt: skip
_LOCAL_FORM: Final = re.compile(r"[2-9][0-9]{2}[\-.][0-9]{4}")
_US_FORM: Final = re.compile(
    r"(?<![\w.])(?<!\d[\-/])(?:\+?1[ .\-]?)?(?:\([0-9]{3}\) ?|[0-9]{3}[ .\-])[0-9]{3}[ .\-][0-9]{4}(?![\w]|[\-.]\d)"
)
_ABROAD_FORM: Final = re.compile(r"(?<![\w+])\(?\+[1-9]\d{0,2}\)?(?:[ .\-]?\(?\d{1,4}\)?){2,5}(?![\w]|[\-.]\d)")
_OTHER: Final = re.compile(
    r"(?<!\d)(?<!\d\.)\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)|(?<!\d)\d{4}[\-/.]\d{1,2}[\-/.]\d{1,2}(?!\d)"
    r"|(?<!\d)\d{1,2}[\-/.]\d{1,2}[\-/.]\d{4}(?!\d)|\d{1,2}(?::\d{2}){1,2}(?:[.,]\d{1,6})?"
)
"""Internet addresses, versions, dates, times."""
_TRIES: Final = 1000  # of libphonenumber in one text: each candidate is parsed with some 50 regular expressions
_WINDOW: Final = 4000
"""Characters that are searched at once; libphonenumber's own expressions are not meant for a megabyte."""
_SEVEN: Final = re.compile(r"[+(]?[0-9](?:[^\w]{0,4}[0-9]){6,}")


def find_email(text: str) -> list[Hit]:
    """E-mail addresses, also spelt out ("john at gmail.com", "john [at] example [dot] com").

    An "at" without brackets is a preposition ("look at example.com"), unless the domain is one of the great mail
    providers or a word says so: else it is no finding.
    """
    found = [Hit(one.start(), one.end(), Strength.STRONG, "") for one in _EMAIL.finditer(text)]
    for one in _SPELT.finditer(text):
        if _BRACKETED.search(one[2]):
            found.append(Hit(one.start(), one.end(), Strength.STRONG, "spelt"))
        elif _PROVIDERS.match(one[3]) is not None or near(text, one.start(), one.end(), _EMAIL_WORDS):
            found.append(Hit(one.start(), one.end(), Strength.LIKELY, "spelt"))
    return apart(found)


def _regions(text: str, start: int) -> list[str]:
    """The region that libphonenumber is to assume, and the one that is named shortly before a number."""
    named = [name for name, said in _REGIONS.items() if said.search(text, max(0, start - CONTEXT_BEFORE), start)]
    return [_REGION, *named[:1]]


def find_phone(text: str) -> list[Hit]:
    """Telephone numbers that libphonenumber takes for valid; without a country's code: of the US.

    STRONG with + and country, in the US form, or with a word near; LIKELY in another form; WEAK where the digits are
    bare or parted by a slash, or where the form is right and the area code is not in use.
    """
    found: list[Hit] = []
    without = _OTHER.sub(lambda other: "_" * len(other[0]), text)
    for row in _SEVEN.finditer(without):
        for start in range(row.start(), row.end(), _WINDOW):
            _phones(without, max(0, start - 2), min(len(text), start + _WINDOW, row.end() + 24), found)
    return apart(found)


def _phones(text: str, first: int, last: int, found: list[Hit]) -> None:
    window = text[first:last]
    for region in _regions(text, first):
        for one in PhoneNumberMatcher(window, region, leniency=Leniency.VALID, max_tries=_TRIES):
            start, end = first + one.start, first + one.end
            if not _is_other(text, start, end):
                where = phonenumbers.region_code_for_number(one.number) or ""
                found.append(Hit(start, end, _phone_strength(text, start, end), where))
    found += [
        Hit(first + form.start(), first + form.end(), Strength.WEAK, "")
        for form in (*_US_FORM.finditer(window), *_ABROAD_FORM.finditer(window))
        if _possible(form[0])
    ]
    for form in _LOCAL_FORM.finditer(window):
        start, end = first + form.start(), first + form.end()
        alone = not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()
        if alone and text[start - 1 : start] not in {"-", ".", "/"} and near(text, start, end, _PHONE_WORDS):
            found.append(Hit(start, end, Strength.WEAK, _REGION))


def _possible(written: str) -> bool:
    try:
        number = phonenumbers.parse(written, _REGION)
    except NumberParseException:
        return False
    return phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE


def _is_other(text: str, start: int, end: int) -> bool:
    """A piece of a longer number or name."""
    return text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()


def _phone_strength(text: str, start: int, end: int) -> Strength:
    written = text[start:end]
    if written.startswith(("+", "(+")):
        return Strength.STRONG
    if _US_FORM.fullmatch(written) or near(text, start, end, _PHONE_WORDS):
        return Strength.STRONG
    return Strength.WEAK if written.isdigit() or "/" in written else Strength.LIKELY
