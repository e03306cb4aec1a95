"""Known failures of a target: a case, how it ends, and why."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from spec_conformance.verdict import Verdict

_QUIET = frozenset({Verdict.PASS, Verdict.NONSTRICT, Verdict.UNSUPPORTED})
"""Verdicts that are no surprise where nothing else was expected."""


class BadExpectations(ValueError):
    """A file of expectations that cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Expectation:
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Expectations:
    """By the ids of cases; those not named are expected to pass, be it leniently, or to be unsupported."""

    known: dict[str, Expectation] = field(default_factory=dict)

    def get(self, case_id: str) -> Expectation | None:
        return self.known.get(case_id)

    def met(self, case_id: str, verdict: Verdict) -> bool:
        """A known failure that does not fail any more is as much a surprise as a new one."""
        expectation = self.known.get(case_id)
        return verdict in _QUIET if expectation is None else verdict is expectation.verdict

    @classmethod
    def load(cls, path: Path, known_cases: Iterable[str]) -> Expectations:
        """Read TOML tables `[[expected]]` with `id`, `verdict`, `reason`.  BadExpectations says what is wrong."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadExpectations(f"{path}: {error}") from None
        if others := content.keys() - {"expected"}:
            raise BadExpectations(f"{path}: unknown entries: {', '.join(sorted(others))}")
        entries = content.get("expected", [])
        cases = set(known_cases)
        found: dict[str, Expectation] = {}
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise BadExpectations(f"{path}: [[expected]] is a list of tables")
        for entry in entries:
            case_id = entry.get("id", "")
            if not isinstance(case_id, str) or case_id not in cases:
                raise BadExpectations(f"{path}: no case is called {case_id!r}")
            if case_id in found:
                raise BadExpectations(f"{path}: {case_id} is expected twice")
            if not entry.get("reason"):
                raise BadExpectations(f"{path}: {case_id} has no reason")
            try:
                found[case_id] = Expectation(Verdict(entry.get("verdict", "fail")), entry["reason"])
            except ValueError as error:
                raise BadExpectations(f"{path}: {case_id}: {error}") from None
        return cls(found)


def written(results: Iterable[tuple[str, Verdict, str]], before: Expectations) -> str:
    """The TOML text that expects exactly these results (id, verdict, detail); reasons known before stay."""
    lines = ["# Known failures: each case with the verdict it ends with, and why.\n"]
    for case_id, verdict, detail in results:
        if verdict in _QUIET:
            continue
        known = before.get(case_id)
        reason = known.reason if known is not None else f"not yet explained: {detail}"
        lines.append(f'[[expected]]\nid = {_quoted(case_id)}\nverdict = "{verdict}"\nreason = {_quoted(reason)}\n')
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'
