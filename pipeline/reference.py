"""docs/reference.md, made of the code: every command, setting, topic and metric. `make reference` writes it anew."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from typing import Any

import typer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline import metrics
from pipeline.cli import app
from pipeline.settings import Settings
from pipeline.topology import TOPICS

HEAD = """# Reference

Made of the code by `make reference`; a test fails when it is out of date.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    return "\n".join([HEAD, *_commands(), *_topics(), *_settings(), *_metrics()]) + "\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "Exit status: 0 done; 1 a check that did not hold; 2 wrong use, bad input or a setting that cannot work, with one"
    yield "line on stderr (of a policy file, one for each fault); 70 a defect of the pipeline. `COMPLIANCE_DEBUG=1` shows where a defect is.\n"
    for path, command in _leaves(typer.main.get_command(app), "compliance"):
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
        names = "".join(f" {one.metavar or str(one.name).upper()}" for one in arguments)
        yield f"### `{path}{names}`\n"
        yield " ".join((command.help or "").split()) + "\n"
        for one in (*arguments, *options):
            label = one.metavar if one in arguments else " ".join(filter(None, (one.opts[0], one.metavar)))
            needed = " Required." if one.required else ""
            default = f" Default: {one.default}." if one.default not in {None, False} and not one.required else ""
            yield f"- `{label}`: {str(one.help).rstrip('.')}.{needed}{default}"
        yield ""


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, child in command.commands.items():
        yield from _leaves(child, f"{path} {name}")


def _topics() -> Iterator[str]:
    yield "## Topics\n"
    yield "Named `PREFIX.NAME`, with `kafka.prefix`; all LogAppendTime, all with `kafka.partitions` partitions.\n"
    yield "| topic | key | value | kept | holds |"
    yield "|---|---|---|---|---|"
    for one in TOPICS:
        yield f"| `{one.name}` | {one.key} | {one.schema} | {one.keep} | {_cell(one.holds)} |"
    yield ""


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield "From the TOML file that `--config` names (a table for each section), and from the environment, which wins:"
    yield "`COMPLIANCE_` and the path joined by `__`, for example `COMPLIANCE_KAFKA__BOOTSTRAP_SERVERS`.\n"
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    yield from _rows(Settings, "")
    yield ""


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = _section(field)
        many = typing.get_origin(field.annotation) is tuple
        if section is None or many:
            yield f"| `{prefix}{name}` | {_default(field)} | {_cell(field.description or '')} |"
        if section is not None:
            yield from _rows(section, f"{prefix}{name}{'[]' if many else ''}.")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, or holds several of; None for a plain value."""
    for one in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "none" if value in (None, "", (), {}) else f"`{value}`"


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield "On `/metrics` of each worker's port (`metrics.port`), beside the process's own; `/live` and `/ready` stand there too.\n"
    yield "| metric | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for one in vars(metrics).values():
        if isinstance(one, MetricWrapperBase):
            (family,) = one.describe()
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(one._labelnames) or "-"  # noqa: SLF001 - prometheus-client has no public name for them
            yield f"| `{name}` | {family.type} | {labels} | {_cell(family.documentation)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
