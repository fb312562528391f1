"""The maintainers' corpora, simulator and checker, where a checkout has them beside it; COMPLIANCE_SHARED names another place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DIRECTORY = Path(os.environ.get("COMPLIANCE_SHARED") or Path(__file__).parents[3] / "shared")
CORPORA = ("ubuntu-irc", "duraspace-irc")


def missing(corpus: str = CORPORA[0]) -> str | None:
    """Why a corpus cannot be used; None if it can."""
    needed = (log(corpus), _tool("simulate_captures"), _tool("check_archive"))
    return next((f"no {path}" for path in needed if not path.is_file()), None)


def log(corpus: str) -> Path:
    """The chat log of a corpus."""
    return DIRECTORY / "corpora" / corpus / "chat.jsonl.gz"


def simulate(corpus: str, into: Path, *, seed: int, max_recipients: int = 12, limit: int | None = None) -> str:
    """Make events.jsonl and truth.jsonl of a log, at most `limit` lines of it; what the simulator says."""
    arguments = [str(log(corpus)), str(into), f"--seed={seed}", f"--max-recipients={max_recipients}"]
    if limit is not None:
        arguments.append(f"--limit={limit}")
    return _run("simulate_captures", arguments, check=True).stdout.strip()


def check_archive(truth: Path, events: Path, exports: Path) -> list[str]:
    """What the maintainers' checker finds wrong with exports, where it is there; empty: nothing."""
    if not _tool("check_archive").is_file():
        return []
    files = [str(exports / f"{name}.jsonl") for name in ("messages", "copies", "merges")]
    options = ["--events", str(events), "--verdicts", str(exports / "verdicts.jsonl")]
    done = _run("check_archive", [str(truth), *files, *options])
    return [] if done.returncode == 0 else [f"check_archive: {done.stdout}{done.stderr}"]


def _tool(name: str) -> Path:
    return DIRECTORY / "tools" / f"{name}.py"


def _run(tool: str, arguments: list[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(_tool(tool)), *arguments], capture_output=True, text=True, check=check)
