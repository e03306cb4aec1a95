"""`python -m tests.namespaces`, as root: the table of docs/design/mobility.md, measured between network namespaces."""

from __future__ import annotations

import fnmatch
import json
import signal
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import trio

from .play import Outcome, play
from .scenarios import SCENARIOS
from .world import missing, sweep

REVISIONS = ("gao-07", "jason-00", "reference-2020")
HEAD = (
    "| what happens | revision | runs | octets | lost | median gap | longest gap |\n|---|---|---:|---:|---:|---:|---:|"
)


@dataclass
class Row:
    """What became of the runs of one scenario in one revision."""

    name: str
    revision: str
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        good, of = len(self.outcomes), len(self.outcomes) + len(self.failures)
        runs = str(good) if good == of else f"{good} of {of}"
        octets, lost = (sum(getattr(each, name) for each in self.outcomes) for name in ("octets", "lost"))
        gaps = [each.gap for each in self.outcomes] or [float("nan")]
        cells = (
            self.name,
            self.revision,
            runs,
            f"{octets:,}",
            str(lost),
            f"{statistics.median(gaps):.2f}",
            f"{max(gaps):.2f}",
        )
        return f"| {' | '.join(cells)} |"

    def report(self) -> dict[str, object]:
        said = {
            name: [getattr(each, name) for each in self.outcomes] for name in ("octets", "lost", "gap", "took", "drawn")
        }
        return {"scenario": self.name, "revision": self.revision, "failures": self.failures, **said}


async def play_until_told(rows: list[Row], times: int, jobs: int) -> int:
    """Play all; the number of the signal that ended it before, or 0.  Either way nothing is left behind."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            told = 0

            @nursery.start_soon
            async def listen() -> None:
                nonlocal told
                told = await anext(signals)
                nursery.cancel_scope.cancel()

            await play_all(rows, times, jobs)
            nursery.cancel_scope.cancel()
    return told


async def play_all(rows: list[Row], times: int, jobs: int) -> None:
    limiter = trio.CapacityLimiter(jobs)

    async def one(row: Row, run: int) -> None:
        async with limiter:
            try:
                row.outcomes.append(await play(SCENARIOS[row.name], row.revision, run))
            except (AssertionError, RuntimeError, trio.TooSlowError) as failure:
                row.failures.append(f"run {run}: {failure or type(failure).__name__}")
                print(f"{row.name}, {row.revision}, {row.failures[-1]}", file=sys.stderr, flush=True)

    for row in rows:
        async with trio.open_nursery() as nursery:
            for run in range(times):
                nursery.start_soon(one, row, run)
        print(row, flush=True)


@click.command()
@click.option("-n", "times", type=click.IntRange(1), default=20, show_default=True, help="Runs of each scenario.")
@click.option("--scenario", default="*", help="Names, with wildcards.")
@click.option("--revision", "revisions", type=click.Choice(REVISIONS), multiple=True, default=REVISIONS[:1])
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Runs at a time.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write all figures to a file, too.")
def main(times: int, scenario: str, revisions: tuple[str, ...], jobs: int, output: Path | None) -> None:
    """Play the scenarios and print a table: gaps are seconds in which no octet arrived at one of the ends."""
    if why := missing():
        raise click.ClickException(why)
    sweep()
    rows = [
        Row(name, revision)
        for revision in revisions
        for name, each in SCENARIOS.items()
        if revision in each.only and fnmatch.fnmatch(name, scenario)
    ]
    if not rows:
        raise click.ClickException(f"no scenario is called {scenario}")
    print(HEAD)
    if told := trio.run(play_until_told, rows, times, jobs):
        sys.exit(128 + told)
    if output is not None:
        output.write_text(json.dumps([row.report() for row in rows], indent=1))
    sys.exit(any(row.failures for row in rows))


if __name__ == "__main__":
    main()
