"""Typed detectors: what they find, how sure they are, and what they leave alone."""

from __future__ import annotations

import pytest

from pipeline.policy.detectors import DETECTORS, detect, find, spans_in
from pipeline.policy.findings import Hit, Strength, Taken, apart
from pipeline.policy.patterns import Matcher, Pattern

STRONG, LIKELY, WEAK = Strength.STRONG, Strength.LIKELY, Strength.WEAK


def shown(entity: str, text: str) -> list[tuple[str, Strength]]:
    return [(text[hit.start : hit.end], hit.strength) for hit in find(entity, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4012888888881881", [("4012888888881881", STRONG)]),
        (
            "two: 4012-8888-8888-1881 5555 5555 5555 4444.",
            [("4012-8888-8888-1881", STRONG), ("5555 5555 5555 4444", STRONG)],
        ),
        ("3782 822463 10005", [("3782 822463 10005", STRONG)]),
        ("4111111111111111|12|2029|123", [("4111111111111111", STRONG)]),
        ("4111 1111 1111 1111 cvv 123", [("4111 1111 1111 1111", STRONG)]),
        ("41 11 11 11 11 11 11 11", [("41 11 11 11 11 11 11 11", LIKELY)]),
        ("https://x.example/item/4111111111111111", [("4111111111111111", WEAK)]),
        ("pan4111111111111111", [("4111111111111111", WEAK)]),
        ("500000000009", [("500000000009", WEAK)]),
        ("my maestro card 500000000009", [("500000000009", STRONG)]),
        ("Firefox 3.0.14/2009082706", [("3.0.14/2009082706", WEAK)]),
        ("4111111111111112", []),
        ("41111111111111111111", []),
        ("0.4111111111111111", []),
        ("12-4111111111111111", []),
        ("a4111111111111111f", []),
        ("x9a4111111111111111", []),
        ("0000 0000 0000 0000", []),
        ("1748503543012", []),
        ("20100115144158 2009-06-30T20:25:00", []),
    ],
)
def test_cards(text: str, expected: list[tuple[str, Strength]]) -> None:
    assert shown("credit_card", text) == expected


@pytest.mark.parametrize(
    ("entity", "text", "expected"),
    [
        ("us_ssn", "536-90-4399", [("536-90-4399", STRONG)]),
        ("us_ssn", "536 90 4399, 536.90.4399", [("536 90 4399", LIKELY), ("536.90.4399", LIKELY)]),
        ("us_ssn", "536904399", [("536904399", WEAK)]),
        ("us_ssn", "my SSN is 536904399", [("536904399", STRONG)]),
        ("us_ssn", "078-05-1120 123-45-6789 666-12-3456 912-70-1234 111-11-1111", []),
        ("us_ssn", "536-90.4399 1-536-90-4399 536-90-4399-1 1112-23333", []),
        ("us_itin", "912-90-3456", [("912-90-3456", STRONG)]),
        ("us_itin", "912-93-4567 812-90-3456 9129-03456", []),
        ("us_aba_routing", "111000025", [("111000025", WEAK)]),
        ("us_aba_routing", "routing number 111000025", [("111000025", STRONG)]),
        ("us_aba_routing", "112000025 421042111 000000000", []),
        ("iban", "GR16 0110 1050 0000 1054 7023 795 today", [("GR16 0110 1050 0000 1054 7023 795", STRONG)]),
        ("iban", "de89370400440532013000", [("de89370400440532013000", STRONG)]),
        ("iban", "DE89370400440532013001 De89370400440532013000 XDE89370400440532013000", []),
        ("iban", "DE89 3704 0044 0532 0130 00 4", [("DE89 3704 0044 0532 0130 00", STRONG)]),
        ("iban", "DE8937040044053201300042", []),
        ("email", "mail Jo.Doe+x@mail.example.co.uk.", [("Jo.Doe+x@mail.example.co.uk", STRONG)]),
        ("email", "jo at gmail.com; jo [at] example [dot] org", [("jo at gmail.com", LIKELY), ("jo [at] example [dot] org", STRONG)]),
        ("email", "look at example.com, jo@gmail..com, jo@host, @nick, a@b", []),
        ("phone", "+41 22 730 5989", [("+41 22 730 5989", STRONG)]),
        ("phone", "(415) 555-0132 or 415-555-0132", [("(415) 555-0132", STRONG), ("415-555-0132", STRONG)]),
        ("phone", "my Japanese number is 090-1234-5678", [("090-1234-5678", STRONG)]),
        ("phone", "192.168.100.200 2009-06-30 20:25:00 10.10.2010", []),
        ("national_id", "hetu 131052-308T", [("131052-308T", STRONG)]),
        ("national_id", "Steuer-ID: 12345678903", [("12345678903", STRONG)]),
        ("national_id", "130 692 544", [("130 692 544", LIKELY)]),
        ("national_id", "my SIN is 130-692-544", [("130-692-544", STRONG)]),
        ("national_id", "nothing at all, 12 or 3", []),
    ],
)  # fmt: skip
def test_other_entities(entity: str, text: str, expected: list[tuple[str, Strength]]) -> None:
    assert shown(entity, text) == expected


def test_a_rule_has_a_threshold_of_its_own() -> None:
    assert detect("us_ssn", "536904399") == [(0, 9)]
    assert detect("us_ssn", "536904399", LIKELY) == []


def test_places_in_a_body_as_its_reader_sees_it() -> None:
    assert spans_in("credit_card", "<b>４０１２</b>888888881881!") == [(3, 23)]


@pytest.mark.parametrize("entity", DETECTORS)
@pytest.mark.parametrize("engine", ["re2", None])
def test_every_gate_is_a_pattern_that_can_be_used(entity: str, engine: None) -> None:
    Matcher([Pattern(entity, DETECTORS[entity].gate)], engine)


def test_the_stronger_then_the_longer_goes_first() -> None:
    weak, strong, longer = Hit(0, 9, WEAK, "a"), Hit(5, 8, STRONG, "b"), Hit(20, 30, WEAK, "c")
    assert apart([weak, strong, Hit(21, 22, WEAK, "d"), longer]) == [strong, longer]


def test_places_that_are_taken() -> None:
    taken = Taken()
    assert [taken.take(*place) for place in ((5, 8), (8, 9), (0, 5), (4, 6), (7, 7), (5, 6), (9, 12), (11, 13))] == [
        True, True, True, False, False, False, True, False,
    ]  # fmt: skip
