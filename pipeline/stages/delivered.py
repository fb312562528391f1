"""What a judgement means for each recipient, and whether what was delivered is what was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from pipeline.records import DeliveredFile, Event, FindingNote, Judgement, Outcome
from pipeline.stages.dedup import Record


def judgement_of(entry: Mapping[str, Any]) -> Judgement:
    """What a decoded journal record says was decided."""
    outcomes = tuple(
        [
            Outcome(
                tuple(one["recipients"]),
                one["decision"],
                one["delivered_body"],
                tuple(one["rules"]),
                one["reason"],
                tuple([DeliveredFile(**file) for file in one["delivered_files"]]),
            )
            for one in entry["outcomes"]
        ]
    )
    return Judgement(entry["decision"], entry["reason"], tuple(entry["rules"]), outcomes)


def by_recipient(judgement: Judgement, recipients: tuple[str, ...]) -> dict[str, Outcome]:
    """What differs from ok, as sent, for each recipient."""
    return {recipients[place]: outcome for outcome in judgement.outcomes for place in outcome.recipients}


def delivered_bytes(outcome: Outcome) -> int:
    """How much an outcome adds to a record, about."""
    text = 0 if outcome.delivered_body is None else len(outcome.delivered_body.encode())
    return text + sum([len(one.content or b"") + len(one.display_name or "") + 16 for one in outcome.files])


def changed_by(judgement: Judgement) -> list[str]:
    """Ids of the rules that changed what somebody was given."""
    return [rule for outcome in judgement.outcomes if outcome.decision == "modified" for rule in outcome.rules]


def most_delivered(judgement: Judgement) -> str | None:
    """The text that most of those got who got another than was sent."""
    votes: Counter[str] = Counter()
    for outcome in judgement.outcomes:
        if outcome.delivered_body is not None:
            votes[outcome.delivered_body] += max(1, len(outcome.recipients))
    return votes.most_common(1)[0][0] if votes else None


def most_files(judgement: Judgement) -> tuple[DeliveredFile, ...]:
    """The changed attachments that most of those got who got changed ones."""
    votes: Counter[tuple[DeliveredFile, ...]] = Counter()
    for outcome in judgement.outcomes:
        if outcome.files:
            votes[outcome.files] += max(1, len(outcome.recipients))
    return votes.most_common(1)[0][0] if votes else ()


def note_delivered(record: Record, judgement: Judgement) -> None:
    """What those got whom a merged capture brought, where the message had nothing like it on record."""
    if record.delivered_body is None:
        record.delivered_body = most_delivered(judgement)
    if not record.delivered_files:
        record.delivered_files = most_files(judgement)


def blocked_for(event: Event, outcomes: Mapping[str, Outcome]) -> tuple[FindingNote, ...]:
    """Findings on recipients who were delivered what was blocked for them."""
    return tuple(
        FindingNote("delivered_though_blocked", "high", recipient, "a capture shows that it was delivered")
        for recipient in dict.fromkeys(event["recipients"])
        if recipient in outcomes and outcomes[recipient].decision == "blocked"
    )


def wrongly_delivered(
    event: Event, outcomes: Mapping[str, Outcome], new: Collection[str], *, sent: bool | None
) -> tuple[FindingNote, ...]:
    """Findings on recipients who were delivered what was blocked for them, or another text than was decided.

    Args:
        event: a capture of phase delivered.
        outcomes: by recipient, what was decided otherwise than as sent.
        new: recipients whom this very capture brought: no text had been decided for them.
        sent: whether its text is the message's as it was sent; None: it is one that nobody decided.
    """
    found = list(blocked_for(event, outcomes))
    for recipient in dict.fromkeys(event["recipients"]):
        outcome = outcomes.get(recipient)
        if recipient in new or (outcome is not None and outcome.decision == "blocked"):
            continue
        text = None if outcome is None else outcome.delivered_body
        right = sent is not None and (sent if text is None else event["body"] == text)
        if not right:
            detail = "a capture shows that another text was delivered than was decided"
            found.append(FindingNote("delivered_otherwise", "high", recipient, detail))
    return tuple(found)
