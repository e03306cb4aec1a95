"""The command: what it selects, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import spec_conformance
from spec_conformance.case import all_cases
from spec_conformance.catalogue import load
from spec_conformance.cli import main
from spec_conformance.expected import Expectations
from spec_conformance.profile import BadProfile, Profile

KNOWN = Path(spec_conformance.__file__).parent / "known"
ONE = "6.2/answers-with-cookie"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def listed(*arguments: str) -> list[str]:
    result = invoke("run", "--self", "--list", *arguments)
    assert result.exit_code == 0, result.output
    return [line.split("\t")[0] for line in result.output.splitlines()]


def test_a_run_with_every_report(tmp_path: Path) -> None:
    forms = ("json", "junit", "tap", "markdown", "html")
    files = {form: tmp_path / f"report.{form}" for form in forms}
    options = [word for form, file in files.items() for word in (f"--{form}", str(file))]
    result = invoke("run", "--self", "--select", "6.2/*", *options)
    assert result.exit_code == 0, result.output
    assert "6.2 Response to Connect Initialization" in result.output
    assert all(file.stat().st_size > 100 for file in files.values())
    cases = json.loads(files["json"].read_text())["cases"]
    assert {case["section"] for case in cases} == {"6.2"}
    assert cases[0]["repeat"].startswith("fsp-conformance run --self")


def test_selection() -> None:
    everything = listed()
    assert len(everything) > 250
    assert listed("--select", "6.2/*") == [each for each in everything if each.startswith("6.2/")]
    assert listed("--section", "8.4", "--exclude", "8.4.2/*") == [
        each for each in everything if each.startswith("8.4") and not each.startswith("8.4.2/")
    ]
    cases = all_cases("gao-07")
    assert {cases[each].statement.level for each in listed("--level", "SHALL")} == {"SHALL"}
    assert {cases[each].statement.kind for each in listed("--kind", "invalid")} == {"invalid"}
    assert not any(cases[each].slow for each in listed("--no-slow"))
    assert all(cases[each].quick for each in listed("--quick"))
    assert all(cases[each].role == "initiator" for each in listed("--role", "initiator"))


def test_sections_are_not_prefixes() -> None:
    assert not any(each.startswith(("10", "11", "12", "13", "14")) for each in listed("--section", "2"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "give one of HOST:PORT, --exec, --listen or --self"),
        (["run", "--self", "127.0.0.1:1"], "give one of"),
        (["run", "--self", "--exec", "true"], "give one of"),
        (["run", "127.0.0.1:1", "--fresh"], "--fresh is about the program"),
        (["run", "127.0.0.1:1", "--local", "nowhere"], "--local: "),
        (["run", "--exec", "'x"], "--exec: "),
        (["run", "--exec", " "], "--exec: "),
        (["run", "127.0.0.1:\N{SUPERSCRIPT TWO}"], "is not HOST:PORT"),
        (["run", "--self", "--evidence", "/proc/x"], "/proc/x"),
        (["run", "127.0.0.1:1", "--json", "/nowhere/report"], "cannot be written"),
        (["proxy", "127.0.0.1:1", "--listen", "127.0.0.1:45671", "--rebind-address", "192.0.2.1"], "assign"),
        (["run", "127.0.0.1:0"], "is not HOST:PORT"),
        (["run", "127.0.0.1:70000"], "is not HOST:PORT"),
        (["run", "127.0.0.1:1", "--role", "initiator"], "--listen is how initiators are tested"),
        (["run", "--self", "--select", "99.*"], "no case fits '99.*'"),
        (["run", "--self", "--section", "16"], "no case fits all that was asked for"),
        (["run", "--self", "--expected", "/nowhere.toml"], "/nowhere.toml"),
        (["run", "127.0.0.1:1", "--profile", "/nowhere.toml"], "/nowhere.toml"),
        (["run", "--self", "--select", ONE, "--json", "/nowhere/report"], "/nowhere/report"),
        (["matrix", "/nowhere.json"], "no report of this suite"),
        (["proxy", ":"], "is not HOST:PORT"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments: list[str], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.realnet
def test_nobody_there_is_code_3() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        result = invoke("run", f"127.0.0.1:{sock.getsockname()[1]}", "--timeout-scale", "0.1", "--select", ONE)
    assert result.exit_code == 3, result.output
    result = invoke("run", "--exec", "/nowhere/program", "--select", ONE)
    assert result.exit_code == 3, result.output


@pytest.mark.realnet
@pytest.mark.parametrize("command", [("run",), ("target",), ("proxy",), ("proxy", "127.0.0.1:1", "--listen")])
def test_a_host_that_is_no_name_is_one_line(command: tuple[str, ...]) -> None:
    result = invoke(*command, "a..b:1")
    assert result.exit_code in (2, 3), result.output
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.realnet
@pytest.mark.parametrize("command", [("run", "--listen"), ("target",), ("proxy", "127.0.0.1:1", "--listen")])
def test_a_port_that_is_taken_is_told_at_once(command: tuple[str, ...]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        result = invoke(*command, f"127.0.0.1:{sock.getsockname()[1]}")
    assert result.exit_code == 2, result.output
    assert "in use" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.realnet
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_run_and_what_it_has_started(number: signal.Signals, tmp_path: Path) -> None:
    """One exit code, no traceback, and the target is gone."""
    told = tmp_path / "pid"
    script = tmp_path / "target.sh"
    script.write_text(f'echo $$ > {told}; exec {sys.executable} -m spec_conformance target "127.0.0.1:$1"\n')
    arguments = ["run", "--exec", f"sh {script} {{port}}", "--select", "12.1/challenging-ends-after-sixty", "--slow"]
    arguments = [sys.executable, "-m", "spec_conformance", *arguments]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 20
        while not (told.exists() and told.read_text().strip()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)
        run.send_signal(number)
        _, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert errors == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


@pytest.mark.parametrize("text", ["expected = 5", 'expected = ["a"]', "[[expected]]\nid = [1]"])
def test_expectations_that_are_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(text)
    result = invoke("run", "--self", "--select", ONE, "--expected", str(file))
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_expected_failures(tmp_path: Path) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(f'[[expected]]\nid = "{ONE}"\nverdict = "fail"\nreason = "it was broken once"\n')
    result = invoke("run", "--self", "--select", ONE, "--expected", str(file))
    assert result.exit_code == 1, "it passes, which was not expected"
    file.write_text("")
    assert invoke("run", "--self", "--select", ONE, "--expected", str(file)).exit_code == 0
    written = tmp_path / "written.toml"
    assert invoke("run", "--self", "--select", ONE, "--write-expected", str(written)).exit_code == 0
    assert "[[expected]]" not in written.read_text()


def test_an_expected_file_of_another_shape(tmp_path: Path) -> None:
    """Nothing in it shall be passed over in silence."""
    file = tmp_path / "expected.toml"
    file.write_text(f'["{ONE}"]\nreason = "it was broken once"\n')
    result = invoke("run", "--self", "--select", ONE, "--expected", str(file))
    assert result.exit_code == 2
    assert f"unknown entries: {ONE}" in result.output


def test_a_target_that_ends_at_once() -> None:
    result = invoke("run", "--exec", "false {port}", "--select", ONE)
    assert result.exit_code == 3
    assert "the target ended with exit code 1 before it answered" in result.output


def test_coverage_for_people() -> None:
    result = invoke("coverage")
    assert result.exit_code == 0
    assert "awaited, multiply:" in result.output


def test_coverage_as_json() -> None:
    result = invoke("coverage", "--json", "--revision", "gao-07")
    assert result.exit_code == 0
    sections = json.loads(result.stdout)["gao-07"]["sections"]
    assert len(sections) == 134
    assert {"title", "statements", "cases", "excepted"} <= set(sections["8.5.3"])
    assert sections["4.1"]["cases"] == 4


def test_matrix(tmp_path: Path) -> None:
    report, page = tmp_path / "report.json", tmp_path / "matrix.html"
    invoke("run", "--self", "--select", ONE, "--json", str(report))
    result = invoke("matrix", str(report), str(report))
    assert f"| `{ONE}` | pass | pass |" in result.output
    assert invoke("matrix", str(report), "--html", str(page)).exit_code == 0
    assert ONE in page.read_text()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"services": {"echo": 0}}, "between 1 and"),
        ({"services": {"teapot": 7}}, "unknown services: teapot"),
        ({"capabilities": ["flight"]}, "unknown capabilities: flight"),
        ({"revision": "gao-08"}, "unknown revision"),
        ({"key": "no hex"}, "profile"),
        ({"colour": "red"}, "unknown entries: colour"),
        ({"services": 5}, "services is a table"),
        ({"key_bits": "x"}, "key_bits is"),
        ({"wire": "gao-06"}, "gao-07 is not written as 'gao-06'"),
        ({"wire": "reference-2020", "revision": "jason-00"}, "jason-00 is not written as"),
        ({"answers_to": 0}, "answers_to is a port"),
        ({"answers_to": "18003"}, "answers_to is a port"),
    ],
)
def test_bad_profiles(data: dict[str, object], words: str) -> None:
    with pytest.raises(BadProfile, match=words):
        Profile.of(data)


def test_what_is_known_of_the_author_s_program() -> None:
    """The profile can be used, and every reason begins with the section that it is about."""
    profile = Profile.load(KNOWN / "author-2020.toml")
    assert (profile.wire_name, profile.answers_to) == ("reference-2020", 18003)
    expectations = Expectations.load(KNOWN / "author-2020-expected.toml", all_cases(profile.revision))
    sections = {section.number for section in load(profile.revision).sections}
    assert len(expectations.known) > 50
    for case_id, expectation in expectations.known.items():
        first = expectation.reason.partition(":")[0]
        assert set(first.split(", ")) <= sections, f"{case_id}: {expectation.reason}"


def test_a_profile(tmp_path: Path) -> None:
    file = tmp_path / "profile.toml"
    file.write_text('name = "mine"\nkey = "00ff"\ncapabilities = ["aead"]\n[services]\necho = 7\nkeyed = 8\n')
    profile = Profile.load(file)
    assert profile.ultid("keyed") == b"\x00\x00\x00\x08"
    assert profile.key == b"\x00\xff"
