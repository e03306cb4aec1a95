"""Several implementations side by side."""

from __future__ import annotations

from collections.abc import Sequence

from spec_conformance.report.html import ENVIRONMENT, SIGNS
from spec_conformance.report.markdown import cell
from spec_conformance.report.model import CaseReport, Report

Row = tuple[str, list[CaseReport | None]]


def rows(reports: Sequence[Report]) -> list[Row]:
    """Each case that any report has, with what each report says of it."""
    by_id = [{case.id: case for case in report.cases} for report in reports]
    order = dict.fromkeys(case.id for report in reports for case in report.cases)
    return [(case_id, [cases.get(case_id) for cases in by_id]) for case_id in order]


def matrix_text(reports: Sequence[Report]) -> str:
    """A table in Markdown."""
    lines = [
        "| case | " + " | ".join(cell(report.target) for report in reports) + " |",
        "|---|" + "---|" * len(reports),
    ]
    for case_id, cases in rows(reports):
        verdicts = ["" if case is None else case.verdict for case in cases]
        lines.append(f"| `{case_id}` | " + " | ".join(verdicts) + " |")
    return "\n".join(lines)


def matrix_html(reports: Sequence[Report]) -> str:
    """A page that needs nothing else."""
    found = rows(reports)
    differing = [row for row in found if len({case.verdict if case else "" for case in row[1]}) > 1]
    return ENVIRONMENT.get_template("matrix.html.j2").render(
        reports=reports, rows=found, differing=len(differing), signs=SIGNS
    )
