"""Whether a password is needed: 7z, RAR and PDF, as far as they say so without being unpacked.

7z packs its own header as a rule, and with it the word whether its files are encrypted: only where the header itself is
encrypted, or is not packed, is that seen. A 7z or RAR may stand behind something else; what confirms one there is its checksum.
"""

from __future__ import annotations

import re
import zlib
from itertools import islice
from typing import Final

MOST_BLOCKS: Final = 4096
"""Blocks of a RAR that are looked at."""
MOST_MARKS: Final = 64
"""Places that are tried where a RAR or 7z seems to begin behind something else."""
MOST_MENTIONS: Final = 1024
"""Mentions of encryption in a PDF that are looked at."""
LONGEST_HEADER: Final = 1 << 20
"""Bytes of a header that are looked into."""
NEAR: Final = 16_384
"""Bytes around a mention in a PDF that tell what it is in."""

SEVEN_ZIP: Final = b"7z\xbc\xaf\x27\x1c"
RAR4: Final = b"Rar!\x1a\x07\x00"
RAR5: Final = b"Rar!\x1a\x07\x01\x00"
_AES: Final = b"\x24\x06\xf1\x07\x01"  # a coder with properties, AES-256 with SHA-256
_ENCRYPT: Final = re.compile(rb"/Encrypt[\s\x00]{0,64}+(?:\d{1,10}+[\s\x00]{1,64}+\d{1,5}+[\s\x00]{1,64}+R|<<)")
_XREF: Final = re.compile(rb"/Type[\s\x00]{0,64}/XRef(?![A-Za-z])")


def seven_zip(content: bytes, at: int = 0) -> bool:
    """Whether a 7z that begins there is encrypted, as far as it is seen."""
    start = at + 32 + int.from_bytes(content[at + 12 : at + 20], "little")
    size = int.from_bytes(content[at + 20 : at + 28], "little")
    return _AES in content[start : start + min(size, LONGEST_HEADER)]


def rar(content: bytes, at: int = 0) -> bool:
    """Whether anything in a RAR that begins there is encrypted."""
    return _rar5(content, at + len(RAR5)) if content.startswith(RAR5, at) else _rar4(content, at + len(RAR4))


def _rar4(content: bytes, at: int) -> bool:
    for _ in range(MOST_BLOCKS):
        kind, flags = content[at + 2 : at + 3], int.from_bytes(content[at + 3 : at + 5], "little")
        size = int.from_bytes(content[at + 5 : at + 7], "little")
        if size < 7:
            return False
        if (kind == b"\x73" and flags & 0x0080) or (kind == b"\x74" and flags & 0x0004):
            return True
        if kind == b"\x74" or flags & 0x8000:
            size += int.from_bytes(content[at + 7 : at + 11], "little")
            if kind == b"\x74" and flags & 0x0100:
                size += int.from_bytes(content[at + 32 : at + 36], "little") << 32
        at += size
    return False


def _rar5(content: bytes, at: int) -> bool:
    for _ in range(MOST_BLOCKS):
        size, begins = _vint(content, at + 4)
        if not size:
            return False
        end = begins + size
        kind, place = _vint(content, begins)
        flags, place = _vint(content, place)
        extra, place = _vint(content, place) if flags & 1 else (0, place)
        data, _ = _vint(content, place) if flags & 2 else (0, place)
        if kind == 4 or (kind in {2, 3} and _rar5_file_locked(content, max(end - extra, begins), end)):
            return True
        at = end + data
    return False


def _rar5_file_locked(content: bytes, at: int, end: int) -> bool:
    for _ in range(MOST_MARKS):
        size, begins = _vint(content, at)
        if not size or begins >= end:
            return False
        if _vint(content, begins)[0] == 1:
            return True
        at = begins + size
    return False


def _vint(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends; 0 where there is none."""
    value = 0
    for place, byte in enumerate(content[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    return 0, at


def behind(content: bytes) -> tuple[str, bool] | None:
    """A RAR or 7z that begins within something else: its media type, and whether it is encrypted."""
    for mark, media_type in ((b"Rar!\x1a\x07", "application/vnd.rar"), (SEVEN_ZIP, "application/x-7z-compressed")):
        at = -1
        for _ in range(MOST_MARKS):
            at = content.find(mark, at + 1)
            if at < 0:
                break
            if _confirmed(content, at):
                locked = seven_zip(content, at) if mark == SEVEN_ZIP else rar(content, at)
                return media_type, locked
    return None


def _confirmed(content: bytes, at: int) -> bool:
    """Whether what stands behind the mark has the checksum that it says."""
    if content.startswith(SEVEN_ZIP, at):
        return zlib.crc32(content[at + 12 : at + 32]) == int.from_bytes(content[at + 8 : at + 12], "little")
    if content.startswith(RAR5, at):
        size, begins = _vint(content, at + 12)
        header = content[at + 12 : begins + min(size, LONGEST_HEADER)]
        return size > 0 and zlib.crc32(header) == int.from_bytes(content[at + 8 : at + 12], "little")
    size = int.from_bytes(content[at + 12 : at + 14], "little")
    said = int.from_bytes(content[at + 7 : at + 9], "little")
    return any(zlib.crc32(content[at + 9 : at + 7 + most]) & 0xFFFF == said for most in {size, 13} if most > 2)


def pdf(content: bytes) -> bool:
    """Whether a PDF names its encryption where PDFs do: in a trailer, or in the dictionary of an xref stream."""
    for found in islice(_ENCRYPT.finditer(content), MOST_MENTIONS):
        before = content[max(0, found.start() - NEAR) : found.start()]
        ended = max(before.rfind(b"endobj"), before.rfind(b"stream"))
        begins = before.rfind(b" obj")
        if before.rfind(b"trailer") > max(ended, begins):
            return True
        if begins > ended:
            dictionary = before[begins:] + content[found.start() : found.start() + NEAR].partition(b"stream")[0]
            if _XREF.search(dictionary):
                return True
    return False
