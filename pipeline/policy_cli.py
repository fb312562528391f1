"""`compliance policy ...`: whether a policy is good, what it finds and what it would do, before it is in force."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from pipeline import terminal
from pipeline.errors import BadInput
from pipeline.options import AsJson, Config
from pipeline.settings import load_settings

if TYPE_CHECKING:
    from pipeline.policy_source import Checked

policy_app = typer.Typer(no_args_is_help=True, help="The policy: whether it is good, what it would do, what it finds.")


WRONG: Final = 2
"""Exit status of a policy that cannot come into force."""
File = Annotated[Path, typer.Argument(metavar="POLICY.yaml", help="The policy file.")]
Events = Annotated[str, typer.Argument(metavar="EVENTS.jsonl", help="A file, also .gz; - for standard input.")]


class Entity(StrEnum):
    """What `policy detect` can look for."""

    CREDIT_CARD = "credit_card"
    US_SSN = "us_ssn"
    US_ITIN = "us_itin"
    IBAN = "iban"
    US_ABA_ROUTING = "us_aba_routing"
    PHONE = "phone"
    EMAIL = "email"
    NATIONAL_ID = "national_id"


class AtLeast(StrEnum):
    """How sure a detector has to be."""

    WEAK = "weak"
    LIKELY = "likely"
    STRONG = "strong"


@policy_app.command("check")
def check(policy: File, config: Config = None, as_json: AsJson = False) -> None:
    """Tell whether a policy could come into force, with the approvals that the settings ask for.

    Exit status 2 where not, with a line FILE:LINE:COLUMN: MESSAGE on stderr for each fault.
    """
    settings = load_settings(config)
    from pipeline.policy_source import examine

    checked = examine(policy, settings.policy)
    if as_json:
        terminal.print_json(_checked(checked))
        if checked.refused is not None:
            raise typer.Exit(WRONG)
    elif checked.policy is None or checked.refused is not None:
        raise checked.refused or BadInput(f"{policy}: refused")
    else:
        found = checked.policy.document
        counts = {"wall": len(found.walls), "rule": len(found.rules), "group": len(found.groups)}
        said = ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
        typer.echo(f"{policy}: good: {said}, digest {checked.digest}")


def _checked(checked: Checked) -> dict[str, Any]:
    from pipeline.policy.document import BadPolicy

    refused = checked.refused
    faults: list[dict[str, Any]] = []
    if isinstance(refused, BadPolicy):
        faults = [fault._asdict() for fault in refused.faults]
    elif refused is not None:
        faults = [{"line": None, "column": None, "message": str(refused)}]
    return {"good": refused is None, "digest": checked.digest, "faults": faults}


@policy_app.command("test")
def try_out(policy: File, events: Events, config: Config = None, as_json: AsJson = False) -> None:
    """Tell what a policy would have done with the events of a file, and how often each wall and rule would have fired.

    Each event is judged on its own: captures of one message are not merged and count each. No approval is needed. At a
    bad line it stops with exit status 2, naming file, line and field.
    """
    settings = load_settings(config)
    from pipeline import policy_shown, policy_trial

    ready = policy_trial.ready(policy)
    with terminal.progress("lines") as progress:
        tried = policy_trial.try_out(ready, policy_trial.lines(events, settings, progress))
    (terminal.print_json if as_json else policy_shown.show_tried)(tried)


@policy_app.command("explain")
def explain(
    policy: File,
    event: Annotated[
        str, typer.Argument(metavar="EVENT.json", help="An event, or several, a line each; - for standard input.")
    ],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Tell of an event, for each wall and rule, whether it fires, for whom and by what, or the first condition that does not hold.

    Then what each recipient is given. It prints what it finds in the text. Several events are judged in their order. With
    --json one object for each, a line each.
    """
    settings = load_settings(config)
    from pipeline import policy_shown, policy_trial

    ready = policy_trial.ready(policy)
    found = policy_trial.explain_all(ready, event, settings)
    if as_json:
        terminal.print_lines(orjson.dumps(one) + b"\n" for one in found)
    else:
        terminal.print_lines(line for one in found for line in policy_shown.explained(one))


@policy_app.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD.yaml", help="A policy file.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.yaml", help="The policy file that it is held against.")],
    events: Events,
    every: Annotated[
        bool, typer.Option("--all", help="Instead each event that differs, a JSON object a line.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Tell which events of a file two policies judge differently: how many, by which rules, and the first twenty.

    Exit status 0 whether there are any or not.
    """
    settings = load_settings(config)
    from pipeline import policy_shown, policy_trial

    before, after = policy_trial.ready(old), policy_trial.ready(new)
    with terminal.progress("lines") as progress:
        found = policy_trial.lines(events, settings, progress)
        counts = policy_trial.Compared(before.digest, after.digest)
        if every:
            each = policy_trial.differences(before, after, found, counts)
            terminal.print_lines(orjson.dumps(one) + b"\n" for one in each)
            return
        compared = policy_trial.compare(before, after, found)
    (terminal.print_json if as_json else policy_shown.show_compared)(compared)


@policy_app.command("approve")
def approve(
    policy: File,
    key: Annotated[
        Path, typer.Option("--key", metavar="KEY.pem", help="Ed25519 private key (PEM), without a passphrase.")
    ],
) -> None:
    """Approve a policy file as it is: a signature is put into POLICY.yaml.sig. Prints the key's fingerprint."""
    from pipeline.policy_source import sign

    typer.echo(sign(policy, key))


@policy_app.command("detect")
def detect(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help='Lines {"text": ...}; - for standard input.')],
    entity: Annotated[Entity, typer.Option("--entity", metavar="NAME", help=", ".join(Entity))],
    at_least: Annotated[
        AtLeast, typer.Option("--at-least", metavar="STRENGTH", help=", ".join(AtLeast))
    ] = AtLeast.WEAK,
) -> None:
    """Tell where an entity is in each text: a line {"spans": [[start, end], ...]} for each, in code points."""
    from pipeline.policy.detectors import spans_in
    from pipeline.policy.findings import Strength

    strength = Strength[at_least.value.upper()]

    def spans(text: str) -> bytes:
        found = [[span.start, span.end] for span in spans_in(entity.value, text, strength)]
        return orjson.dumps({"spans": found}) + b"\n"

    terminal.print_lines(map(spans, _texts(str(file), _lines(file))))


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None


def _texts(name: str, lines: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            text = orjson.loads(line)["text"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise BadInput(f'{name}, line {number}: not an object with "text"')
        yield text
