"""The two halves of a byte stream over a session: what FSPStream and the transactions share."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

import trio

from fsp_trio._guard import Guard
from fsp_trio.errors import FSPClosedError

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession

RECEIVE_SIZE: Final = 65_536
"""Most octets that one `receive_some` gives unless told otherwise."""


def octets_of(data: bytes | bytearray | memoryview) -> bytes:
    """As bytes, which nobody changes any more.  TypeError for what has no octets."""
    return data if isinstance(data, bytes) else memoryview(data).tobytes()


class OutgoingHalf:
    """One outgoing transmit transaction, octet by octet."""

    __slots__ = ("_guard", "_session", "ordinal")

    def __init__(self, session: FSPSession) -> None:
        self._session = session
        self._guard = Guard("another task is sending here already")
        self.ordinal: int | None = None
        """Ordinal of the transaction once it was ended."""

    def _check(self) -> None:
        session = self._session
        if session._closed or self.ordinal is not None or session._connection.peer_released:
            session._check_unclosed()
            if self.ordinal is not None:
                raise FSPClosedError("the transaction was ended by this end")
            session._check_sendable()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        session = self._session
        with self._guard:
            self._check()
            await trio.lowlevel.checkpoint_if_cancelled()
            if not isinstance(data, bytes):
                data = octets_of(data)  # the caller may change it once we have returned
            size = len(data)
            position = size if session._send_alone(data) else 0
            waited = False
            while position < size:
                free = session._free_octets
                if free <= 0:
                    await session._wait_room()
                    waited = True
                    self._check()
                    continue
                end = position + free
                session._send(data if position == 0 and end >= size else data[position:end])
                position = end
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        with self._guard:
            self._check()
            await trio.lowlevel.checkpoint_if_cancelled()
            if not await self._session._wait_room():
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._check()

    @property
    def busy(self) -> bool:
        """A task is in one of the sending methods."""
        return self._guard.held

    def end(self) -> int:
        """End the transaction on the spot (EoT, gao-07 8.4.1); its ordinal.  Idempotent.

        FSPBusyError while a task sends: what it has sent so far is not the whole.
        """
        if self.ordinal is None:
            with self._guard:
                self._end()
        assert self.ordinal is not None
        return self.ordinal

    def _end(self) -> None:
        self.ordinal = self._session._commit()

    async def send_eof(self) -> None:
        with self._guard:
            if self.ordinal is None:
                self._check()
                await trio.lowlevel.checkpoint_if_cancelled()
                self._end()
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:
                self._session._check_unclosed()
                await trio.lowlevel.checkpoint()


class IncomingHalf:
    """One incoming transmit transaction, octet by octet."""

    __slots__ = ("_guard", "_session", "closed", "ended")

    def __init__(self, session: FSPSession) -> None:
        self._session = session
        self._guard = Guard("another task is receiving here already")
        self.closed = False
        """By the application; nothing more is received here."""
        self.ended = False
        """The end of the transaction was reached."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        limit = RECEIVE_SIZE if max_bytes is None else operator.index(max_bytes)
        if limit < 1:
            raise ValueError(f"max_bytes must be at least 1, not {limit}")
        session = self._session
        with self._guard:
            self._check()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while (data := self._take(limit)) is None:
                await session._wait_arrival()
                waited = True
                if session._closed or self.closed:
                    self._check()
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    def close(self) -> None:
        """Receive no more here; whoever waits for octets is told."""
        self.closed = True
        if self._guard.held:
            self._session._dismiss_reader()

    def _check(self) -> None:
        self._session._check_unclosed()
        if self.closed:
            self._session._dismissed = False
            raise FSPClosedError("the transaction was closed by this end")

    def _take(self, limit: int) -> bytes | None:
        """Octets, b"" at the end, None if there is nothing yet."""
        if self.ended:
            return b""
        session = self._session
        connection = session._connection
        data = connection.read(limit)
        if not data:
            if connection.at_end:
                connection.next_transaction()
            elif connection.failure is not None:
                session._raise_broken()
            elif not connection.peer_released:
                return None
            self.ended = True
        session._after_reading()
        return data
