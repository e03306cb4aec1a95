"""What a peer calls a file is a suggestion: this is what becomes of it."""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["UnusableName", "printable", "safe_name"]

LONGEST_NAME: Final = 200
"""Octets of a name that is stored; file systems allow 255, and the name of the unfinished file is longer."""
_FORBIDDEN: Final = frozenset('<>:"|?*')
"""Some systems give these a meaning."""
_DEVICES: Final = frozenset(
    ["CON", "CONIN$", "CONOUT$", "PRN", "AUX", "NUL"]
    + [f"{device}{number}" for device in ("COM", "LPT") for number in "123456789\u00b9\u00b2\u00b3"]
)
"""Some systems take these for devices, whatever follows a dot, and superscript digits for digits."""


class UnusableName(ValueError):
    """Nothing is left of the name that could be used."""


def safe_name(suggested: str) -> str:
    """The name of a file in the directory that the user gave.

    Directories are cut off, whichever way their separators lean.  Characters that are not for printing, and those
    that mean something to some system, become "_", as do dots and hyphens at the beginning (hidden files, "..",
    options), dots and spaces at the end, and names of devices get one in front.  UnusableName if nothing is left or
    too much.
    """
    last = unicodedata.normalize("NFC", suggested).replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join("_" if character in _FORBIDDEN or not _prints(character) else character for character in last)
    if not name.strip(" ._-"):
        raise UnusableName("the name of the file is empty or only punctuation")
    visible = name.lstrip(". -")
    name = "_" * (len(name) - len(visible)) + visible
    kept = name.rstrip(". ")
    name = kept + "_" * (len(name) - len(kept))
    if name.split(".", 1)[0].rstrip(" _").upper() in _DEVICES:
        name = "_" + name
    if len(name.encode()) > LONGEST_NAME:
        raise UnusableName(f"the name of the file has more than {LONGEST_NAME} octets")
    return name


def printable(text: str) -> str:
    """Text from outside, made fit for a terminal: no control sequences, no change of writing direction, one line."""
    return "".join(character if _prints(character) else "\ufffd" for character in text)


def _prints(character: str) -> bool:
    # Of the categories C* (control, format, surrogate, unassigned) and Z* only the plain space is harmless.
    return character == " " or unicodedata.category(character)[0] not in "CZ"
