"""Two network namespaces with a wire between them, and the programs in one of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from tests.netns import inside, ip, make, nft, output, run, take_away, wire

THEIRS: Final = f"fsp-peer-{os.getpid()}"
OURS: Final = f"fsp-ours-{os.getpid()}"
THEIR_ADDRESS: Final = "10.78.0.1"
OUR_ADDRESS: Final = "10.78.0.2"
START_TIMEOUT: Final = 5.0
OWN_SOCKET: Final = Path("/tmp/FlexibleSessionProsock")
"""Where the service listens for applications if it knows nothing of FSP_SOCK: two of these cannot run at once."""
SHARED_MEMORY: Final = "FlexibleSessionProtocolSHM*"
"""What the author's library leaves in /dev/shm."""


@contextmanager
def namespaces() -> Iterator[None]:
    """Makes both, and takes them away with everything that still runs in them, also when a signal ends it all."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        make(THEIRS, OURS)
        wire(THEIRS, OURS, "wire", "wire")
        for name, address in ((THEIRS, THEIR_ADDRESS), (OURS, OUR_ADDRESS)):
            ip(name, f"addr add {address}/24 dev wire")
        yield
    finally:
        take_away(THEIRS, OURS)


def loss_rules(one_in: int) -> str:
    """For nft: every so many-th datagram of FSP that arrives is dropped."""
    return (
        "add table ip loss\n"
        "add chain ip loss arriving { type filter hook input priority 0 ; }\n"
        f"add rule ip loss arriving udp dport 18003 numgen inc mod {one_in} == {one_in - 1} counter drop\n"
    )


def dropped(listing: str) -> int:
    """How many datagrams a rule of `loss_rules` has dropped, as nft lists it."""
    found = re.search(r"counter packets (\d+)", listing)
    return int(found[1]) if found is not None else 0


@contextmanager
def loss(one_in: int) -> Iterator[Callable[[], list[int]]]:
    """Datagrams are lost where they arrive, on both sides; gives what tells how many, theirs and ours."""
    if not one_in:
        yield list
        return
    for name in (THEIRS, OURS):
        nft(name, loss_rules(one_in))
    try:
        yield lambda: [dropped(output(*inside(name, "nft", "list", "ruleset"))) for name in (THEIRS, OURS)]
    finally:
        for name in (THEIRS, OURS):
            run(*inside(name, "nft", "delete", "table", "ip", "loss"), check=False)


@contextmanager
def capture(file: Path | None) -> Iterator[None]:
    """All datagrams of our side, those that are lost on arrival too, if there is a file for them."""
    if file is None:
        yield
        return
    command = inside(OURS, "tcpdump", "--immediate-mode", "-U", "-Z", "root", "-i", "wire", "-w", str(file), "udp")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            process.stderr.readline()  # it listens
            yield
        finally:
            time.sleep(0.1)
            process.terminate()


def in_use(name: str) -> bool:
    """A program that puts its process number into the name still runs: another harness plays beside this one."""
    found = re.search(r"SHM(\d+)\.", name)
    return found is not None and Path("/proc", found[1]).exists()


@contextmanager
def service(program: Path, socket: Path, environment: dict[str, str]) -> Iterator[None]:
    """The author's lower layer service, as long as the block lasts."""
    sockets = (socket, OWN_SOCKET)
    for each in sockets:
        each.unlink(missing_ok=True)
    before = set(Path("/dev/shm").glob(SHARED_MEMORY))
    process = subprocess.Popen(
        inside(THEIRS, str(program)),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_TIMEOUT
        while not any(each.exists() for each in sockets):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"{program} does not make its socket")
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()
        for left in set(Path("/dev/shm").glob(SHARED_MEMORY)) - before:
            if not in_use(left.name):
                left.unlink(missing_ok=True)
        socket.unlink(missing_ok=True)


class Log:
    """What a program says, kept for the report of a failure."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the collector)

    def tail(self, lines: int = 6) -> list[str]:
        self.file.seek(0)
        return self.file.read().decode(errors="replace").splitlines()[-lines:]
