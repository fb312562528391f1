"""All that a policy looks for in a body, in one scan: its patterns and keywords, its typed detectors, and their disguises.

    1. the view: what a reader sees (pipeline.policy.text)
    2. one scan of it for every pattern, every detector's gate and every disguise's gate (pipeline.policy.patterns)
    3. the detectors whose gates are there
    4. the disguises whose gates are there, undone (pipeline.policy.disguise), each searched again for the keywords and
       numbers that may hide in it

Steps 3 and 4 do not happen for ordinary chat. A Scanner is for one thread, as its Matcher is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from pipeline.policy.detectors import DETECTORS, find
from pipeline.policy.disguise import DISGUISES, Undone
from pipeline.policy.findings import Strength, Taken
from pipeline.policy.markup import is_html
from pipeline.policy.patterns import Engine, Matcher, Pattern
from pipeline.policy.text import View, view
from pipeline.records import Span

NUMBERS: Final = ("credit_card", "iban", "us_ssn")
"""What is sought in a number's disguises. The other entities have too little to check for that."""
KEYWORD_LEAST: Final = 5
"""Shorter keywords are not sought disguised: every `b4` and `pop` would be one."""
LONGEST: Final = 1 << 18
"""Characters of a text that detectors and disguises look through, at up to 15 s a million; where a gate of a detector
is in a longer one, what stands behind is taken for found. Patterns and keywords see all of it."""
SEAM: Final = 64
"""Characters on each side of the seam between two messages."""


class Finding(NamedTuple):
    """Something that a policy looks for, and where in the body it is."""

    name: str
    """Of the pattern, or the entity."""
    span: Span
    strength: Strength
    kind: str
    """A card's brand, an identifier's country ...; '' for a pattern."""
    disguise: str
    """How it was hidden; '' where it was not."""


class Scanner:
    """What one policy looks for, compiled once."""

    def __init__(
        self,
        patterns: Iterable[Pattern],
        entities: Iterable[str],
        *,
        disguises: bool = True,
        engine: Engine | None = None,
    ) -> None:
        self.patterns: Final = tuple(
            pattern._replace(text=view(pattern.text, html=False).text) if pattern.keyword else pattern
            for pattern in patterns
        )
        self.entities: Final = tuple(dict.fromkeys(entities))
        hidden = [pattern for pattern in self.patterns if pattern.keyword and len(pattern.text) >= KEYWORD_LEAST]
        self._numbers: Final = tuple(entity for entity in self.entities if entity in NUMBERS)
        self._ways: Final = tuple(
            (name, way)
            for name, way in DISGUISES.items()
            if disguises and ((way.numbers and self._numbers) or (way.keywords and hidden))
        )
        gates = [Pattern(entity, DETECTORS[entity].gate) for entity in self.entities]
        gates += [Pattern(name, way.gate, case=way.case) for name, way in self._ways]
        reversed_ = [pattern._replace(text=pattern.text[::-1]) for pattern in hidden] if disguises else []
        self._backwards: Final = disguises and "credit_card" in self.entities
        self._own: Final = len(self.patterns)
        self._exact: Final = self._own + len(reversed_)
        self._reversed: Final = tuple(pattern.name for pattern in hidden)
        self._matcher: Final = Matcher((*self.patterns, *reversed_, *gates), engine)
        words = {word for pattern in hidden for word in pattern.text.casefold().split()}
        self._beginnings: Final = frozenset(word[:end] for word in words for end in range(1, len(word) + 1))
        self._keywords: Final = Matcher(hidden if disguises else (), engine)

    def scan(self, body: str, *, html: bool | None = None) -> list[Finding]:
        """What is in a body, by place."""
        seen = view(body, html=html)
        found = self._look(seen, body)
        if html is None and "<" in body and not seen.is_own and is_html(body):
            # That it is HTML is a guess: who reads it as plain text sees what stands in tags and comments, too.
            taken: dict[tuple[str, Strength], Taken] = {}
            for one in found:
                taken.setdefault((one.name, one.strength), Taken()).take(*one.span)
            plain = self._look(view(body, html=False), body)
            found += [one for one in plain if taken.setdefault((one.name, one.strength), Taken()).take(*one.span)]
        return sorted(found, key=lambda one: (one.span, one.name)) if len(found) > 1 else found

    def _look(self, seen: View, body: str) -> list[Finding]:
        """What is in a body that is seen so."""
        matches, gates = self._matcher.look(seen.text, self._exact)
        if not matches and not gates and seen.is_own:
            return []
        found = [self._match(seen, number, start, end) for number, start, end in matches]
        if gates:
            found += self._behind(seen, gates)
        if not seen.is_own and not body.isascii():  # patterns in other scripts, as they were written
            raw, _ = self._matcher.look(body, self._own)
            known = {(one.name, one.span) for one in found}
            for number, start, end in raw:
                one = Finding(self.patterns[number].name, Span(start, end), Strength.STRONG, "", "")
                if (one.name, one.span) not in known:
                    found.append(one)
        return found

    def seam(self, before: str, body: str, *, html: bool | None = None) -> list[Finding]:
        """What begins at the end of the sender's message before and ends in this one; spans are of this one alone."""
        if not self._may_go_on(before.rstrip(), body.lstrip()):
            return []
        first, second = view(before, html=html), view(body, html=html)
        left, right = first.text.rstrip()[-SEAM:], second.text.lstrip()[:SEAM]
        if not left or not right or not (left[-1].isalnum() and right[0].isalnum()):
            return []
        skipped = len(second.text) - len(second.text.lstrip())
        found: dict[tuple[str, Span], Finding] = {}
        for joined, gap in ((left + right, 0), (f"{left} {right}", 1)):
            begins = len(left) + gap
            for name, start, end, strength, kind in self._plain(joined):
                if start < len(left) and end > begins:
                    span = second.original(skipped, skipped + end - begins)
                    found.setdefault((name, span), Finding(name, span, strength, kind, "seam"))
        return list(found.values())

    def _may_go_on(self, left: str, right: str) -> bool:
        """Whether a number or a keyword may stand over the seam: asked of nearly every message, so by its last word alone."""
        if not left or not right:
            return False
        if left[-1].isdigit():
            return bool(self._numbers) and right[0].isdigit()
        return bool(self._beginnings) and left[-SEAM:].rsplit(None, 1)[-1].casefold() in self._beginnings

    def _plain(self, text: str) -> Iterator[tuple[str, int, int, Strength, str]]:
        """Keywords and numbers of a text, as they stand."""
        for number, start, end in self._keywords.scan(text):
            yield self._keywords.patterns[number].name, start, end, Strength.STRONG, ""
        for entity in self._numbers:
            for hit in find(entity, text):
                yield entity, hit.start, hit.end, hit.strength, hit.kind

    def _match(self, seen: View, number: int, start: int, end: int) -> Finding:
        if number < self._own:
            return Finding(self.patterns[number].name, seen.original(start, end), Strength.STRONG, "", "")
        name = self._reversed[number - self._own]
        return Finding(name, seen.original(start, end), Strength.LIKELY, "", "backwards")

    def _behind(self, seen: View, gates: set[int]) -> list[Finding]:
        """What stands behind the gates that are there."""
        found: list[Finding] = []
        taken: dict[str, Taken] = {}
        for place, entity in enumerate(self.entities, self._exact):
            if place in gates:
                for hit in find(entity, seen.text[:LONGEST]):
                    taken.setdefault(entity, Taken()).take(*hit.span)
                    found.append(Finding(entity, seen.original(*hit.span), hit.strength, hit.kind, ""))
                if len(seen.text) > LONGEST:
                    rest = seen.original(LONGEST, len(seen.text))
                    found.append(Finding(entity, rest, Strength.STRONG, "", "behind a long text"))
        first = self._exact + len(self.entities)
        for place, (name, way) in enumerate(self._ways, first):
            if place in gates:
                for undone in way.undo(seen.text[:LONGEST]):
                    hidden = self._hidden(undone, seen.text, numbers=way.numbers, keywords=way.keywords)
                    found += _new(seen, name, hidden, taken)
        if self._backwards and self._exact + self.entities.index("credit_card") in gates:
            found += _new(seen, "backwards", _backwards(seen.text[:LONGEST]), taken)
        return found

    def _hidden(
        self, undone: Undone, text: str, *, numbers: bool, keywords: bool
    ) -> list[tuple[str, Span, Strength, str]]:
        """What is in a text without its disguise and was hidden by it; places in the text as it was."""
        found: list[tuple[str, Span, Strength, str]] = []
        if keywords:
            for number, start, end in self._keywords.scan(undone.text):
                span = undone.original(start, end)
                if undone.text[start:end].casefold() != text[span.start : span.end].casefold():
                    found.append((self._keywords.patterns[number].name, span, Strength.STRONG, ""))
        if numbers:
            for entity in self._numbers:
                found += [
                    (entity, undone.original(hit.start, hit.end), hit.strength, hit.kind)
                    for hit in find(entity, undone.text)
                ]
        return found


def _backwards(text: str) -> list[tuple[str, Span, Strength, str]]:
    """Cards whose digits stand backwards: never STRONG, as each number is two then."""
    end = len(text)
    return [
        ("credit_card", Span(end - hit.end, end - hit.start), min(hit.strength, Strength.LIKELY), hit.kind)
        for hit in find("credit_card", text[::-1])
    ]


def _new(
    seen: View, way: str, hidden: Sequence[tuple[str, Span, Strength, str]], taken: dict[str, Taken]
) -> list[Finding]:
    """Findings where there is not one of the same name already."""
    found: list[Finding] = []
    for name, span, strength, kind in hidden:
        if taken.setdefault(name, Taken()).take(*span):
            found.append(Finding(name, seen.original(*span), strength, kind, way))
    return found
