"""What the pipeline asks of a policy."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

from pipeline.policy.past import Past
from pipeline.records import OK, Event, Judgement


class PolicyText(NamedTuple):
    """What is kept of a policy that came into force; schemas/policy.avsc says what each field means."""

    content: bytes
    groups: str = ""
    approved_by: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256, hex."""
        whole = self.content + b"\0" + self.groups.encode() if self.groups else self.content
        return hashlib.sha256(whole).hexdigest()


class Policy(Protocol):
    """Judges events. Frozen: another policy is another object with another digest."""

    @property
    def digest(self) -> str:
        """SHA-256 of the policy, in hex; it stands in every verdict and journal record."""
        ...

    @property
    def text(self) -> PolicyText | None:
        """What the archive keeps of it; None for one that has no text."""
        ...

    def judge(self, event: Event, recipients: tuple[str, ...], past: Past) -> Judgement:
        """What is to be done with an event, for these recipients.

        Args:
            event: the event.
            recipients: those who are asked about.
            past: what was before it in its partition; only read.
        """
        ...


class EmptyPolicy:
    """No policy in force: everything is ok, as sent."""

    digest = hashlib.sha256(b"").hexdigest()
    text = None

    def judge(self, event: Event, recipients: tuple[str, ...], past: Past) -> Judgement:  # noqa: ARG002 - it looks at nothing
        """Ok."""
        return OK
