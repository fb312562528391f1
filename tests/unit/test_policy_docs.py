"""docs/policy.md: every key, word and kind of the policy file is in it, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.policy.model import (
    KINDS,
    Condition,
    Content,
    Document,
    EventRule,
    Exceptions,
    FileChange,
    Files,
    Hours,
    Member,
    Part,
    Wall,
)
from pipeline.policy.model import Entity as Entities
from pipeline.records import DIRECTIONS, SEVERITIES
from tests.contract.test_policies import choices

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs/policy.md").read_text()
PARTS: tuple[type[Part], ...] = (
    Condition, Content, Document, EventRule, Exceptions, FileChange, Files, Hours, Member, Wall,
)  # fmt: skip
CODE = set(re.findall(r"`([^`]+)`", PAGE))


def test_every_key_and_word_is_explained() -> None:
    keys = {field.alias or name for part in PARTS for name, field in part.model_fields.items()}
    keys -= {"except"}
    keys |= {f"except.{name}" for name in Exceptions.model_fields} - Exceptions.model_fields.keys()
    words = {*choices(Entities), *DIRECTIONS, *SEVERITIES, *choices(EventRule.model_fields["action"].annotation)}
    words |= choices(Content.model_fields["at_least"].annotation)
    assert {one for one in (keys | words) if one not in CODE and f"except.{one}" not in CODE} == set()


def test_every_kind_has_its_line() -> None:
    lines = PAGE.partition("## The kinds of events")[2].splitlines()
    assert sorted(line.split("`")[1] for line in lines if line.startswith("| `")) == sorted(KINDS)


def test_every_test_that_is_named_is_there() -> None:
    named = [one.partition("::") for one in CODE if re.fullmatch(r"[a-z]+/test_\w+\.py(::\w+)?", one)]
    assert len(named) > 40
    missing = []
    for file, _, name in named:
        path = TESTS / file
        defined = path.is_file() and re.search(rf"^\s*(?:def|class) {name}\b", path.read_text(), re.MULTILINE)
        if not path.is_file() or (name and not defined):
            missing.append((file, name))
    assert missing == []
