"""Many patterns in one scan: what matches where, what is refused, and that cost stays linear. On both engines."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Callable

import pytest

from pipeline.policy.patterns import (
    HYPERSCAN,
    PATTERN_LIMIT,
    PLACES_LIMIT,
    BadPattern,
    Engine,
    Matcher,
    Pattern,
    check,
    is_unlimited,
)

ENGINES = [
    pytest.param("hyperscan", marks=pytest.mark.skipif(not HYPERSCAN, reason="no Hyperscan for this machine")),
    "re2",
]
each_engine = pytest.mark.parametrize("engine", ENGINES)


def found(engine: Engine, text: str, *patterns: Pattern) -> list[tuple[str, str]]:
    matcher = Matcher(patterns, engine)
    return [(patterns[one.pattern].name, text[one.start : one.end]) for one in matcher.scan(text)]


@each_engine
def test_patterns_and_keywords(engine: Engine) -> None:
    patterns = [
        Pattern("project", r"proj-\d+"),
        Pattern("exact", "ABC", case=True),
        Pattern("phrase", "top secret", keyword=True),
        Pattern("word", "cat", keyword=True),
        Pattern("signs", "c++", keyword=True),
        Pattern("russian", "тайна", keyword=True),
    ]
    text = "é PROJ-12, abc ABC; Top  \nSecret cat, concat cats; C++ c++x Тайна тайнами"
    assert found(engine, text, *patterns) == [
        ("project", "PROJ-12"),
        ("exact", "ABC"),
        ("phrase", "Top  \nSecret"),
        ("word", "cat"),
        ("signs", "C++"),
        ("signs", "c++"),
        ("russian", "Тайна"),
    ]


@each_engine
def test_the_leftmost_longest_that_do_not_overlap(engine: Engine) -> None:
    assert found(engine, "aaa aaaa", Pattern("a", "a+")) == [("a", "aaa"), ("a", "aaaa")]
    assert found(engine, "foobar", Pattern("f", "foo|foobar|bar")) == [("f", "foobar")]
    assert found(engine, "x12y345", Pattern("d", r"\d+")) == [("d", "12"), ("d", "345")]


@each_engine
def test_half_a_surrogate_pair_is_one_character(engine: Engine) -> None:
    assert Matcher([Pattern("k", "key", keyword=True), Pattern("p", "ke.")], engine).scan("\ud800é key")[0][1:] == (
        3,
        6,
    )


@each_engine
@pytest.mark.parametrize("text", ["", " ", "nothing here"])
def test_nothing(engine: Engine, text: str) -> None:
    assert Matcher([Pattern("p", "absent"), Pattern("k", "away", keyword=True)], engine).scan(text) == []
    assert Matcher([], engine).scan(text) == []


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("ab(cd", 0),
        (r"x(?<=a)b", 1),
        (r"xy\1", 2),
        ("ab[z-a]", 3),
        ("a{1001}", 1),
        ("x**", 1),
        ("(?:a{50}){50}", 9),
        ("a*", 0),
        ("(?U)a+", 0),
        ("a" * (PATTERN_LIMIT + 1), PATTERN_LIMIT),
        ("\ud800", 0),
        ("", None),
        ("  ", None),
        ("|".join(f"[^{letter}]{{900}}" for letter in "abcdefghijkl"), None),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_position(text: str, position: int | None) -> None:
    with pytest.raises(BadPattern, match=r"^pattern 'rule 7'") as refused:
        check(Pattern("rule 7", text))
    assert refused.value.position == position


def test_too_many_patterns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.policy.patterns.PATTERNS_LIMIT", 2)
    with pytest.raises(ValueError, match="at most 2"):
        Matcher([Pattern("x", "x")] * 3)


@pytest.mark.parametrize(
    ("expression", "unlimited"),
    [
        ("a+", True),
        ("a*b", True),
        ("a{2,}", True),
        ("a{2,9}", False),
        (r"a\+", False),
        ("[+*]", False),
        ("[]+]x+", True),
    ],
)
def test_what_has_no_limit(expression: str, unlimited: bool) -> None:
    assert is_unlimited(expression) is unlimited


def test_after_many_places_of_a_pattern_without_limit_the_rest_is_one() -> None:
    spans = Matcher([Pattern("p", "a(.*b)?")]).spans(0, "a" * 1000)
    assert len(spans) == PLACES_LIMIT + 1
    assert spans[-1] == (PLACES_LIMIT, 1000)


@pytest.mark.skipif(not HYPERSCAN, reason="no Hyperscan for this machine")
def test_what_hyperscan_does_not_take_goes_to_re2() -> None:
    matcher = Matcher([Pattern("anchor", "a^b|needle"), Pattern("k", "word", keyword=True)])
    assert [one.pattern for one in matcher.scan("needle word")] == [0, 1]


@pytest.mark.skipif(not HYPERSCAN, reason="no Hyperscan for this machine")
def test_both_engines_say_the_same() -> None:
    seeded = random.Random(4)
    words = [_word(seeded) for _ in range(700)]
    patterns = [Pattern(word, word, keyword=True) for word in words[:600]]
    patterns += [Pattern(word, rf"{word[:3]}\w{{2,5}}\d?") for word in words[600:]]
    one, other = Matcher(patterns, "hyperscan"), Matcher(patterns, "re2")
    for _ in range(50):
        text = " ".join(seeded.choice(words) + seeded.choice(["", "é", "1"]) for _ in range(20))
        assert one.scan(text) == other.scan(text)


def _word(seeded: random.Random) -> str:
    return "".join(seeded.choices(string.ascii_lowercase, k=seeded.randint(4, 9)))


def _seconds(work: Callable[[], object]) -> float:
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


@pytest.mark.slow
def test_ten_thousand_patterns_and_a_megabyte_cost_linearly_more() -> None:
    seeded = random.Random(4)
    words = [_word(seeded) + "q" for _ in range(10_000)]
    matcher = Matcher([Pattern(word, word, keyword=True) for word in words])
    body = " ".join(_word(seeded) for _ in range(140_000))
    part, whole = _seconds(lambda: matcher.scan(body[: len(body) // 8])), _seconds(lambda: matcher.scan(body))
    assert whole < 30 * part + 0.01
    assert whole < 1
    every = " ".join(seeded.choice(words) for _ in range(100_000))
    assert len(matcher.scan(every)) >= 100_000
    assert _seconds(lambda: matcher.scan(every)) < 5


@pytest.mark.slow
@each_engine
@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+c", "(.*)(.*)(.*)d", "a?" * 30 + "a" * 30 + "x"])
def test_no_body_breaks_it(engine: Engine, pattern: str) -> None:
    matcher = Matcher([Pattern("p", pattern)], engine)
    assert _seconds(lambda: matcher.scan("a" * 1_000_000)) < 2
