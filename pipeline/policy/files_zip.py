"""What a zip says of itself without being unpacked: what it is (a document, a program, or just a zip) and whether it is locked.

Read is the list at its end, as programs that open zips do, wherever the zip begins: one glued to a picture is a zip for
them. What stands before each entry is read as well, as far as sizes are given there: the list may be cut off, or lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from struct import Struct
from typing import Final, NamedTuple

MOST_ENTRIES: Final = 65_535
"""Entries looked at, in the list and before each; what a list without 64-bit fields can number."""
LONGEST_NAME: Final = 256
LONGEST_END: Final = 22 + 65_535
"""Bytes from the end in which the end's own record is sought: it and the longest comment."""

ZIP: Final = "application/zip"
_MACROS: Final = "vba"
_OFFICE: Final = {
    (b"word/", ""): "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    (b"word/", _MACROS): "application/vnd.ms-word.document.macroenabled.12",
    (b"xl/", ""): "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    (b"xl/", _MACROS): "application/vnd.ms-excel.sheet.macroenabled.12",
    (b"ppt/", ""): "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    (b"ppt/", _MACROS): "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    (b"visio/", ""): "application/vnd.ms-visio.drawing",
    (b"visio/", _MACROS): "application/vnd.ms-visio.drawing.macroenabled.12",
}
"""By the folder of the main part, and whether there are macros."""
_XLSB: Final = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
_NAMED: Final = (
    (b"androidmanifest.xml", "application/vnd.android.package-archive"),
    (b"meta-inf/manifest.mf", "application/java-archive"),
)
"""By an entry that nothing else has; the first that is there."""
_TELLING: Final = frozenset(
    (b"[content_types].xml", b"xl/workbook.bin", b"encrypted-package", *(name for name, _ in _NAMED))
)
_FOLDERS: Final = frozenset(folder for folder, _ in _OFFICE)
_DECLARED: Final = re.compile(
    rb"application/(?:epub\+zip|vnd\.oasis\.opendocument\.[a-z-]{1,40}|vnd\.sun\.xml\.[a-z.]{1,40})"
)
"""What an entry `mimetype` may say. Not whatever it says: a zip is no picture for saying so."""
_XML: Final = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")

_LISTED: Final = Struct("<4s4xHH16xHHH8xI")  # flags, method, lengths of name, extra and comment, place
_LOCAL: Final = Struct("<4s2xHH8xI4xHH")  # flags, method, packed size, lengths of name and extra
_END: Final = Struct("<4s8xII2x")  # the list's size and place
_END64: Final = Struct("<4s36xQQ")  # the list's size and place
_LOCATOR_SIZE: Final = 20
_LOCKED: Final = 0x0001 | 0x0040 | 0x2000  # encrypted, strongly encrypted, list encrypted
_SIZE_FOLLOWS: Final = 0x0008
_AES: Final = 99


class ZipFacts(NamedTuple):
    """What a zip is, and whether a password is needed for any of it."""

    media_type: str
    encrypted: bool


class _Entry(NamedTuple):
    name: bytes
    flags: int
    method: int
    place: int
    """Where its own header is, if that can be told."""


class _List(NamedTuple):
    start: int
    shift: int
    """What stands before the zip: to be added to each place in it."""


def is_zip(content: bytes) -> bool:
    """Whether it begins as one: with an entry, with its end as it is empty, or as a part of several."""
    return content.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04", b"PK00PK\x03\x04"))


def look(content: bytes) -> ZipFacts | None:
    """What a zip is, at the beginning or behind something else; None: there is none."""
    listing = _listing(content)
    listed = _listed(content, listing) if listing is not None else ()
    if is_zip(content):
        return _facts(content, chain(listed, _local(content)))
    return _facts(content, listed) if listing is not None and listing.shift else None


def _facts(content: bytes, entries: Iterable[_Entry]) -> ZipFacts:
    names: set[bytes] = set()
    folders: set[bytes] = set()
    encrypted = False
    declared = ""
    macros = ""
    for number, entry in enumerate(entries):
        name = entry.name.lower()
        if name in _TELLING:
            names.add(name)
        elif (folder := name[: name.find(b"/") + 1]) in _FOLDERS:
            folders.add(folder)
        encrypted = encrypted or bool(entry.flags & _LOCKED) or entry.method == _AES
        if name.endswith(b"/vbaproject.bin"):
            macros = _MACROS
        elif number == 0 and name == b"mimetype" and entry.method == 0:
            said = _DECLARED.match(_data(content, entry, 128))
            declared = said[0].decode("ascii") if said else ""
        elif declared and name == b"content.xml" and entry.method == 0:
            # OpenDocument locks its parts without saying so to zip: what is stored and no XML is cipher
            encrypted = encrypted or not _data(content, entry, 4).lstrip().startswith(_XML)
    if declared:
        return ZipFacts(declared, encrypted or b"encrypted-package" in names)
    return ZipFacts(_by_names(names, folders, macros), encrypted)


def _by_names(names: set[bytes], folders: set[bytes], macros: str) -> str:
    if b"[content_types].xml" in names:
        if b"xl/workbook.bin" in names:
            return _XLSB
        for (folder, with_macros), media_type in _OFFICE.items():
            if folder in folders and with_macros == macros:
                return media_type
    return next((media_type for name, media_type in _NAMED if name in names), ZIP)


def _listing(content: bytes) -> _List | None:
    """Where the list of entries begins; None: there is none that can be read."""
    end = content.rfind(b"PK\x05\x06", max(0, len(content) - LONGEST_END))
    if end < 0 or end + _END.size > len(content):
        return None
    _, size, place = _END.unpack_from(content, end)
    at = end - _LOCATOR_SIZE - _END64.size
    if at >= 0 and content.startswith(b"PK\x06\x06", at):
        _, size, place = _END64.unpack_from(content, at)
    else:
        at = end
    if size == 0:
        return _List(end, 0)
    for start in (at - size, place):
        if start >= 0 and content.startswith(b"PK\x01\x02", start):
            return _List(start, start - place)
    return None


def _listed(content: bytes, listing: _List) -> Iterator[_Entry]:
    """Entries, as the list at the end has them."""
    at = listing.start
    for _ in range(MOST_ENTRIES):
        if at + _LISTED.size > len(content):
            return
        magic, flags, method, name, extra, comment, place = _LISTED.unpack_from(content, at)
        if magic != b"PK\x01\x02":
            return
        at += _LISTED.size
        yield _Entry(content[at : at + min(name, LONGEST_NAME)], flags, method, place + listing.shift)
        at += name + extra + comment


def _local(content: bytes) -> Iterator[_Entry]:
    """Entries, as they stand one behind the other, up to the first that does not say how long it is."""
    at = content.find(b"PK\x03\x04", 0, 8)
    for _ in range(MOST_ENTRIES):
        if at < 0 or at + _LOCAL.size > len(content):
            return
        magic, flags, method, size, name, extra = _LOCAL.unpack_from(content, at)
        if magic != b"PK\x03\x04":
            return
        begins = at + _LOCAL.size
        yield _Entry(content[begins : begins + min(name, LONGEST_NAME)], flags, method, at)
        if flags & _SIZE_FOLLOWS:
            return
        at = begins + name + extra + size


def _data(content: bytes, entry: _Entry, most: int) -> bytes:
    """How an entry's content begins, as it is stored."""
    if entry.place < 0 or entry.place + _LOCAL.size > len(content):
        return b""
    magic, _flags, _method, size, name, extra = _LOCAL.unpack_from(content, entry.place)
    begins = entry.place + _LOCAL.size + name + extra
    return content[begins : begins + min(size, most)] if magic == b"PK\x03\x04" else b""
