"""The sample policies: a bank's, a hospital's, a school's. What each says of each event was written by hand beside it."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import orjson
import pytest
from pydantic import BaseModel

from pipeline.jsonl import read_lines
from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from pipeline.policy.model import Document, EventRule
from pipeline.policy.past import Past
from tests.support.captures import capture

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/policies"
SAMPLE = ROOT / "pipeline/local/sample/events.jsonl.gz"
NAMES = ("bank", "hospital", "school")
COMMAND = [sys.executable, "-m", "pipeline.cli"]
Row = dict[str, Any]


def lines(text: str | bytes) -> list[Row]:
    return [orjson.loads(line) for line in text.splitlines()]


def run(*arguments: str | Path) -> list[Row]:
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return lines(done.stdout)


def archived(into: Path) -> list[Row]:
    """What the archive says of each event, in the form of the expectations."""
    tables = {what: run("export", what, "--from", into) for what in ("verdicts", "copies", "findings", "messages")}
    copies: dict[str, Row] = defaultdict(dict)
    for row in tables["copies"]:
        told = {"decision": row["decision"], "delivered_body": row["delivered_body"]}
        copies[row["event_id"]][row["recipient"]] = told
        if row["delivered_files"]:
            told["delivered_files"] = row["delivered_files"]
    findings: dict[str, list[Row]] = defaultdict(list)
    for row in tables["findings"]:
        findings[row["event_id"]].append({name: row[name] for name in ("rule", "severity", "person")})
    told_of = {row["event_id"]: row["decision"] for row in tables["messages"]}
    verdicts = tables["verdicts"]
    assert [told_of[row["event_id"]] for row in verdicts if row["status"] == "accepted"] == [
        row["decision"] for row in verdicts if row["status"] == "accepted"
    ], "a message is what its verdict says"
    return [
        {
            **{name: row[name] for name in ("event_id", "decision", "reason", "rules")},
            "recipients": copies[row["event_id"]],
            "findings": findings[row["event_id"]],
        }
        for row in verdicts
    ]


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", NAMES)
def test_each_event_is_judged_as_the_policy_means_it(name: str, tmp_path: Path) -> None:
    events = FOLDER / f"{name}.events.jsonl"
    run("process", events, "--into", tmp_path / "archive", "--policy", FOLDER / f"{name}.yaml", "--json")
    expected = lines((FOLDER / f"{name}.expected.jsonl").read_bytes())
    found = {row["event_id"]: row for row in archived(tmp_path / "archive")}
    wrong = [(row, found.get(row["event_id"])) for row in expected if row != found.get(row["event_id"])]
    assert wrong == [], "expected, found"
    assert sorted(found) == sorted(row["event_id"] for row in lines(events.read_bytes()))
    assert run("verify", "--from", tmp_path / "archive", "--json")


def test_the_bank_finds_nothing_in_real_chat() -> None:
    """Its detectors and keywords ask for what people do not write by chance."""
    content = (FOLDER / "bank.yaml").read_bytes()
    policy, past = RulePolicy(read(content.decode()), PolicyText(content)), Past()
    bodies = {orjson.loads(line)["body"] for _, line in read_lines(str(SAMPLE))}
    assert len(bodies) > 900
    for body in bodies:
        event: Any = capture(sender="omar@harbour.example", recipients=["dana@acme.example"], body=body)
        assert policy.judge(event, tuple(event["recipients"]), past).rules == ("recording-notice",), body


# -- the samples are complete ----------------------------------------------------------------------------------------


def documents() -> list[Document]:
    return [read((FOLDER / f"{name}.yaml").read_text(), name) for name in NAMES]


def parts(value: object) -> Iterator[BaseModel]:
    """Every part of a policy, itself included."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from parts(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from parts(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from parts(one)


def models(root: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and all that its fields hold."""
    found: set[type[BaseModel]] = set()
    held: list[Any] = [root]
    while held:
        one = held.pop()
        held += get_args(one)
        if isinstance(one, type) and issubclass(one, BaseModel) and one not in found:
            found.add(one)
            held += [field.annotation for field in one.model_fields.values()]
    return found


def choices(annotation: Any) -> set[str]:
    """The words that a field takes, where it takes but some."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {word for inner in get_args(annotation) for word in choices(inner)}


def test_every_field_of_a_policy_is_in_a_sample() -> None:
    used = {
        (type(part), name) for document in documents() for part in parts(document) for name in part.model_fields_set
    }
    missing = {
        f"{model.__name__}.{name}"
        for model in models(Document)
        for name in model.model_fields
        if (model, name) not in used
    }
    assert missing == set()


def test_every_word_that_a_field_takes_is_in_a_sample() -> None:
    """Of weekdays and of kinds some will do."""
    used: set[tuple[str, str]] = set()
    for document in documents():
        for part in parts(document):
            for name in type(part).model_fields:
                value = getattr(part, name)
                used |= {
                    (name, word) for word in (value if isinstance(value, tuple) else (value,)) if isinstance(word, str)
                }
    offered = {
        (name, word)
        for model in models(Document)
        for name, field in model.model_fields.items()
        for word in choices(field.annotation)
        if name not in {"kinds", "days", "version"}
    }
    assert offered - used == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_a_sample_is_shown_to_decide(name: str) -> None:
    """Each wall and rule stands in some expectation, has somebody who answers for it, and tells those whom it stops."""
    document = read((FOLDER / f"{name}.yaml").read_text(), name)
    shown = {rule for row in lines((FOLDER / f"{name}.expected.jsonl").read_bytes()) for rule in row["rules"]}
    assert {rule.id for rule in (*document.walls, *document.rules)} == shown
    for rule in (*document.walls, *document.rules):
        assert rule.owner
        assert rule.reason or (isinstance(rule, EventRule) and rule.action not in ("block", "modify")), rule.id
