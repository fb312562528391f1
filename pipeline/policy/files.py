"""What an attached file is, by its content."""

from __future__ import annotations

from typing import NamedTuple


class FileFacts(NamedTuple):
    """What is known of a file's content."""

    media_type: str
    archive: bool
    encrypted: bool


def inspect(_content: bytes | None) -> FileFacts:
    """Nothing yet: the next commit tells."""
    return FileFacts("", archive=False, encrypted=False)
