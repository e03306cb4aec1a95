"""Messages with minimal delay over a session: the newest is wanted, whatever becomes of the older ones (gao-07 8.9)."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import trio

from fsp_trio._guard import Guard
from fsp_trio._halves import octets_of
from fsp_trio.errors import FSPClosedError

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession

__all__ = ["MinimalDelayReceiver", "MinimalDelaySender"]


def checked_capacity(capacity: int) -> int:
    """ValueError or TypeError unless it is a positive integer."""
    capacity = operator.index(capacity)
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, not {capacity}")
    return capacity


class MinimalDelaySender(trio.abc.SendChannel[bytes]):
    """Outgoing messages, each one packet that is sent once; made by `FSPSession.minimal_delay_sender`."""

    def __init__(self, session: FSPSession) -> None:
        self._session = session
        self._closed = False

    @property
    def session(self) -> FSPSession:
        """The session that carries the messages."""
        return self._session

    @property
    def max_message_size(self) -> int:
        """Octets of the largest message: what fits into one packet."""
        return self._session._connection.payload_limit

    def send_nowait(self, message: bytes | bytearray | memoryview) -> None:
        """Send one message of 1 to `max_message_size` octets, now or as soon as the path admits it.

        If `capacity` messages wait already the oldest of them is dropped, and counted in
        `statistics().packets.messages_unsent`.  ValueError if the size is not right; FSPBrokenError if the session
        broke or the peer released it; FSPClosedError after `aclose` of this channel or of the session.
        """
        if self._closed:
            self._session._check_unclosed()
            raise FSPClosedError("the channel was closed by this end")
        self._session._check_sendable()
        data = octets_of(message)
        if not 0 < len(data) <= self.max_message_size:
            raise ValueError(f"a message has 1 to {self.max_message_size} octets, not {len(data)}")
        self._session._send_message(data)

    async def send(self, value: bytes) -> None:
        """As `send_nowait`, with a checkpoint: it never waits for the peer.  Cancelled, it has sent nothing."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.send_nowait(value)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """Send no more messages; those that wait still leave.  Idempotent; the session lives on.

        The peer hears of the end by that of the session: FSP has no other sign for it (8.9).
        """
        self._closed = True
        await trio.lowlevel.checkpoint()


class MinimalDelayReceiver(trio.abc.ReceiveChannel[bytes]):
    """Incoming messages, the earliest of those that are kept first; made by `FSPSession.minimal_delay_receiver`."""

    def __init__(self, session: FSPSession, max_age: float) -> None:
        self._session = session
        self._guard = Guard("another task is receiving from this channel already")
        self._closed = False
        self.max_age = max_age
        """Seconds that a message may have waited here; older ones are thrown away unread."""

    @property
    def session(self) -> FSPSession:
        """The session that carries the messages."""
        return self._session

    async def receive(self) -> bytes:
        """The next message, of at least one octet; what was lost, or made room for newer ones, is skipped.

        trio.EndOfChannel when the peer has released the session and everything was received; FSPBrokenError if the
        session broke, after what had arrived.  FSPClosedError after `aclose`, FSPBusyError while another task receives.
        Cancelled, it loses nothing, though what it would have got may make room for newer messages meanwhile.
        """
        session = self._session
        with self._guard:
            self._check()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while (message := self._take()) is None:
                await session._wait_arrival()
                waited = True
                self._check()
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return message

    def _check(self) -> None:
        self._session._check_unclosed()
        if self._closed:
            self._session._dismissed = False
            raise FSPClosedError("the channel was closed by this end")

    def _take(self) -> bytes | None:
        connection = self._session._connection
        message = connection.read_message(self.max_age, trio.current_time())
        if message is None:
            if connection.failure is not None:
                self._session._raise_broken()
            if connection.peer_released:
                raise trio.EndOfChannel
        return message

    async def aclose(self) -> None:
        """Receive no more; idempotent, does not wait for anything.  The session lives on.

        A task that is blocked in `receive` gets FSPClosedError.
        """
        if not self._closed:
            self._closed = True
            self._session._receiver = None
            if self._guard.held:
                self._session._dismiss_reader()
        await trio.lowlevel.checkpoint()
