"""FSPStream: a session as a byte stream that can be closed by halves."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import trio

from fsp_trio._halves import IncomingHalf, OutgoingHalf

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession

__all__ = ["FSPStream"]


class FSPStream(trio.abc.HalfCloseableStream):
    """Exactly one transmit transaction each way; made by `FSPSession.stream` and `FSPListener.accept`.

    As an asynchronous context manager it is closed at the end of the block; left by an exception before
    `send_eof`, it resets the session, so that the peer cannot mistake what it got for everything.
    """

    def __init__(self, session: FSPSession) -> None:
        self._session = session
        self._outgoing = OutgoingHalf(session)
        self._incoming = IncomingHalf(session)

    @property
    def session(self) -> FSPSession:
        """The session that carries the stream: keys, statistics, addresses, `reset`."""
        return self._session

    @property
    def sending_ended(self) -> bool:
        """`send_eof` or `aclose` was called."""
        return self._outgoing.ordinal is not None

    @property
    def receiving_ended(self) -> bool:
        """`receive_some` has given b""."""
        return self._incoming.ended

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets; wait while too many are unacknowledged (gao-07 8.2, 8.3).

        `data` is any number of octets.  At most `Settings.send_buffer` octets are queued or unacknowledged at a
        time.  Cancelled, it leaves queued what was queued already, and that will be delivered; the rest of `data`
        is not.  FSPBrokenError if the session broke or the peer released it, FSPClosedError after `send_eof` or
        `aclose`, FSPBusyError while another task is in a sending method.
        """
        await self._outgoing.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until at least one octet may be queued; errors as for `send_all`.  Cancelled, it loses nothing."""
        await self._outgoing.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the outgoing transaction (EoT, gao-07 8.4.1), without waiting for its acknowledgement; idempotent.

        `session.wait_acknowledged()` waits for it.  Errors as for `send_all`.  Cancelled, it has done nothing.
        """
        await self._outgoing.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At least one octet and at most `max_bytes` (65,536 by default); b"" at the end, then for ever.

        The end is the end of the peer's transaction, or its release of the session.  Octets that arrived in order
        before the session broke are given first, then FSPBrokenError, unless the peer's transaction was complete.
        FSPClosedError after `aclose`, FSPBusyError while another task receives, ValueError or TypeError if
        `max_bytes` is not a positive integer.  Cancelled, it loses nothing.
        """
        return await self._incoming.receive_some(max_bytes)

    async def aclose(self) -> None:
        """End the outgoing transaction and close the session as `FSPSession.aclose` does; idempotent.

        Errors, and what a cancellation loses, as there.
        """
        await self._session.aclose()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and not self.sending_ended:
            self._session.reset()
        await self.aclose()
