"""The policy alone, in process: every capture of the log judged, one after another.

200 patterns, 50 walls among the people of the log in 500 groups, and 10 rules, which look for cards, social security
numbers and IBANs as well; walls and the one keyword that people do use fire for about one event in 200. Then how one
scan grows: fifty times the patterns, a body of a megabyte, one made to break engines that backtrack.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from pipeline.codec import EventCodec
from pipeline.jsonl import parse_line
from pipeline.policy.api import PolicyText
from pipeline.policy.content import Scanner
from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from pipeline.policy.past import Past
from pipeline.policy.patterns import Pattern
from pipeline.records import OK, Event
from pipeline.registry import FixedSchemas, load_schema
from tests.bench.load import log_as_captures

PATTERNS: Final = 200
WALLS: Final = 50
GROUPS: Final = 500
RULES: Final = 10
RECIPIENTS: Final = 12
KEYWORD_IN: Final = 400
"""The keyword is one that one event in so many has; walls make up the rest."""
ROUNDS: Final = 3
MEGABYTE: Final = 1_000_000
Line = dict[str, Any]


def bench(folder: Path) -> list[Line]:
    file, name = log_as_captures(folder, RECIPIENTS)
    codec = EventCodec(FixedSchemas().event_schema, load_schema("event"))
    with file.open("rb") as lines:
        events = [codec.decode(parse_line(line, source=name, number=n).value).event for n, line in enumerate(lines, 1)]
    text = policy_of(events)
    policy = RulePolicy(read(text), PolicyText(text.encode()))
    asked = [(event, tuple(dict.fromkeys(event["recipients"]))) for event in events]
    hits, took = 0, []
    for _ in range(ROUNDS):
        past = Past()
        began = time.process_time()
        hits = 0
        for event, recipients in asked:
            judgement = policy.judge(event, recipients, past)
            past.take(event, 0, judgement.decision, ())
            hits += judgement is not OK
        took.append(time.process_time() - began)
    first = {
        "judging": "policy", "input": name, "events": len(events),
        "us_per_event": round(min(took) / len(events) * 1e6, 2), "events_per_hit": round(len(events) / max(1, hits)),
        "patterns": PATTERNS, "walls": WALLS, "groups": GROUPS, "rules": RULES,
    }  # fmt: skip
    return [first, *_growth([event["body"] for event in events])]


def policy_of(events: Sequence[Event]) -> str:
    """The policy file, for these people and words."""
    random = Random(1)
    people = sorted({event["sender"] for event in events} | {one for event in events for one in event["recipients"]})
    groups: dict[str, list[str]] = {f"group-{number}": [] for number in range(GROUPS)}
    for number, person in enumerate(random.sample(people, len(people))):
        groups[f"group-{number % GROUPS}"].append(person)
    for number, members in enumerate(groups.values()):  # a small log has fewer people than groups
        if not members:
            members.append(f"nobody-{number}@bank.example")
    walls = [
        {
            "id": f"wall-{n}",
            "between": list(random.sample(sorted(groups), 2)),
            "kinds": ["chat", "presence", "file_post"],
        }
        for n in range(WALLS)
    ]
    words = Counter(word for event in events for word in set(event["body"].lower().split()) if word.isalpha())
    wanted = len(events) / KEYWORD_IN
    keyword = min((word for word in words if len(word) > 4), key=lambda word: (abs(words[word] - wanted), word))
    patterns = [
        *(rf"project[ -]?zx{n}\b" for n in range(PATTERNS // 2)),
        *(rf"\bqz{n}[0-9]{{4}}\b" for n in range(PATTERNS // 2 - 1)),
    ]
    contents: list[Line] = [
        {"entities": ["credit_card"]}, {"entities": ["us_ssn", "iban"]}, {"keywords": [keyword]},
        *({"patterns": patterns[n::7]} for n in range(7)),
    ]  # fmt: skip
    rules = [
        {
            "id": f"rule-{n}",
            "action": ("modify", "block", "alert")[n % 3],
            "when": {"kinds": ["chat", "edit"], "content": one},
        }
        for n, one in enumerate(contents)
    ]
    made = {"version": 1, "groups": groups, "walls": walls, "rules": rules}
    return str(yaml.safe_dump(made, sort_keys=False))


def _growth(bodies: Sequence[str]) -> list[Line]:
    """One scan: by the number of patterns, and of bodies that are long or evil."""
    lines = []
    for count in (PATTERNS, 50 * PATTERNS):
        scanner = Scanner(
            [Pattern(f"p{n}", rf"project[ -]?zx{n}\b") for n in range(count)], ["credit_card", "us_ssn", "iban"]
        )
        some = bodies[:50_000]
        plain = ("nothing to see here, 12 of them; " * (MEGABYTE // 32))[:MEGABYTE]
        evil = ("a" * 50 + "!") * (MEGABYTE // 51)
        lines.append({
            "scan": f"{count} patterns",
            "us_per_body": round(_best(lambda: [scanner.scan(body) for body in some]) / len(some) * 1e6, 2),  # noqa: B023
            "ms_per_megabyte": round(_best(lambda: scanner.scan(plain)) * 1e3, 1),  # noqa: B023
            "ms_per_evil_megabyte": round(_best(lambda: scanner.scan(evil)) * 1e3, 1),  # noqa: B023
        })  # fmt: skip
    return lines


def _best(what: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        what()
        took.append(time.process_time() - began)
    return min(took)
