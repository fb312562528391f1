"""Read a policy file: YAML to a checked Document. Whatever is wrong is said with line, column and what to do.

YAML without its traps: no aliases (a small file cannot become a large one), no tags, no key twice, and of its words for
values only null, true, false and decimal numbers: `no` is a word, and 9:30 is not 570.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import yaml
from pydantic import ValidationError

from pipeline.errors import BadFile
from pipeline.policy.contradictions import Path, contradictions
from pipeline.policy.model import Document, WrongPart

MOST_BYTES: Final = 8 * 1024 * 1024
MOST_DEPTH: Final = 40
MOST_FAULTS: Final = 50
_KEY: Final = object()
"""Behind a path in the marks: the key's own place, where the path alone is that of its value."""
Marks = Mapping[tuple[Any, ...], yaml.Mark]


class Fault(NamedTuple):
    """One thing that is wrong with a policy file; line and column count from 1."""

    line: int
    column: int
    message: str


class BadPolicy(BadFile):
    """A policy file cannot come into force; its text has a line for each fault."""

    def __init__(self, source: str, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))[:MOST_FAULTS]
        lines = (f"{source}:{one.line}:{one.column}: {' '.join(one.message.split())}" for one in self.faults)
        super().__init__("\n".join(lines))


class _Refused(Exception):
    def __init__(self, mark: Any, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(mark.line + 1, mark.column + 1, message)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way; none is inherited

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(event.start_mark, "no aliases (*name): write it out")
        if self._depth >= MOST_DEPTH:
            raise _Refused(event.start_mark, "nested too deep")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    _depth = 0


_YAML: Final = "tag:yaml.org,2002:"
_DIGITS: Final = list("-+0123456789")
_SCALARS: Final[Mapping[str, tuple[str, list[str]]]] = {
    "null": (r"^(?:~|null|)$", ["~", "n", ""]),
    "bool": (r"^(?:true|false)$", ["t", "f"]),
    "int": (r"^[-+]?(?:0|[1-9][0-9]{0,17})$", _DIGITS),
    "float": (r"^[-+]?[0-9]{1,18}\.[0-9]{1,18}$", _DIGITS),
    "str": (r"$.^", []),
}
for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_YAML + _name, re.compile(_pattern), _first)


def read(text: str, source: str = "policy") -> Document:
    """The document in a policy file's text.

    Args:
        text: of the file.
        source: its name, for the errors.

    Raises:
        BadPolicy: it cannot come into force.
    """
    if len(text) > MOST_BYTES:
        raise BadPolicy(source, [Fault(1, 1, f"{len(text):,} characters, at most {MOST_BYTES:,}")])
    marks: dict[tuple[Any, ...], yaml.Mark] = {}
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise BadPolicy(source, [Fault(1, 1, "the file is empty; the least is `version: 1`")])
        found = Document.model_validate(_plain(loader, root, (), marks))
    except _Refused as error:
        raise BadPolicy(source, [error.fault]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise BadPolicy(
            source, [Fault(*place, f"not YAML: {_yaml_hint(error.problem or error.context or '')}")]
        ) from None
    except yaml.YAMLError as error:
        raise BadPolicy(source, [Fault(1, 1, f"not YAML: {error}")]) from None
    except ValidationError as error:
        raise BadPolicy(source, [_fault(one, marks) for one in error.errors(include_url=False)]) from None
    if wrong := [_at(path, marks, message) for path, message in contradictions(found)]:
        raise BadPolicy(source, wrong)
    return found


def _plain(loader: _Loader, node: yaml.Node, path: Path, marks: dict[tuple[Any, ...], yaml.Mark]) -> Any:
    """Plain data of a node; where each part of it stands is put into `marks`."""
    marks.setdefault(path, node.start_mark)
    if node.tag.removeprefix(_YAML) not in (*_SCALARS, "map", "seq"):
        raise _Refused(node.start_mark, f"no tags: {node.tag}")
    if isinstance(node, yaml.MappingNode):
        made: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(key.start_mark, "a key is one word")
            if key.value in made:
                raise _Refused(key.start_mark, f"the key {key.value!r} stands twice: keep one")
            marks[*path, key.value, _KEY] = key.start_mark
            if not isinstance(value, yaml.ScalarNode):
                marks[*path, key.value] = key.start_mark
            made[key.value] = _plain(loader, value, (*path, key.value), marks)
            if made[key.value] is None:
                raise _Refused(key.start_mark, f"{key.value!r} is empty: give it a value, or leave the line out")
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, one, (*path, number), marks) for number, one in enumerate(node.value)]
    if isinstance(node.value, str) and _SURROGATE.search(node.value):
        raise _Refused(node.start_mark, "half of a surrogate pair (\\ud800 to \\udfff): leave it out")
    try:
        return loader.construct_object(node)
    except (ValueError, yaml.YAMLError) as error:
        raise _Refused(node.start_mark, f"not a value: {error}") from None


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HINTS: Final = {
    "tuple_type": "a list is wanted: items in [ ], or each on a line of its own that begins with -",
    "model_type": "keys with values are wanted, on lines of their own that are indented further",
    "dict_type": "keys with values are wanted, on lines of their own that are indented further",
    "string_type": "a text is wanted; one that begins with [ { * & ! or %, or is a number, stands in quotes",
    "int_type": "a whole number is wanted, without a unit",
    "int_parsing": "a whole number is wanted, without a unit",
}
"""What a person can do, in the place of pydantic's words."""
_YAML_HINTS: Final = (
    ("expected alphabetic or numeric character", "text that begins with * or & stands in quotes"),
    ("mapping values are not allowed here", "text with a colon and a space in it stands in quotes"),
    ("that cannot start any token", "indent with spaces, not tabs; text that begins with % @ or ` stands in quotes"),
    ("expected <block end>", "the line is indented otherwise than its neighbours"),
)


def _yaml_hint(problem: str) -> str:
    hint = next((hint for words, hint in _YAML_HINTS if words in problem), "")
    return f"{problem}: {hint}" if hint else problem


def _fault(error: Any, marks: Marks) -> Fault:
    """A fault as pydantic tells it."""
    path = tuple(one for one in error["loc"] if one != "[key]")
    where = ".".join(map(str, path))
    raised = error.get("ctx", {}).get("error")
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return _at((*path, _KEY), marks, f"{where}: unknown key {path[-1]!r}: leave it out or mend its spelling")
    if error["type"] == "missing":
        message = f"{path[-1]!r} is missing" if isinstance(path[-1], str) else f"number {path[-1] + 1} is missing"
    elif path != error["loc"]:
        path = (*path, _KEY)
    elif isinstance(raised, WrongPart):
        path = (*path, raised.key)
    message = _HINTS.get(error["type"], message)
    return _at(path, marks, f"{where}: {message}" if where else message)


def _at(path: tuple[Any, ...], marks: Marks, message: str) -> Fault:
    """A fault at the nearest place that stands in the file."""
    while path not in marks:
        path = path[:-1]
    return Fault(marks[path].line + 1, marks[path].column + 1, message)
