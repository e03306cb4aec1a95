"""The library passes its own suite: on the virtual clock, and over real sockets in both roles."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from trio.testing import MockClock

from spec_conformance.case import Case, all_cases
from spec_conformance.cli import main
from spec_conformance.runner import Run
from spec_conformance.targets.library import library_target, profile
from spec_conformance.verdict import Verdict

CASES = all_cases("gao-07")


def chunks(size: int) -> list[list[Case]]:
    cases = list(CASES.values())
    return [cases[at : at + size] for at in range(0, len(cases), size)]


@pytest.mark.parametrize("cases", chunks(20), ids=lambda cases: cases[0].id)
async def test_library_passes(cases: list[Case], autojump_clock: MockClock) -> None:
    run = Run(lambda case, seed: library_target(profile("gao-07"), role=case.role, seed=seed))
    for case in cases:
        result = await run.one(case)
        awaited = {"multiply", "mobility", "compression", "minimal-delay"} & set(case.needs)
        wanted = Verdict.UNSUPPORTED if awaited else Verdict.PASS
        assert result.verdict is wanted, f"{case.id}: {result.verdict} {result.detail}"
        assert result.teardown == ""


@pytest.mark.parametrize("seed", [1, 2])
async def test_verdicts_do_not_depend_on_the_seed(seed: int, autojump_clock: MockClock) -> None:
    run = Run(lambda case, seed: library_target(profile("gao-07"), role=case.role, seed=seed), seed)
    for case in CASES.values():
        if case.quick:
            assert (await run.one(case)).verdict is Verdict.PASS, case.id


@pytest.mark.realnet
def test_over_sockets_as_responder(tmp_path: Path) -> None:
    """The target is another process; the quick cases, sixteen at once."""
    report = tmp_path / "report.json"
    target = f"{sys.executable} -m spec_conformance target 127.0.0.1:{{port}}"
    arguments = ["run", "--exec", target, "--profile", "fsp-trio", "--quick", "--json", str(report)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert {case["verdict"] for case in json.loads(report.read_text())["cases"]} == {"pass"}


@pytest.mark.realnet
def test_over_sockets_as_initiator() -> None:
    """The target is a client in another process, which connects again and again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [sys.executable, "-m", "spec_conformance", "target", "--connect", f"127.0.0.1:{port}"]
    with subprocess.Popen(command) as client:
        try:
            arguments = ["run", "--listen", f"127.0.0.1:{port}", "--profile", "fsp-trio", "--quick"]
            result = CliRunner().invoke(main, arguments)
        finally:
            client.terminate()
    assert result.exit_code == 0, result.output
