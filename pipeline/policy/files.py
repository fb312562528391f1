"""What an attached file is, by its content and not by its name: its media type, whether it is an archive, whether it is locked.

    1. what has a structure to confirm it by: zip, OLE, tar, programs (the libraries' guesses are poor there)
    2. signatures that the library `filetype` lacks
    3. what begins as text does that programs read: scripts, HTML, SVG, RTF, PDF
    4. text
    5. all else that the library knows: pictures, sound, films, fonts, packers
    6. an archive behind any of these that is no container itself: "a picture" that every unpacker opens

Nothing is unpacked, and what is looked at is bounded, whatever the content: the bounds are the constants here, in files_zip,
files_ole and files_locks. What is not seen: a lock that only what is packed tells of (most 7z whose file names are open),
programs that are plain text (batch, PowerShell, JavaScript without #!), text in other encodings, files put into a document.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import filetype

from pipeline.policy import files_locks, files_ole, files_zip

HEAD: Final = 8192
"""Bytes from the beginning that the library is given."""
TEXT_HEAD: Final = 4096
"""Bytes from the beginning that tell scripts and markup."""
LATEST_PDF: Final = 1024
"""Where a PDF may begin at the latest."""

PE: Final = "application/vnd.microsoft.portable-executable"
PDF: Final = "application/pdf"
RAR: Final = "application/vnd.rar"
SEVEN_ZIP: Final = "application/x-7z-compressed"
TAR: Final = "application/x-tar"
TEXT: Final = "text/plain"
ARCHIVES: Final = frozenset(
    (
        files_zip.ZIP, TAR, RAR, SEVEN_ZIP, "application/gzip", "application/x-bzip2", "application/x-xz", "application/zstd",
        "application/x-lz4", "application/x-lzip", "application/x-lzop", "application/x-compress", "application/x-archive",
        "application/x-cpio", "application/x-lzh-compressed", "application/vnd.ms-cab-compressed", "application/x-iso9660-image",
        "application/x-apple-diskimage", "application/x-ms-wim", "application/x-xar",
    )
)  # fmt: skip
"""What holds files and is nothing else. Documents and packages of programs (docx, jar, apk, deb, rpm) are not among them."""
_CONTAINERS: Final = ARCHIVES | {PDF}
"""What may hold an archive as one of its own parts; an archive in them is none behind them. OLE and zip likewise."""

_SIGNATURES: Final = (
    (b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbf", "application/x-mach-binary"),
    (b"dex\n0", "application/vnd.android.dex"),
    (bytes.fromhex("4c0000000114020000000000c000000000000046"), "application/x-ms-shortcut"),
    (bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3"), "application/onenote"),
    (b"ITSF\x03\x00\x00\x00", "application/vnd.ms-htmlhelp"),
    (b"!BDN", "application/vnd.ms-outlook-pst"),
    (b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (b"MSWIM\x00\x00\x00", "application/x-ms-wim"),
    (b"xar!\x00\x1c", "application/x-xar"),
    (b"070701", "application/x-cpio"),
    (b"070702", "application/x-cpio"),
    (b"070707", "application/x-cpio"),
)
_NORMAL: Final = {
    "application/font-sfnt": "font/sfnt",
    "application/font-woff": "font/woff",
    "application/octet-stream": "",
    "application/x-brotli": "",
    "application/x-deb": "application/vnd.debian.binary-package",
    "application/x-rar-compressed": RAR,
    "application/x-sqlite3": "application/vnd.sqlite3",
    "application/x-unix-archive": "application/x-archive",
    "audio/x-aiff": "audio/aiff",
    "audio/x-flac": "audio/flac",
    "audio/x-wav": "audio/wav",
    "image/jpx": "image/jp2",
    "image/x-icon": "image/vnd.microsoft.icon",
}
"""The library's names and the usual ones. It tells brotli by what brotli does not write."""
_BITMAP_HEADERS: Final = frozenset((12, 16, 40, 52, 56, 64, 108, 124))

_CONTROLS: Final = bytes(one for one in range(32) if one not in b"\t\n\f\r") + b"\x7f"
_WIDE_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_C1: Final = re.compile(rb"\xc2[\x80-\x9f]")
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
_SCRIPT: Final = re.compile(r"#![ \t]*(/\S+)((?:[ \t]+\S+)*)")
_INTERPRETERS: Final = (
    (re.compile(r"(?:ba|da|k|z|a|c|tc|fi)?sh"), "text/x-shellscript"),
    (re.compile(r"python|pypy"), "text/x-python"),
    (re.compile(r"perl"), "text/x-perl"),
    (re.compile(r"ruby"), "text/x-ruby"),
    (re.compile(r"php"), "text/x-php"),
    (re.compile(r"node|deno|bun"), "text/javascript"),
)
_BEGINS: Final = (
    (re.compile(r"%PDF-\d"), PDF),
    (re.compile(r"%!PS"), "application/postscript"),
    (re.compile(r"\{\\rt"), "application/rtf"),
    (re.compile(r"\s*<\?php\b"), "text/x-php"),
)
_PASSED_OVER: Final = re.compile(
    r"\s+|<!--.*?-->|<\?(xml)?.*?\?>|<!doctype\s+([\w:]+)(?:[^>\[]*\[[^\]]*\])?[^>]*>", re.IGNORECASE | re.DOTALL
)
_ELEMENT: Final = re.compile(r"<(?:\w+:)?([a-z][a-z0-9]*)(?=[\s/>])", re.IGNORECASE)
_HTML: Final = frozenset(
    (
        "a", "b", "base", "body", "br", "center", "div", "font", "form", "frameset", "h1", "head", "html", "iframe", "img",
        "link", "meta", "object", "p", "script", "span", "style", "table", "title",
    )
)  # fmt: skip
"""What HTML begins with, for those who show it whatever it is called."""


class FileFacts(NamedTuple):
    """What a file is."""

    media_type: str
    """By its content; '' where it cannot be told, or there is no content."""
    archive: bool
    """It holds files and is nothing else, or such a thing stands behind it. A document or jar is none, though a zip inside."""
    encrypted: bool
    """A password is needed for it or for some of it."""


NOTHING: Final = FileFacts("", archive=False, encrypted=False)


def inspect(content: bytes | None) -> FileFacts:
    """What a file is by its content; whatever that is, it is no error."""
    if not content:
        return NOTHING
    if files_zip.is_zip(content) and (zipped := files_zip.look(content)) is not None:
        return FileFacts(zipped.media_type, zipped.media_type in ARCHIVES, zipped.encrypted)
    if content.startswith(files_ole.MAGIC):
        ole = files_ole.look(content)
        return FileFacts(ole.media_type, archive=False, encrypted=ole.encrypted)
    media_type = _media_type(content)
    archive, encrypted = media_type in ARCHIVES, False
    if media_type == PDF:
        encrypted = files_locks.pdf(content)
    elif media_type == SEVEN_ZIP:
        encrypted = files_locks.seven_zip(content)
    elif media_type == RAR:
        encrypted = files_locks.rar(content)
    elif media_type != TEXT and media_type not in _CONTAINERS:
        return _behind(content, media_type)
    return FileFacts(media_type, archive, encrypted)


def _behind(content: bytes, media_type: str) -> FileFacts:
    """With an archive that stands behind what the content begins with."""
    found = files_zip.look(content) or files_locks.behind(content)
    if found is None:
        return FileFacts(media_type, archive=False, encrypted=False)
    kind, encrypted = found
    return FileFacts(media_type or kind, kind in ARCHIVES, encrypted)


def _media_type(content: bytes) -> str:
    return (
        _structured(content)
        or next((media_type for mark, media_type in _SIGNATURES if content.startswith(mark)), "")
        or _as_text_begins(content)
        or (TEXT if _is_text(content) else "")
        or _known(content)
        or _late(content)
    )


def _structured(content: bytes) -> str:
    """Tar by its checksum, Windows' programs by their second header, Mach-O and Java by what each cannot have."""
    if _is_tar(content):
        return TAR
    if content.startswith(b"MZ"):
        header = int.from_bytes(content[60:64], "little")
        if content.startswith(b"PE\x00\x00", header):
            return PE
        return "" if _is_text(content) else "application/x-dosexec"
    if content.startswith(b"\xca\xfe\xba\xbe"):  # followed by a number of parts, or by a version from 45 on
        return "application/x-mach-binary" if int.from_bytes(content[4:8], "big") < 45 else "application/java-vm"
    return ""


def _is_tar(content: bytes) -> bool:
    header = content[:512]
    said = header[148:156].strip(b" \x00")
    if len(header) < 512 or not 0 < len(said) <= 7 or said.strip(b"01234567"):
        return False
    return sum(header) - sum(header[148:156]) + 8 * 32 == int(said, 8)


def _as_text_begins(content: bytes) -> str:
    """What programs read of which the beginning tells, whether all of it is text or not."""
    head = content[:TEXT_HEAD].decode("utf-16" if content.startswith(_WIDE) else "latin-1", "ignore")
    head = head.removeprefix("\u00ef\u00bb\u00bf")
    script = _SCRIPT.match(head)
    if script is not None:
        words = [script[1], *(word for word in script[2].split() if not word.startswith("-") and "=" not in word)]
        names = [word.rpartition("/")[2] for word in words]
        name = names[1] if names[0] == "env" and len(names) > 1 else names[0]
        return next((media_type for pattern, media_type in _INTERPRETERS if pattern.match(name)), "text/x-script")
    return next((media_type for pattern, media_type in _BEGINS if pattern.match(head)), "") or _markup(head)


def _markup(head: str) -> str:
    at, xml = 0, False
    while (passed := _PASSED_OVER.match(head, at)) is not None:
        xml = xml or passed[1] is not None
        if (passed[2] or "").lower() == "html":
            return "text/html"
        at = passed.end()
    element = _ELEMENT.match(head, at)
    name = element[1].lower() if element is not None else ""
    if name == "svg":
        return "image/svg+xml"
    if xml:
        return "application/xhtml+xml" if name == "html" else "application/xml"
    return "text/html" if name in _HTML else ""


def _is_text(content: bytes) -> bool:
    """Whether it is UTF-8, or UTF-16 that says so, without control characters."""
    if content.startswith(_WIDE):
        try:
            return _WIDE_CONTROLS.search(content.decode("utf-16")) is None
        except UnicodeDecodeError:
            return False
    for part in (content[:TEXT_HEAD], content):  # the beginning alone tells of most that it is none
        if len(part.translate(None, _CONTROLS)) != len(part):
            return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return _C1.search(content) is None


def _known(content: bytes) -> str:
    """What the library says."""
    try:
        kind = filetype.guess(content[:HEAD])
    except Exception:  # noqa: BLE001 - what the library does with hostile bytes is not its contract
        return ""
    said = "" if kind is None else str(kind.mime)
    if said == "image/bmp" and int.from_bytes(content[14:18], "little") not in _BITMAP_HEADERS:
        return ""  # two letters alone
    if said == "image/gif" and not content.startswith((b"GIF87a", b"GIF89a")):
        return ""
    return _NORMAL.get(said, said)


def _late(content: bytes) -> str:
    """What is told by another place than the beginning."""
    if content.startswith(b"CD001", 32_769):
        return "application/x-iso9660-image"
    if content.startswith(b"koly", max(0, len(content) - 512)):
        return "application/x-apple-diskimage"
    if content.startswith(b"-lh", 2) and content[6:7] == b"-":
        return "application/x-lzh-compressed"
    return PDF if re.search(rb"%PDF-\d", content[:LATEST_PDF]) else ""
