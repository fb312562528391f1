"""Typed detectors: each finds one kind of number or name in a text and checks it as its issuer does.

    entity           checked by
    credit_card      brand's prefix and length, Luhn
    us_ssn, us_itin  area, group and serial that can have been given out
    iban             the country's structure, mod 97
    us_aba_routing   prefix in use, check digit
    phone            libphonenumber; without country code: US
    email            the syntax that mail has in practice
    national_id      what each country's issuer says: check digits, dates, letters (pipeline.policy.national)

A text is searched as it is given: pipeline.policy.text makes of a body what its reader sees. Detection is apart from a
rule's threshold: each hit has a Strength. A gate is a pattern that every hit matches; a scan for all gates at once
tells which detectors need to look at a text at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.policy import accounts, cards, contacts, national
from pipeline.policy.findings import Hit, Strength, Taken
from pipeline.policy.text import view
from pipeline.records import Span


class Detector(NamedTuple):
    """How one entity is found."""

    find: Callable[[str], list[Hit]]
    gate: str
    """In RE2's and Hyperscan's dialect, whatever the case."""


DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType(
    {
        "credit_card": Detector(cards.find, cards.GATE),
        "us_ssn": Detector(accounts.find_ssn, accounts.NINE_GATE),
        "us_itin": Detector(accounts.find_itin, accounts.NINE_GATE),
        "iban": Detector(accounts.find_iban, accounts.IBAN_GATE),
        "us_aba_routing": Detector(accounts.find_aba, accounts.NINE_GATE),
        "phone": Detector(contacts.find_phone, contacts.PHONE_GATE),
        "email": Detector(contacts.find_email, contacts.EMAIL_GATE),
        "national_id": Detector(national.find, national.GATE),
    }
)
"""By the name of the entity, as policies and `policy detect` name it."""


def find(entity: str, text: str, at_least: Strength = Strength.WEAK) -> list[Hit]:
    """What a detector finds, not overlapping, in order. KeyError: no such entity."""
    return [hit for hit in DETECTORS[entity].find(text) if hit.strength >= at_least]


def detect(entity: str, text: str, at_least: Strength = Strength.WEAK) -> list[Span]:
    """Where a detector finds something, not overlapping, in order."""
    return [hit.span for hit in find(entity, text, at_least)]


def spans_in(entity: str, body: str, at_least: Strength = Strength.WEAK) -> list[Span]:
    """Where a detector finds something in a body as its reader sees it; places in the body, not overlapping, in order."""
    seen = view(body)
    places = [seen.original(hit.start, hit.end) for hit in find(entity, seen.text, at_least)]
    taken = Taken()  # two hits may share an entity of HTML that became several characters
    return [place for place in places if taken.take(*place)]
