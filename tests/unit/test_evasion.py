"""Ways to hide a card number or a keyword from a matcher: what is caught, and what is not and why."""

from __future__ import annotations

import base64
import codecs

import pytest

from pipeline.policy.content import Finding, Scanner
from pipeline.policy.findings import Strength
from pipeline.policy.patterns import Pattern

CARD = "4012888888881881"
WORD = "project falcon"
SCANNER = Scanner(
    [Pattern("falcon", WORD, keyword=True), Pattern("kickback", "kickback", keyword=True)], ["credit_card"]
)

CARDS = {
    "bare": f"take {CARD} please",
    "groups": "4012 8888 8888 1881",
    "hyphens": "4012-8888-8888-1881",
    "dots": "4012.8888.8888.1881",
    "digits one by one": " ".join(CARD),
    "uneven spaces": "401 2 8 8 8  8 8 8 8   8 1 8 8 1",
    "underscores and stars": "4012*8888*8888*1881 or",
    "zero-width": "\u200b".join(CARD),
    "soft hyphens": "4012\u00ad8888\u00ad8888\u00ad1881",
    "bidirectional marks": f"\u202a{CARD[:8]}\u202c{CARD[8:]}",
    "full-width digits": "４０１２８８８８８８８８１８８１",
    "Arabic digits": "٤٠١٢٨٨٨٨٨٨٨٨١٨٨١",
    "Devanagari digits": "४०१२८८८८८८८८१८८१",
    "mathematical digits": "𝟜𝟘𝟙𝟚𝟠𝟠𝟠𝟠𝟠𝟠𝟠𝟠𝟙𝟠𝟠𝟙",
    "circled digits": "④⓪①②⑧⑧⑧⑧⑧⑧⑧⑧①⑧⑧①",
    "keycaps": "".join(f"{digit}\ufe0f\u20e3" for digit in CARD),
    "combining marks": "".join(f"{digit}\u0336" for digit in CARD),
    "HTML entities": "".join(f"&#{ord(digit)};" for digit in CARD),
    "hexadecimal entities": "".join(f"&#x{ord(digit):x};" for digit in CARD),
    "HTML tags": "<span>4012</span><b>8888</b><i>8888</i><!-- x -->1881",
    "HTML paragraphs": "<p>4012 8888</p><p>8888 1881</p>",
    "line breaks": "4012\n8888\r\n8888\n1881",
    "letters that look like digits": "4OI2 8888 8888 I88l",
    "Cyrillic and Greek letters for digits": "4\u041e12 8888 8888 1881",
    "spelt out": "four zero one two eight eight eight eight eight eight eight eight one eight eight one",
    "spelt out with hyphens": "four-oh-one-two-eight-eight-eight-eight-eight-eight-eight-eight-one-eight-eight-one",
    "reversed": CARD[::-1],
    "base64": base64.b64encode(f"card {CARD}".encode()).decode(),
    "hexadecimal": CARD.encode().hex(),
    "percent signs": "".join(f"%{ord(digit):x}" for digit in CARD),
    "beside Chinese without a space": f"卡号{CARD}谢谢",
}
KEYWORDS = {
    "mixed case": "PrOjEcT FaLcOn",
    "two spaces, a line break": "project \n falcon",
    "no-break space": "project\u00a0falcon",
    "full-width": "ｐｒｏｊｅｃｔ ｆａｌｃｏｎ",
    "homoglyphs": "рrоjесt fаlсоn",
    "all homoglyphs": "\u03c1roject f\u0251lcon",
    "accents": "prójëct fàlcön",
    "combining marks": "".join(f"{one}\u0489" if one != " " else one for one in WORD),
    "zero-width": "pro\u200bject fal\u200dcon",
    "soft hyphen": "pro\u00adject fal\u00adcon",
    "fraktur": "𝔭𝔯𝔬𝔧𝔢𝔠𝔱 𝔣𝔞𝔩𝔠𝔬𝔫",
    "squared letters": "🅿🆁🅾🅹🅴🅲🆃 🅵🅰🅻🅲🅾🅽",
    "HTML tags": "<p>pro<b>ject</b> fal<i></i>con</p>",
    "HTML entities": "pro&#106;ect&nbsp;fal&#x63;on",
    "leetspeak": "pr0j3ct f4lc0n",
    "leetspeak with signs": "project f@lc0n",
    "letters one by one": "p r o j e c t  f a l c o n",
    "letters with dots": "p.r.o.j.e.c.t f.a.l.c.o.n",
    "reversed": "noclaf tcejorp",
    "base64": base64.b64encode(b"it is project falcon").decode(),
    "hexadecimal": WORD.encode().hex(),
    "percent signs": "".join(f"%{ord(one):02X}" for one in WORD),
}
NOT_CAUGHT = {
    "every letter of the alphabet moved by 13": codecs.encode(
        WORD, "rot13"
    ),  # any key could be agreed; each would be a policy of its own
    "repeated letters": "prooojeect falllcon",  # to join them joins words of the language as well: "hoping" is "hopping"
    "hyphens within words": "pro-ject fal-con",  # two words that are often written so; joined, "re-sign" would be "resign"
    "a synonym": "the bird thing",  # has nothing in common with the word; meaning is not for a matcher
    "vowels left out": "prjct flcn",  # many words are one without vowels
    "a letter mistyped": "project flacon",  # one letter away from each short word stand dozens of others
}


def names(found: list[Finding]) -> set[str]:
    return {one.name for one in found}


@pytest.mark.parametrize("way", CARDS)
def test_a_card_is_caught(way: str) -> None:
    found = SCANNER.scan(CARDS[way])
    assert names(found) == {"credit_card"}
    assert found[0].strength >= Strength.LIKELY


@pytest.mark.parametrize("way", KEYWORDS)
def test_a_keyword_is_caught(way: str) -> None:
    found = SCANNER.scan(KEYWORDS[way])
    assert names(found) == {"falcon"}
    assert found[0].strength >= Strength.LIKELY


def test_split_over_two_messages() -> None:
    (card,) = SCANNER.seam("my card: 4012 8888", "8888 1881, thanks")
    assert (card.name, card.span, card.disguise) == ("credit_card", (0, 9), "seam")
    (word,) = SCANNER.seam("it is project", " falcon again")
    assert (word.name, word.span) == ("falcon", (1, 7))
    (word,) = SCANNER.seam("a kick", "back for you")
    assert (word.name, word.span) == ("kickback", (0, 4))


def test_two_messages_that_have_it_each_or_not_at_all() -> None:
    assert SCANNER.seam(f"my card: {CARD}", "is it right?") == []
    assert SCANNER.seam("is this right?", f"{CARD}") == []
    assert SCANNER.seam("", "8888") == []
    assert SCANNER.seam("4012 8888", "") == []


def test_over_an_edit() -> None:
    """An edit is judged by the text that stands after it; what it adds to the message before, by the seam."""
    assert SCANNER.scan("4012 8888 8888") == []
    assert names(SCANNER.scan("4012 8888 8888 1881")) == {"credit_card"}
    assert names(SCANNER.seam("4012 8888", "8888 1881")) == {"credit_card"}


@pytest.mark.parametrize("way", NOT_CAUGHT)
def test_what_is_not_caught(way: str) -> None:
    """The reasons stand beside each. A test that fails here has become better: move the line up."""
    assert SCANNER.scan(NOT_CAUGHT[way]) == []


def test_a_span_covers_what_was_hidden_and_no_more() -> None:
    body = "send &#52;012-8888-8888-188<b>1</b>!"
    (found,) = SCANNER.scan(body)
    assert body[found.span.start : found.span.end] == "&#52;012-8888-8888-188<b>1"


def test_enough_ways_are_caught() -> None:
    assert len(CARDS) + len(KEYWORDS) >= 20
