"""`python -m bench` measures and checks the floors; `python -m bench profile` says where the time goes.

`python -m bench tunnel` compares `fsp-trio tunnel` with a SOCKS proxy over TCP.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio
from rich.console import Console

from . import certificates, profile_command, report, tunnel_command
from .conductor import WorkerFailed
from .runner import Plan, run
from .subjects import FSP, MEASURES, SUBJECTS

ROUNDS = 5
QUICK_ROUNDS, QUICK_SCALE = 2, 0.2
AMOUNTS = {"bulk": 1024, "exchange": 30_000, "connect": 1000}  # of a profile; MiB for bulk
PIPE_WIDTH = 150  # of the tables where there is no terminal to fit into


def _names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(known)}")
    return names


@contextmanager
def _directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fsp-trio-bench-") as directory:
        certificates.write(Path(directory))
        yield directory


def _run_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=partial(_names, known=tuple(SUBJECTS)), default=tuple(SUBJECTS))
    parser.add_argument("--measures", type=partial(_names, known=MEASURES), default=MEASURES)
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} unless told, {QUICK_ROUNDS} with --quick")
    parser.add_argument("--scale", type=float, help=f"of all sizes; 1 unless told, {QUICK_SCALE} with --quick")
    parser.add_argument("--quick", action="store_true", help="small sizes: an impression, not a result")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="all samples go here")
    parser.add_argument("--markdown", type=Path, help="the tables for the documentation go here")
    parser.add_argument("--no-floors", action="store_true", help="exit with 0 even when a floor is missed")
    return parser.parse_args(arguments)


def _plan(options: argparse.Namespace) -> Plan:
    plan = Plan(
        subjects=options.only,
        measures=options.measures,
        rounds=options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
    )
    return plan.scaled(options.scale or (QUICK_SCALE if options.quick else 1))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def main_run(arguments: Sequence[str]) -> int:
    options = _run_arguments(arguments)
    plan = _plan(options)
    console = _console()
    about = report.environment()
    with _directory() as directory, console.status("starting") as status:
        samples, failures = trio.run(run, plan, directory, status.update)
    summary = report.Summary(samples)
    found = report.floors(summary, plan)
    parts = report.tables(summary, plan)
    if found:
        parts.append(report.floors_table(found))
    for part in parts:
        console.print(part.terminal())
    for failure in failures:
        console.print(f"not measured: {failure.subject}, {failure.measure}: {failure.reason}", style="red")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report.as_json(samples, failures, found, plan, about)))
    console.print(f"all samples: {options.json}")
    if options.markdown:
        options.markdown.write_text(report.markdown(parts, plan, about, failures))
    missed = bool(failures) or not all(floor.passed for floor in found)
    return 1 if missed and not options.no_floors else 0


def main_profile(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench profile", description=profile_command.__doc__)
    whole = [name for name, subject in SUBJECTS.items() if subject.measures == MEASURES]
    parser.add_argument("--subject", choices=whole, default=FSP)
    parser.add_argument("--measure", choices=tuple(AMOUNTS), default="bulk")
    parser.add_argument("--amount", type=int, help=f"MiB or count; {AMOUNTS}; a quarter where calls are counted")
    parser.add_argument("--top", type=int, default=15, help="rows per table of functions")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    console = _console()
    with _directory() as directory, console.status("starting") as status:
        parts = trio.run(
            profile_command.profile,
            options.subject,
            directory,
            options.measure,
            options.amount or AMOUNTS[options.measure],
            options.top,
            status.update,
        )
    for part in parts:
        console.print(part.terminal())
    if options.markdown:
        options.markdown.write_text("\n".join(part.markdown() for part in parts))
    return 0


def main(arguments: Sequence[str]) -> int:
    try:
        if arguments[:1] == ["profile"]:
            return main_profile(arguments[1:])
        if arguments[:1] == ["tunnel"]:
            return tunnel_command.main(arguments[1:])
        return main_run(arguments)
    except* WorkerFailed as failures:
        for failure in failures.exceptions:
            print(f"bench: {failure}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
