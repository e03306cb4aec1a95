"""A run as data: what all forms of report are made of, and what the JSON report holds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final

from spec_conformance.expected import Expectations
from spec_conformance.runner import CaseResult
from spec_conformance.verdict import Verdict

MAXIMUM_PACKETS: Final = 200
"""Packets of a case that a report shows: the first ones, and those around the offending one."""


class BadReport(ValueError):
    """A file that is no report; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class PacketLine:
    time: float
    """Seconds since the case began."""
    sent: bool
    """By the suite."""
    peer: int
    words: str
    offending: bool = False


@dataclass(frozen=True, slots=True)
class CaseReport:
    """One case; `section`, `level` and `kind` are those of its first statement."""

    id: str
    section: str
    level: str
    kind: str
    verdict: str
    detail: str
    title: str
    statements: tuple[str, ...]
    seconds: float
    as_expected: bool
    """It passed, or did what the file of expectations says; a case that cannot be run is no surprise either."""
    reason: str = ""
    """Why it was expected to end so."""
    expected: str = ""
    """What the draft wants to be seen: a state, a packet, silence."""
    seen: str = ""
    alive: bool | None = None
    teardown: str = ""
    repeat: str = ""
    """The command that runs this case alone."""
    packets: tuple[PacketLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    revision: str
    document: str
    target: str
    role: str
    seed: int
    seconds: float
    """Of real time, for the whole run."""
    cases: tuple[CaseReport, ...] = field(default_factory=tuple)

    @property
    def counts(self) -> dict[str, int]:
        """How many cases ended with each verdict, all verdicts named."""
        found = Counter(case.verdict for case in self.cases)
        return {verdict.value: found[verdict.value] for verdict in Verdict}

    @property
    def surprises(self) -> list[CaseReport]:
        """Cases that make the run fail: failures not expected, and passes not expected."""
        return [case for case in self.cases if not case.as_expected]

    def sections(self) -> dict[str, list[CaseReport]]:
        """Cases by section, in the order of the run."""
        found: dict[str, list[CaseReport]] = {}
        for case in self.cases:
            found.setdefault(case.section, []).append(case)
        return found

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read a JSON report.  BadReport says what is wrong with it."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            cases = tuple(_case(entry) for entry in data.pop("cases"))
            return cls(**data, cases=cases)
        except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadReport(f"{path} is no report of this suite: {error}") from None


def _case(entry: dict[str, Any]) -> CaseReport:
    packets = tuple(PacketLine(**packet) for packet in entry.pop("packets", ()))
    return CaseReport(**{**entry, "statements": tuple(entry["statements"])}, packets=packets)


def schema() -> dict[str, Any]:
    """The JSON Schema of the JSON report."""
    text = resources.files("spec_conformance.report").joinpath("schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def report_case(result: CaseResult, expectations: Expectations, command: str) -> CaseReport:
    """One result in the form of the report; `command` is the one that ran it, without selection."""
    case = result.case
    statement = case.statement
    expectation = expectations.get(case.id)
    return CaseReport(
        id=case.id,
        section=case.section,
        level=statement.level,
        kind=statement.kind,
        verdict=result.verdict.value,
        detail=result.detail,
        title=case.words,
        statements=case.statements,
        seconds=round(result.seconds, 6),
        as_expected=expectations.met(case.id, result.verdict),
        reason="" if expectation is None else expectation.reason,
        expected=result.expected,
        seen=result.seen,
        alive=result.alive,
        teardown=result.teardown,
        repeat=f"{command} --select '{case.id}'",
        packets=_packets(result),
    )


def _packets(result: CaseResult) -> tuple[PacketLine, ...]:
    lines = [
        PacketLine(round(each.time, 6), each.sent, each.peer, each.words, place == result.offending)
        for place, each in enumerate(result.exchanges)
    ]
    if len(lines) <= MAXIMUM_PACKETS:
        return tuple(lines)
    return (*lines[: MAXIMUM_PACKETS // 2], *lines[-MAXIMUM_PACKETS // 2 :])
