"""What the drafts demand: their sections, and the statements of each, in our own words.

The lists are TOML files of this package, one for each top-level section, so that they are there wherever it is
installed.  They are written from the drafts and from nothing else; docs/conformance.md says how.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final

DOCUMENTS: Final = {
    "gao-07": "draft-gao-flexible-session-protocol-07",
    "jason-00": "draft-jason-fsp-00",
}
REVISIONS: Final = tuple(DOCUMENTS)
LEVELS: Final = ("MUST", "SHALL", "SHOULD", "MAY")
KINDS: Final = ("valid", "invalid", "inopportune", "robustness")


@dataclass(frozen=True, slots=True)
class Statement:
    """One rule of a draft."""

    id: str
    """Number of its section, and words: "8.5.3/nack-after-last-gap".  It never changes."""
    level: str
    """One of LEVELS."""
    kind: str
    """One of KINDS."""
    text: str
    assigned: bool = False
    """The draft says it without a capital word: the level is ours."""
    roles: tuple[str, ...] = ()
    """Which role of a target it binds; empty for both."""
    needs: tuple[str, ...] = ()
    """Capabilities without which a target has nothing to show."""
    untestable: str = ""
    """Why no test from outside can tell; empty if one can."""
    decision: str = ""
    """The decision that settles what the draft leaves open."""

    @property
    def section(self) -> str:
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Section:
    number: str
    title: str
    excepted: str = ""
    """Why it has no statements."""
    statements: tuple[Statement, ...] = ()

    @property
    def path(self) -> tuple[int, ...]:
        """The number in a form that sorts as the document does: (8, 4, 2)."""
        return tuple(int(part) for part in self.number.split("."))


@dataclass(frozen=True)
class Catalogue:
    revision: str
    document: str
    sections: tuple[Section, ...]
    """In the order of the document."""

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """All of them, in the order of the document."""
        return tuple(statement for section in self.sections for statement in section.statements)

    @cached_property
    def _by_id(self) -> dict[str, Statement]:
        return {statement.id: statement for statement in self.statements}

    def section(self, number: str) -> Section:
        """The section with that number; KeyError if the document has none."""
        for section in self.sections:
            if section.number == number:
                return section
        raise KeyError(number)

    def statement(self, statement_id: str) -> Statement:
        """The statement with that id; KeyError if there is none."""
        return self._by_id[statement_id]


@cache
def load(revision: str) -> Catalogue:
    """The catalogue of one of `REVISIONS`; ValueError for another name."""
    if revision not in DOCUMENTS:
        raise ValueError(f"unknown revision {revision!r}; known: {', '.join(REVISIONS)}")
    folder = resources.files("spec_conformance").joinpath("catalogue", revision)
    sections = []
    for file in folder.iterdir():
        if file.name.endswith(".toml"):
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            sections += [_section(entry) for entry in data["section"]]
    return Catalogue(revision, DOCUMENTS[revision], tuple(sorted(sections, key=lambda each: each.path)))


def _section(entry: dict[str, Any]) -> Section:
    statements = tuple(_statement(each) for each in entry.get("statement", ()))
    return Section(entry["number"], entry["title"], entry.get("excepted", ""), statements)


def _statement(entry: dict[str, Any]) -> Statement:
    lists = {name: tuple(entry.get(name, ())) for name in ("roles", "needs")}
    return Statement(**{**entry, **lists})
