"""`python -m bench tunnel`: curl through `fsp-trio tunnel`, beside a SOCKS proxy that speaks TCP, in the same run.

100 MB in one piece, then 200 objects of 1 KB, all at once; everything on loopback, each part a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from fsp_trio.cli import socks
from fsp_trio.cli.tunneling import pass_both_ways, read_exactly

LARGE = 100_000_000
SMALL, OBJECTS = 1000, 200
LOOPBACK = "127.0.0.1"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench tunnel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=["http", "direct"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part == "http":
        _serve_http(options.directory)
    elif options.part == "direct":
        trio.run(_direct_proxy)
    elif not shutil.which("curl"):
        parser.error("curl is not installed")
    else:
        _compare(options.rounds)
    return 0


def _serve_http(directory: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as in the library)
            pass

    class Patient(ThreadingHTTPServer):
        request_queue_size = 2 * OBJECTS

    with Patient((LOOPBACK, 0), partial(Quiet, directory=str(directory))) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


async def _direct_proxy() -> None:
    """The near end of the tunnel without the tunnel."""

    async def serve(client: trio.SocketStream) -> None:
        read = partial(read_exactly, client)
        await client.send_all(await socks.greeting_answer(read))
        host, port = await socks.read_target(read)
        with suppress(trio.BrokenResourceError):
            async with await trio.open_tcp_stream(host, port) as server:
                await client.send_all(socks.reply(socks.Reply.SUCCEEDED))
                await pass_both_ways(client, server)

    [listener] = await trio.open_tcp_listeners(0, host=LOOPBACK)
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(serve, [listener])


@contextmanager
def _process(*command: str, port_of: Callable[[str], str] = str.strip) -> Iterator[int]:
    """A part of the chain; the port that it tells in its first line."""
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(port_of(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _curl(proxy: int, *arguments: str) -> float:
    began = time.perf_counter()
    command = ["curl", "-sS", "--no-progress-meter", "--fail", "--socks5-hostname", f"{LOOPBACK}:{proxy}", *arguments]
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def _compare(rounds: int) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fsp-trio-tunnel-")))
        served, fetched = directory / "served", directory / "fetched"
        served.mkdir()
        fetched.mkdir()
        (served / "large").write_bytes(os.urandom(LARGE))
        for n in range(OBJECTS):
            (served / f"small{n}").write_bytes(os.urandom(SMALL))
        psk = directory / "psk"
        psk.touch(0o600)
        psk.write_text(os.urandom(32).hex())
        http = stack.enter_context(_process("bench", "tunnel", "--part", "http", "--directory", str(served)))
        direct = stack.enter_context(_process("bench", "tunnel", "--part", "direct"))
        options = ("--psk", str(psk), "--timers", "responsive")
        last = lambda line: line.rsplit(":", 1)[-1]  # noqa: E731
        far = ("fsp_trio.cli", "gateway", *options, "--bind", LOOPBACK, "--port", "0")
        gateway = stack.enter_context(_process(*far, port_of=last))
        near = ("fsp_trio.cli", "tunnel", *options, "--socks", f"{LOOPBACK}:{_free_port()}", f"{LOOPBACK}:{gateway}")
        tunnel = stack.enter_context(_process(*near, port_of=last))
        found: dict[str, dict[str, list[float]]] = {"direct": {}, "tunnel": {}}
        for _ in range(rounds):
            for name, proxy in (("direct", direct), ("tunnel", tunnel)):
                times = found[name]
                target = fetched / "large"
                url = f"http://{LOOPBACK}:{http}"
                times.setdefault("large", []).append(_curl(proxy, "-o", str(target), f"{url}/large"))
                _check(served / "large", target)
                many = ("--parallel", "--parallel-immediate", "--parallel-max", str(OBJECTS))
                pattern = f"{url}/small[0-{OBJECTS - 1}]"
                times.setdefault("small", []).append(_curl(proxy, *many, "-o", str(fetched / "small#1"), pattern))
                for n in range(OBJECTS):
                    _check(served / f"small{n}", fetched / f"small{n}")
        _print(found)


def _free_port() -> int:
    with ThreadingHTTPServer((LOOPBACK, 0), SimpleHTTPRequestHandler) as server:
        return int(server.server_address[1])


def _check(one: Path, other: Path) -> None:
    digests = [hashlib.blake2b(path.read_bytes()).digest() for path in (one, other)]
    if digests[0] != digests[1]:
        raise SystemExit(f"{other.name} is not what was served")
    other.unlink()


def _print(found: dict[str, dict[str, list[float]]]) -> None:
    table = Table(title="curl by SOCKS 5, medians")
    for column in ("", "100 MB", f"{OBJECTS} objects of 1 KB at once"):
        table.add_column(column)
    for name, times in found.items():
        large, small = (statistics.median(times[key]) for key in ("large", "small"))
        table.add_row(name, f"{large:.2f} s, {LARGE / large / 1e6:.0f} MB/s", f"{small * 1000:.0f} ms")
    Console().print(table)
