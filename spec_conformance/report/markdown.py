"""A summary in Markdown, for a page or a comment."""

from __future__ import annotations

from spec_conformance.report.model import Report


def markdown(report: Report) -> str:
    """Counts, a table of sections, and every case that did not pass."""
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report.counts.items() if number)
    lines = [
        f"# {report.target} against {report.document}",
        "",
        f"{len(report.cases)} cases with the target as {report.role}: {counts or 'none'}. "
        f"{len(report.surprises)} not as expected. {report.seconds:.1f} s, seed {report.seed}.",
        "",
        "| section | cases | pass | nonstrict | fail | inconclusive | unsupported |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for section, cases in report.sections().items():
        verdicts = [case.verdict for case in cases]
        kinds = ("pass", "pass-nonstrict", "fail", "inconclusive", "unsupported")
        lines.append(f"| {section} | {len(cases)} | " + " | ".join(str(verdicts.count(kind)) for kind in kinds) + " |")
    rest = [case for case in report.cases if case.verdict not in ("pass", "unsupported")]
    if rest:
        lines += [
            "",
            "## What did not pass",
            "",
            "| case | level | verdict | detail | expected |",
            "|---|---|---|---|---|",
        ]
        for case in rest:
            why = "yes: " + case.reason if case.as_expected and case.reason else ("yes" if case.as_expected else "no")
            lines.append(f"| `{case.id}` | {case.level} | {case.verdict} | {cell(case.detail)} | {cell(why)} |")
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
