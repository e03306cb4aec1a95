"""The command `fsp-conformance`."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import click
import trio
from rich.console import Console
from rich.table import Table

from spec_conformance.case import Case, all_cases
from spec_conformance.catalogue import KINDS, LEVELS, REVISIONS, load
from spec_conformance.coverage import AWAITED, as_json, coverage
from spec_conformance.evidence import write_evidence
from spec_conformance.expected import BadExpectations, Expectations, written
from spec_conformance.play import CannotListen, Interrupted, Order, play, resolved, until_interrupted
from spec_conformance.profile import BadProfile, Profile
from spec_conformance.proxy import Impairments, Proxy, Rebinding
from spec_conformance.report.html import html
from spec_conformance.report.junit import junit
from spec_conformance.report.markdown import markdown
from spec_conformance.report.matrix import matrix_html, matrix_text
from spec_conformance.report.model import BadReport, Report, report_case
from spec_conformance.report.tap import tap
from spec_conformance.report.tree import show
from spec_conformance.runner import CaseResult
from spec_conformance.selection import NothingSelected, Selection
from spec_conformance.targets.sockets import TargetLost, free_port
from spec_conformance.verdict import Verdict

FAILED: Final = 1
USAGE: Final = 2
LOST: Final = 3
INTERRUPTED: Final = 130
LISTEN_PORT: Final = 18003
FORMS: Final = {"json": Report.to_json, "junit": junit, "tap": tap, "markdown": markdown, "html": html}
EXIT_CODES: Final = """\
\b
Exit codes:
  0    everything ended as expected
  1    something did not
  2    wrong usage
  3    the target cannot be reached, or was lost
  130  interrupted
"""


class UsageProblem(click.ClickException):
    """One line on stderr."""

    exit_code = USAGE


class TargetGone(click.ClickException):
    """One line on stderr."""

    exit_code = LOST


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
def main() -> None:
    """Test implementations of the Flexible Session Protocol, section by section of its drafts."""


@main.command()
@click.argument("target", metavar="[HOST:PORT]", required=False)
@click.option("--listen", metavar="[HOST:]PORT", help="Wait for a client there, and test that.")
@click.option("--exec", "command", metavar="COMMAND", help="Start the target; {port} in it is the UDP port.")
@click.option("--fresh", is_flag=True, help="Start it for each case anew; {service} is what the case needs.")
@click.option("--local", metavar="NETWORK", help="Addresses of this host to test from, each for one connection.")
@click.option("--self", "inside", is_flag=True, help="Test fsp-trio in this process, on a virtual clock.")
@click.option(
    "--profile",
    "profile_file",
    type=click.Path(path_type=Path),
    help="TOML file that describes the target; or the word fsp-trio.",
)
@click.option("--revision", type=click.Choice(REVISIONS), help="Draft, if the profile does not say.")
@click.option(
    "--role", type=click.Choice(["responder", "initiator"]), help="Side of the target; --listen is for initiators."
)
@click.option("--select", "patterns", multiple=True, metavar="ID", help="Cases by id, with wildcards; may be repeated.")
@click.option("--exclude", multiple=True, metavar="ID", help="Not these; with wildcards, may be repeated.")
@click.option("--section", "sections", multiple=True, metavar="N", help="A section with all below it.")
@click.option("--level", "levels", multiple=True, type=click.Choice(LEVELS))
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS))
@click.option("--quick", is_flag=True, help="Only the most telling cases.")
@click.option("--slow/--no-slow", default=None, help="Cases that wait for time-outs; with --self they cost nothing.")
@click.option("--list", "list_only", is_flag=True, help="Print the cases that would run, and run none.")
@click.option("--expected", type=click.Path(path_type=Path), help="TOML file of known failures with their reasons.")
@click.option("--write-expected", type=click.Path(path_type=Path), help="Write such a file from this run.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--timeout-scale", type=click.FloatRange(0.01, 1000.0), default=1.0, show_default=True)
@click.option("--jobs", "-j", type=click.IntRange(1, 256), default=16, show_default=True, help="Cases at once.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write a report.")
@click.option("--junit", "junit_file", type=click.Path(path_type=Path), help="Write a report.")
@click.option("--tap", "tap_file", type=click.Path(path_type=Path), help="Write a report.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write a report.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a report.")
@click.option(
    "--evidence", type=click.Path(path_type=Path, file_okay=False), help="Keep packets and keys of failing cases there."
)
@click.option("--verbose", "-v", is_flag=True, help="Show the cases that passed, too.")
def run(**options: Any) -> None:
    """Run cases against a target: HOST:PORT, --exec, --listen, or --self.

    A target needs an echo service, which sends each transaction back as it comes.
    """
    order = _order(options)
    known = all_cases(order.profile.revision)
    slow = order.inside if options["slow"] is None else options["slow"]
    selection = Selection(
        patterns=options["patterns"],
        exclude=options["exclude"],
        sections=options["sections"],
        levels=options["levels"],
        kinds=options["kinds"],
        role=order.role,
        slow=slow,
        quick=options["quick"],
    )
    try:
        chosen = selection.choose(known.values())
        expectations = Expectations()
        if options["expected"] is not None:
            expectations = Expectations.load(options["expected"], known)
    except (NothingSelected, BadExpectations) as error:
        raise UsageProblem(str(error)) from None
    if options["list_only"]:
        _list(chosen)
        return
    _check_places(options)
    began = time.monotonic()
    results = _run(order, chosen)
    report = _report(order, results, expectations, time.monotonic() - began)
    show(report, Console(), verbose=options["verbose"])
    for form, write in FORMS.items():
        if options[f"{form}_file"] is not None:
            _write(options[f"{form}_file"], write(report))
    if options["evidence"] is not None:
        write_evidence(options["evidence"], [each for each in results if each.verdict is Verdict.FAIL])
    if options["write_expected"] is not None:
        outcomes = [(each.case.id, each.verdict, each.detail) for each in results]
        _write(options["write_expected"], written(outcomes, expectations))
    if not order.fresh and any(each.alive is False for each in results):
        raise TargetGone("the target does not answer any more")
    if report.surprises:
        sys.exit(FAILED)


def _order(options: dict[str, Any]) -> Order:
    """What the options say.  UsageProblem if they contradict each other."""
    ways = [options[name] for name in ("target", "listen", "command", "inside")]
    if sum(map(bool, ways)) != 1 and not (options["command"] and not options["inside"] and sum(map(bool, ways)) == 2):
        raise UsageProblem("give one of HOST:PORT, --exec, --listen or --self")
    if options["fresh"] and not options["command"]:
        raise UsageProblem("--fresh is about the program that --exec starts")
    try:
        local = IPv4Network(options["local"]) if options["local"] else None
    except ValueError as error:
        raise UsageProblem(f"--local: {error}") from None
    role = options["role"] or ("both" if options["inside"] else "initiator" if options["listen"] else "responder")
    if options["command"]:
        _check_command(options["command"])
    if not options["inside"] and (role == "initiator") != bool(options["listen"]):
        raise UsageProblem("--listen is how initiators are tested, and only they are")
    profile = Profile()
    if options["profile_file"] not in (None, Path("fsp-trio")):
        try:
            profile = Profile.load(options["profile_file"])
        except BadProfile as error:
            raise UsageProblem(str(error)) from None
    if options["revision"] is not None:
        profile = replace(profile, revision=options["revision"])
    if options["inside"] or options["profile_file"] == Path("fsp-trio"):
        from spec_conformance.targets.library import profile as library_profile

        profile = library_profile(profile.revision)
    address = None
    if text := options["target"] or options["listen"]:
        address = _address(text, "0.0.0.0" if options["listen"] else None)  # noqa: S104
    elif options["command"]:
        address = ("127.0.0.1", free_port())
    if profile.name == "target" and address is not None:
        profile = replace(profile, name=f"{address[0]}:{address[1]}")
    return Order(
        profile,
        options["profile_file"],
        role,
        address,
        bool(text),
        options["command"],
        options["fresh"],
        local,
        options["inside"],
        options["seed"],
        options["timeout_scale"],
        1 if role == "initiator" or options["fresh"] else options["jobs"],
    )


def _check_command(command: str) -> None:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageProblem(f"--exec: {error}") from None
    if not words:
        raise UsageProblem("--exec: there is no command in it")


def _check_places(options: dict[str, Any]) -> None:
    """What shall be written can be: this is known before a long run, and not after it."""
    for option in (*(f"{form}_file" for form in FORMS), "write_expected"):
        path: Path | None = options[option]
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise UsageProblem(f"{path}: cannot be written")
    if options["evidence"] is not None:
        try:
            options["evidence"].mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageProblem(f"{options['evidence']}: {error.strerror}") from None


def _address(text: str, default_host: str | None) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host and default_host is not None:
        host = default_host
    if not host and not port.isdigit():
        host, port = text, str(LISTEN_PORT)
    if not host or ":" in host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise UsageProblem(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _list(cases: Sequence[Case]) -> None:
    for case in cases:
        statement = case.statement
        click.echo(f"{case.id}\t{statement.level}\t{statement.kind}\t{case.words}")


def _run(order: Order, cases: Sequence[Case]) -> list[CaseResult]:
    """The results in the order of the cases."""
    found: dict[str, CaseResult] = {}
    console = Console(stderr=True)

    def tell(result: CaseResult) -> None:
        found[result.case.id] = result
        if console.is_terminal:
            console.print(f"{len(found)} of {len(cases)}  {result.case.id}", end="\r", overflow="crop", no_wrap=True)

    with _one_line():
        play(order, cases, tell)
    return [found[case.id] for case in cases]


@contextmanager
def _one_line() -> Iterator[None]:
    """What ends a run early is told in one line, with its exit code."""
    try:
        yield
    except TargetLost as lost:
        raise TargetGone(str(lost)) from None
    except CannotListen as error:
        raise UsageProblem(str(error)) from None
    except Interrupted:
        sys.exit(INTERRUPTED)


def _report(order: Order, results: Sequence[CaseResult], expectations: Expectations, seconds: float) -> Report:
    command = _command(order)
    return Report(
        revision=order.profile.revision,
        document=load(order.profile.revision).document,
        target=order.profile.name,
        role=order.role,
        seed=order.seed,
        seconds=round(seconds, 3),
        cases=tuple(report_case(result, expectations, command) for result in results),
    )


def _command(order: Order) -> str:
    """The command that runs a case of this run again."""
    words = ["fsp-conformance", "run"]
    if order.inside:
        words += ["--self"]
    elif order.command is not None:
        words += ["--exec", order.command, *(["--fresh"] if order.fresh else [])]
    if order.local is not None:
        words += ["--local", str(order.local)]
    if order.address is not None and (order.given or order.role == "initiator"):
        words += ["--listen"] if order.role == "initiator" else []
        words.append(f"{order.address[0]}:{order.address[1]}")
    if order.profile_file is not None:
        words += ["--profile", str(order.profile_file)]
    words += ["--revision", order.profile.revision, "--seed", str(order.seed)]
    return shlex.join(words)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageProblem(f"{path}: {error.strerror}") from None


@main.command("target")
@click.argument("address", metavar="[HOST:]PORT")
@click.option("--connect", is_flag=True, help="Be a client that connects there, again and again.")
@click.option("--revision", type=click.Choice(REVISIONS), default="gao-07", show_default=True)
def target_command(address: str, connect: bool, revision: str) -> None:
    """Run fsp-trio as a target: a responder at a UDP port, or a client; the profile is that of --self."""
    from spec_conformance.targets import library

    place = _address(address, "127.0.0.1")
    work = _serve if not connect else library.connect_over_udp
    with _one_line():
        try:
            until_interrupted(lambda: work(place, library.profile(revision)))
        except OSError as error:
            raise UsageProblem(f"{address}: {error.strerror}") from None


async def _serve(place: tuple[str, int], profile: Profile) -> None:
    from spec_conformance.targets.library import serve_over_udp

    await serve_over_udp(*place, profile)


@main.command("coverage")
@click.option("--json", "as_object", is_flag=True, help="One JSON object, by revision.")
@click.option("--revision", "revisions", multiple=True, type=click.Choice(REVISIONS), help="Not all drafts.")
def coverage_command(as_object: bool, revisions: Sequence[str]) -> None:
    """Which statements of the drafts have a case; exit code 1 if one has neither case nor exception."""
    chosen = revisions or REVISIONS
    found = {revision: coverage(revision) for revision in chosen}
    if as_object:
        click.echo(json.dumps({revision: as_json(load(revision)) for revision in chosen}, indent=1))
    else:
        for revision, sections in found.items():
            table = Table(title=load(revision).document)
            for heading in ("section", "title", "statements", "covered", "cases", "excepted", "awaited", "open"):
                table.add_column(heading)
            for number, each in sections.items():
                numbers = (each.statements, each.covered, each.cases, each.excepted, len(each.awaited), len(each.open))
                table.add_row(number, each.title, *map(str, numbers if each.statements else [""] * len(numbers)))
            Console().print(table)
        for capability, reason in AWAITED.items():
            click.echo(f"awaited, {capability}: {reason}")
    left = [statement for sections in found.values() for each in sections.values() for statement in each.open]
    if left:
        click.echo(f"{len(left)} statements have neither a case nor an exception: {', '.join(left[:5])} ...", err=True)
        sys.exit(FAILED)


@main.command("matrix")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page instead of printing a table.")
def matrix_command(files: Sequence[Path], html_file: Path | None) -> None:
    """Set JSON reports of several implementations side by side."""
    try:
        reports = [Report.load(file) for file in files]
    except BadReport as error:
        raise UsageProblem(str(error)) from None
    if len({report.revision for report in reports}) > 1:
        raise UsageProblem("the reports are of different drafts")
    if html_file is None:
        click.echo(matrix_text(reports))
    else:
        _write(html_file, matrix_html(reports))


@main.command("proxy")
@click.argument("server", metavar="HOST:PORT")
@click.option("--listen", "local", default="127.0.0.1:18003", show_default=True, metavar="[HOST:]PORT")
@click.option("--loss", type=click.FloatRange(0, 1), default=0.0, help="Probability that a datagram is lost.")
@click.option("--drop-nth", type=click.IntRange(0), default=0, help="Lose every so many-th datagram of a direction.")
@click.option("--corrupt", type=click.FloatRange(0, 1), default=0.0, help="Probability that an octet is altered.")
@click.option("--duplicate", type=click.FloatRange(0, 1), default=0.0, help="Probability that it comes twice.")
@click.option("--reorder", type=click.FloatRange(0, 1), default=0.0, help="Probability that it is overtaken.")
@click.option("--reorder-delay", type=click.FloatRange(0), default=0.02, show_default=True, help="Seconds.")
@click.option("--delay", type=click.FloatRange(0), default=0.0, help="Seconds, each way.")
@click.option("--jitter", type=click.FloatRange(0), default=0.0, help="Seconds at most, beside the delay.")
@click.option("--bandwidth", type=click.FloatRange(0), default=0.0, help="Octets a second; 0 for no limit.")
@click.option("--blackhole", nargs=2, type=float, multiple=True, metavar="FROM TO", help="Seconds since the start.")
@click.option("--direction", type=click.Choice(["both", "up", "down"]), default="both", show_default=True)
@click.option("--rebind", type=click.FloatRange(0), default=0.0, help="Seconds after which clients get another port.")
@click.option("--rebind-times", type=click.IntRange(0), default=0, help="So often at the most; 0 for ever.")
@click.option("--rebind-address", multiple=True, metavar="HOST", help="Local addresses that take turns on rebinding.")
@click.option("--seed", type=int, default=0, show_default=True)
def proxy_command(server: str, local: str, **options: Any) -> None:
    """Stand between two programs over UDP and impair what passes, until interrupted; then print what was done."""
    names = ("loss", "drop_nth", "corrupt", "duplicate", "reorder", "reorder_delay", "delay", "jitter", "bandwidth")
    try:
        impaired = Impairments(blackholes=options["blackhole"], **{name: options[name] for name in names})
    except ValueError as error:
        raise UsageProblem(str(error)) from None
    make = partial(
        Proxy,
        towards_server=impaired if options["direction"] != "down" else Impairments(),
        towards_client=impaired if options["direction"] != "up" else Impairments(),
        rebinding=Rebinding(
            every=options["rebind"],
            times=options["rebind_times"],
            addresses=options["rebind_address"] or ("0.0.0.0",),  # noqa: S104
        ),
        seed=options["seed"],
    )
    ends = _address(server, None), _address(local, "127.0.0.1")
    with _one_line():
        try:
            until_interrupted(lambda: _serve_proxy(make, *ends))
        except Interrupted:
            pass  # how it is meant to end
        except OSError as error:
            raise UsageProblem(f"{local}: {error.strerror}") from None


async def _serve_proxy(
    make: Callable[[tuple[str, int]], Proxy], server: tuple[str, int], local: tuple[str, int]
) -> None:
    """Until cancelled."""
    proxy = make(await resolved(*server))
    async with trio.open_nursery() as nursery:
        host, port = await nursery.start(proxy.run, await resolved(*local))
        click.echo(f"listening at {host}:{port}")
        try:
            await trio.sleep_forever()
        finally:
            _tell_tally(proxy)


def _tell_tally(proxy: Proxy) -> None:
    for name, direction in (("towards the server", proxy.up), ("towards the client", proxy.down)):
        tally = ", ".join(f"{number} {word}" for word, number in asdict(direction.tally).items() if number)
        click.echo(f"{name}: {tally or 'nothing'}")
    click.echo(f"{proxy.rebindings} rebindings")
