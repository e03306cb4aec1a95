"""JUnit XML, as build servers read it."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

from spec_conformance.report.model import CaseReport, Report

_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold."""


def junit(report: Report) -> str:
    """One suite per section, one test case per case."""
    name = _clean(f"FSP conformance of {report.target} to {report.revision}")
    root = ElementTree.Element("testsuites", name=name)
    for section, cases in report.sections().items():
        failures = sum(not case.as_expected for case in cases)
        skipped = sum(_skipped(case) for case in cases)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=section,
            tests=str(len(cases)),
            failures=str(failures),
            errors="0",
            skipped=str(skipped),
            time=f"{sum(case.seconds for case in cases):.3f}",
        )
        for case in cases:
            _case(suite, report, case)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, report: Report, case: CaseReport) -> None:
    name = f"{report.revision}.{case.section.replace('.', '-')}"
    element = ElementTree.SubElement(suite, "testcase", classname=name, name=case.id, time=f"{case.seconds:.3f}")
    if not case.as_expected:
        failure = ElementTree.SubElement(element, "failure", message=_clean(case.detail), type=case.verdict)
        failure.text = _clean("\n".join(_lines(case)))
    elif _skipped(case):
        ElementTree.SubElement(element, "skipped", message=_clean(case.reason or case.detail))


def _skipped(case: CaseReport) -> bool:
    return case.as_expected and case.verdict not in ("pass", "pass-nonstrict")


def _lines(case: CaseReport) -> list[str]:
    lines = [case.title, f"expected: {case.expected}", f"seen: {case.seen}", f"repeat: {case.repeat}"]
    return lines + [f"{each.time:.3f} {'->' if each.sent else '<-'} {each.words}" for each in case.packets]


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
