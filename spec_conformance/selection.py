"""Which cases a run takes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spec_conformance.case import Case


class NothingSelected(ValueError):
    """A pattern that fits no case; the message is one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions that a case must meet, all of them; those that are empty ask for nothing."""

    patterns: Sequence[str] = ()
    """Ids of cases, with wildcards."""
    exclude: Sequence[str] = ()
    sections: Sequence[str] = ()
    """Numbers: a section with everything below it."""
    levels: Sequence[str] = ()
    kinds: Sequence[str] = ()
    role: str = "both"
    """Of the target: "responder", "initiator", or "both"."""
    slow: bool = True
    """Also cases that wait for seconds."""
    quick: bool = False
    """Only those of a first look."""

    def choose(self, cases: Iterable[Case]) -> list[Case]:
        """The cases that fit, in their order.  NothingSelected if a pattern, or all together, fit none."""
        cases = list(cases)
        for pattern in (*self.patterns, *self.exclude):
            if not any(fnmatch.fnmatchcase(case.id, pattern) for case in cases):
                raise NothingSelected(f"no case fits {pattern!r}")
        chosen = [case for case in cases if self._fits(case)]
        if not chosen:
            raise NothingSelected("no case fits all that was asked for")
        return chosen

    def _fits(self, case: Case) -> bool:
        named = any(fnmatch.fnmatchcase(case.id, pattern) for pattern in self.patterns)
        return (
            self.role in (case.role, "both")
            and (named or not self.patterns)
            and not any(fnmatch.fnmatchcase(case.id, pattern) for pattern in self.exclude)
            and (not self.sections or any(_within(case.section, section) for section in self.sections))
            and (not self.levels or case.statement.level in self.levels)
            and (not self.kinds or case.statement.kind in self.kinds)
            and (self.slow or not case.slow or named)
            and (case.quick or not self.quick)
        )


def _within(section: str, outer: str) -> bool:
    return section == outer or section.startswith(f"{outer}.")
