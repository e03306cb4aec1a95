"""The report on a terminal: sections with their cases, and what went wrong in full."""

from __future__ import annotations

from typing import Final

from rich.console import Console, Group
from rich.text import Text
from rich.tree import Tree

from spec_conformance.catalogue import load
from spec_conformance.report.model import CaseReport, PacketLine, Report

STYLES: Final = {
    "pass": ("✓", "green"),
    "pass-nonstrict": ("~", "yellow"),
    "fail": ("✗", "bold red"),
    "inconclusive": ("?", "magenta"),
    "unsupported": ("-", "dim"),
}
SHOWN_PACKETS: Final = 12
"""Packets of a case that went wrong: those up to the offending one, or the newest."""


def show(report: Report, console: Console, *, verbose: bool = False) -> None:
    """Print the tree; sections in which all is well take one line, unless `verbose`."""
    tree = Tree(Text(f"{report.target} against {report.document} ({report.role})", style="bold"))
    catalogue = load(report.revision)
    for number, cases in report.sections().items():
        good = sum(case.verdict == "pass" for case in cases)
        label = Text(f"{number} {catalogue.section(number).title}  {good} of {len(cases)}")
        branch = tree.add(label)
        for case in cases:
            if verbose or not case.as_expected or case.verdict not in ("pass", "unsupported"):
                branch.add(_case(case))
    console.print(tree)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in report.counts.items() if number)
    console.print(Text(f"{len(report.cases)} cases: {counts or 'none'}; {report.seconds:.1f} s"))
    if report.surprises:
        console.print(Text(f"{len(report.surprises)} not as expected", style="bold red"))


def _case(case: CaseReport) -> Group | Text:
    sign, style = STYLES[case.verdict]
    line = Text(f"{sign} {case.id}", style=style)
    if case.detail:
        line.append(f"  {case.detail}", style="default")
    if case.as_expected and case.reason:
        line.append(f"  (expected: {case.reason})", style="dim")
    if case.as_expected:
        return line
    lines = [line, Text(f"  {case.level}: {case.title}", style="italic")]
    if case.expected:
        lines.append(Text(f"  expected {case.expected}; seen {case.seen}"))
    if case.alive is not None:
        lines.append(Text(f"  afterwards the target {'still lives' if case.alive else 'DOES NOT ANSWER ANY MORE'}"))
    lines += [_packet(each.time, each.sent, each.words, each.offending) for each in _shown(case)]
    lines.append(Text(f"  repeat: {case.repeat}", style="dim"))
    return Group(*lines)


def _shown(case: CaseReport) -> list[PacketLine]:
    packets = list(case.packets)
    stop = next((place + 1 for place, each in enumerate(packets) if each.offending), len(packets))
    return packets[max(stop - SHOWN_PACKETS, 0) : stop]


def _packet(time: float, sent: bool, words: str, offending: bool) -> Text:
    arrow = "->" if sent else "<-"
    return Text(f"  {time:9.3f} {arrow} {words}", style="red" if offending else "dim")
