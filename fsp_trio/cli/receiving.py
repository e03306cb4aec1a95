"""`fsp-trio receive`: the passive end of the file protocol (see `protocol`)."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from fsp_trio._groups import unwrapped
from fsp_trio.cli.connection import Common, accept_key, listening, refuse_key
from fsp_trio.cli.exits import ALREADY_TOLD, CommandError, Exit, explain
from fsp_trio.cli.names import UnusableName, safe_name
from fsp_trio.cli.protocol import (
    CHUNK,
    DIGEST_SIZE,
    Header,
    Verdict,
    VerdictKind,
    read_message,
    send_message,
)
from fsp_trio.cli.reporting import Reporter
from fsp_trio.cli.statistics import FileResult, Summary, format_address, format_octets
from fsp_trio.cli.storage import CannotStore, IncomingFile, Store
from fsp_trio.errors import FSPError
from fsp_trio.listener import FSPListener
from fsp_trio.session import FSPSession

__all__ = ["Reception", "receive_files"]

STALL_TIMEOUT: Final = 120.0
"""Seconds without the next octet, or the next file, after which a sender is given up."""


async def receive_files(
    store: Store,
    common: Common,
    reporter: Reporter,
    *,
    once: bool = False,
    task_status: trio.TaskStatus[FSPListener] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take files from senders until cancelled, or with `once` from the first sender only, whatever comes of it.

    With `once` CommandError, or what broke the session, if not every file was stored.
    """
    with unwrapped():
        async with listening(common, reporter) as listener, trio.open_nursery() as nursery:
            task_status.started(listener)
            while not once:
                session = await listener.accept_session()
                nursery.start_soon(_serve, session, store, common, reporter)
            await Reception(await listener.accept_session(), store, common, reporter).run()


async def _serve(session: FSPSession, store: Store, common: Common, reporter: Reporter) -> None:
    """One sender among others: its errors are told, and end nothing but its session."""
    try:
        await Reception(session, store, common, reporter).run()
    except (CommandError, FSPError, trio.TooSlowError, OSError) as error:
        if message := explain(error)[0]:
            reporter.error(f"{format_address(session.remote_address)}: {message}")


class _Damaged(Exception):
    """What came is not what was announced."""


@contextmanager
def _patience() -> Iterator[None]:
    """Gives a sender so much time to go on."""
    try:
        with trio.fail_after(STALL_TIMEOUT):
            yield
    except trio.TooSlowError:
        raise CommandError("the sender stalled", Exit.UNREACHABLE) from None


class Reception:
    """One session with a sender."""

    def __init__(self, session: FSPSession, store: Store, common: Common, reporter: Reporter) -> None:
        self._session = session
        self._store = store
        self._common = common
        self._reporter = reporter
        self._results: list[FileResult] = []

    async def run(self) -> None:
        """Until the sender releases the session; CommandError, or what broke it, unless all files were stored."""
        session = self._session
        async with session:
            await accept_key(session, self._common)
            began = trio.current_time()
            while (header := await self._next_header()) is not None:
                self._results.append(await self._receive(header))
            seconds = trio.current_time() - began
        stored = [result for result in self._results if not result.error]
        octets = sum(result.size for result in stored)
        self._reporter.summary(Summary.of(session, octets=octets, seconds=seconds, files=self._results))
        if not self._results:
            raise CommandError("the sender sent nothing")
        if len(stored) < len(self._results):
            raise CommandError(ALREADY_TOLD)

    async def _next_header(self) -> Header | None:
        with _patience():
            try:
                message = await read_message(self._session, Header.LARGEST)
            except trio.EndOfChannel:
                return None
        if self._common.key is None:
            refuse_key(self._session, message)
        return Header.decode_untrusted(message)

    async def _receive(self, header: Header) -> FileResult:
        try:
            name = safe_name(header.name)
        except UnusableName as error:
            return await self._refuse(header.name, header, str(error))
        try:
            file = await trio.to_thread.run_sync(self._store.begin, name, header.size, header.mode)
        except CannotStore as error:
            return await self._refuse(name, header, str(error))
        with file:
            await send_message(self._session, Verdict(VerdictKind.GO_AHEAD).encode())
            try:
                await self._take(file, name, header.size)
            except _Damaged as error:
                return await self._refuse(name, header, str(error), VerdictKind.DAMAGED)
            except CannotStore as error:
                return await self._refuse(name, header, str(error))
        digest = file.digest
        await send_message(self._session, Verdict(VerdictKind.STORED, digest=digest).encode())
        self._reporter.info(f"{name}: {format_octets(header.size)} received, BLAKE2b-256 {digest.hex()}")
        return FileResult(name, header.size, digest.hex())

    async def _refuse(
        self, name: str, header: Header, reason: str, kind: VerdictKind = VerdictKind.REFUSED
    ) -> FileResult:
        self._reporter.error(f"{name}: {reason}")
        await send_message(self._session, Verdict(kind, reason).encode())
        return FileResult(name, header.size, error=reason)

    async def _take(self, file: IncomingFile, name: str, size: int) -> None:
        """The content and its digest, then the name; if it fails the session goes on with the next file."""
        with _patience():
            try:
                transaction = await self._session.receive_transaction()
            except trio.EndOfChannel:
                raise CommandError("the sender ended the session early") from None
        async with transaction:
            pending = bytearray()
            left = size
            with self._reporter.transfer(name, size) as advance:
                while left:
                    with _patience():
                        data = await transaction.receive_some(min(left, 65_536))
                    if not data:
                        raise _Damaged("it ended early")
                    left -= len(data)
                    advance(len(data))
                    pending += data
                    if len(pending) >= CHUNK or not left:
                        await trio.to_thread.run_sync(file.write, bytes(pending))
                        pending.clear()
            digest = b""
            while len(digest) <= DIGEST_SIZE:
                with _patience():
                    data = await transaction.receive_some(DIGEST_SIZE + 1 - len(digest))
                if not data:
                    break
                digest += data
            if not hmac.compare_digest(digest, file.digest):
                raise _Damaged("content and digest disagree")
            await trio.to_thread.run_sync(file.finish)
