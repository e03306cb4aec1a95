"""`python -m tests.interop --peer PROGRAM --service PROGRAM`: the matrix of docs/interoperation.md."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import trio

from .scenarios import PATIENCE, SCENARIOS, SERVICE, Scenario, peer_connects, peer_listens, play
from .world import OUR_ADDRESS, OURS, THEIR_ADDRESS, THEIRS, Log, loss, namespaces, service

READY = "ready"
ROLES = ("initiator", "responder")


@click.group(invoke_without_command=True)
@click.option(
    "--peer", type=click.Path(path_type=Path, exists=True), help="The scriptable program on the author's API."
)
@click.option("--service", "lower", type=click.Path(path_type=Path, exists=True), help="The author's service.")
@click.option("--rekey-service", type=click.Path(path_type=Path, exists=True), help="The same with a low threshold.")
@click.option("-n", "times", type=click.IntRange(1), default=20, show_default=True)
@click.option("--scenario", default="*", help="Names, with wildcards.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write the counts to a file, too.")
@click.pass_context
def main(
    context: click.Context,
    peer: Path | None,
    lower: Path | None,
    rekey_service: Path | None,
    times: int,
    scenario: str,
    output: Path | None,
) -> None:
    """Play all scenarios, in both roles, and print a table."""
    if context.invoked_subcommand is not None:
        return
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    if peer is None or lower is None:
        raise click.UsageError("--peer and --service are needed")
    counts: dict[str, dict[str, str]] = {}
    with namespaces():
        for each in SCENARIOS:
            if not fnmatch.fnmatch(each.name, scenario) or (each.rekeying and rekey_service is None):
                continue
            program = rekey_service if each.rekeying and rekey_service is not None else lower
            counts[each.name] = {role: _several(each, role, peer, program, times) for role in ROLES}
            click.echo(f"| {each.name} | {counts[each.name]['initiator']} | {counts[each.name]['responder']} |")
    if output is not None:
        output.write_text(json.dumps(counts, indent=1))
    if any(count.split(" of ")[0] != count.split(" of ")[1] for row in counts.values() for count in row.values()):
        sys.exit(1)


def _several(scenario: Scenario, role: str, peer: Path, program: Path, times: int) -> str:
    good = 0
    for number in range(times):
        began = time.monotonic()
        trouble = _once(scenario, role, peer, program)
        good += not trouble
        for line in trouble:
            click.echo(f"  {scenario.name}, {role}, run {number}, {time.monotonic() - began:.1f} s: {line}", err=True)
    return f"{good} of {times}"


def _once(scenario: Scenario, role: str, peer: Path, program: Path) -> list[str]:
    """One run; lines that tell what went wrong."""
    socket = Path("/tmp/fsp-interop.sock")
    environment = {**os.environ, "FSP_SOCK": str(socket)}
    if scenario.one_lost_in:
        environment["FSP_TRIO_NO_OFFLOAD"] = "1"  # datagrams that travel joined would be dropped together
        environment["FSP_R3"] = "1"  # the peer's repair of its own for a lost ACK_FLUSH (docs/interoperation.md)
    theirs = ["ip", "netns", "exec", THEIRS, str(peer)]
    ours = ["ip", "netns", "exec", OURS, sys.executable, "-m", "tests.interop", "play", scenario.name, role]
    log = Log()
    own: subprocess.Popen[Any]
    with ExitStack() as stack:
        stack.enter_context(service(program, socket, environment))
        stack.enter_context(loss(scenario.one_lost_in))
        other = None
        if role == "initiator":
            if scenario.listener:
                command = [*theirs, "listen", str(SERVICE), *peer_listens(scenario)]
                other = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log.file)
                time.sleep(0.3)
            own = subprocess.Popen([*ours, THEIR_ADDRESS], env=environment, stdout=log.file, stderr=log.file)
        else:
            own = subprocess.Popen(
                [*ours, THEIR_ADDRESS], env=environment, stdout=subprocess.PIPE, stderr=log.file, text=True
            )
            assert own.stdout is not None
            own.stdout.readline()
            command = [*theirs, "connect", f"{OUR_ADDRESS}:{SERVICE}", *peer_connects(scenario)]
            other = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log.file)
        stack.callback(own.kill)
        trouble = _wait(own, "we", 0)
        if other is not None:
            stack.callback(other.kill)
            trouble += _wait(other, "the peer", 0 if scenario.listener else 1)
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
