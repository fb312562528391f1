"""`compliance policy ...`: what a policy finds, before it is in force."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from pipeline import terminal
from pipeline.errors import BadInput

policy_app = typer.Typer(no_args_is_help=True, help="The policy: what it finds.")


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
