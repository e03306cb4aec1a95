"""The revisions of the protocol, by name."""

from __future__ import annotations

from fsp_trio.revisions.base import Revision
from fsp_trio.revisions.gao_07 import GAO_07
from fsp_trio.revisions.jason_00 import JASON_00
from fsp_trio.revisions.reference_2020 import REFERENCE_2020

__all__ = ["GAO_07", "JASON_00", "REFERENCE_2020", "REVISIONS", "Revision", "get"]

REVISIONS = {revision.name: revision for revision in (GAO_07, JASON_00, REFERENCE_2020)}


def get(name: str) -> Revision:
    """The revision called `name`; ValueError with the known names if there is none."""
    try:
        return REVISIONS[name]
    except KeyError:
        raise ValueError(f"unknown revision {name!r}; known: {', '.join(REVISIONS)}") from None
