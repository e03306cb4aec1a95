"""The sections of the drafts, by number and title.

The lists are files of this package, so that they are there wherever it is installed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

REVISIONS = ("gao-07", "jason-00")


@dataclass(frozen=True, slots=True)
class Section:
    number: str
    title: str

    @property
    def path(self) -> tuple[int, ...]:
        """The number in a form that sorts as the document does: (8, 4, 2)."""
        return tuple(int(part) for part in self.number.split("."))


@dataclass(frozen=True, slots=True)
class Catalogue:
    revision: str
    document: str
    sections: tuple[Section, ...]
    """In the order of the document."""

    def section(self, number: str) -> Section:
        """The section with that number; KeyError if the document has none."""
        for section in self.sections:
            if section.number == number:
                return section
        raise KeyError(number)


def load(revision: str) -> Catalogue:
    """The catalogue of one of `REVISIONS`; ValueError for another name."""
    if revision not in REVISIONS:
        raise ValueError(f"unknown revision {revision!r}; known: {', '.join(REVISIONS)}")
    file = resources.files("spec_conformance").joinpath("catalogue", f"{revision}.toml")
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    sections = tuple(Section(entry["number"], entry["title"]) for entry in data["section"])
    return Catalogue(data["revision"], data["document"], sections)
