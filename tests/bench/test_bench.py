"""The benchmark harness with sizes so small that the figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from bench import certificates, report
from bench.conductor import WorkerFailed, pair
from bench.runner import Plan, Sample
from bench.subjects import FSP, MEASURES, REFERENCE, SUBJECTS

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 120


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bench")
    done = bench(
        *("--scale", "0.005", "--rounds", "1", "--no-floors"),
        *("--json", str(directory / "bench.json"), "--markdown", str(directory / "bench.md")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.mark.realnet
def test_every_measure_of_every_subject_is_taken(outputs: Path) -> None:
    results = json.loads((outputs / "bench.json").read_text())
    assert results["failures"] == []
    taken = {(sample["subject"], sample["measure"]) for sample in results["samples"]}
    assert taken == {(s.name, measure) for s in SUBJECTS.values() for measure in s.measures}
    for sample in results["samples"]:
        if sample["measure"] != "memory":  # of a handful of sessions, which may well find room in what is there
            assert all(value > 0 for value in sample["values"].values()), sample


@pytest.mark.realnet
def test_raw_samples_are_kept(outputs: Path) -> None:
    results = json.loads((outputs / "bench.json").read_text())
    raw = {(sample["subject"], sample["measure"]): sample["raw"] for sample in results["samples"]}
    assert len(raw[FSP, "exchange"]) == results["plan"]["exchanges"]
    assert len(raw[FSP, "connect"]["usable"]) == results["plan"]["connects"]


@pytest.mark.realnet
def test_the_floors_are_reported(outputs: Path) -> None:
    results = json.loads((outputs / "bench.json").read_text())
    assert {floor["measure"] for floor in results["floors"]} == set(MEASURES)
    text = (outputs / "bench.md").read_text()
    assert "### Floors" in text
    assert all(SUBJECTS[name].title in text for name in (FSP, REFERENCE, "tls", "ceiling"))


@pytest.mark.realnet
def test_the_profile_names_functions_and_calls(tmp_path: Path) -> None:
    target = tmp_path / "profile.md"
    done = bench("profile", "--amount", "4", "--top", "40", "--markdown", str(target))
    assert done.returncode == 0, done.stdout + done.stderr
    text = target.read_text()
    assert "| fsp_trio." in text
    assert "of 'cryptography" in text


def sample(subject: str, **values: float) -> Sample:
    return Sample(1, subject, "", values, None)


PLAN = Plan(subjects=tuple(SUBJECTS), measures=MEASURES)
THEIRS = sample(REFERENCE, bulk_mb_per_s=20.0, exchange_us=300.0, connect_us=3000.0)


def test_floors_pass_at_the_limit() -> None:
    ours = sample(
        FSP,
        bulk_mb_per_s=200.0,
        exchange_us=120.0,
        connect_us=900.0,
        server_resident_kib=32.0,
        client_resident_kib=20.0,
    )
    found = report.floors(report.Summary([ours, THEIRS]), PLAN)
    assert [floor.passed for floor in found] == [True] * 4


def test_floors_are_missed_just_beyond_the_limit() -> None:
    ours = sample(
        FSP,
        bulk_mb_per_s=199.0,
        exchange_us=121.0,
        connect_us=901.0,
        server_resident_kib=20.0,
        client_resident_kib=32.1,
    )
    found = report.floors(report.Summary([ours, THEIRS]), PLAN)
    assert [floor.passed for floor in found] == [False] * 4


def test_what_was_not_measured_is_missed() -> None:
    found = report.floors(report.Summary([THEIRS]), PLAN)
    assert [floor.reached for floor in found] == ["not measured"] * 4
    assert not any(floor.passed for floor in found)


def test_floors_need_both_sides() -> None:
    alone = Plan(subjects=(FSP,), measures=("bulk", "memory"))
    assert [floor.measure for floor in report.floors(report.Summary([]), alone)] == ["memory"]
    assert report.floors(report.Summary([]), Plan(subjects=(REFERENCE,), measures=MEASURES)) == []


def test_figures_are_medians_with_their_spread() -> None:
    summary = report.Summary([sample(FSP, exchange_us=value) for value in (3.0, 1.0, 8.0)])
    assert summary.median(FSP, "exchange_us") == 3.0
    tables = report.tables(summary, Plan(subjects=(FSP,), measures=("exchange",)))
    assert tables[0].rows == [("fsp-trio", "3 (1 to 8)", "-", "-")]


async def _ask_in_vain(directory: Path) -> None:
    async with pair("ceiling", str(directory)) as (server, client):
        with pytest.raises(WorkerFailed, match="client ended early"):
            await client.ask("connect", count=1)
        with pytest.raises(WorkerFailed, match=r"gone|ended early"):
            await client.ask("memory")
        assert await server.ask("processor") > 0  # the other one is still there, and is ended with the pair


@pytest.mark.realnet
def test_a_worker_that_fails_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    certificates.write(tmp_path)
    trio.run(_ask_in_vain, tmp_path)
    assert "NotMeasured" in capfd.readouterr().err


def test_an_unknown_subject_is_refused() -> None:
    done = bench("--only", "carrier-pigeon")
    assert done.returncode == 2
    assert "carrier-pigeon is not one of" in done.stderr
