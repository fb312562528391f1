"""Errors, one class a reaction.

ComplianceError
├── Poison           this record can never be taken: dead-letter it and go on
├── Unavailable      something is away: wait, say so, try again
├── Doubt            what became of a transaction is unknown: forget all, fold again from head and journal
├── Misconfigured    no amount of waiting helps: stop and say why (exit status 2)
└── BadInput         a person's file or argument is wrong: name file, line, field (exit status 2)
    └── BadFile      several things are: name each
"""

from __future__ import annotations


class ComplianceError(Exception):
    """Base of all errors the pipeline raises on purpose; its text is one line for a person."""


class Poison(ComplianceError):
    """A record that can never be taken.

    `stage` names who refused it, `reason` is a stable word for the kind of fault, `event_id` is given where it could
    be read. The text never holds message text.
    """

    def __init__(self, stage: str, reason: str, detail: str, *, event_id: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.stage, self.reason, self.detail, self.event_id = stage, reason, detail, event_id


class Unavailable(ComplianceError):
    """A broker, a database or a server does not answer; the same call may succeed later."""


class Doubt(ComplianceError):
    """The outcome of a transaction is unknown or another worker has taken over; state in memory is worth nothing."""


class Misconfigured(ComplianceError):
    """A setting, a topic or a database is not as it must be; waiting does not mend it."""


class BadInput(ComplianceError):
    """A file, a line or an argument that a person gave is wrong."""


class BadFile(BadInput):
    """A file that a person gave has several faults: each is a line of the text, which begins with where it is."""
