"""Of content: places lead back, a view of a view is itself, nothing that people can write raises, cost is linear."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.policy.content import Scanner
from pipeline.policy.detectors import DETECTORS, find
from pipeline.policy.disguise import DISGUISES
from pipeline.policy.patterns import HYPERSCAN, Matcher, Pattern
from pipeline.policy.text import view

ODD = st.sampled_from(
    ["\u200b", "\u0301", "４", "٤", "&#52;", "&amp;", "<b>", "</b>", "<p>", "<!--", "-->", "<script>", "é", "о", "\ud800",
     "\U0001f1e6", "\ufe0f", "ß", "İ", "ﷺ", "\n", " ", "-", "4111", "1111", "1", "@", " at ", ".com", "AL47", "%41", "one ", "$"]
)  # fmt: skip
BODIES = st.lists(st.one_of(ODD, st.text(max_size=5)), max_size=40).map("".join)
SCANNER = Scanner(
    [Pattern("word", "secret", keyword=True), Pattern("pattern", r"[a-z]\d+"), Pattern("greek", "λόγος", keyword=True)],
    DETECTORS,
)


@given(BODIES)
@example("\ufdfa\u0301<b>")
def test_places_lead_back(body: str) -> None:
    seen = view(body)
    before = 0
    for at in range(len(seen.text)):
        start, end = seen.original(at, at + 1)
        assert 0 <= start < end <= len(body)
        assert start >= before
        before = start
    if seen.text:
        assert seen.original(0, len(seen.text)).end <= len(body)
    assert len(seen.caseless) == len(seen.text)


@given(st.text())
@example("ﷺ½⑽🅰\u0149ǰ")
def test_a_view_of_a_view_is_itself(body: str) -> None:
    once = view(body, html=False).text
    assert view(once, html=False).text == once


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<&")))
def test_printable_ascii_is_its_own_view(body: str) -> None:
    assert view(body).text is body


@given(BODIES)
@settings(deadline=None)
def test_nothing_raises_and_places_are_in_the_body(body: str) -> None:
    for one in SCANNER.scan(body):
        assert 0 <= one.span.start < one.span.end <= len(body)
    for one in SCANNER.seam("4111 1111", body):
        assert 0 <= one.span.start < one.span.end <= len(body)


@given(BODIES, st.sampled_from(sorted(DETECTORS)))
@settings(deadline=None)
def test_hits_do_not_overlap(body: str, entity: str) -> None:
    hits = find(entity, view(body).text)
    assert all(one.end <= other.start for one, other in pairwise(hits))
    assert all(hit.start < hit.end for hit in hits)


@given(BODIES)
@settings(deadline=None)
def test_a_gate_lets_through_whatever_its_detector_finds(body: str) -> None:
    seen = view(body).text
    for entity, gate in GATES.items():
        if find(entity, seen):
            assert gate.hits(seen), entity


GATES = {entity: Matcher([Pattern(entity, detector.gate)]) for entity, detector in DETECTORS.items()}


@given(BODIES)
@settings(deadline=None)
@pytest.mark.skipif(not HYPERSCAN, reason="no Hyperscan for this machine")
def test_both_engines_say_the_same(body: str) -> None:
    assert ENGINES[0].scan(body) == ENGINES[1].scan(body)


_PATTERNS = [
    Pattern("a", r"1+[a-z ]?"), Pattern("b", "one", keyword=True), Pattern("c", r"\s-?\d"), Pattern("d", r"[^a-z]{2,3}@"),
    Pattern("e", "é", keyword=True), Pattern("f", "4111 1111", keyword=True), Pattern("g", r"\$\b|a$"),
]  # fmt: skip
ENGINES = (Matcher(_PATTERNS, "hyperscan" if HYPERSCAN else "re2"), Matcher(_PATTERNS, "re2"))


@given(BODIES, st.sampled_from(sorted(DISGUISES)))
def test_what_is_undone_leads_back(body: str, way: str) -> None:
    seen = view(body).text
    for undone in DISGUISES[way].undo(seen):
        assert len(undone.places) == len(undone.text)
        for at in range(len(undone.text)):
            start, end = undone.original(at, at + 1)
            assert 0 <= start < end <= len(seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "4111 1111 1111 1111 ", "AA11", "AB12 ", "a@", "a.", "555-", "(201) 555-0123 ", "one ", "%41", "a1", "a ",
     "<", "<!--", "<b ", "&#", "&", "<script>", "é", "о1", "DE89 3704 0044 0532 0130 00 ", "a at a.a ", "+1", "-_.", "l1"],
)  # fmt: skip
def test_twice_the_body_is_not_much_more_than_twice_the_cost(piece: str) -> None:
    def seconds(size: int) -> float:
        body = piece * (size // len(piece))
        best = 99.0
        for _ in range(2):
            began = time.perf_counter()
            SCANNER.scan(body)
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(32_000) < 8 * seconds(8_000) + 0.02  # 4 times is linear, 16 quadratic
