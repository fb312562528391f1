"""What a reader sees of a body."""

from __future__ import annotations

import pytest

from pipeline.policy.markup import is_html
from pipeline.policy.text import view


def test_ascii_is_its_own_view() -> None:
    seen = view("plain chat, 100% of it")
    assert seen.is_own
    assert seen.text is seen.body
    assert seen.original(3, 7) == (3, 7)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("١٢٣ ४५६ ７８９", "123 456 789"),
        ("zero\u200bwidth so\u00adft", "zerowidth soft"),
        ("caf\u00e9 cafe\u0301", "cafe cafe"),
        ("ﬁne ½", "fine 1/2"),
        ("“quoted” – dashed…", '"quoted" - dashed...'),
        ("Привет, мир", "Привет, мир"),
        ("рaypal сосо", "paypal coco"),
        ("Ελλάδα", "Ελλαδα"),
        ("line\r\nbreak\ttab", "line  break tab"),
        ("a\x00b\ud800", "ab\ufffd"),
        ("สวัสดี", "สวัสดี"),
        ("ガギグ 한국어", "ガギグ 한국어"),
        ("㍿ 🇺🇸", "株式会社 US"),
    ],
)
def test_characters(body: str, text: str) -> None:
    assert view(body).text == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>one</p><p>two</p>", " one  two "),
        ("o<b>n</b>e", "one"),
        ("x<br/>y", "x y"),
        ("a &amp; b &lt;c&gt; &#100;", "a & b <c> d"),
        ("AT&T, R&D; x<5 && y>6", "AT&T, R&D; x<5 && y>6"),
        ("<nick> hello", "<nick> hello"),
        ("<p>shown<script>hidden()</script><style>b{}</style></p>", " shown "),
        ("<b>a<!-- hidden -->b</b>", "ab"),
        ("<b>unfinished <i", "unfinished <i"),
        ("<body><p title='x'>y", "  y"),
    ],
)
def test_markup(body: str, text: str) -> None:
    assert view(body).text == text


def test_the_caller_may_say_what_a_body_is() -> None:
    assert view("<nick>x", html=True).text == "x"
    assert view("<b>x &#49;", html=False).text == "<b>x &#49;"
    assert is_html("<br>")
    assert not is_html("<foo> 1 < 2")


def test_places_lead_back() -> None:
    body = "x <b>4&#48;1</b>\u200b2é"
    seen = view(body)
    assert seen.text == "x 4012e"
    start = seen.text.index("4012")
    assert seen.original(start, start + 4) == (body.index("4"), body.index("2") + 1)
    assert seen.original(0, len(seen.text)) == (0, len(body))
    assert seen.original(2, 2) == (5, 5)
    assert view("e\u0301\u0302x").original(0, 1) == (0, 3)


def test_case() -> None:
    assert view("STRASSE Straße İ").caseless == "strasse straße i"
    assert view("ABC").caseless == "abc"
