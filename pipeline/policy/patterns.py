"""Many patterns against one text, at a cost that no text can make other than linear.

Two stages. First one scan tells which patterns are in the text at all: by Hyperscan, or by RE2's set where Hyperscan
cannot be imported or does not take a pattern. Then, for those few, RE2 finds the exact places: leftmost, longest, not
overlapping. Neither engine backtracks. The dialect is RE2's, whichever engine scans.

A pattern that can match without limit (`a.*b`) may read a text to its end for each place where it matches; after
PLACES_LIMIT of them the rest of the text is one more place, so that cost stays linear.

A Matcher is for one thread: Hyperscan's scratch space is not shared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

import re2

from pipeline.records import Span

try:
    import hyperscan
except ImportError:
    HYPERSCAN = False
else:
    HYPERSCAN = True
"""Whether Hyperscan can be had on this machine."""

PATTERN_LIMIT: Final = 2000
"""Longest pattern, in characters."""
PROGRAM_LIMIT: Final = 10_000
"""Largest pattern, in RE2's instructions; what `(a{100}){100}` grows to is refused."""
PATTERNS_LIMIT: Final = 50_000
"""Patterns of one matcher."""
LITERALS_FROM: Final = 500
"""Keywords from which on Hyperscan scans for literals: word boundaries take it a minute to compile by the ten thousand."""
PLACES_LIMIT: Final = 256
"""Places of one pattern of unlimited length in one text."""

_SET_SIZE: Final = 500  # patterns of one RE2 set: each has memory of its own
_SET_MEMORY: Final = 64 << 20
_UNLIMITED: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]|([*+]|\{\d+,\})", re.DOTALL)
_UNGREEDY: Final = re.compile(r"\(\?[a-z]*U")
_WHITE: Final = re.compile(r"\s+")

Engine = Literal["hyperscan", "re2"]


class Pattern(NamedTuple):
    """What to look for: a regular expression, or a keyword: literal, whole words, any space between them."""

    name: str
    """As the policy's author knows it; errors speak of it."""
    text: str
    keyword: bool = False
    case: bool = False
    """Whether case matters."""

    def expression(self) -> str:
        """As RE2 takes it."""
        if not self.keyword:
            return self.text
        words = _WHITE.split(self.text.strip())
        joined = r"\s+".join(re2.escape(word) for word in words)
        # the engines' \b knows ASCII only; `_whole` looks at what is beside the other letters
        before = r"\b" if _is_ascii_word(words[0][:1]) else ""
        after = r"\b" if _is_ascii_word(words[-1][-1:]) else ""
        return f"{before}{joined}{after}"

    def one_word(self) -> int:
        """The length of a keyword that is one word of ASCII: where it ends says where it is. 0: any other pattern."""
        word = self.text.strip()
        return len(word) if self.keyword and word.isascii() and not _WHITE.search(word) else 0

    def prefilter(self) -> tuple[str, bool]:
        """A literal that is in every match of a keyword, and whether it is ASCII: cheap to compile by the thousand."""
        longest = max(_WHITE.split(self.text.strip()), key=len)
        return str(re2.escape(longest)), longest.isascii()


class BadPattern(ValueError):
    """A pattern that cannot be used: `name` and `position` (in characters from 0; None: as a whole) say where."""

    def __init__(self, name: str, why: str, position: int | None = None) -> None:
        place = "" if position is None else f" at position {position}"
        super().__init__(f"pattern {name!r}{place}: {why}")
        self.name = name
        self.why = why
        self.position = position


class Match(NamedTuple):
    """Where a pattern matched: its number in the matcher, and the place in code points, `end` exclusive."""

    pattern: int
    start: int
    end: int


class _Scanner(Protocol):
    """Which of the patterns are in a text: (number, byte after a match, or -1), in any order, perhaps more than once."""

    def __call__(self, data: bytes) -> list[tuple[int, int]]: ...


class Matcher:
    """A set of patterns, compiled once. Raises BadPattern for the first that cannot be used."""

    def __init__(self, patterns: Iterable[Pattern], engine: Engine | None = None) -> None:
        self.patterns: Final = tuple(patterns)
        if len(self.patterns) > PATTERNS_LIMIT:
            raise ValueError(f"{len(self.patterns)} patterns; at most {PATTERNS_LIMIT}")
        if engine == "hyperscan" and not HYPERSCAN:
            raise ValueError("Hyperscan cannot be imported here")
        self._exact: Final = tuple(_exact(pattern) for pattern in self.patterns)
        self._limits: Final = tuple(
            PLACES_LIMIT if not pattern.keyword and is_unlimited(pattern.text) else None for pattern in self.patterns
        )
        self._lengths: Final = tuple(pattern.one_word() for pattern in self.patterns)
        self.engine: Final[Engine] = engine or ("hyperscan" if HYPERSCAN else "re2")
        self._scanners: Final = _scanners(self.patterns, self.engine)

    def hits(self, text: str) -> list[int]:
        """The numbers of the patterns that are in the text, ascending; a keyword perhaps as part of a longer word."""
        found = self._ends(text.encode("utf-8", "replace"))
        return sorted({number for number, _ in found}) if found else []

    def _ends(self, data: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for scanner in self._scanners:
            found += scanner(data)
        return found

    def spans(self, pattern: int, text: str) -> list[Span]:
        """Where one pattern matches: leftmost, longest, not overlapping."""
        found: list[Span] = []
        limit = self._limits[pattern]
        keyword = self.patterns[pattern].keyword
        for start, end in _places(self._exact[pattern], text):
            if start == end or (keyword and not _whole(text, start, end)):
                continue
            if limit is not None and len(found) == limit:
                found.append(Span(start, len(text)))
                break
            found.append(Span(start, end))
        return found

    def scan(self, text: str) -> list[Match]:
        """All matches, by pattern and place."""
        return self.look(text, len(self.patterns))[0]

    def look(self, text: str, exact: int) -> tuple[list[Match], set[int]]:
        """The matches of the patterns below number `exact`, and which of the others are there at all."""
        data = text.encode("utf-8", "replace")
        ends = self._ends(data)
        if not ends:
            return [], set()
        there: set[int] = set()
        words: dict[int, set[int]] = {}
        for number, end in ends:
            if number < exact:
                words.setdefault(number, set()).add(end if self._lengths[number] else -1)
            else:
                there.add(number)
        return (self._matches(data, text, words) if words else []), there

    def _matches(self, data: bytes, text: str, words: dict[int, set[int]]) -> list[Match]:
        """By the places in bytes where words end; -1: a place that RE2 is to find."""
        found: list[Match] = []
        characters = _characters(data, text, sorted({end for some in words.values() for end in some if end >= 0}))
        for number in sorted(words):
            if -1 in words[number]:
                spans = self.spans(number, text)
            else:
                spans = _apart(text, self._lengths[number], sorted(characters[end] for end in words[number]))
            found += [Match(number, *span) for span in spans]
        return found


def check(pattern: Pattern) -> None:
    """Raise BadPattern where a pattern cannot be used."""
    _exact(pattern)


def is_unlimited(expression: str) -> bool:
    """Whether a regular expression can match any number of characters."""
    return any(found[1] for found in _UNLIMITED.finditer(expression))


def _characters(data: bytes, text: str, ends: Sequence[int]) -> dict[int, int]:
    """From places in bytes, ascending, to places in code points."""
    if len(data) == len(text):
        return {end: end for end in ends}
    found: dict[int, int] = {}
    at = characters = 0
    for end in ends:
        characters += len(data[at:end].decode())
        at = end
        found[end] = characters
    return found


def _apart(text: str, length: int, ends: Iterable[int]) -> list[Span]:
    """The places of a word that stands whole; none overlaps the one before it."""
    found: list[Span] = []
    for end in ends:
        start = end - length
        if _whole(text, start, end) and (not found or start >= found[-1].end):
            found.append(Span(start, end))
    return found


def _is_ascii_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


def _whole(text: str, start: int, end: int) -> bool:
    """A keyword's letters go on neither before nor after it."""
    inside_before = start > 0 and text[start].isalnum() and _is_word(text[start - 1])
    return not (inside_before or (end < len(text) and text[end - 1].isalnum() and _is_word(text[end])))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _places(exact: Any, text: str) -> Iterator[tuple[int, int]]:
    try:
        for found in exact.finditer(text):
            yield found.span()
    except UnicodeEncodeError:  # half of a surrogate pair: a stand-in of one code point, as in `hits`
        for found in exact.finditer(text.encode("utf-8", "replace").decode()):
            yield found.span()


def _options(pattern: Pattern) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.longest_match = True
    options.never_capture = True
    options.case_sensitive = pattern.case
    return options


def _exact(pattern: Pattern) -> Any:
    """Compiled by RE2, or BadPattern."""
    name, text = pattern.name, pattern.text
    if not text.strip():
        raise BadPattern(name, "it is empty")
    if len(text) > PATTERN_LIMIT:
        raise BadPattern(name, f"{len(text)} characters; at most {PATTERN_LIMIT}", PATTERN_LIMIT)
    if not pattern.keyword and (ungreedy := _UNGREEDY.search(text)) is not None:
        raise BadPattern(name, "the flag U is not taken: matches are the longest", ungreedy.start())
    try:
        exact = re2.compile(pattern.expression(), _options(pattern))
    except UnicodeEncodeError as error:
        raise BadPattern(name, "half of a surrogate pair", error.start) from None
    except re2.error as error:
        raise _refused(name, text, error) from None
    if exact.programsize > PROGRAM_LIMIT:
        raise BadPattern(name, f"too large ({exact.programsize} instructions; at most {PROGRAM_LIMIT})")
    if exact.search("") is not None:
        raise BadPattern(name, "it matches where nothing is, so everywhere", 0)
    return exact


def _refused(name: str, text: str, error: Exception) -> BadPattern:
    """RE2 says what is wrong and which piece of the pattern it is; where that stands is looked up."""
    said = error.args[0] if error.args else b""
    message = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    why, _, piece = message.partition(": ")
    # of repetitions in repetitions it is the outer one that makes too many
    position = (text.rfind if "repetition" in why else text.find)(piece) if piece else -1
    hint = {
        "invalid perl operator": "look-around and the like need a backtracking engine, which is never used",
        "invalid escape sequence": "no such escape; back references need a backtracking engine, which is never used",
    }.get(why)
    shown = message if hint is None else f"{message} ({hint})"
    return BadPattern(name, shown, position if position >= 0 else None)


def _scanners(patterns: Sequence[Pattern], engine: Engine) -> tuple[_Scanner, ...]:
    numbers = range(len(patterns))
    if not patterns:
        return ()
    if engine == "re2":
        return tuple(_re2_scanners(patterns, numbers))
    try:
        return (_hyperscan_scanner(patterns, numbers),)
    except hyperscan.error:  # it does not say which: each alone
        taken = [number for number in numbers if _hyperscan_takes(patterns[number])]
        others = sorted(set(numbers).difference(taken))
        alone = (_hyperscan_scanner(patterns, taken),) if taken else ()
        return (*alone, *_re2_scanners(patterns, others))


def _hyperscan_scanner(patterns: Sequence[Pattern], numbers: Sequence[int]) -> _Scanner:
    literal = sum(patterns[number].keyword for number in numbers) >= LITERALS_FROM
    wanted = [_wanted(patterns[number], literal=literal) for number in numbers]
    database = hyperscan.Database()
    database.compile(
        expressions=[expression.encode() for expression, _ in wanted],
        ids=list(numbers),
        elements=len(numbers),
        flags=[flags for _, flags in wanted],
    )
    scan = database.scan
    found: list[tuple[int, int]] = []

    def on_match(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
        found.append((number, end))

    def scanner(data: bytes) -> list[tuple[int, int]]:
        found.clear()
        scan(data, on_match)
        return found

    return scanner


def _wanted(pattern: Pattern, *, literal: bool) -> tuple[str, int]:
    """What Hyperscan is to look for, and its flags."""
    flags = 0 if pattern.case else hyperscan.HS_FLAG_CASELESS
    if not pattern.one_word():
        flags |= hyperscan.HS_FLAG_SINGLEMATCH
    if not (literal and pattern.keyword):
        # a word of ASCII is sought in bytes: with UTF-8's folding a match (K for Kelvin's sign) could be longer than it
        return pattern.expression(), flags if pattern.one_word() else flags | hyperscan.HS_FLAG_UTF8
    expression, ascii_ = pattern.prefilter()
    return expression, flags if ascii_ else flags | hyperscan.HS_FLAG_UTF8


def _hyperscan_takes(pattern: Pattern) -> bool:
    try:
        _hyperscan_scanner([pattern], [0])
    except hyperscan.error:
        return False
    return True


def _re2_scanners(patterns: Sequence[Pattern], numbers: Sequence[int]) -> Iterator[_Scanner]:
    for case in (False, True):
        of_case = [number for number in numbers if patterns[number].case is case]
        for first in range(0, len(of_case), _SET_SIZE):
            yield from _re2_scanner(patterns, of_case[first : first + _SET_SIZE])


def _re2_scanner(patterns: Sequence[Pattern], numbers: Sequence[int]) -> list[_Scanner]:
    options = _options(patterns[numbers[0]])
    options.max_mem = _SET_MEMORY
    options.longest_match = False
    chosen = re2.Set.SearchSet(options)
    for number in numbers:
        chosen.Add(patterns[number].expression())
    try:
        chosen.Compile()
    except re2.error:  # together they need too much memory
        if len(numbers) == 1:
            raise BadPattern(patterns[numbers[0]].name, "too large") from None
        half = len(numbers) // 2
        return [*_re2_scanner(patterns, numbers[:half]), *_re2_scanner(patterns, numbers[half:])]

    def scanner(data: bytes) -> list[tuple[int, int]]:
        return [(numbers[place], -1) for place in chosen.Match(data) or ()]

    return [scanner]
