"""What a person sees: progress bars on stderr, results on stdout; nothing moves where no terminal is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def complain_of_each(lines: Iterable[str]) -> None:
    """Lines on stderr that begin with the place in a file of what is wrong, as compilers write them."""
    for line in lines:
        sys.stderr.write(plain(line) + "\n")


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns on stdout, numbers to the right."""
    shown = [head, *([f"{one:,}" if isinstance(one, int) else plain(str(one)) for one in row] for row in rows)]
    right = [bool(rows) and isinstance(one, int) for one in (rows or [head])[0]]
    widths = [max(len(row[place]) for row in shown) for place in range(len(head))]
    for row in shown:
        cells = [
            f"{one:{'>' if is_number else '<'}{width}}"
            for one, is_number, width in zip(row, right, widths, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def plain(text: str) -> str:
    """Somebody else's text on one line, without what a terminal would obey."""
    return "".join([one if one.isprintable() else one.encode("unicode_escape").decode() for one in text])
