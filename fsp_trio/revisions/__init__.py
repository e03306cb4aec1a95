"""The revisions of the protocol, by name."""

from __future__ import annotations

from fsp_trio.revisions.base import Revision
from fsp_trio.revisions.gao_07 import GAO_07

__all__ = ["GAO_07", "REVISIONS", "Revision", "get"]

REVISIONS = {GAO_07.name: GAO_07}


def get(name: str) -> Revision:
    """The revision called `name`; ValueError with the known names if there is none."""
    try:
        return REVISIONS[name]
    except KeyError:
        raise ValueError(f"unknown revision {name!r}; known: {', '.join(REVISIONS)}") from None
