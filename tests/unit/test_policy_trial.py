"""`compliance policy check, test, explain, diff, approve`: what they print, and their exit status."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pipeline import cli
from pipeline.jsonl import event_to_json
from tests.support.captures import START, capture

POLICY = """\
version: 1
groups: {ones: [alice@alpha.example], twos: [bob@beta.example]}
walls:
  - {id: wall, reason: a wall, from: ones, to: twos, kinds: presence}
rules:
  - {id: cards, action: modify, replace: "[card]", when: {content: {entities: credit_card}}}
  - {id: secret, action: block, reason: secret, when: {content: {keywords: falcon}, recipients: "*@beta.example"}}
  - {id: told, action: disclaim, text: recorded, when: {conversation_types: direct}, once_every: 1h}
  - {id: never, action: alert, when: {clusters: nowhere}}
"""
NEW = POLICY.replace("keywords: falcon", "keywords: [falcon, eagle]").replace("[card]", "[a card]")
EVENTS: list[dict[str, Any]] = [
    {"event_id": "e1", "body": "pay 4012 8888 8888 1881", "recipients": ["bob@beta.example", "x@gamma.example"]},
    {"event_id": "e2", "body": "falcon", "recipients": ["bob@beta.example", "x@gamma.example"]},
    {"event_id": "e3", "body": "eagle"},
    {"event_id": "e4", "body": "falcon", "recipients": ["x@gamma.example", "x@gamma.example"]},
    {"event_id": "e5", "body": "hi", "conversation_type": "direct"},
    {"event_id": "e6", "body": "hi", "conversation_type": "direct", "captured_at": (START + 3_599_000) * 1000},
    {"event_id": "e7", "body": "hi", "conversation_type": "direct", "captured_at": START * 1000},
    {"event_id": "e8", "body": "hi", "conversation_type": "direct", "captured_at": (START + 3_600_000) * 1000},
    {"event_id": "e9", "body": "", "kind": "presence"},
    {"event_id": "e10", "body": "falcon"},
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text(POLICY)
    Path("new.yaml").write_text(NEW)
    Path("events.jsonl").write_text("".join(line(**one) for one in EVENTS))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(["policy", *arguments])
        return status, *capfd.readouterr()

    return run


def line(**fields: Any) -> str:
    return json.dumps(event_to_json(capture(**fields))) + "\n"


def table(out: str) -> list[list[str]]:
    return [one.split() for one in out.splitlines()]


# -- check -----------------------------------------------------------------------------------------------------------


def test_a_good_policy_is_one_line(run: Run) -> None:
    digest = hashlib.sha256(POLICY.encode()).hexdigest()
    assert run("check", "policy.yaml") == (0, f"policy.yaml: good: 1 wall, 4 rules, 2 groups, digest {digest}\n", "")
    status, out, _ = run("check", "policy.yaml", "--json")
    assert (status, json.loads(out)) == (0, {"good": True, "digest": digest, "faults": []})


BAD = POLICY.replace("credit_card", "card").replace("recipients: ", "recipient: ")


def test_each_fault_is_a_line(run: Run) -> None:
    Path("bad.yaml").write_text(BAD)
    status, out, err = run("check", "bad.yaml")
    assert (status, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("bad.yaml:6:79: rules.0.when.content.entities.0: Input should be 'credit_card', ")
    assert second == (
        "bad.yaml:7:85: rules.1.when.recipient: unknown key 'recipient': leave it out or mend its spelling"
    )


def test_each_fault_as_json(run: Run) -> None:
    Path("bad.yaml").write_text(BAD)
    status, out, err = run("check", "bad.yaml", "--json")
    found = json.loads(out)
    assert (status, err, found["good"]) == (2, "", False)
    assert found["digest"] == hashlib.sha256(BAD.encode()).hexdigest()
    assert [(one["line"], one["column"]) for one in found["faults"]] == [(6, 79), (7, 85)]
    assert "unknown key" in found["faults"][1]["message"]


def test_a_bad_policy_is_a_line_a_fault_whatever_the_command(run: Run) -> None:
    Path("bad.yaml").write_text(BAD)
    for command in (("test", "bad.yaml", "events.jsonl"), ("diff", "policy.yaml", "bad.yaml", "events.jsonl")):
        status, out, err = run(*command)
        assert (status, out) == (2, "")
        assert [one.split(" ")[0] for one in err.splitlines()] == ["bad.yaml:6:79:", "bad.yaml:7:85:"]


def test_a_file_that_is_not_there_is_one_line(run: Run) -> None:
    assert run("check", "absent.yaml") == (2, "", "compliance: absent.yaml: No such file or directory\n")


def test_too_many_patterns_are_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.policy.patterns.PATTERNS_LIMIT", 3)
    status, out, err = run("check", "policy.yaml")
    assert (status, out) == (2, "")
    assert err.startswith("policy.yaml:1:1: ")
    assert "at most 3" in err


# -- approve ---------------------------------------------------------------------------------------------------------


def test_approve_and_check(run: Run) -> None:
    key = Ed25519PrivateKey.generate()
    Path("key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key()
    Path("public.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    Path("c.toml").write_text('[policy]\napprovers = ["public.pem"]\n')
    status, out, err = run("check", "policy.yaml", "--config", "c.toml")
    assert (status, out) == (2, "")
    assert err.startswith("compliance: policy.yaml: 0 of 1 approvals: ")
    status, out, err = run("check", "policy.yaml", "--config", "c.toml", "--json")
    found = json.loads(out)
    assert (status, err, found["good"]) == (2, "", False)
    (fault,) = found["faults"]
    assert (fault["line"], fault["column"]) == (None, None)
    assert "0 of 1 approvals" in fault["message"]

    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert run("approve", "policy.yaml", "--key", "key.pem") == (0, hashlib.sha256(der).hexdigest() + "\n", "")
    assert run("check", "policy.yaml", "--config", "c.toml")[0] == 0
    Path("policy.yaml").write_text(POLICY + "# changed\n")
    assert run("check", "policy.yaml", "--config", "c.toml")[0] == 2
    assert run("test", "policy.yaml", "events.jsonl", "--config", "c.toml")[0] == 0  # to try it, nobody need approve


# -- test ------------------------------------------------------------------------------------------------------------

RULES = [
    ("wall", "wall", 1, 1, "e9"),
    ("cards", "modify", 1, 2, "e1"),
    ("secret", "block", 2, 2, "e2"),
    ("told", "disclaim", 2, 2, "e5"),
    ("never", "alert", 0, 0, None),
]


def test_what_would_have_happened(run: Run) -> None:
    status, out, err = run("test", "policy.yaml", "events.jsonl", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["digest"] == hashlib.sha256(POLICY.encode()).hexdigest()
    assert (found["events"], found["rejected"], found["recipients"]) == (10, 0, 12)
    assert found["decisions"] == {"ok": 4, "modified": 4, "blocked": 2}
    assert found["recipient_decisions"] == {"ok": 5, "modified": 4, "blocked": 3}
    assert [tuple(one.values()) for one in found["rules"]] == RULES


def test_what_would_have_happened_for_a_person(run: Run) -> None:
    out = run("test", "policy.yaml", "events.jsonl")[1]
    assert table(out)[:5] == [
        ["events", "recipients"], ["judged", "10", "12"], ["ok", "4", "5"], ["modified", "4", "4"], ["blocked", "2", "3"]
    ]  # fmt: skip
    rows = [[*map(str, one[:4]), one[4] or "never"] for one in RULES]
    assert table(out)[6:] == [["rule", "does", "events", "recipients", "first"], *rows]
    right = out.splitlines()[6].index("recipients") + len("recipients")
    assert {one[:right].split()[3] for one in out.splitlines()[7:]} == {
        "0",
        "1",
        "2",
    }  # numbers end where their head does


def test_the_clock_goes_by_the_latest_capture_so_far(run: Run) -> None:
    later = {"conversation": "another", "conversation_type": "group", "captured_at": (START + 3_600_000) * 1000}
    events = [line(conversation_type="direct"), line(**later), line(event_id="last", conversation_type="direct")]
    Path("events.jsonl").write_text("".join(events))
    assert json.loads(run("test", "policy.yaml", "events.jsonl", "--json")[1])["rules"][3]["events"] == 2


def test_gzip_and_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path("events.jsonl").read_bytes()
    expected = run("test", "policy.yaml", "events.jsonl", "--json")
    Path("events.jsonl.gz").write_bytes(gzip.compress(data))
    assert run("test", "policy.yaml", "events.jsonl.gz", "--json") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
    assert run("test", "policy.yaml", "-", "--json") == expected


@pytest.mark.parametrize(
    "command", [("test", "policy.yaml"), ("diff", "policy.yaml", "new.yaml"), ("explain", "policy.yaml")]
)
def test_a_bad_line_is_named(run: Run, command: tuple[str, ...]) -> None:
    with Path("events.jsonl").open("a") as file:
        file.write(line(sent_at=START * 1000).replace("Z", ""))
    status, _, err = run(*command, "events.jsonl")
    assert status == 2
    assert err.startswith("compliance: events.jsonl: line 11: sent_at: a time without offset")
    assert err.count("\n") == 1


def test_what_is_over_a_limit_is_not_judged(run: Run) -> None:
    Path("c.toml").write_text("[limits]\nrecipients = 1\n")
    found = json.loads(run("test", "policy.yaml", "events.jsonl", "--config", "c.toml", "--json")[1])
    assert (found["events"], found["rejected"], found["recipients"]) == (7, 3, 7)
    assert "3 events are over a limit" in run("test", "policy.yaml", "events.jsonl", "--config", "c.toml")[1]
    assert "line 4: rejected, and not judged" in run("explain", "policy.yaml", "events.jsonl", "--config", "c.toml")[1]


# -- explain ---------------------------------------------------------------------------------------------------------


def test_explain_goes_through_a_file_as_test_does(run: Run) -> None:
    status, out, err = run("explain", "policy.yaml", "events.jsonl", "--json")
    found = [json.loads(one) for one in out.splitlines()]
    assert (status, err, len(found)) == (0, "", 10)
    fired = [
        (one["id"], event["explanation"]["event_id"]) for event in found for one in event["explanation"]["said"] if one["fired"]
    ]  # fmt: skip
    assert fired == [
        ("cards", "e1"), ("secret", "e2"), ("told", "e5"), ("told", "e8"), ("wall", "e9"), ("secret", "e10")
    ]  # fmt: skip
    assert [event["line"] for event in found] == list(range(1, 11))


def test_explain_for_a_person(run: Run) -> None:
    Path("event.json").write_text(line(**EVENTS[0]))
    status, out, err = run("explain", "policy.yaml", "event.json")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "e1  chat from alice@alpha.example: modified",
        "  wall      wall    no: kinds: is `chat`, wanted presence",
        "  modify    cards   fired for bob@beta.example, x@gamma.example",
        "      credit_card (visa) in body, 4-23: '4012 8888 8888 1881'",
        "  block     secret  no: content: nothing found",
        "  disclaim  told    no: conversation_types: is `room`, wanted direct",
        "  alert     never   no: clusters: is `alpha.example`, wanted nowhere",
        "  to bob@beta.example  modified, text 'pay [card]' by cards",
        "  to x@gamma.example   modified, text 'pay [card]' by cards",
    ]


def test_an_object_over_several_lines_is_one_event(run: Run) -> None:
    Path("event.json").write_text(json.dumps(json.loads(line(**EVENTS[2])), indent=2))
    status, out, _ = run("explain", "policy.yaml", "event.json")
    assert (status, out.splitlines()[0]) == (0, "e3  chat from alice@alpha.example: ok")
    Path("event.json").write_text("{\n}x\n")
    status, out, err = run("explain", "policy.yaml", "event.json")
    assert (status, out) == (2, "")
    assert err.startswith("compliance: event.json: line 1: not JSON")


def test_nothing_that_a_terminal_obeys_is_printed(run: Run) -> None:
    body = "falcon \x1b[2J\u202e 4012 8888 8888 1881"
    Path("event.json").write_text(line(event_id="\x1b]0;x\x07", sender="a\nb@x", body=body, recipients=["x@y\u2028"]))
    for command in (("explain", "policy.yaml", "event.json"), ("test", "policy.yaml", "event.json")):
        out = run(*command)[1]
        assert all(one.isprintable() for one in out.splitlines())
        assert "\\x1b]0;x\\x07" in out


# -- diff ------------------------------------------------------------------------------------------------------------


def test_what_would_change(run: Run) -> None:
    status, out, err = run("diff", "policy.yaml", "new.yaml", "events.jsonl", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert (found["events"], found["rejected"], found["differ"]) == (10, 0, 2)
    assert found["decisions"] == {"modified -> modified": 1, "ok -> blocked": 1}
    assert found["rules"] == {"secret": {"added": 1, "removed": 0}}
    first, second = found["first"]
    assert first == {
        "event_id": "e1", "line": 1, "old": "modified", "new": "modified", "changed": ["outcomes"], "added": [],
        "removed": [], "recipients": ["bob@beta.example", "x@gamma.example"],
    }  # fmt: skip
    assert (second["event_id"], second["added"], second["recipients"]) == ("e3", ["secret"], ["bob@beta.example"])
    assert second["changed"] == ["decision", "reason", "rules", "outcomes", "findings"]


def test_what_would_change_the_other_way_for_a_person(run: Run) -> None:
    status, out, _ = run("diff", "new.yaml", "policy.yaml", "events.jsonl")
    assert (status, table(out)) == (
        0,
        [
            ["events", "10"], ["differ", "2"], [],
            ["decision", "events"], ["blocked", "->", "ok", "1"], ["modified", "->", "modified", "1"], [],
            ["rule", "added", "removed"], ["secret", "0", "1"], [],
            ["first", "event", "decision", "changed"],
            ["line", "1", "e1", "modified", "->", "modified", "outcomes"],
            ["line", "3", "e3", "blocked", "->", "ok", "-secret"],
        ],
    )  # fmt: skip


def test_each_policy_remembers_what_it_did_itself(run: Run) -> None:
    Path("new.yaml").write_text(POLICY.replace("1h", "1m"))
    found = json.loads(run("diff", "policy.yaml", "new.yaml", "events.jsonl", "--json")[1])
    assert [one["event_id"] for one in found["first"]] == ["e6", "e8"]


def test_no_difference_is_none(run: Run) -> None:
    Path("new.yaml").write_text(POLICY + "# the same\n")
    assert run("diff", "policy.yaml", "new.yaml", "events.jsonl")[:2] == (0, "events  10\ndiffer  0\n")
    assert run("diff", "policy.yaml", "new.yaml", "events.jsonl", "--all") == (0, "", "")


def test_all_differences_are_lines(run: Run) -> None:
    Path("events.jsonl").write_text("".join(line(event_id=f"e{number}", body="eagle") for number in range(25)))
    summary = json.loads(run("diff", "policy.yaml", "new.yaml", "events.jsonl", "--json")[1])
    assert (summary["differ"], len(summary["first"])) == (25, 20)
    status, out, _ = run("diff", "policy.yaml", "new.yaml", "events.jsonl", "--all")
    each = [json.loads(one) for one in out.splitlines()]
    assert (status, [one["event_id"] for one in each]) == (0, [f"e{number}" for number in range(25)])
    assert each[:20] == summary["first"]
