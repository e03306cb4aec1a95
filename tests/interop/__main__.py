"""`python -m tests.interop --peer PROGRAM --service PROGRAM`: the matrix of docs/interoperation.md."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import trio

from .scenarios import PATIENCE, SCENARIOS, SERVICE, Scenario, peer_connects, peer_listens, play
from .world import OUR_ADDRESS, OURS, THEIR_ADDRESS, THEIRS, Log, capture, loss, namespaces, service

READY = "ready"
ROLES = ("initiator", "responder")


@dataclass(frozen=True, slots=True)
class Count:
    good: int
    of: int

    def __str__(self) -> str:
        return f"{self.good} of {self.of}"


HEAD = "| scenario | we are initiator | we are responder |\n|---|---|---|"


def row(name: str, counts: dict[str, Count]) -> str:
    return f"| {name} | {counts['initiator']} | {counts['responder']} |"


def chosen(pattern: str, *, can_rekey: bool) -> list[Scenario]:
    """The scenarios whose names fit, less those that need a service which is not there."""
    return [each for each in SCENARIOS if fnmatch.fnmatch(each.name, pattern) and (can_rekey or not each.rekeying)]


@click.group(invoke_without_command=True)
@click.option(
    "--peer", type=click.Path(path_type=Path, exists=True), help="The scriptable program on the author's API."
)
@click.option("--service", "lower", type=click.Path(path_type=Path, exists=True), help="The author's service.")
@click.option("--rekey-service", type=click.Path(path_type=Path, exists=True), help="The same with a low threshold.")
@click.option("-n", "times", type=click.IntRange(1), default=20, show_default=True)
@click.option("--scenario", default="*", help="Names, with wildcards.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write the counts to a file, too.")
@click.option(
    "--captures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep a capture and the key log of every run that fails there; needs tcpdump.",
)
@click.pass_context
def main(
    context: click.Context,
    peer: Path | None,
    lower: Path | None,
    rekey_service: Path | None,
    times: int,
    scenario: str,
    output: Path | None,
    captures: Path | None,
) -> None:
    """Play all scenarios, in both roles, and print a table; what fails is told on stderr."""
    if context.invoked_subcommand is not None:
        return
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    if peer is None or lower is None:
        raise click.UsageError("--peer and --service are needed")
    if captures is not None:
        captures.mkdir(parents=True, exist_ok=True)
    counts: dict[str, dict[str, Count]] = {}
    with namespaces():
        click.echo(HEAD)
        for each in chosen(scenario, can_rekey=rekey_service is not None):
            program = rekey_service if each.rekeying and rekey_service is not None else lower
            counts[each.name] = {role: _several(each, role, peer, program, times, captures) for role in ROLES}
            click.echo(row(each.name, counts[each.name]))
    if output is not None:
        output.write_text(json.dumps({name: {r: asdict(c) for r, c in each.items()} for name, each in counts.items()}))
    if any(count.good < count.of for each in counts.values() for count in each.values()):
        sys.exit(1)


def _several(scenario: Scenario, role: str, peer: Path, program: Path, times: int, captures: Path | None) -> Count:
    good = 0
    for number in range(times):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fsp-interop-") as scratch:
            trouble = _once(scenario, role, peer, program, Path(scratch), captures is not None)
            if trouble and captures is not None:
                name = f"{scenario.name} {role} {number}".replace(",", "").replace(" ", "-")
                for file in Path(scratch).glob("run.*"):
                    shutil.copy(file, captures / f"{name}{file.suffix}")
        good += not trouble
        for line in trouble:
            click.echo(f"  {scenario.name}, {role}, run {number}, {time.monotonic() - began:.1f} s: {line}", err=True)
    return Count(good, times)


def _once(scenario: Scenario, role: str, peer: Path, program: Path, scratch: Path, record: bool) -> list[str]:
    """One run; lines that tell what went wrong."""
    socket = scratch / "socket"
    environment = {**os.environ, "FSP_SOCK": str(socket)}
    if record:
        environment["FSPKEYLOGFILE"] = str(scratch / "run.keys")
    if scenario.one_lost_in:
        environment["FSP_TRIO_NO_OFFLOAD"] = "1"  # datagrams that travel joined would be dropped together
        environment["FSP_R3"] = "1"  # a repair of the program's, where it is built in (docs/interoperation.md)
    theirs = ["ip", "netns", "exec", THEIRS, str(peer)]
    ours = ["ip", "netns", "exec", OURS, sys.executable, "-m", "tests.interop", "play", scenario.name, role]
    log = Log()
    own: subprocess.Popen[Any]
    with ExitStack() as stack:
        stack.enter_context(service(program, socket, environment))
        lost = stack.enter_context(loss(scenario.one_lost_in))
        stack.enter_context(capture(scratch / "run.pcap" if record else None))
        other = None
        if role == "initiator":
            if scenario.listener:
                command = [*theirs, "listen", str(SERVICE), *peer_listens(scenario)]
                other = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log.file)
                stack.callback(other.kill)
                time.sleep(0.3)
            own = subprocess.Popen([*ours, THEIR_ADDRESS], env=environment, stdout=log.file, stderr=log.file)
            stack.callback(own.kill)
        else:
            own = subprocess.Popen(
                [*ours, THEIR_ADDRESS], env=environment, stdout=subprocess.PIPE, stderr=log.file, text=True
            )
            stack.callback(own.kill)
            assert own.stdout is not None
            own.stdout.readline()
            command = [*theirs, "connect", f"{OUR_ADDRESS}:{SERVICE}", *peer_connects(scenario)]
            other = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log.file)
            stack.callback(other.kill)
        trouble = _wait(own, "we", 0)
        if other is not None:
            trouble += _wait(other, "the peer", 0 if scenario.listener else 1)
        if scenario.one_lost_in and not all(lost()):
            trouble.append("nothing was dropped")
        (scratch / "run.log").write_text("\n".join(log.tail(1000)))
        return [*trouble, *log.tail()] if trouble else []


def _wait(process: subprocess.Popen[Any], who: str, wanted: int) -> list[str]:
    try:
        code = process.wait(PATIENCE + 10)
    except subprocess.TimeoutExpired:
        return [f"{who} did not end"]
    return [] if code == wanted else [f"{who} ended with {code}"]


@main.command("play")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@click.argument("address")
def play_command(name: str, role: str, address: str) -> None:
    """Our side of one run; the table's command starts it where it belongs."""
    warnings.simplefilter("ignore")
    scenario = next(each for each in SCENARIOS if each.name == name)
    trio.run(play, scenario, role, address, lambda: click.echo(READY))


if __name__ == "__main__":
    main()
