"""A policy file that is broken in any way is refused with line, column and what to do."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy.document import BadPolicy, read

WHOLE = """\
version: 1
name: a bank
groups:
  research: [ann@bank.example, {who: bob@bank.example, since: 2025-01-01, until: 2026-01-01T12:00:00+01:00}]
  sales: ["*@sales.bank.example", traders]
  traders: [cy@bank.example]
walls:
  - id: research-sales
    owner: chief@bank.example
    reason: no
    between: [research, [sales, dee@bank.example]]
    except: {people: counsel@bank.example, chaperones: [lou@bank.example]}
  - id: no-presence
    from: traders
    to: "*@other.example"
    kinds: presence
"""


def test_a_whole_one() -> None:
    found = read(WHOLE)
    assert found.walls[0].directions == (
        (("research",), ("sales", "dee@bank.example")),
        (("sales", "dee@bank.example"), ("research",)),
    )
    assert found.walls[0].reason == "no"
    assert found.walls[0].exceptions.people == ("counsel@bank.example",)
    assert found.walls[1].directions == ((("traders",), ("*@other.example",)),)
    assert found.walls[1].kinds == ("presence",)
    assert [str(one.since) for one in found.groups["research"]] == ["None", "2025-01-01 00:00:00+00:00"]


RULE = "version: 1\nrules:\n  - {id: a, action: block,"
BROKEN = [
    ("", 1, 1, "empty"),
    ("# only this", 1, 1, "empty"),
    ("- 1", 1, 1, "keys with values"),
    ("version: 2", 1, 10, "version"),
    ("name: x", 1, 1, "'version' is missing"),
    ("version: 1\nversion: 1", 2, 1, "twice"),
    ("version: 1\n\tname: x", 2, 1, "not YAML"),
    ("version: 1\nname: 'x", 2, 9, "not YAML"),
    ("version: 1\nname: [x", 2, 9, "not YAML"),
    ("version: 1\nnames: x", 2, 1, "unknown key 'names'"),
    ("version: 1\nname: &a x\ngroups: *a", 3, 9, "no aliases"),
    ("version: !!python/object/apply:os.system [ls]", 1, 10, "no tags"),
    ("version: !mine 1", 1, 10, "no tags"),
    ("version: 1\n? [a, b]\n: 1", 2, 3, "one word"),
    ("[" * 2_000, 1, 41, "nested too deep"),
    ("{a: " * 2_000, 1, 158, "nested too deep"),
    ("version: 1\ngroups: [a]", 2, 1, "groups"),
    ("version: 1\ngroups:\n  a b: [x@y]", 3, 3, "groups.a b"),
    ("version: 1\ngroups:\n  a: [x y]", 3, 7, "write an address"),
    ("version: 1\ngroups:\n  a: ['*@*']", 3, 7, "at most one *"),
    ("version: 1\ngroups:\n  a: ['b*']", 3, 7, "it has an @"),
    ("version: 1\ngroups:\n  a: [b]", 3, 7, "no group 'b'"),
    ("version: 1\ngroups:\n  staff: [x@y]\n  a: [staf]", 4, 7, "is it 'staff'?"),
    ("version: 1\ngroups:\n  a: [b]\n  b: [c]\n  c: [a]", 3, 3, "within each other"),
    ("version: 1\ngroups:\n  a: [a]", 3, 3, "within each other"),
    ("version: 1\ngroups:\n  a: [{who: x@y, since: 9:30}]", 3, 25, "write a date"),
    ("version: 1\ngroups:\n  a: [{who: x@y, since: 2026-02-30}]", 3, 25, "since"),
    ("version: 1\ngroups:\n  a: [{who: x@y, since: 2026-01-02, until: 2026-01-01}]", 3, 44, "never holds"),
    ("version: 1\ngroups:\n  a: [{since: 2026-01-02}]", 3, 7, "'who' is missing"),
    ("version: 1\nwalls:\n  - between: [x@y, z@y]", 3, 5, "'id' is missing"),
    ("version: 1\nwalls:\n  - {id: a}", 3, 5, "either `between"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], from: x@y}", 3, 5, "either `between"),
    ("version: 1\nwalls:\n  - {id: a, from: x@y}", 3, 5, "both `from` and `to`"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y]}", 3, 13, "number 2 is missing"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], severity: dire}", 3, 44, "severity"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], kinds: [chats]}", 3, 42, "kinds"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], colour: red}", 3, 34, "unknown key 'colour'"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y]}\n  - {id: a, between: [x@y, z@y]}", 4, 10, "is taken"),
    ("version: 1\nrules:\n  - {id: a, action: delete}", 3, 21, "action"),
    ("version: 1\nrules:\n  - {id: a, action: modify}", 3, 21, "say what that is"),
    ("version: 1\nrules:\n  - {id: a, action: ok, replace: x}", 3, 34, "replace is for"),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {content: {}}}", 3, 32, "looks for nothing"),
    (
        "version: 1\nrules:\n  - {id: a, action: ok, when: {content: {patterns: ['(a']}}}",
        3,
        53,
        "at its character 1: missing )",
    ),
    (
        "version: 1\nrules:\n  - {id: a, action: ok, when: {content: {patterns: ['(a)\\1']}}}",
        3,
        53,
        "at its character 4",
    ),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {content: {entities: card}}}", 3, 52, "credit_card"),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {directions: inbound}}", 3, 44, "say which are yours"),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {hours: {from: 25:00}}}", 3, 46, "hours.from"),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {hours: {zone: Mars/X}}}", 3, 46, "IANA"),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {senders: qs}}", 3, 41, "no group 'qs'"),
    ("version: 1\ngroups: {a: [x@y]}\ndirectory: [b, a]", 3, 16, "here"),
    ("version: 1\ngroups:\n  a: [{who: x@y, since: 2026}]", 3, 25, "write a date"),
    ("version: 1\nrules:\n  - {id: a, action: ok, when: {kinds: }}", 3, 32, "is empty"),
    ("version: 1\nrules:\n  - id: a\n    action: block\n    when:\n      senders:\n", 6, 7, "'senders' is empty"),
    ("version: 1\ndomains: ['*.bank.example']", 2, 11, "a domain"),
    ("version: 1\ndomains: a.example, b.example", 2, 10, "a domain"),
    (f"{RULE} when: {{hours: {{from: 9, to: 17}}}}}}", 3, 49, "write hours and minutes"),
    (f"{RULE} when: {{hours: {{from: '09:00', to: '17:00+01:00'}}}}}}", 3, 62, "write hours and minutes"),
    (f"{RULE} when: {{hours: {{from: 18, to: 08:00}}}}}}", 3, 49, "write hours and minutes"),
    ("version: 1\nwalls: a", 2, 8, "a list is wanted"),
    ("version: 1\nname: [a]", 2, 1, "quotes"),
    ("version: 1\nname: a: b", 2, 8, "quotes"),
    ("version: 1\ngroups:\n  a: *@b", 3, 7, "quotes"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, qs]}", 3, 28, "no group 'qs'"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], except: {people: qs}}", 3, 51, "no group 'qs'"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, [z@y, qs]]}", 3, 34, "no group 'qs'"),
    ("version: 1\nwalls:\n  - {id: a, from: x@y, to: [z@y, qs]}", 3, 34, "no group 'qs'"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], except: {chaperones: [z@y, qs]}}", 3, 61, "no group 'qs'"),
    ("version: 1\ngroups:\n  a: [{who: qs}]", 3, 13, "no group 'qs'"),
    ("version: 1\nwalls:\n  - {id: a, between: [x@y, z@y], kinds: [chat, chats]}", 3, 48, "walls.0.kinds.1"),
    (f"{RULE} when: {{senders: [x@y, qs]}}}}", 3, 50, "no group 'qs'"),
    (f"{RULE} unless: {{recipients: [x@y, qs]}}}}", 3, 55, "no group 'qs'"),
    (f"{RULE} when: {{senders: [x@y, a b]}}}}", 3, 50, "write an address"),
    (f"{RULE} unless: {{directions: [inbound]}}}}", 3, 37, "say which are yours"),
    (f"{RULE} when: {{content: {{keywords: [good, ' ']}}}}}}", 3, 62, "keywords.1: it is empty"),
    (f"{RULE} when: {{content: {{keywords: ' '}}}}}}", 3, 55, "it is empty"),
    (f"{RULE} when: {{content: {{patterns: '(a'}}}}}}", 3, 55, "missing )"),
    (f"{RULE} when: {{content: {{patterns:\n    [good,\n    '(?=a)']}}}}}}", 5, 5, "patterns.1: at its character 1"),
    (f"{RULE} when: {{content: {{entities: [iban, card]}}}}}}", 3, 62, "entities.1"),
    (f"{RULE} when: {{hours: {{days: []}}}}}}", 3, 43, "at least 1"),
    (f"{RULE} when: {{directions: []}}}}", 3, 35, "at least 1"),
    (f"{RULE} when: {{clusters: []}}}}", 3, 35, "at least 1"),
    (f"{RULE} to: x}}", 3, 32, "the action route has `to`"),
    (f"{RULE} text: x}}", 3, 34, "the action disclaim has a `text`"),
    ("version: 1\nrules:\n  - {id: a, action: route}", 3, 21, "the action route has `to`"),
    ("version: 1\nrules:\n  - {id: a, action: disclaim}", 3, 21, "the action disclaim has a `text`"),
    (
        "version: 1\nrules:\n  - {id: a, action: modify, when: {content: {entities: iban}}, file: {name: x}}",
        3,
        64,
        "name those",
    ),
]
RULES = "version: 1\nrules:\n"
EMPTY = "version: 1\ngroups: {e: [], f: [e], g: [e, {who: f}], k: [j], j: [h], h: [e, x@y]}\ndirectory: d\n"
NEVER = [
    (f"{RULES}  - {{id: a, action: ok}}\n  - {{id: b, action: block}}", 4, 10, "'a' above says ok to everything"),
    (f"{RULES}  - {{id: a, action: ok, when: {{}}}}\n  - {{id: b, action: ok}}", 4, 10, "'a' above"),
    (f"{RULE} unless: {{}}}}", 3, 28, "without a condition"),
    (f"{RULE} when: {{kinds: chat}}, unless: {{}}}}", 3, 49, "without a condition"),
    (f"{RULE} when: {{kinds: chat}}, unless: {{kinds: [chat]}}}}", 3, 49, "(kinds: the same in both)"),
    (
        f"{RULE} when: {{kinds: chat, senders: x@y, clusters: y}}, unless: {{clusters: y, kinds: chat}}}}",
        3,
        76,
        "holds whenever",
    ),
    (f"{EMPTY}rules:\n  - {{id: a, action: block, when: {{senders: [g, e]}}}}", 5, 35, "nobody is in 'g', 'e'"),
    (f"{EMPTY}rules:\n  - {{id: a, action: block, when: {{recipients: f}}}}", 5, 47, "nobody is in 'f'"),
    (f"{EMPTY}walls:\n  - {{id: a, between: [x@y, e]}}", 5, 28, "nobody is in 'e'"),
    (f"{EMPTY}walls:\n  - {{id: a, from: [f], to: x@y}}", 5, 13, "nobody is in 'f'"),
    (f"{EMPTY}walls:\n  - {{id: a, from: x@y, to: g}}", 5, 28, "nobody is in 'g'"),
]
BROKEN += NEVER


@pytest.mark.parametrize(("text", "line", "column", "says"), BROKEN)
def test_what_is_wrong_is_named(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        read(text, "bank.yaml")
    first = caught.value.faults[0]
    assert (first.line, first.column) == (line, column), first
    assert says in first.message
    assert str(caught.value).startswith(f"bank.yaml:{line}:{column}: ")


def test_every_fault_at_once() -> None:
    with pytest.raises(BadPolicy) as caught:
        read("version: 1\ngroups: {a: [b, c]}\nwalls:\n  - {id: w, between: [d, x@y]}")
    assert [(one.line, one.message.split("'")[1]) for one in caught.value.faults] == [(2, "b"), (2, "c"), (4, "d")]


@given(st.text(max_size=200) | st.text(alphabet="version: 1\n-[]{}&*!|>'\"#%@`,?", max_size=200))
def test_nothing_but_a_bad_policy_comes_of_any_text(text: str) -> None:
    for one in (text, "version: 1\n" + text):
        with suppress(BadPolicy):
            read(one)


@pytest.mark.parametrize(("text", "line", "column", "says"), NEVER)
def test_what_can_never_fire_says_so(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        read(text)
    assert [one.message.startswith("never fires: ") for one in caught.value.faults] == [True]


@pytest.mark.parametrize(
    "text",
    [
        f"{RULES}  - {{id: a, action: block}}\n  - {{id: b, action: ok}}",
        f"{RULES}  - {{id: a, action: ok, when: {{kinds: chat}}}}\n  - {{id: b, action: block}}",
        f"{RULES}  - {{id: a, action: ok, unless: {{kinds: chat}}}}\n  - {{id: b, action: block}}",
        f"{RULE} when: {{kinds: chat}}, unless: {{kinds: [chat, edit]}}}}",
        f"{RULE} when: {{kinds: chat}}, unless: {{kinds: chat, senders: x@y}}}}",
        f"{RULE} when: {{kinds: presence, content: {{keywords: away}}}}}}",
        f"{EMPTY}rules:\n  - {{id: a, action: block, when: {{senders: [e, k], recipients: d}}, unless: {{senders: e}}}}",
        f"{EMPTY}walls:\n  - {{id: a, between: [[e, x@y], d], except: {{people: e, chaperones: f}}}}",
    ],
)
def test_what_can_fire_is_no_fault(text: str) -> None:
    read(text)
