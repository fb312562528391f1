"""The house's rules that no linter holds: sizes, the lock, what a release must carry."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 500
FUNCTION_LINES = 70
MODULES = sorted(file for folder in ("pipeline", "tests") for file in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_too_long(file: Path) -> None:
    source = file.read_text()
    lines = source.count("\n")
    assert lines <= MODULE_LINES
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {f"{one.name}, line {one.lineno}": (one.end_lineno or 0) - one.lineno + 1 for one in functions}
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


def test_every_package_of_the_core_says_what_it_is_for() -> None:
    silent = [
        file
        for file in MODULES
        if file.is_relative_to(ROOT / "pipeline") and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_the_lock_holds_every_requirement_and_names_no_index() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "requirements.lock").read_text()
    locked = {_canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert {_canonical(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in asked} <= locked
    assert "://" not in lock
    assert "--find-links" not in lock
    assert "--index" not in lock


def test_every_lint_exception_has_its_reason() -> None:
    section = (
        (ROOT / "pyproject.toml")
        .read_text()
        .partition("[tool.ruff.lint]")[2]
        .partition("[tool.ruff.lint.pydocstyle]")[0]
    )
    rules = [line for line in section.splitlines() if re.match(r'\s*"[A-Z]+[0-9]*",', line)]
    assert rules
    assert [line for line in rules if "# " not in line] == []


def test_make_help_lists_each_target_of_the_readme() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert {"setup", "demo", "test", "test-fast", "bench", "lint", "format", "oracle"} <= targets
    assert set(re.findall(r"\bmake ([a-z-]+)(?:`|$)", readme, re.MULTILINE)) <= targets


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
