"""Every topic, stage and way out, on one page. `diagram()` is the picture in the README; a test keeps the two equal."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Keep = Literal["a while", "until archived", "the last of each key"]


class Topic(NamedTuple):
    """A topic, named without its prefix; every value is Avro behind its schema id unless said otherwise."""

    name: str
    key: str
    schema: str
    keep: Keep
    holds: str


class Stage(NamedTuple):
    """One kind of worker: `compliance run NAME`."""

    name: str
    engine: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    module: str


TOPICS: Final = (
    Topic("events", "conversation", "event", "a while", "what messaging servers captured"),
    Topic("journal", "-", "journal", "until archived", "one record for each ingest record, in the same partition"),
    Topic("copies", "recipient", "copy", "until archived", "one copy per recipient and database"),
    Topic("verdicts", "conversation", "verdict", "a while", "what the messaging server is told of each event"),
    Topic("findings", "person", "finding", "until archived", "what a person should look at; never message text"),
    Topic("alerts", "alert id", "OCSF JSON", "a while", "for the SOC; written by a later release's alerts worker"),
    Topic("dead-letters", "as it was", "dead_letter", "until archived", "what could not be taken, with its bytes"),
    Topic("policies", "digest", "policy", "until archived", "each policy with the first journal record made under it"),
    Topic("groups", "group", "JSON", "the last of each key", "members of groups that policies name under `directory`"),
    Topic("heads", "partition", "head", "the last of each key", "where each partition's journal stands"),
)

STAGES: Final = (
    Stage(
        "transform",
        "Kafka transactions",
        ("events", "groups", "heads", "journal"),
        ("journal", "copies", "verdicts", "findings", "dead-letters", "policies", "heads", "events"),
        "pipeline.engines.transform",
    ),
    Stage(
        "archive",
        "drain to ClickHouse",
        ("journal", "copies", "findings", "dead-letters", "policies"),
        ("findings",),
        "pipeline.engines.drain",
    ),
)

ROUTES: Final = tuple(topic.name for topic in TOPICS)
"""Each topic's name behind the prefix."""
COMPACTED: Final = frozenset(topic.name for topic in TOPICS if topic.keep == "the last of each key")
UNTIL_ARCHIVED: Final = frozenset(topic.name for topic in TOPICS if topic.keep == "until archived")
"""Routes whose records no retention ever deletes."""


def diagram() -> str:
    """How records flow, as text."""
    transform, archive = STAGES
    out = [name for name in transform.writes if name != "events"]
    lines = ["messaging servers ─► events ─► transform ─┬─► " + _line(out[0], archive)]
    indent = " " * lines[0].index("┬")
    lines += [f"{indent}{'└' if name == out[-1] else '├'}─► {_line(name, archive)}" for name in out[1:]]
    return "\n".join(lines)


def _line(name: str, archive: Stage) -> str:
    arrow = "─" * (13 - len(name)) + "► "
    if name in archive.reads:
        return f"{name} {arrow}archive ─► ClickHouse ◄─ audit"
    return f"{name} {arrow}{'the messaging servers' if name == 'verdicts' else 'the next transform worker'}"


if __name__ == "__main__":
    print(diagram())  # noqa: T201 - to paste it into the README
