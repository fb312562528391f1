"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="Settings; COMPLIANCE_... in the environment wins.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text for a person.")]
