"""Two network namespaces with a wire between them, and the programs in one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

THEIRS: Final = "fsp-peer"
OURS: Final = "fsp-ours"
THEIR_ADDRESS: Final = "10.78.0.1"
OUR_ADDRESS: Final = "10.78.0.2"
START_TIMEOUT: Final = 5.0


def run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True)


@contextmanager
def namespaces() -> Iterator[None]:
    """Makes both, and takes them away with everything that still runs in them."""
    take_away()
    try:
        for name in (THEIRS, OURS):
            run("ip", "netns", "add", name)
        run("ip", "-n", THEIRS, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", OURS)
        for name, address in ((THEIRS, THEIR_ADDRESS), (OURS, OUR_ADDRESS)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            for link in ("lo", "wire"):
                run("ip", "-n", name, "link", "set", link, "up")
        yield
    finally:
        take_away()


def take_away() -> None:
    for name in (THEIRS, OURS):
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", name, check=False)


@contextmanager
def loss(one_in: int) -> Iterator[None]:
    """Every so many-th datagram of FSP is dropped where it arrives, on both sides."""
    if not one_in:
        yield
        return
    for name in (THEIRS, OURS):
        rules = (
            "add table ip loss\n"
            "add chain ip loss arriving { type filter hook input priority 0 ; }\n"
            f"add rule ip loss arriving udp dport 18003 numgen inc mod {one_in} == {one_in - 1} counter drop\n"
        )
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=rules.encode(), check=True)
    try:
        yield
    finally:
        for name in (THEIRS, OURS):
            run("ip", "netns", "exec", name, "nft", "delete", "table", "ip", "loss", check=False)


@contextmanager
def service(program: Path, socket: Path, environment: dict[str, str]) -> Iterator[None]:
    """The author's lower layer service, as long as the block lasts."""
    socket.unlink(missing_ok=True)
    process = subprocess.Popen(
        ["ip", "netns", "exec", THEIRS, str(program)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_TIMEOUT
        while not socket.exists():
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"{program} does not make its socket")
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()
        for left in Path("/dev/shm").glob("FlexibleSessionProtocolSHM*"):
            left.unlink(missing_ok=True)


class Log:
    """What a program says, kept for the report of a failure."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the collector)

    def tail(self, lines: int = 6) -> list[str]:
        self.file.seek(0)
        return self.file.read().decode(errors="replace").splitlines()[-lines:]
