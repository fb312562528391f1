"""What a browser shows of a body: tags, comments, scripts and entities taken away, in one pass over it.

No tree is built and nothing is required to be well formed. The pass is linear in the body whatever is in it: each
search for an end is made once and its failure remembered.
"""

from __future__ import annotations

import html
import re
from typing import Final, NamedTuple

_BLOCKS: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "caption",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "title",
        "tr",
        "ul",
    ]
)
"""Tags that part words."""
_INLINE: Final = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "ins",
        "kbd",
        "label",
        "mark",
        "nobr",
        "q",
        "s",
        "samp",
        "script",
        "small",
        "span",
        "strike",
        "strong",
        "style",
        "sub",
        "sup",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
_HIDDEN: Final = frozenset(("script", "style"))
"""Elements whose content nobody reads."""
_TAG: Final = re.compile(r"</?([A-Za-z][A-Za-z0-9]{0,30})(?=[\s/>])[^<>]{0,4000}>|<[!?][^<>]{0,4000}>")
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?")
_COMMENT: Final = "<!--"
_EMPTY_COMMENT: Final = re.compile(r"<!--?-?>")
"""HTML ends these at once (13.2.5.43 of the standard)."""


class Piece(NamedTuple):
    """Some text that is shown, and where it stood; verbatim: character by character."""

    text: str
    start: int
    end: int
    verbatim: bool


def is_html(body: str) -> bool:
    """Whether a body has a tag that HTML knows. A `<nick>` or `a < b` is none."""
    return any(_known(found) for found in _TAG.finditer(body))


def known_tags(cut: str) -> list[tuple[str, str]]:
    """The tags of HTML in a piece of it: a slash or nothing, and the name."""
    return [("/" if found[0][1] == "/" else "", found[1]) for found in _TAG.finditer(cut) if _known(found)]


def _known(found: re.Match[str]) -> bool:
    name = (found[1] or "").lower()
    return name in _BLOCKS or name in _INLINE


def pieces(body: str, *, html: bool | None = None) -> tuple[Piece, ...]:
    """What is shown. Unless the body is HTML, its tags are what is shown; entities are read in either case."""
    found: list[Piece] = []
    if (is_html(body) if html is None else html) and "<" in body:
        for start, end in _shown(body, found):
            _entities(body, start, end, found)
        found.sort(key=lambda piece: piece.start)
    else:
        _entities(body, 0, len(body), found)
    return tuple(found)


def _shown(body: str, found: list[Piece]) -> list[tuple[int, int]]:
    """The stretches between tags; tags that part words leave a space in `found`."""
    stretches: list[tuple[int, int]] = []
    ends: dict[str, bool] = {}  # whether there may still be such an end
    lower = body.lower() if not body.islower() and len(body.lower()) == len(body) else body
    begin = at = 0
    while (start := body.find("<", at)) >= 0:
        if (empty := _EMPTY_COMMENT.match(body, start)) is not None:
            end = empty.end()
        elif body.startswith(_COMMENT, start) and (close := _find(body, "-->", start + 4, ends)) >= 0:
            end = close + 3
        elif (tag := _TAG.match(body, start)) is not None:
            end = tag.end()
            name = (tag[1] or "").lower()
            if name in _BLOCKS:
                found.append(Piece(" ", start, end, verbatim=False))
            elif name in _HIDDEN and body[start + 1] != "/":
                close = _find(lower, f"</{name}", end, ends)
                end = close if close >= 0 else end
        else:
            at = start + 1
            continue
        stretches.append((begin, start))
        begin = at = end
    stretches.append((begin, len(body)))
    return stretches


def _find(body: str, what: str, start: int, ends: dict[str, bool]) -> int:
    if not ends.get(what, True):
        return -1
    place = body.find(what, start)
    ends[what] = place >= 0
    return place


def _entities(body: str, start: int, end: int, found: list[Piece]) -> None:
    at = start
    for entity in _ENTITY.finditer(body, start, end):
        meant = html.unescape(entity[0])
        if meant == entity[0] or (meant.endswith(";") and not entity[0].startswith("&#")):
            continue
        if at < entity.start():
            found.append(Piece(body[at : entity.start()], at, entity.start(), verbatim=True))
        found.append(Piece(meant, *entity.span(), verbatim=False))
        at = entity.end()
    if at < end:
        found.append(Piece(body[at:end], at, end, verbatim=True))
