"""The core (stages, policy, records, codec) does no I/O and reads no clock, nor does anything of ours that it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ["records.py", "codec.py", "topology.py", "stages", "policy"]

# What the core may import from elsewhere; to add a name here is to say that it does no I/O and reads no clock.
STANDARD = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "difflib", "enum", "fractions", "functools", "graphlib", "hashlib", "heapq", "html", "io",
    "ipaddress", "itertools", "json",
    "math", "operator", "re", "string", "struct", "sys", "types", "typing", "unicodedata", "zlib",
    "zoneinfo",  # reads the zone database, when a policy is made ready
}  # fmt: skip
# confusable_homoglyphs, phonenumbers and stdnum read tables of their own packages, when they are imported. filetype would
# open a path; it is given bytes alone.
FOREIGN = {
    "confusable_homoglyphs", "fastavro", "filetype", "hyperscan", "orjson", "phonenumbers", "pydantic", "re2", "stdnum",
    "typing_extensions", "xxhash", "yaml",
}  # fmt: skip
# Settings are frozen data; reading them is I/O.
FROM_SETTINGS_NOT = {"load_settings", "Settings"}
# Attributes of allowed modules that read a clock, the environment, a stream or the machine.
ATTRIBUTES_NOT = {
    "argv", "environ", "getenv", "modules", "now", "path", "read_bytes", "read_text", "stderr", "stdin", "stdout", "today", "utcnow",
}  # fmt: skip
CALLS_NOT = {"__import__", "breakpoint", "compile", "eval", "exec", "input", "open", "print"}
# As dataclasses do: a function made from a schema, of literals and numbers.
MAY = {"pipeline/avro_straight.py": {"calls exec", "calls compile"}}


def files_of_the_core() -> list[Path]:
    """The core's own files and, transitively, all that they import from the project."""
    waiting = [file for name in CORE for file in _python_files(ROOT / "pipeline" / name)]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for module, _names, _line in imports(ast.parse(file.read_text())):
            if module.startswith("pipeline") and module != "pipeline.settings":
                waiting.extend(_module_files(module))
    return sorted(seen)


def imports(tree: ast.AST) -> Iterator[tuple[str, list[str], int]]:
    """(module, names, line) of each import, wherever it stands; imports for the type checker alone are left out."""
    for node in core_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed"
            names = [alias.name for alias in node.names]
            yield node.module or "", names, node.lineno
            if (node.module or "").startswith("pipeline"):  # `from pipeline.stages import dedup` imports a module
                yield from ((f"{node.module}.{name}", [], node.lineno) for name in names)


def core_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only the type checker sees and those that run only as a program of their own."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}:
            assert not node.orelse
            continue
        yield node
        yield from core_nodes(node)


def impurities(source: str) -> list[str]:
    """What in a module's text the core may not do; 'LINE: what' each."""
    tree = ast.parse(source)
    found = []
    for module, names, line in imports(tree):
        root = module.partition(".")[0]
        if root == "pipeline":
            if module == "pipeline.settings" and FROM_SETTINGS_NOT.intersection(names):
                found.append(f"{line}: reads the settings")
        elif root not in STANDARD | FOREIGN:
            found.append(f"{line}: imports {module}")
        found += [f"{line}: imports {name}" for name in names if root in STANDARD and name in ATTRIBUTES_NOT]
    for node in core_nodes(tree):
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES_NOT and _is_of_a_module(node):
            found.append(f"{node.lineno}: uses {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS_NOT:
            found.append(f"{node.lineno}: calls {node.func.id}")
    return found


def _is_of_a_module(node: ast.Attribute) -> bool:
    """`datetime.now`, `sys.path`: of a class or module that is named; not `self.path` or `entry.now`."""
    value = node.value
    while isinstance(value, ast.Attribute):
        value = value.value
    return isinstance(value, ast.Name) and value.id in STANDARD | {"date", "Path"}


def _python_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    return [path] if path.is_file() else []


def _module_files(module: str) -> list[Path]:
    path = ROOT.joinpath(*module.split("."))
    return [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]


@pytest.mark.parametrize("file", files_of_the_core(), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_core_does_no_io(file: Path) -> None:
    may = MAY.get(str(file.relative_to(ROOT)), set())
    assert [found for found in impurities(file.read_text()) if found.partition(": ")[2] not in may] == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from confluent_kafka import Consumer",
        "import socket",
        "import random",
        "import logging",
        "def late():\n    import clickhouse_connect",
        "from datetime import datetime\nx = datetime.now()",
        "from datetime import date\nx = date.today()",
        "import datetime\nx = datetime.datetime.now",
        "import sys\nsys.stdout.write('x')",
        "from sys import stderr",
        "open('x')",
        "print('x')",
        "from pipeline.settings import load_settings",
    ],
)
def test_the_check_sees_io(source: str) -> None:
    assert len(impurities(source)) == 1


def test_the_check_lets_pure_code_be() -> None:
    assert not impurities(
        "import hashlib\nfrom pipeline.settings import Merge\ndef f(self, now): return self.path, now"
    )


def test_the_core_is_found() -> None:
    names = {str(file.relative_to(ROOT)) for file in files_of_the_core()}
    assert {"pipeline/records.py", "pipeline/codec.py", "pipeline/errors.py"} <= names
