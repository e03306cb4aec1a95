"""Commands, options, and the entry point."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import trio

import fsp_trio
from fsp_trio._groups import unwrapped
from fsp_trio.cli import decoding, echoing, keys, receiving, sending, tunneling
from fsp_trio.cli.connection import Common, parse_target
from fsp_trio.cli.exits import ALREADY_TOLD, EXIT_CODES, CommandError, Exit, Interrupted, explain
from fsp_trio.cli.key_files import configuration, public_line, write_identity
from fsp_trio.cli.reporting import Reporter
from fsp_trio.cli.storage import Store
from fsp_trio.endpoint import DEFAULT_PORT
from fsp_trio.keying import fingerprint
from fsp_trio.revisions import REVISIONS

__all__ = ["main"]

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code.  Nothing is raised, and errors are one line on stderr."""
    try:
        fsp.main(list(sys.argv[1:] if arguments is None else arguments), "fsp-trio", standalone_mode=False)
    except BaseException as error:
        message, code = explain(error)
        if message != ALREADY_TOLD:
            Reporter().error(message)
        return code
    return Exit.OK


class Seconds(click.FloatRange):
    """Finite, which the range alone does not ask for."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run Trio until `work` is done or a signal comes, which ends sessions in the way that their peers are told."""

    async def until_interrupted() -> T:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                await nursery.start(_watch_signals)
                result = await work()
                nursery.cancel_scope.cancel()
        return result

    return trio.run(until_interrupted)


async def _watch_signals(task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            raise Interrupted


_FILE = click.Path(path_type=Path)
_CLIENT_OPTIONS = [
    click.option(
        "--identity", type=_FILE, metavar="FILE", help="Own key, for servers that want to know their clients."
    ),
    click.option(
        "--known-hosts", type=_FILE, metavar="FILE", help="File with the keys of hosts that were seen before."
    ),
    click.option("--strict", is_flag=True, help="Speak only with hosts whose key is in that file."),
]
_SERVER_OPTIONS = [
    click.option("--identity", type=_FILE, metavar="FILE", help="Own key, made by fsp-trio keygen."),
    click.option("--authorized", type=_FILE, metavar="FILE", help="Let in only clients whose key is in this file."),
]
_COMMON_OPTIONS = [
    click.option("--psk", type=_FILE, metavar="FILE", help="Use a key that both ends have: 16 random octets or more."),
    click.option("--insecure", is_flag=True, help="Go without key and encryption."),
    click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="UDP port."),
    click.option("--bind", "--host", "bind", default="0.0.0.0", show_default=True, help="Local IPv4 address."),  # noqa: S104
    click.option(
        "--timers",
        type=click.Choice(["draft", "responsive"]),
        default="draft",
        show_default=True,
        help="Retransmission time-outs as the draft wants them, or shorter ones.",
    ),
    click.option(
        "--udp-checksum",
        type=click.Choice(["on", "off", "auto"]),
        default="auto",
        show_default=True,
        help="UDP checksum; auto omits it where no segmentation offload is lost by that.",
    ),
    click.option(
        "--timeout",
        type=Seconds(0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds to wait for an answer.",
    ),
    click.option(
        "--revision",
        type=click.Choice(list(REVISIONS)),
        default="gao-07",
        show_default=True,
        help="Revision of the protocol, the same at both ends.",
    ),
    click.option(
        "--accept-repeated-nonces",
        is_flag=True,
        help="Encrypt even in reference-2020, whose encryption can be broken.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Statistics as JSON on stdout, everything else on stderr."),
]


def with_common_options(*, serves: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options that all commands have, and call the function with a Common and a Reporter in their place."""
    return partial(_with_common_options, serves)


def _with_common_options(serves: bool, function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def command(
        psk: Path | None,
        insecure: bool,
        identity: Path | None,
        port: int,
        bind: str,
        timers: Literal["draft", "responsive"],
        udp_checksum: Literal["on", "off", "auto"],
        timeout: float,
        revision: str,
        accept_repeated_nonces: bool,
        as_json: bool,
        known_hosts: Path | None = None,
        strict: bool = False,
        authorized: Path | None = None,
        **own: Any,
    ) -> None:
        reporter = Reporter(as_json=as_json)
        key = keys.choose_key(
            psk=psk,
            insecure=insecure,
            identity=identity,
            known_hosts=known_hosts,
            strict=strict,
            authorized=authorized,
            serves=serves,
            warn=reporter.warn,
            info=reporter.info,
        )
        common = Common(
            key=key,
            bind=bind,
            port=port,
            timers=timers,
            udp_checksum=udp_checksum,
            revision=revision,
            accept_repeated_nonces=accept_repeated_nonces,
            timeout=timeout,
        )
        function(common, reporter, **own)

    for option in reversed([*(_SERVER_OPTIONS if serves else _CLIENT_OPTIONS), *_COMMON_OPTIONS]):
        option(command)
    return command


def _target(text: str, common: Common) -> tuple[str, int]:
    try:
        return parse_target(text, common.port)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="HOST") from None


@click.group(no_args_is_help=False, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fsp_trio.__version__, prog_name="fsp-trio")
def fsp() -> None:
    """Files, echo and ping over the Flexible Session Protocol (FSP).

    Sessions are encrypted: with the key of the server, which `keygen` makes and `send` and `ping` remember when they
    see it for the first time, or with a file that both ends have (--psk).
    """


@fsp.command(epilog=EXIT_CODES)
@click.option(
    "--out",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where the files go.",
)
@click.option("--once", is_flag=True, help="End after the first sender, whatever comes of it.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@with_common_options(serves=True)
def receive(common: Common, reporter: Reporter, *, out: Path, once: bool, overwrite: bool) -> None:
    """Receive files from `fsp-trio send`, until interrupted."""
    store = Store(out, overwrite=overwrite)
    run(partial(receiving.receive_files, store, common, reporter, once=once))


@fsp.command(epilog=EXIT_CODES)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.argument("host", metavar="HOST[:PORT]")
@with_common_options(serves=False)
def send(common: Common, reporter: Reporter, *, files: tuple[Path, ...], host: str) -> None:
    """Send files to `fsp-trio receive` at a host."""
    summary = run(partial(sending.send_files, files, *_target(host, common), common, reporter))
    reporter.summary(summary)
    if any(result.error for result in summary.files):
        raise CommandError(ALREADY_TOLD)


@fsp.command(epilog=EXIT_CODES)
@with_common_options(serves=True)
def echo(common: Common, reporter: Reporter) -> None:
    """Give back what `fsp-trio ping` sends, until interrupted."""
    run(partial(echoing.echo, common, reporter))


@fsp.command(epilog=EXIT_CODES)
@click.argument("host", metavar="HOST[:PORT]")
@click.option("-c", "--count", type=click.IntRange(1), default=4, show_default=True, help="How many round trips.")
@click.option(
    "-i",
    "--interval",
    type=Seconds(0),
    default=1.0,
    show_default=True,
    help="Seconds from one to the next.",
)
@click.option(
    "-s",
    "--size",
    type=click.IntRange(1, echoing.LARGEST_PING),
    default=56,
    show_default=True,
    help="Octets in each.",
)
@with_common_options(serves=False)
def ping(common: Common, reporter: Reporter, *, host: str, count: int, interval: float, size: int) -> None:
    """Measure round trips to `fsp-trio echo` at a host."""
    work = partial(echoing.ping, *_target(host, common), common, reporter, count=count, interval=interval, size=size)
    reporter.summary(run(work))


def _socks_address(context: click.Context, parameter: click.Parameter, text: str) -> tuple[str, int]:
    try:
        return parse_target(text if ":" in text else f"127.0.0.1:{text}", 0)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _allowed(context: click.Context, parameter: click.Parameter, texts: Sequence[str]) -> list[tuple[str, int]]:
    try:
        return [tunneling.parse_allowed(text) for text in texts]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@fsp.command(epilog=EXIT_CODES)
@click.argument("host", metavar="HOST[:PORT]")
@click.option(
    "--socks",
    default="127.0.0.1:1080",
    show_default=True,
    callback=_socks_address,
    metavar="[HOST:]PORT",
    help="Where programs find the SOCKS 5 proxy.",
)
@with_common_options(serves=False)
def tunnel(common: Common, reporter: Reporter, *, host: str, socks: tuple[str, int]) -> None:
    """A SOCKS 5 proxy here, whose connections leave at `fsp-trio gateway` on a host.

    Each connection is a branch of one session.
    """
    run(partial(tunneling.tunnel, *_target(host, common), socks, common, reporter))


@fsp.command(epilog=EXIT_CODES)
@click.option(
    "--allow",
    multiple=True,
    callback=_allowed,
    metavar="HOST[:PORT]",
    help="Connect to nothing but this; may be given more than once.",
)
@with_common_options(serves=True)
def gateway(common: Common, reporter: Reporter, *, allow: list[tuple[str, int]]) -> None:
    """Let the connections of `fsp-trio tunnel` out to TCP hosts, until interrupted.

    It serves clients that it knows, by --authorized or --psk.
    """
    run(partial(tunneling.gateway, common, reporter, allowed=allow))


@fsp.command(epilog=EXIT_CODES)
@click.argument("file", required=False, type=_FILE, metavar="[FILE]")
@click.option("--force", is_flag=True, help="Replace a key that is there.")
def keygen(file: Path | None, force: bool) -> None:
    """Make a key of one's own, and print the public part.

    The private part goes to FILE, or to where `receive` and `echo` look for it.
    """
    path = file or configuration() / "identity"
    public = bytes(write_identity(path, force=force).verify_key)
    click.echo(f"private key: {path}")
    click.echo(f"public key:  {public_line(public)}")
    click.echo(f"fingerprint: {fingerprint(public)}")


fsp.add_command(decoding.decode)
