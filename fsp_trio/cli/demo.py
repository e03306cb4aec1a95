"""`make demo`: a real file from one process to another over FSP, encrypted, and a look at whether it arrived.

The file is the Python standard library in a tar archive, which every machine has that can run this.
"""

from __future__ import annotations

import hashlib
import secrets
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import trio
import trio.abc

from fsp_trio._groups import unwrapped
from fsp_trio.cli.statistics import format_octets

__all__ = ["main", "run_demo"]

SIZE: Final = 64 * 2**20
"""Octets that the file has at least."""
DEADLINE: Final = 300.0
_COMMAND: Final = (sys.executable, "-m", "fsp_trio.cli")


def make_archive(path: Path, at_least: int) -> None:
    """The standard library, again under another name until there is enough of it."""
    library = Path(sysconfig.get_path("stdlib"))

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = set(Path(member.name).parts)
        return None if parts & {"site-packages", "dist-packages", "__pycache__"} else member

    with tarfile.open(path, "w") as archive:
        copy = 0
        while path.stat().st_size < at_least:
            copy += 1
            archive.add(library, f"python-library-{copy}", filter=wanted)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _End:
    """One of the two processes; what it says is shown and remembered."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._name = name
        self._arguments = arguments
        self._said = trio.Event()
        self.first_line = ""

    async def run(self) -> None:
        """RuntimeError if it exits with another code than 0."""
        command = [*_COMMAND, *self._arguments]
        print(f"$ fsp-trio {' '.join(self._arguments)}", flush=True)
        start = partial(trio.run_process, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        try:
            async with trio.open_nursery() as nursery:
                process: trio.Process = await nursery.start(start)
                assert process.stdout is not None
                async with process.stdout:
                    await self._relay(process.stdout)
                code = await process.wait()
        finally:
            self._said.set()
        if code:
            raise RuntimeError(f"{self._name} exited with code {code}")

    async def _relay(self, output: trio.abc.ReceiveStream) -> None:
        rest = ""
        async for data in output:
            *lines, rest = (rest + data.decode("utf-8", "replace")).split("\n")
            for line in lines:
                self._show(line)
        if rest:
            self._show(rest)

    def _show(self, line: str) -> None:
        print(f"{self._name:>8} | {line}", flush=True)
        self.first_line = self.first_line or line
        self._said.set()

    async def wait_said(self) -> str:
        await self._said.wait()
        return self.first_line


async def run_demo(directory: Path, size: int = SIZE) -> None:
    """The whole play in an empty directory; RuntimeError if something is not as it should be."""
    source, out, psk = directory / "standard-library.tar", directory / "received", directory / "psk"
    await trio.to_thread.run_sync(make_archive, source, size)
    out.mkdir()
    psk.touch(0o600)
    psk.write_bytes(secrets.token_bytes(32))
    print(f"{source.name}: {format_octets(source.stat().st_size)}", flush=True)

    # port 0: the system chooses a free one, and the receiver tells which
    receiver = _End(
        "receiver", "receive", "--psk", str(psk), "--out", str(out), "--once", "--bind", "127.0.0.1", "--port", "0"
    )
    try:
        with unwrapped(), trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receiver.run)
                announcement = await receiver.wait_said()
                if not announcement.startswith("listening on "):
                    raise RuntimeError("the receiver does not listen")
                address = announcement.removeprefix("listening on ")
                await _End("sender", "send", "--psk", str(psk), str(source), address).run()
    except trio.TooSlowError:
        raise RuntimeError(f"not done in {DEADLINE:g} seconds") from None

    digests = [await trio.to_thread.run_sync(sha256, path) for path in (source, out / source.name)]
    if len(set(digests)) != 1:
        raise RuntimeError(f"the digests differ: SHA-256 {digests[0]} was sent, {digests[1]} was received")
    print(f"SHA-256 of both files, calculated independently: {digests[0]}: they are the same", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="fsp-trio-demo-") as directory:
        try:
            trio.run(run_demo, Path(directory))
        except (RuntimeError, OSError) as error:
            print(f"demo failed: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
