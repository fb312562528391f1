"""What a file is by its content: types, archives, locks, names that lie, bytes that are hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import time
import zipfile
import zlib

import filetype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy import files_ole, files_zip
from pipeline.policy.files import PDF, PE, RAR, SEVEN_ZIP, TAR, FileFacts, inspect
from tests.unit.made_files import (
    AES_ZIP,
    CRYPTO_ZIP,
    DOCX,
    HIDDEN_RAR4,
    HIDDEN_RAR5,
    LOCKED_7Z,
    LOCKED_RAR4,
    LOCKED_RAR5,
    NOISE,
    ODT,
    OLE,
    OPEN_7Z,
    OPEN_RAR4,
    OPEN_RAR5,
    PACKED_HEADER_7Z,
    PNG,
    PPTX,
    PROGRAM,
    XLSX,
    ZIP,
    ole,
    pdf,
    tarred,
    word,
    zipped,
)

MOST = 8 << 20


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("", b""),
        ("", NOISE),
        ("", bytes(5000)),
        ("text/plain", b"Hello, world.\r\n\tHow are you?\n"),
        ("text/plain", "Gr\u00fc\u00dfe, \u65e5\u672c\u8a9e \U0001f600\n".encode()),
        ("text/plain", b"\xef\xbb\xbfhello"),
        ("text/plain", "\ufeffhello".encode("utf-16-le")),
        ("", "\ufeffhello\x00".encode("utf-16-be")),
        ("", b"hello\x00"),
        ("", b"hello\x1b[0m"),
        ("", b"hello \xc2\x85"),
        ("", "Gr\u00fc\u00dfe".encode("latin-1")),
        ("", ("x" * 5000).encode() + b"\xff"),
        ("text/plain", b"MZ is how a program begins, BM a picture"),
        ("text/plain", b"BM is how a picture begins"),
        ("text/plain", b"GIF89a is how one begins, %PDF- another"),
        ("text/plain", b"%PDF- is how it begins; %PDF-1.4"),
        ("text/plain", b"PK fire! Rar! said the lion"),
        ("text/plain", b"#!wow, a <b>bold</b> claim"),
        ("text/plain", b'{"a": [1, 2]}'),
        ("", b"x" * 148 + b"0001234\x00" + NOISE),
        ("", b"BM" + bytes([200]) * 100),
        ("image/bmp", b"BM" + bytes(12) + b"\x28" + bytes(90)),
        (PE, PROGRAM),
        ("application/x-dosexec", b"MZ" + bytes(400)),
        ("application/x-executable", b"\x7fELF\x02\x01\x01" + bytes(80)),
        ("application/x-mach-binary", b"\xcf\xfa\xed\xfe\x07\x00\x00\x01" + bytes(80)),
        ("application/x-mach-binary", b"\xca\xfe\xba\xbe\x00\x00\x00\x02" + bytes(80)),
        ("application/java-vm", b"\xca\xfe\xba\xbe\x00\x00\x00\x34" + bytes(80)),
        ("application/wasm", b"\x00asm\x01\x00\x00\x00"),
        ("application/x-ms-shortcut", bytes.fromhex("4c0000000114020000000000c000000000000046") + bytes(60)),
        ("text/x-shellscript", b"#!/bin/sh\necho hi\n"),
        ("text/x-shellscript", b"#! /usr/bin/env -S bash -e\n" + NOISE),
        ("text/x-python", b"#!/usr/bin/env python3\nprint(1)\n"),
        ("text/javascript", b"#!/usr/bin/env NODE_ENV=x node\n"),
        ("text/x-script", b"#!/opt/own/thing\n"),
        ("text/x-php", b"<?php echo 1;"),
        ("text/html", b"<!DOCTYPE html>\n<title>x</title>"),
        ("text/html", b"\xef\xbb\xbf\n <!-- a > b --> <HTML><body>\xfc"),
        ("text/html", "\ufeff<html>".encode("utf-16-le")),
        ("text/html", b"<script>alert(1)</script>"),
        ("application/xhtml+xml", b'<?xml version="1.0"?><html xmlns="x">'),
        ("application/xml", b'<?xml version="1.0"?><a><b/></a>'),
        ("image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("image/svg+xml", b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "y" [ <!ENTITY a "b>"> ]>\n<svg:svg >'),
        ("application/rtf", rb"{\rtf1\ansi hello}"),
        ("application/postscript", b"%!PS-Adobe-3.0\n"),
        (PDF, pdf("trailer << /Root 1 0 R >>")),
        (PDF, b"\x00\x01junk\n" + pdf("trailer << /Root 1 0 R >>")),
        ("image/png", PNG),
        ("image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(50)),
        ("image/gif", b"GIF89a" + bytes(50)),
        ("image/webp", b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(50)),
        ("image/vnd.microsoft.icon", b"\x00\x00\x01\x00\x01\x00" + bytes(50)),
        ("video/mp4", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(50)),
        ("audio/mpeg", b"ID3\x03\x00" + bytes(50)),
        ("audio/mpeg", (b"\xff\xfb\x90\x64" + bytes(413)) * 3),
        ("audio/wav", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(30)),
        ("application/vnd.sqlite3", b"SQLite format 3\x00" + bytes(84)),
        (OLE, ole({"Contents": b""})),
        ("application/msword", ole({"1Table": b"", "WordDocument": word(0)})),
        ("application/vnd.ms-excel", ole({"Workbook": b"\x09\x08\x04\x00\x00\x06\x05\x00"})),
        ("application/vnd.ms-powerpoint", ole({"Current User": b"", "PowerPoint Document": b""})),
        ("application/vnd.ms-outlook", ole({"__properties_version1.0": b""}, below="WordDocument")),
        ("application/vnd.ms-outlook", ole({"__properties_version1.0": b""}, shift=12)),
        ("application/x-msi", ole({"Any": b""}, installer=True)),
        (OLE, files_ole.MAGIC),
        (DOCX, zipped("docProps/app.xml", "word/document2.xml", "[Content_Types].xml")),
        (XLSX, zipped("[Content_Types].xml", "xl/workbook.xml")),
        (PPTX, zipped("[Content_Types].xml", "ppt/presentation.xml", "PPT/slides/1.xml")),
        ("application/vnd.ms-word.document.macroenabled.12", zipped("[Content_Types].xml", "word/vbaProject.bin")),
        ("application/vnd.ms-excel.sheet.binary.macroenabled.12", zipped("[Content_Types].xml", "xl/workbook.bin")),
        (ODT, zipped("content.xml", mimetype=ODT.encode())),
        ("application/epub+zip", zipped("META-INF/container.xml", mimetype=b"application/epub+zip")),
        ("application/java-archive", zipped("a/B.class", "META-INF/MANIFEST.MF")),
        ("application/vnd.android.package-archive", zipped("META-INF/MANIFEST.MF", "AndroidManifest.xml")),
    ],
)
def test_no_archives(media_type: str, content: bytes) -> None:
    assert inspect(content) == FileFacts(media_type, archive=False, encrypted=False)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (ZIP, zipped("a.txt", "b.txt")),
        (ZIP, zipped()),
        (ZIP, zipped("word/document.xml", "xl/workbook.xml")),
        (ZIP, zipped("a.txt", mimetype=b"image/png")),
        (TAR, tarred(tarfile.USTAR_FORMAT)),
        (TAR, tarred(tarfile.GNU_FORMAT)),
        (TAR, tarred(tarfile.PAX_FORMAT)[:600]),
        ("application/gzip", gzip.compress(b"x")),
        ("application/x-bzip2", bz2.compress(b"x")),
        ("application/x-xz", lzma.compress(b"x")),
        ("application/zstd", bytes.fromhex("28b52ffd2001090000") + NOISE),
        (SEVEN_ZIP, OPEN_7Z),
        (RAR, OPEN_RAR4),
        (RAR, OPEN_RAR5),
        ("application/vnd.ms-cab-compressed", b"MSCF" + bytes(60)),
        ("application/x-iso9660-image", bytes(32_768) + b"\x01CD001\x01" + bytes(99)),
        ("application/x-apple-diskimage", NOISE + b"koly" + bytes(508)),
        ("application/x-lzh-compressed", b"\x22\x80-lh5-" + bytes(60)),
        ("application/x-cpio", b"070701" + b"0" * 104),
    ],
)
def test_archives(media_type: str, content: bytes) -> None:
    assert inspect(content) == FileFacts(media_type, archive=True, encrypted=False)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (ZIP, AES_ZIP),
        (ZIP, CRYPTO_ZIP),
        (SEVEN_ZIP, LOCKED_7Z),
        (RAR, LOCKED_RAR4),
        (RAR, HIDDEN_RAR4),
        (RAR, LOCKED_RAR5),
        (RAR, HIDDEN_RAR5),
    ],
)
def test_locked_archives(media_type: str, content: bytes) -> None:
    assert inspect(content) == FileFacts(media_type, archive=True, encrypted=True)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        (OLE, ole({"EncryptionInfo": b"", "EncryptedPackage": b""})),
        (OLE, ole({"\tDRMContent": b""})),
        ("application/msword", ole({"WordDocument": word(0x0100)})),
        ("application/vnd.ms-excel", ole({"Workbook": b"\x09\x08\x02\x00\x00\x06\x2f\x00\x06\x00" + bytes(6)})),
        ("application/vnd.ms-excel", ole({"Book": b"\x09\x08\x02\x00\x00\x05\x2f\x00\x04\x00" + bytes(4)}, small=True)),
        (
            "application/vnd.ms-powerpoint",
            ole(
                {"X": bytes(600), "PowerPoint Document": b"", "Current User": bytes(12) + b"\xdf\xc4\xd1\xf3"},
                small=True,
            ),
        ),
        (ODT, zipped("encrypted-package", mimetype=ODT.encode())),
        (PDF, pdf("trailer\n<< /Root 1 0 R /Encrypt 5 0 R >>")),
        (PDF, pdf("trailer<</Encrypt<</Filter/Standard>>/Root 1 0 R>>")),
        (PDF, pdf("", "7 0 obj\n<</Encrypt 5 0 R/Type/XRef/W[1 2 1]>>\nstream\nx\nendstream\nendobj")),
        (PDF, pdf("", "7 0 obj\n<</Type /XRef /W[1 2 1] /Encrypt 5 0 R>>\nstream\nx\nendstream\nendobj")),
    ],
)
def test_locked_documents(media_type: str, content: bytes) -> None:
    assert inspect(content) == FileFacts(media_type, archive=False, encrypted=True)


@pytest.mark.parametrize(
    "content",
    [
        ole({"WordDocument": word(0x0200)}),
        ole({"WordDocument": word(0)}, below="EncryptedPackage"),
        ole({"Workbook": b"\x09\x08\x04\x00\x2f\x00\x2f\x00\x42\x00\x02\x00\xe4\x04"}),
        ole({"PowerPoint Document": b"", "Current User": bytes(12) + b"\x5f\xc0\x91\xe3"}, small=True),
        pdf("trailer << /Root 1 0 R >>", "4 0 obj\n<< /Length 20 >>\nstream\n(/Encrypt 5 0 R) Tj\nendstream\nendobj\n"),
        pdf("trailer << /Root 1 0 R >>", "4 0 obj\n<< /Type /Other /Encrypt 5 0 R >>\nendobj\n"),
        pdf("trailer << /Root 1 0 R /EncryptMetadata false >>"),
        pdf("trailer << /Root 1 0 R >>") + b"4 0 obj\n<< /Type /Other /Encrypt 5 0 R >>\nendobj\n",
        pdf("trailer << /Root 1 0 R >>") + b"4 0 obj\n<< >>\nstream\n(/Encrypt 5 0 R) Tj\nendstream\nendobj\n",
        pdf("", "7 0 obj\n<</Type /XRef /W[1 2 1]>>\nstream\n/Encrypt 5 0 R\nendstream\nendobj"),
        OPEN_7Z[:40] + b"\x24\x06\xf1\x07\x01" + OPEN_7Z[45:],  # in what is packed, not in the header
        PACKED_HEADER_7Z,  # it is locked, and says so only in its packed header
    ],
)
def test_not_seen_as_locked(content: bytes) -> None:
    assert inspect(content).encrypted is False


def test_a_locked_opendocument_part_is_stored_cipher() -> None:
    def document(part: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("mimetype", ODT)
            archive.writestr("content.xml", part)
        return file.getvalue()

    assert inspect(document(NOISE)) == FileFacts(ODT, archive=False, encrypted=True)
    assert inspect(b"\x00" + document(NOISE)) == FileFacts(ODT, archive=False, encrypted=True)
    assert inspect(document(b"<office/>")) == FileFacts(ODT, archive=False, encrypted=False)


def test_one_locked_entry_among_many_suffices_in_the_list_or_before_the_entry() -> None:
    plain = zipped(*(f"{number}.txt" for number in range(300)))
    listed, before = bytearray(plain), bytearray(plain)
    listed[plain.rindex(b"PK\x01\x02") + 8] |= 1
    before[plain.rindex(b"PK\x03\x04") + 6] |= 1
    assert not inspect(plain).encrypted
    assert inspect(bytes(listed)).encrypted
    assert inspect(bytes(before)).encrypted


def test_what_is_stored_in_a_zip_or_said_of_it_is_no_entry() -> None:
    class Pipe(io.BytesIO):  # into which is no way back: sizes follow what is packed
        def tell(self) -> int:
            raise OSError

    file = Pipe()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner.zip", AES_ZIP)
        archive.comment = b"\xff" * 200
    assert inspect(file.getvalue()) == FileFacts(ZIP, archive=True, encrypted=False)


def test_only_a_stream_counts_in_an_ole_file() -> None:
    content = bytearray(ole({"EncryptedPackage": b""}))
    content[content.index("EncryptedPackage".encode("utf-16-le")) + 66] = 1  # a storage
    assert inspect(bytes(content)) == FileFacts(OLE, archive=False, encrypted=False)


@pytest.mark.parametrize("front", [PNG, PROGRAM, b"#!/bin/sh\nexit\n", b"\x00"])
@pytest.mark.parametrize(
    ("content", "kind", "encrypted"),
    [
        (zipped("a.txt"), ZIP, False),
        (AES_ZIP, ZIP, True),
        (OPEN_7Z, SEVEN_ZIP, False),
        (LOCKED_7Z, SEVEN_ZIP, True),
        (OPEN_RAR4, RAR, False),
        (LOCKED_RAR5, RAR, True),
    ],
)
def test_an_archive_behind_something_else(front: bytes, content: bytes, kind: str, encrypted: bool) -> None:
    before = inspect(front)
    assert not before.archive
    assert inspect(front + content) == FileFacts(before.media_type or kind, archive=True, encrypted=encrypted)


def test_marks_of_archives_alone_are_none() -> None:
    marks = b"Rar!\x1a\x07\x00 Rar!\x1a\x07\x01\x00 7z\xbc\xaf\x27\x1c PK\x03\x04 PK\x01\x02 PK\x05\x06"
    assert inspect(PROGRAM + marks + NOISE) == FileFacts(PE, archive=False, encrypted=False)
    jar = zipped("META-INF/MANIFEST.MF")
    assert inspect(b"#!/bin/sh\n" + jar) == FileFacts("text/x-shellscript", archive=False, encrypted=False)


def test_a_zip_that_is_cut_off_tells_by_its_entries() -> None:
    for whole in (AES_ZIP, CRYPTO_ZIP):
        assert inspect(whole[:60]) == FileFacts(ZIP, archive=True, encrypted=True)
    document = zipped("[Content_Types].xml", "word/document.xml")
    assert inspect(document[: document.index(b"PK\x01\x02")]).media_type == DOCX
    assert inspect(document[:50]).media_type == ZIP


def test_a_zip_with_a_list_of_64_bits() -> None:
    plain = bytearray(zipped("a.txt", "META-INF/MANIFEST.MF"))
    end = plain.rindex(b"PK\x05\x06")
    size, place = struct.unpack_from("<II", plain, end + 12)
    plain[end + 12 : end + 20] = b"\xff" * 8
    far = b"PK\x06\x06" + bytes(36) + struct.pack("<QQ", size, place) + b"PK\x06\x07" + bytes(16)
    content = PNG + bytes(plain[:end]) + far + bytes(plain[end:])
    assert files_zip.look(content) == ("application/java-archive", False)


def test_a_directory_behind_seven_megabytes_is_found() -> None:
    streams = {f"Stream {number}": b"" for number in range(5)} | {"WordDocument": word(0x0100)}
    content = ole(streams, far=14_200)
    assert 7_000_000 < len(content) < MOST
    assert inspect(content) == FileFacts("application/msword", archive=False, encrypted=True)


def test_a_library_that_raises_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def guess(_content: bytes) -> None:
        raise IndexError

    monkeypatch.setattr(filetype, "guess", guess)
    assert inspect(PNG) == FileFacts("", archive=False, encrypted=False)


def test_no_content_is_no_file() -> None:
    assert inspect(None) == FileFacts("", archive=False, encrypted=False)


def _hostile() -> dict[str, bytes]:
    entries = (b"PK\x01\x02" + bytes(42)) * (MOST // 46 - 1)
    ring = bytearray(MOST)
    ring[:8], ring[30:32] = files_ole.MAGIC, b"\x09\x00"
    return {
        "entries without end": b"PK\x03\x04"
        + bytes(26)
        + entries
        + struct.pack("<4s8xII2x", b"PK\x05\x06", len(entries), 30),
        "local entries without end": (b"PK\x03\x04" + bytes(26)) * (MOST // 30),
        "ring of sectors": bytes(ring),
        "mentions": b"%PDF-1.4\n" + (b"/Encrypt" + b" " * 64) * (MOST // 72),
        "marks": b"\x00" + b"Rar!\x1a\x07\x01\x00abcd\xff\xff\x3f" * (MOST // 15),
        "blocks": b"Rar!\x1a\x07\x01\x00" + b"abcd\x03\x02\x00\x00" * (MOST // 8),
        "comments": b"<!--a-->" * (MOST // 8),
        "open comments": b"<!--" * (MOST // 4),
        "C1 nearly": b"\xc2\xa0" * (MOST // 2),
        "noise": random.Random(1).randbytes(MOST),
    }


def test_hostile_bytes_cost_bounded_time() -> None:
    for name, content in _hostile().items():
        started = time.process_time()
        inspect(content)
        assert time.process_time() - started < 3, name  # some 0.2 s at the most; 3 for a machine under load


BEGINNINGS = [
    b"", b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02", files_ole.MAGIC, b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00",
    b"7z\xbc\xaf\x27\x1c", b"%PDF-1.7\ntrailer /Encrypt 1 0 R", b"MZ", b"\xca\xfe\xba\xbe", b"#!/", b"<?xml ?>", b"\xff\xfe",
    b"\x89PNG\r\n\x1a\n", b"\x00\x00\x00\x18ftyp", b"\x1aE\xdf\xa3", b"!<arch>\n", b"\xff\xfb", b"BM", b"(\xb5/\xfd",
]  # fmt: skip
WHOLE = [
    AES_ZIP, LOCKED_7Z, LOCKED_RAR4, LOCKED_RAR5, zipped("a", mimetype=ODT.encode()), tarred(tarfile.PAX_FORMAT),
    ole({"WordDocument": word(0)}), ole({"Book": b""}, small=True), pdf("trailer << /Encrypt 5 0 R >>"),
]  # fmt: skip


def _is_sound(facts: FileFacts) -> bool:
    return [type(one) for one in facts] == [str, bool, bool] and facts.media_type.count("/") <= 1


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=2000))
def test_any_bytes_give_facts(beginning: bytes, rest: bytes) -> None:
    assert _is_sound(inspect(beginning + rest))


@given(st.data(), st.sampled_from(WHOLE))
def test_any_damage_gives_facts(data: st.DataObject, whole: bytes) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=8))
    assert _is_sound(inspect(bytes(content[: data.draw(st.integers(0, len(content)))])))


def test_the_checksums_here_are_real() -> None:
    """Else the tests of what stands behind would hold for the wrong reason."""
    assert zlib.crc32(OPEN_7Z[12:32]) == int.from_bytes(OPEN_7Z[8:12], "little")
    assert zlib.crc32(OPEN_RAR4[9:20]) & 0xFFFF == int.from_bytes(OPEN_RAR4[7:9], "little")
