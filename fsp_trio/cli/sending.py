"""`fsp-trio send`: the active end of the file protocol (see `protocol`)."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import trio

from fsp_trio._groups import unwrapped
from fsp_trio.cli.connection import Common, opened
from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.protocol import (
    CHUNK,
    DIGEST_SIZE,
    Header,
    ProtocolViolation,
    Verdict,
    VerdictKind,
    expect_message,
    send_message,
)
from fsp_trio.cli.reporting import Advance, Reporter
from fsp_trio.cli.statistics import FileResult, Summary, format_octets
from fsp_trio.errors import FSPBrokenError
from fsp_trio.session import FSPSession

__all__ = ["send_files"]

STORING_TIMEOUT: Final = 300.0
"""Seconds that a receiver may take to store a file whose octets it has."""


async def send_files(paths: Sequence[Path], host: str, port: int, common: Common, reporter: Reporter) -> Summary:
    """Send files, one after the other; those that the receiver does not take are in the summary, with the reason."""
    results: list[FileResult] = []
    async with opened(host, port, common) as session:
        began = trio.current_time()
        for path in paths:
            result = await send_file(session, path, reporter, common.timeout)
            if result.error:
                reporter.error(f"{path.name}: {result.error}")
            else:
                reporter.info(f"{path.name}: {format_octets(result.size)} sent, BLAKE2b-256 {result.digest}")
            results.append(result)
        seconds = trio.current_time() - began
    octets = sum(result.size for result in results if not result.error)
    return Summary.of(session, octets=octets, seconds=seconds, files=results)


async def send_file(session: FSPSession, path: Path, reporter: Reporter, timeout: float) -> FileResult:  # noqa: ASYNC109
    """Send one file; what kept the receiver from storing it is in the result."""
    try:
        file = _open(path)
    except OSError as error:
        return FileResult(path.name, 0, error=f"cannot be read: {error.strerror}")
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return FileResult(path.name, 0, error="not a regular file")
        size = status.st_size
        try:
            if not size and await trio.to_thread.run_sync(_has_octets, file):
                return FileResult(path.name, 0, error="has octets, though its size is told as 0")
        except OSError as error:
            return FileResult(path.name, 0, error=f"cannot be read: {error.strerror}")
        await send_message(session, Header(path.name, size, stat.S_IMODE(status.st_mode)).encode())
        with trio.fail_after(timeout):
            verdict = await _verdict(session)
        if verdict.kind is VerdictKind.REFUSED:
            return FileResult(path.name, size, error=f"refused: {verdict.remark}")
        if verdict.kind is not VerdictKind.GO_AHEAD:
            raise ProtocolViolation("the peer judged a file that it did not have")
        content = _Content(session, file, size)
        with reporter.transfer(path.name, size) as advance, unwrapped():
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as patience:
                    nursery.start_soon(content.send, advance, patience)
                    verdict = await _verdict(session)
                if patience.cancelled_caught:
                    raise CommandError("the receiver does not say what became of the file", Exit.UNREACHABLE)
                content.stop()
        changed = await trio.to_thread.run_sync(content.has_changed)
    result = content.result(path.name, verdict)
    if changed and not result.error:
        reporter.warn(f"{path.name}: its size has changed, or was told wrong; its first {size} octets were sent")
    return result


def _open(path: Path) -> BinaryIO:
    """Without waiting for the other end of what is no regular file."""
    waits_for_nobody = getattr(os, "O_NONBLOCK", 0)
    return open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | waits_for_nobody))


async def _verdict(session: FSPSession) -> Verdict:
    return Verdict.decode_untrusted(await expect_message(session, Verdict.LARGEST))


def _has_octets(file: BinaryIO) -> bool:
    return bool(file.read(1))


class _Content:
    def __init__(self, session: FSPSession, file: BinaryIO, size: int) -> None:
        self._session = session
        self._file = file
        self._size = size
        self._left = size
        self._hash = hashlib.blake2b(digest_size=DIGEST_SIZE)
        self._stopped = False
        self._complete = False

    def stop(self) -> None:
        """The receiver has given its verdict: whatever is not yet sent is of no use."""
        self._stopped = True

    async def send(self, advance: Advance, patience: trio.CancelScope) -> None:
        """Send the content; from its end on the receiver has `patience`."""
        with suppress(FSPBrokenError):  # whoever waits for the verdict tells of it
            await self._send(advance)
        patience.deadline = trio.current_time() + STORING_TIMEOUT

    async def _send(self, advance: Advance) -> None:
        transaction = self._session.send_transaction()
        while self._left and not self._stopped:
            chunk = await trio.to_thread.run_sync(self._read)
            if not chunk:
                break  # shorter than it was: the receiver will find it damaged
            await transaction.send_all(chunk)
            self._left -= len(chunk)
            advance(len(chunk))
        if not self._left:
            await transaction.send_all(self._hash.digest())
            self._complete = True
        await transaction.commit()

    def _read(self) -> bytes:
        chunk = self._file.read(min(CHUNK, self._left)) or b""
        self._hash.update(chunk)
        return chunk

    def has_changed(self) -> bool:
        """The file has another size by now, or goes on behind what was sent."""
        return os.fstat(self._file.fileno()).st_size != self._size or _has_octets(self._file)

    def result(self, name: str, verdict: Verdict) -> FileResult:
        digest = self._hash.digest()
        match verdict.kind:
            case VerdictKind.STORED if self._complete and verdict.digest == digest:
                return FileResult(name, self._size, digest.hex())
            case VerdictKind.STORED:
                return FileResult(name, self._size, error="the receiver stored something else")
            case VerdictKind.DAMAGED if not self._complete:
                return FileResult(name, self._size, error="became shorter while it was read")
            case VerdictKind.DAMAGED:
                return FileResult(name, self._size, error=f"damaged: {verdict.remark}")
            case VerdictKind.REFUSED:
                return FileResult(name, self._size, error=f"refused: {verdict.remark}")
            case _:
                raise CommandError("the peer does not answer as one that receives files")
