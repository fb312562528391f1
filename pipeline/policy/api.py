"""What the pipeline asks of a policy."""

from __future__ import annotations

import hashlib
from typing import Protocol

from pipeline.records import OK, Event, Judgement


class Policy(Protocol):
    """Judges events. Frozen: another policy is another object with another digest."""

    @property
    def digest(self) -> str:
        """SHA-256 of the policy, in hex; it stands in every verdict and journal record."""
        ...

    def judge(self, event: Event, recipients: tuple[str, ...]) -> Judgement:
        """What is to be done with an event, for these recipients."""
        ...


class EmptyPolicy:
    """No policy in force: everything is ok, as sent."""

    digest = hashlib.sha256(b"").hexdigest()

    def judge(self, event: Event, recipients: tuple[str, ...]) -> Judgement:  # noqa: ARG002 - it looks at nothing
        """Ok."""
        return OK
