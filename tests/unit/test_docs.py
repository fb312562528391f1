"""What is public is documented, or a test fails."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli import app
from pipeline.reference import reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs/reference.md").read_text() == reference(), "make reference"


def _parameters(command: Any, path: str) -> list[tuple[str, str, str | None]]:
    if hasattr(command, "commands"):
        return [found for name, child in command.commands.items() for found in _parameters(child, f"{path} {name}")]
    assert command.help, path
    return [(path, one.name, one.help) for one in command.params if one.name != "help"]


def test_every_command_and_option_says_what_it_does() -> None:
    assert [one for one in _parameters(typer.main.get_command(app), "compliance") if not one[2]] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    broken = [one for one in targets if "://" not in one and not (page.parent / one).exists()]
    assert broken == []
