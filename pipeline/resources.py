"""Files that the package brings along, found both in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def schemas() -> Path:
    """The folder of the Avro schemas.

    A wheel carries it as pipeline/_schemas; in a checkout it stands at the top level.

    Raises:
        FileNotFoundError: neither is there, so the installation is broken.
    """
    for folder in (_HERE / "_schemas", _HERE.parent / "schemas"):
        if (folder / "event.avsc").is_file():
            return folder
    raise FileNotFoundError("the package's Avro schemas are missing; install it again")
