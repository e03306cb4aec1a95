"""TAP, version 14."""

from __future__ import annotations

import json

from spec_conformance.report.model import CaseReport, Report


def tap(report: Report) -> str:
    lines = ["TAP version 14", f"1..{len(report.cases)}"]
    for number, case in enumerate(report.cases, 1):
        lines.append(f"{'ok' if case.as_expected else 'not ok'} {number} - {_escaped(case.id)}{_directive(case)}")
        if case.verdict != "pass":
            lines += ["  ---", f"  verdict: {case.verdict}", f"  detail: {json.dumps(case.detail)}", "  ..."]
    return "\n".join(lines) + "\n"


def _directive(case: CaseReport) -> str:
    if case.as_expected and case.verdict == "unsupported":
        return f" # SKIP {_escaped(case.detail)}"
    if case.as_expected and case.reason:
        return f" # TODO {_escaped(case.reason)}"
    return ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("#", "\\#").replace("\n", " ")
