"""Files for the tests of what files are: some real ones, and makers of others."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
from base64 import b64decode
from collections.abc import Mapping

from pipeline.policy import files_ole

ZIP = "application/zip"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
ODT = "application/vnd.oasis.opendocument.text"
OLE = "application/x-ole-storage"

# Made once, with the password "p" or "pw": by pyzipper, Info-ZIP and py7zr; the RARs are from the tests of rarfile (ISC licence).
AES_ZIP = b64decode(
    "UEsDBBQAAQBjANeMdV0AAAAAIgAAAAYAAAAFAAsAYS50eHQBmQcAAgBBRQMAAD0qbBF7RSwGFZhR+PJ+6P5mUInsZknxnSjBJvGT6g6yl3VQSwECFAMU"
    "AAEAYwDXjHVdAAAAACIAAAAGAAAABQALAAAAAAAAAAAAgAEAAAAAYS50eHQBmQcAAgBBRQMAAFBLBQYAAAAAAQABAD4AAABQAAAAAAA="
)
CRYPTO_ZIP = b64decode(
    "UEsDBAoACQAAANeMdV16em/tDwAAAAMAAAAFABwAYS50eHRVVAkAAybXAWsm1wFrdXgLAAEEAAAAAAQAAAAAU8G0jopE5nEHj9rEiC5gUEsHCHp6b+0P"
    "AAAAAwAAAFBLAQIeAwoACQAAANeMdV16em/tDwAAAAMAAAAFABgAAAAAAAEAAACkgQAAAABhLnR4dFVUBQADJtcBa3V4CwABBAAAAAAEAAAAAFBLBQYA"
    "AAAAAQABAEsAAABeAAAAAAA="
)
LOCKED_7Z = b64decode(
    "N3q8ryccAARMQbiigAAAAAAAAAAoAAAAAAAAALxHrN1+FYBykPgjKT65eJet6uNUy3Lw8zN7ME+EFAKOMCZ8AZ2dW2G0F+HMDc5eYj5J2BAIP3FV7AVz"
    "h6ItfWoEmLmF957o0NBNe+DC+Mhg5JKCZRqiEhAJrvOH2tLzScXqMGj35LC55f0ZQNhpzI/lBqQz1wWW3XRiQDflyqGhDUv/OhcGEAEJcAAHCwEAASQG"
    "8QcBElMPAw5SpwlT6d/Dxh/OokAUcgxlAAA="
)
OPEN_7Z = b64decode(
    "N3q8ryccAASE7LZwjAAAAAAAAAAUAAAAAAAAAL77t3HgAEkALV0ANxvK6iWtFOQnIh9590/Gdn/JtZCEVgBpYOlA28hwGjQzgNkgyRw2xAr/WBoAAOAAUABP"
    "XQAAgTMHrg/RTICooIppsLnhSq6hiO9BhK+o3Mlv5oB82FRcj4WUc7R9dAWZbDQei4W/bITWXxMMf79OyDAwnV/2Zwx7wGhJGwTuQruogAAAABcGNQEJVwAH"
    "CwEAASEhARgMUQAA"
)
PACKED_HEADER_7Z = b64decode(
    "N3q8ryccAARFmI7BeQAAAAAAAAAUAAAAAAAAAIHWvco23+ZfxvwoFQuw/tJCa9zNAQBkAQQGAAEJEAoB8TLamQAHCwEAAiQG8QcBElMPPXlO9R/sx4e9"
    "O5W2OMpYyyEhARgBAAwFAQAICgGDFtyMAAAFARENAGEALgB0AHgAdAAAABQKAQAgI1Ap33ndARUGAQAggICBAAAAFwYQAQlpAAcLAQABISEBGAxlAAA="
)
LOCKED_RAR4 = b64decode(
    "UmFyIRoHAM+QcwAADQAAAAAAAADSmXoAgCMAFgAAAAsAAAADvFDsdQAAAAAdMwMAAAAAAENNVAwAi+zL9lbBSCmPAOW/5v/w0Gtqdnpt1nQklDMAEAAA"
    "AAAAAAADAAAAAGxQYj0dMwkApIEAAGZpbGUxLnR4dLMOLwEQH2W9AMDh8N4nMZ14bG1Nam0X"
)
OPEN_RAR4 = b64decode(
    "UmFyIRoHAM+QcwAADQAAAAAAAADSmXoAgCMAFgAAAAsAAAADvFDsdQAAAAAdMwMAAAAAAENNVAwAi+zL9lbBSCmPAOW/5v/w0GtqdnruDHQgkCsACAAA"
    "AAAAAAADAAAAAGxQYj0dMwkApIEAAGZpbGUxLnR4dADAAL+IZ/ap/9Q="
)
HIDDEN_RAR4 = bytes.fromhex("526172211a0700ce997380000d0000000000000098d53ab99bc0847ad601be54")
# The beginnings of real ones; the first with a file's block, its extra record 0x01 says encrypted.
LOCKED_RAR5 = bytes.fromhex(
    "526172211a070100f3e182eb0b0105070006010180808000d6669e6e1303029f00049f000022437ea980000103434d54524152352061726368697665"
    "202d206e6f6864722d70617373776f72640a00989bd98e5902033cc000048010a48302eaee28ba8003010a7374657374312e747874300100030f7e98"
    "2cdd1ae21c36c7a391da8d088a68a03aad26f4827b87d54c725ce73b69678151cff63649c16e186a220f0a030280cc2097e628cc01"
)
OPEN_RAR5 = bytes.fromhex(
    "526172211a070100f3e182eb0b01050700060101808080002638f5c413030294000494000086eaa59580000103434d54524152352061726368697665"
    "202d206372630a0084f6f41a2802030bb700048010a48302a2e6b7c58003010a7374657374312e7478740a030280cc2097e628cc01"
)
HIDDEN_RAR5 = bytes.fromhex(
    "526172211a070100aff5694521040000010fa798cbfb5c85ea540a42d4d4c28727901d29a48fc21e63ea4a5f40d35c52d51b4dce27ba3b63f2aab926"
)
NOISE = random.Random(7).randbytes(3000)
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + NOISE
PROGRAM = b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64) + b"PE\x00\x00" + NOISE


def zipped(*names: str, **content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if "mimetype" in content:
            archive.writestr("mimetype", content["mimetype"], zipfile.ZIP_STORED)
        for name in names:
            archive.writestr(name, b"<x/>" * 99)
    return file.getvalue()


def tarred(form: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        entry = tarfile.TarInfo("#!/bin/sh")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    return file.getvalue()


def ole(
    streams: Mapping[str, bytes],
    *,
    below: str = "",
    small: bool = False,
    shift: int = 9,
    installer: bool = False,
    far: int = 0,
) -> bytes:
    """A compound file. below: a stream within a storage; small: in the root's stream (without its table); far: sectors before the directory."""
    size = 1 << shift
    names = [*streams, *(["Storage", below] if below else [])]
    entries = [b""] * (1 + len(names))
    per = size // 128
    entry_sectors = -(-len(entries) // per)
    body: list[bytes] = [bytes(size)] * far
    directory = len(body)
    body += [b""] * entry_sectors
    following = {number: number + 1 for number in range(directory, directory + entry_sectors - 1)}
    root_start, small_content = 0xFFFFFFFE, b""
    for number, name in enumerate(names, 1):
        data, kind, right, child = streams.get(name, b""), 2, 0xFFFFFFFF, 0xFFFFFFFF
        start, length = 0xFFFFFFFE, 0
        if name == "Storage" and below:
            kind, child = 1, number + 1
        elif name in streams and small:
            start, length = len(small_content) // 64, len(data)
            small_content += data.ljust(-(-len(data) // 64) * 64, b"\x00")
        elif name in streams:
            start, length = len(body), 4096
            data = data.ljust(4096, b"\x00")
            body += [data[at : at + size].ljust(size, b"\x00") for at in range(0, 4096, size)]
            following.update({one: one + 1 for one in range(start, len(body) - 1)})
        if number < len(streams) or (number == len(streams) and below):
            right = number + 1
        entries[number] = _entry(name, kind, right, child, start, length, bytes(16))
    if small:
        root_start = len(body)
        body += [small_content[at : at + size].ljust(size, b"\x00") for at in range(0, len(small_content), size)]
        following.update({one: one + 1 for one in range(root_start, len(body) - 1)})
    clsid = bytes.fromhex("84100c0000000000c000000000000046") if installer else bytes(16)
    entries[0] = _entry("Root Entry", 5, 0xFFFFFFFF, 1 if names else 0xFFFFFFFF, root_start, len(small_content), clsid)
    listed = b"".join(entries).ljust(entry_sectors * size, b"\x00")
    for number in range(entry_sectors):
        body[directory + number] = listed[number * size : (number + 1) * size]
    return _compound(body, following, directory, shift)


def _entry(name: str, kind: int, right: int, child: int, start: int, length: int, clsid: bytes) -> bytes:
    wide = name.encode("utf-16-le")
    head = wide.ljust(64, b"\x00") + struct.pack("<HBBIII", len(wide) + 2, kind, 1, 0xFFFFFFFF, right, child)
    return head + clsid + bytes(20) + struct.pack("<IQ", start, length)


def _compound(body: list[bytes], following: Mapping[int, int], directory: int, shift: int) -> bytes:
    size = 1 << shift
    table = [following.get(number, 0xFFFFFFFE) for number in range(len(body))]
    sectors = -(-(len(body) + 200) * 4 // size)
    more = max(sectors - 109, 0)
    assert more < size // 4
    table += [0xFFFFFFFD] * sectors + [0xFFFFFFFC] * bool(more)
    table += [0xFFFFFFFF] * (sectors * size // 4 - len(table))
    places = list(range(len(body), len(body) + sectors))
    header = files_ole.MAGIC + bytes(16) + struct.pack("<HHHHH", 0x3E, 4 if shift == 12 else 3, 0xFFFE, shift, 6)
    header += bytes(6) + struct.pack("<IIIII", 0, sectors, directory, 0, 4096)
    header += struct.pack("<IIII", 0xFFFFFFFE, 0, len(body) + sectors if more else 0xFFFFFFFE, int(bool(more)))
    header += b"".join(struct.pack("<I", one) for one in (places[:109] + [0xFFFFFFFF] * 109)[:109])
    content = header.ljust(size, b"\x00") + b"".join(body) + struct.pack(f"<{len(table)}I", *table)
    if more:
        content += struct.pack(f"<{more}I", *places[109:]).ljust(size - 4, b"\xff") + struct.pack("<I", 0xFFFFFFFE)
    return content


def word(flags: int) -> bytes:
    return struct.pack("<HHHHHH", 0xA5EC, 0xC1, 0, 0, 0, flags)


def pdf(trailer: str, body: str = "") -> bytes:
    head = "%PDF-1.7\n%\u00e2\u00e3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"
    return (head + body + trailer + "\nstartxref\n9\n%%EOF\n").encode("latin-1")
