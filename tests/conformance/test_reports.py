"""Reports: the same results in every form, none of them broken by what a target sends."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import junitparser
import pytest
from rich.console import Console

from spec_conformance.case import all_cases
from spec_conformance.evidence import pcapng, write_evidence
from spec_conformance.expected import BadExpectations, Expectation, Expectations, written
from spec_conformance.link import Exchange
from spec_conformance.report.html import html
from spec_conformance.report.junit import junit
from spec_conformance.report.markdown import markdown
from spec_conformance.report.matrix import matrix_html, matrix_text
from spec_conformance.report.model import BadReport, Report, report_case, schema
from spec_conformance.report.tap import tap
from spec_conformance.report.tree import show
from spec_conformance.runner import CaseResult
from spec_conformance.verdict import Verdict

CASES = list(all_cases("gao-07").values())
NASTY = "<script>alert('\x00|#\n')</script> \\ \ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def results() -> list[CaseResult]:
    """One of each verdict, with words that every form must escape."""
    found = []
    for case, verdict in zip(CASES, Verdict, strict=False):
        result = CaseResult(case, verdict, detail="" if verdict is Verdict.PASS else NASTY, seconds=0.5)
        result.exchanges = [Exchange(0.1, True, b"sent", 0, NASTY), Exchange(0.2, False, b"received", 0, "words")]
        result.offending = 1 if verdict is Verdict.FAIL else None
        found.append(result)
    return found


@pytest.fixture
def report() -> Report:
    return made_report()


def made_report() -> Report:
    known = Expectations({CASES[3].id: Expectation(Verdict.INCONCLUSIVE, "it is known")})
    cases = tuple(report_case(result, known, "fsp-conformance run --self") for result in results())
    return Report("gao-07", "the draft", NASTY, "responder", 7, 1.5, cases)


def test_counts_and_surprises(report: Report) -> None:
    assert set(report.counts.values()) == {1}
    assert [case.verdict for case in report.surprises] == ["fail"]


def test_json_follows_its_schema_and_comes_back(report: Report, tmp_path: Path) -> None:
    data = json.loads(report.to_json())
    jsonschema.validate(data, schema())
    assert {"id", "section", "level", "kind", "verdict", "detail"} <= set(data["cases"][0])
    file = tmp_path / "report.json"
    file.write_text(report.to_json())
    assert Report.load(file) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cases": [{}]}', '{"cases": 3}'])
def test_what_is_no_report(text: str, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(BadReport, match="no report of this suite"):
        Report.load(file)


def test_junit(report: Report, tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    file.write_text(junit(report))
    found = junitparser.JUnitXml.fromfile(str(file))
    cases = [case for suite in found for case in suite]
    assert len(cases) == 5
    assert sum(case.is_failure for case in cases) == 1
    assert sum(case.is_skipped for case in cases) == 2


def test_tap(report: Report) -> None:
    lines = tap(report).splitlines()
    assert lines[:2] == ["TAP version 14", "1..5"]
    assert sum(line.startswith("not ok") for line in lines) == 1
    assert sum("# TODO it is known" in line for line in lines) == 1
    assert sum("# SKIP" in line for line in lines) == 1


def test_markdown(report: Report) -> None:
    text = markdown(report)
    assert "1 not as expected" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 3
    assert all(row.count("|") - row.count("\\|") == 6 for row in rows)


def test_tree(report: Report) -> None:
    console = Console(record=True, width=100)
    show(report, console)
    text = console.export_text()
    assert "1 not as expected" in text
    assert "repeat: fsp-conformance run --self --select" in text


class Page(HTMLParser):
    """What a browser would have to fetch, and what scripts there are."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.scripts += tag == "script"
        self.fetched += [value for name, value in attrs if name in ("src", "srcset") and value]
        if tag == "link":
            self.fetched.append(values.get("href") or "")
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.targets.append(str(values.get("href")))


def test_html_needs_nothing_else_and_runs_nothing(report: Report) -> None:
    page = Page()
    page.feed(html(report))
    assert page.fetched == []
    assert page.scripts == 0
    assert len(set(page.ids)) == len(page.ids)
    assert {target.removeprefix("#") for target in page.targets} <= set(page.ids)
    assert len(page.targets) == 134, "the map has every section"


def test_matrix(report: Report) -> None:
    other = Report("gao-07", "the draft", "other", "responder", 7, 1.5, report.cases[:2])
    text = matrix_text([report, other])
    assert len(text.splitlines()) == 7
    page = Page()
    page.feed(matrix_html([report, other]))
    assert page.fetched == []
    assert page.scripts == 0


def test_expectations(tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(written([(each.case.id, each.verdict, each.detail) for each in results()], Expectations()))
    known = Expectations.load(file, [case.id for case in CASES])
    assert {expectation.verdict for expectation in known.known.values()} == {Verdict.FAIL, Verdict.INCONCLUSIVE}
    case_id = next(name for name, each in known.known.items() if each.verdict is Verdict.FAIL)
    assert known.met(case_id, Verdict.FAIL)
    assert not known.met(case_id, Verdict.PASS), "an unexpected pass is a surprise"
    again = written([(case_id, Verdict.FAIL, "other")], known)
    assert known.known[case_id].reason.split()[0] in again, "reasons stay"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("= 3", "Expected"),
        ('[[expected]]\nid = "1/nobody"', "no case is called"),
        ('[[expected]]\nid = "ID"', "has no reason"),
        ('[[expected]]\nid = "ID"\nreason = "x"\nverdict = "perhaps"', "perhaps"),
        ('[[expected]]\nid = "ID"\nreason = "x"\n[[expected]]\nid = "ID"\nreason = "y"', "twice"),
    ],
)
def test_bad_expectations(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(text.replace("ID", CASES[0].id))
    with pytest.raises(BadExpectations, match=words if words != "Expected" else "nvalid"):
        Expectations.load(file, [CASES[0].id])


def test_evidence_is_a_capture(tmp_path: Path) -> None:
    result = results()[2]
    result.keys = ["FSP_KEY gao-07 ..."]
    write_evidence(tmp_path, [result])
    names = sorted(file.suffix for file in tmp_path.iterdir())
    assert names == [".keys", ".pcapng"]
    file = tmp_path / "one.pcapng"
    file.write_bytes(pcapng([Exchange(1.5, True, bytes(40), 0, "words"), Exchange(2, False, bytes(33), 1)], "comment"))
    decoded = subprocess.run(
        [sys.executable, "-m", "fsp_trio.cli", "decode", str(file)], capture_output=True, text=True
    )
    assert "198.51.100.1:40000 > 203.0.113.1:18003" in decoded.stdout
    assert "203.0.113.1:18003 > 198.51.100.1:40001" in decoded.stdout
