"""What a person sees: progress bars on stderr, results on stdout; nothing moves where no terminal is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import typer

Progress = Callable[[int, int | None], None]
"""Told how much is done and, where known, of how much in all; both in the same unit."""


def no_progress(_done: int, _total: int | None) -> None:
    """For whoever does not want to watch."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A bar on stderr while the block runs; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def print_json(value: Any) -> None:
    """One JSON object on a line of its own on stdout."""
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")


def print_lines(lines: Iterable[bytes]) -> None:
    """Lines on stdout; a reader that has seen enough (head) is no error."""
    try:
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
        raise typer.Exit(128 + signal.SIGPIPE) from None


def print_fields(fields: Mapping[str, Any]) -> None:
    """Names and values, a line each, on stdout."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        shown = f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        sys.stdout.write(f"{name:<{width}}  {shown}\n")


def complain(text: str) -> None:
    """One line on stderr that says what is wrong."""
    sys.stderr.write(f"compliance: {' '.join(text.split())}\n")
