"""Transmit transactions as streams: octets that have a beginning, an end and an acknowledgement as a whole."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from fsp_trio._halves import RECEIVE_SIZE, IncomingHalf, OutgoingHalf
from fsp_trio.core.failure import ResetReason
from fsp_trio.errors import FSPClosedError

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession

__all__ = ["ReceiveTransaction", "SendTransaction"]


class SendTransaction(trio.abc.SendStream):
    """An outgoing transmit transaction (gao-07 8.2 to 8.4); made by `FSPSession.send_transaction`.

    As an asynchronous context manager it is ended and its acknowledgement awaited at the end of the block.  If the
    block is left by an exception, cancellation included, before the transaction was ended, the session is reset: a
    part of a transaction must not look like the whole.
    """

    def __init__(self, session: FSPSession) -> None:
        self._session = session
        self._half = OutgoingHalf(session)

    @property
    def session(self) -> FSPSession:
        """The session that carries the transaction."""
        return self._session

    @property
    def ended(self) -> bool:
        """The end of the transaction was queued; nothing more can be sent in it."""
        return self._half.ordinal is not None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets; wait while the peer has too many of them unacknowledged.

        `data` is any number of octets.  At most `Settings.send_buffer` octets are queued or unacknowledged at a
        time.  Cancelled, it leaves queued what was queued already, and that will be delivered; the rest of `data`
        is not.  FSPBrokenError if the session broke or the peer released it, FSPClosedError after the end of the
        transaction or of the session, FSPBusyError while another task sends in the same transaction.
        """
        await self._half.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until at least one octet may be queued; errors as for `send_all`.  Cancelled, it loses nothing."""
        await self._half.wait_send_all_might_not_block()

    def end(self) -> None:
        """End the transaction (EoT, gao-07 8.4.1) without waiting for its acknowledgement; idempotent.

        `FSPSession.wait_acknowledged` waits for it.  FSPBrokenError if the session broke, FSPClosedError if this end
        closed it, FSPBusyError while another task sends in it, unless the transaction was ended before.
        """
        if not self.ended:
            self._session._check_sendable()
            self._half.end()

    async def commit(self) -> None:
        """End the transaction and wait until the peer has acknowledged it as a whole (gao-07 8.4, ACK_FLUSH).

        CommitTimeout if nothing is acknowledged for 30 seconds (8.4.4): the session lives on.  FSPBrokenError if it
        breaks before, FSPClosedError if this end closes the session meanwhile, FSPBusyError while another task
        sends in the transaction.  The end is queued before the
        first wait, so a `commit` cancelled while it waits loses nothing but the news of the acknowledgement; one
        called in a scope that is cancelled already has done nothing.  Idempotent.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.ended:
            self._session._check_sendable()
        await self._session._wait_delivered(self._half.end())

    async def aclose(self) -> None:
        """As `commit`.  But cancelled before it could end the transaction, it resets the session instead.

        So it does while another task sends in the transaction, and that task gets FSPClosedError.  It never raises
        FSPClosedError or FSPBusyError itself.
        """
        if self._session._closed:
            await trio.lowlevel.checkpoint()
            return
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            self._break_off()
            raise
        if self._half.busy:
            self._break_off()
        with suppress(FSPClosedError):
            await self.commit()

    def _break_off(self) -> None:
        if not self.ended:
            self._session.reset(ResetReason.APPLICATION)

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._break_off()
        await self.aclose()


class ReceiveTransaction(trio.abc.ReceiveStream):
    """An incoming transmit transaction; made by `FSPSession.receive_transaction` or by iterating over a session.

    Iterating over it gives its octets in pieces.  Closing it before its end throws the rest of it away, when the
    next transaction is asked for.
    """

    def __init__(self, session: FSPSession) -> None:
        self._session = session
        self._half = IncomingHalf(session)

    @property
    def session(self) -> FSPSession:
        """The session that carries the transaction."""
        return self._session

    @property
    def ended(self) -> bool:
        """The end of the transaction was reached: `receive_some` has given b""."""
        return self._half.ended

    @property
    def closed(self) -> bool:
        """`aclose` was called."""
        return self._half.closed

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one octet and at most `max_bytes` (65,536 by default), b"" at the end of the transaction.

        Octets that arrived in order before the session broke are given first, then FSPBrokenError.
        FSPClosedError after `aclose`, FSPBusyError while another task receives, ValueError or TypeError if
        `max_bytes` is not a positive integer.  Cancelled, it loses nothing.
        """
        return await self._half.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Read no more of this transaction; idempotent, does not wait for anything.

        A task that is blocked in `receive_some` gets FSPClosedError.
        """
        self._half.close()
        await trio.lowlevel.checkpoint()

    def _discard(self) -> bool:
        """Throw away what is there of a transaction that was closed early; False if its end is still to come."""
        while not self._half.ended:
            if self._half._take(RECEIVE_SIZE) is None:
                return False
        return True
