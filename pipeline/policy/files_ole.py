"""What an OLE file (the compound files of Office up to 2003, of Outlook and of the Windows installer) is, and whether it is locked.

An OLE file is a file system: sectors in chains, and a directory. Only the names directly below its root count, as what
is embedded in a document has the same names further down. The flags that say "encrypted" stand at the beginning of one
stream each. Chains are followed for a bounded number of steps; a chain that is a ring ends there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_NAMES: Final = 4096
"""Names below the root that are looked at."""
MOST_SECTORS: Final = 16_384
"""Steps along one chain; what 8 MiB have."""

MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
OLE: Final = "application/x-ole-storage"
_BY_STREAM: Final = (
    ("EncryptedPackage", OLE),  # a docx, xlsx or pptx with a password; which of them is behind the password
    ("\tDRMContent", OLE),  # rights management
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", "application/vnd.ms-excel"),
    ("Book", "application/vnd.ms-excel"),
    ("__properties_version1.0", "application/vnd.ms-outlook"),
    ("VisioDocument", "application/vnd.visio"),
)
"""By a stream below the root; the first that is there."""
_INSTALLER: Final = bytes.fromhex("84100c0000000000c000000000000046")
_ENTRY: Final = 128
_NONE: Final = 0xFFFFFFFA  # and all above: no sector
_IN_HEADER: Final = 109  # sectors of the allocation table that the header names
_STREAM: Final = 2
_FILEPASS: Final = 0x002F
_PPT_LOCKED: Final = 0xF3D1C4DF


class OleFacts(NamedTuple):
    """What an OLE file is, and whether a password or a right is needed for it."""

    media_type: str
    encrypted: bool


class _Stream(NamedTuple):
    start: int
    size: int


def look(content: bytes) -> OleFacts:
    """What an OLE file is."""
    return _Ole(content).facts()


def _number(content: bytes, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "little")


class _Ole:
    def __init__(self, content: bytes) -> None:
        self._content: Final = content
        self._shift: Final = 12 if _number(content, 30, 2) == 12 else 9
        self._per: Final = (1 << self._shift) // 4
        self._table: Final = list(self._table_sectors())
        self._directory: Final = list(self._chain(_number(content, 48, 4)))

    def facts(self) -> OleFacts:
        streams = self._below_root()
        media_type = next((media_type for name, media_type in _BY_STREAM if name in streams), OLE)
        if media_type == OLE and self._entry(0)[80:96] == _INSTALLER:
            media_type = "application/x-msi"
        return OleFacts(media_type, self._locked(streams))

    def _locked(self, streams: dict[str, _Stream]) -> bool:
        if "EncryptedPackage" in streams or "\tDRMContent" in streams:
            return True
        word = self._begin(streams.get("WordDocument"))
        if _number(word, 0, 2) == 0xA5EC and _number(word, 10, 2) & 0x0100:
            return True
        if _number(self._begin(streams.get("Current User")), 12, 4) == _PPT_LOCKED:
            return True
        book = self._begin(streams.get("Workbook", streams.get("Book")))
        at = 0
        while at + 4 <= len(book):  # records; the password's is among the first
            if _number(book, at, 2) == _FILEPASS:
                return True
            at += 4 + _number(book, at + 2, 2)
        return False

    def _below_root(self) -> dict[str, _Stream]:
        """The streams directly below the root: a tree of siblings."""
        found: dict[str, _Stream] = {}
        waiting = [_number(self._entry(0), 76, 4)]
        seen: set[int] = set()
        while waiting and len(seen) < MOST_NAMES:
            number = waiting.pop()
            entry = b"" if number in seen else self._entry(number)
            if not entry:
                continue
            seen.add(number)
            waiting += [_number(entry, 68, 4), _number(entry, 72, 4)]
            if entry[66] == _STREAM:
                length = min(max(_number(entry, 64, 2) - 2, 0), 62)
                name = entry[:length].decode("utf-16-le", "replace")
                found.setdefault(name, _Stream(_number(entry, 116, 4), _number(entry, 120, 4)))
        return found

    def _entry(self, number: int) -> bytes:
        """An entry of the directory; empty: there is none."""
        sector, place = divmod(number * _ENTRY, 1 << self._shift)
        if sector >= len(self._directory):
            return b""
        entry = self._sector(self._directory[sector])[place : place + _ENTRY]
        return entry if len(entry) == _ENTRY else b""

    def _begin(self, stream: _Stream | None) -> bytes:
        """How a stream begins: its first sector, or its first small one, which is within the root's own stream."""
        if stream is None:
            return b""
        if stream.size >= _number(self._content, 56, 4):
            return self._sector(stream.start)
        sector, place = divmod(stream.start * 64, 1 << self._shift)
        for step, number in enumerate(self._chain(_number(self._entry(0), 116, 4))):
            if step == sector:
                return self._sector(number)[place : place + 64]
        return b""

    def _sector(self, number: int) -> bytes:
        at = (number + 1) << self._shift
        return self._content[at : at + (1 << self._shift)]

    def _chain(self, number: int) -> Iterator[int]:
        for _ in range(MOST_SECTORS):
            if number >= _NONE or (number + 1) << self._shift >= len(self._content):
                return
            yield number
            table, place = divmod(number, self._per)
            if table >= len(self._table):
                return
            number = _number(self._content, ((self._table[table] + 1) << self._shift) + place * 4, 4)

    def _table_sectors(self) -> Iterator[int]:
        """The sectors of the allocation table: those in the header, then those in a chain of its own."""
        yield from (_number(self._content, 76 + place * 4, 4) for place in range(_IN_HEADER))
        number = _number(self._content, 68, 4)
        for _ in range(MOST_SECTORS // self._per):
            if number >= _NONE:
                return
            at = (number + 1) << self._shift
            yield from (_number(self._content, at + place * 4, 4) for place in range(self._per - 1))
            number = _number(self._content, at + (self._per - 1) * 4, 4)
