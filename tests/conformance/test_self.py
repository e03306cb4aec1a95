"""The library passes its own suite: on the virtual clock, and over real sockets in both roles."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from trio.testing import MockClock

from fsp_trio._insecure import InsecureRevisionWarning
from spec_conformance.case import Case, all_cases
from spec_conformance.cli import main
from spec_conformance.link import UDPLink
from spec_conformance.runner import Run
from spec_conformance.targets.library import library_target, profile
from spec_conformance.verdict import Verdict

CASES = all_cases("gao-07")
LENIENT = {"5.5/invalid-cookie-reset", "8/data-after-release-lost"}
"""Of jason-00: what it recommends and the library does otherwise, for a reason (docs/revisions.md, A47, A48)."""
UDP = (socket.AF_INET, socket.SOCK_DGRAM)


def chunks(size: int) -> list[list[Case]]:
    cases = [case for revision in ("gao-07", "jason-00") for case in all_cases(revision).values()]
    return [cases[at : at + size] for at in range(0, len(cases), size)]


@pytest.mark.parametrize("cases", chunks(20), ids=lambda cases: f"{cases[0].revision} {cases[0].id}")
async def test_library_passes(cases: list[Case], autojump_clock: MockClock) -> None:
    run = Run(lambda case, seed: library_target(profile(case.revision), role=case.role, seed=seed))
    for case in cases:
        result = await run.one(case)
        awaited = {"multiply", "mobility"} & set(case.needs)
        wanted = Verdict.UNSUPPORTED if awaited else Verdict.PASS
        if case.revision == "jason-00" and case.id in LENIENT:
            wanted = Verdict.NONSTRICT
        assert result.verdict is wanted, f"{case.id}: {result.verdict} {result.detail}"
        assert result.teardown == ""


@pytest.mark.parametrize("seed", [1, 2])
async def test_verdicts_do_not_depend_on_the_seed(seed: int, autojump_clock: MockClock) -> None:
    run = Run(lambda case, seed: library_target(profile("gao-07"), role=case.role, seed=seed), seed)
    for case in CASES.values():
        if case.quick:
            assert (await run.one(case)).verdict is Verdict.PASS, case.id


async def test_the_wire_of_the_author(autojump_clock: MockClock) -> None:
    """The library as the author's program: the suite finds that its codes are not the draft's, and little else."""
    author = profile("gao-07", wire="reference-2020", bits=256)
    run = Run(lambda case, seed: library_target(author, role=case.role, seed=seed))
    wanted = {
        "3.3/icc-on-every-packet": Verdict.PASS,
        "4.4.1/op-codes-of-data": Verdict.FAIL,
        "4.4.1/codes-of-extensions": Verdict.FAIL,
        "7/one-key-both-ways": Verdict.PASS,
        "7.4/mac-master-key": Verdict.PASS,
        "8.1.1/altered-octet-dropped": Verdict.PASS,
        "8.1.3/nonce-never-reused": Verdict.FAIL,
        "9.2/immediate-in-closable": Verdict.PASS,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureRevisionWarning)
        found = {case_id: (await run.one(CASES[case_id])).verdict for case_id in wanted}
    assert found == wanted


@pytest.mark.realnet
def test_started_anew_for_each_case(tmp_path: Path) -> None:
    """Each case meets a target of its own, which writes the service that it was started for into a file."""
    log = tmp_path / "started"
    script = tmp_path / "target.sh"
    script.write_text(f'echo "$2" >> {log}; exec {sys.executable} -m spec_conformance target "127.0.0.1:$1"\n')
    arguments = ["run", "--exec", f"sh {script} {{port}} {{service}}", "--fresh", "--profile", "fsp-trio"]
    arguments += ["--select", "7/one-key-both-ways", "--select", "6.2/answers-with-cookie", "--local", "127.8.0.0/24"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert log.read_text().split() == ["echo", "keyed"], "in the order of the sections, 6 before 7"


async def test_a_target_that_answers_to_one_port() -> None:
    """It is heard from any port of its host, and is spoken to at the one where it was found."""
    with socket.socket(*UDP) as other, socket.socket(*UDP) as there:
        other.bind(("127.0.0.1", 0))
        there.bind(("127.0.0.1", 0))
        there.settimeout(2.0)
        link = await UDPLink.open(there.getsockname(), ("127.0.0.1", 0), answers_to=there.getsockname()[1])
        other.sendto(b"from elsewhere", link.local_address)
        assert await link.receive() == b"from elsewhere"
        link.settle()
        await link.send(b"answer")
        assert there.recv(100) == b"answer"
        link.close()


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
