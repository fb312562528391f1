"""What `compliance policy ...` shows a person: tables and sentences. Texts of messages are printed on one line each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from pipeline import terminal
from pipeline.policy.explain import Explanation, Given, Said
from pipeline.policy_trial import Compared, Difference, Explained, Tried

MOST_TEXT: Final = 120
"""Characters of a text on a line."""
MOST_NAMES: Final = 8
NEVER: Final = "never"


def show_tried(tried: Tried) -> None:
    """Counts, then a row for each wall and rule."""
    terminal.print_table(
        ["", "events", "recipients"],
        [
            ["judged", tried.events, tried.recipients],
            *[[name, tried.decisions[name], tried.recipient_decisions[name]] for name in tried.decisions],
        ],
    )
    if tried.rejected:
        sys.stdout.write(f"\n{tried.rejected:,} events are over a limit: they would be rejected, and are not judged\n")
    if tried.rules:
        sys.stdout.write("\n")
        rows = [[one.id, one.sort, one.events, one.recipients, one.first or NEVER] for one in tried.rules]
        terminal.print_table(["rule", "does", "events", "recipients", "first"], rows)


def explained(one: Explained) -> Iterator[bytes]:
    """Lines on an event: what each wall and rule says, then what each recipient is given."""
    if one.explanation is None:
        lines = iter((f"line {one.line}: rejected, and not judged: {one.rejected}",))
    else:
        lines = _explanation(one.explanation)
    yield from (terminal.plain(line).rstrip().encode() + b"\n" for line in lines)


def _explanation(explanation: Explanation) -> Iterator[str]:
    reason = f" ({explanation.reason})" if explanation.reason else ""
    yield f"{explanation.event_id}  {explanation.kind} from {explanation.sender}: {explanation.decision}{reason}"
    ids = max((len(one.id) for one in explanation.said), default=0)
    sorts = max((len(one.sort) for one in explanation.said), default=0)
    for said in explanation.said:
        yield f"  {said.sort:<{sorts}}  {said.id:<{ids}}  {_said(said)}"
        for what in said.found if said.fired else ():
            hidden = f", disguised ({what.disguise})" if what.disguise else ""
            yield f"      {what.name} in {what.where}, {what.start}-{what.end}{hidden}: {_cut(what.excerpt)}"
        for name in said.files:
            yield f"      file {_cut(name)}"
    width = max((len(one.recipient) for one in explanation.given), default=0)
    for given in explanation.given:
        yield f"  to {given.recipient:<{width}}  {_given(given)}"
    for route in explanation.routes:
        yield f"  also to the compliance server {route}"


def _said(said: Said) -> str:
    if not said.fired:
        return f"no: {said.why_not}"
    return f"fired for {_names(said.recipients)}" if said.recipients else "fired"


def _given(given: Given) -> str:
    if given.decision == "ok":
        return "ok, as sent"
    parts: list[str] = [given.decision]
    if given.delivered_body is not None:
        parts.append(f"text {_cut(given.delivered_body)}")
    for file in given.files:
        shown = "" if file.display_name is None else f" shown as {_cut(file.display_name)}"
        content = "" if file.content is None else f" with the content {_cut(file.content)}"
        parts.append(f"file {_cut(file.name)}{shown}{content}")
    because = f" by {', '.join(given.rules)}" + (f": {given.reason}" if given.reason else "")
    return ", ".join(parts) + because


def show_compared(compared: Compared) -> None:
    """Counts, then the first differences."""
    terminal.print_fields({"events": compared.events, "differ": compared.differ})
    if compared.rejected:
        sys.stdout.write(f"{compared.rejected:,} events are over a limit: they would be rejected, and are not judged\n")
    if not compared.differ:
        return
    sys.stdout.write("\n")
    terminal.print_table(["decision", "events"], sorted(compared.decisions.items()))
    if compared.rules:
        sys.stdout.write("\n")
        rows = [[name, one.added, one.removed] for name, one in compared.rules.items()]
        terminal.print_table(["rule", "added", "removed"], rows)
    sys.stdout.write("\n")
    rows = [[f"line {one.line}", one.event_id, f"{one.old} -> {one.new}", _changes(one)] for one in compared.first]
    terminal.print_table(["first", "event", "decision", "changed"], rows)


def _changes(one: Difference) -> str:
    rules = " ".join([*(f"+{name}" for name in one.added), *(f"-{name}" for name in one.removed)])
    return rules or ", ".join(one.changed)


def _names(names: tuple[str, ...]) -> str:
    rest = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + rest


def _cut(text: str) -> str:
    return repr(text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "...")
