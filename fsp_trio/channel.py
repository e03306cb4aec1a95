"""FSPChannel: a session as a channel of values, each a transmit transaction of its own."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from fsp_trio._guard import Guard
from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.errors import FSPBrokenError

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession

__all__ = ["FSPChannel"]

MAXIMUM_UNACKNOWLEDGED_VALUES: Final = 256
"""Values sent and not yet acknowledged after which `send` waits, however small they are."""


class FSPChannel(trio.abc.Channel[bytes]):
    """Values of bytes, whole and in order, both ways; made by `FSPSession.channel`.

    Each value is one transmit transaction (gao-07 8.2 to 8.4), and the next one leaves when the peer has
    acknowledged it: one value per round trip and direction.
    """

    def __init__(self, session: FSPSession, max_value_size: int, *, compressed: bool = False) -> None:
        max_value_size = operator.index(max_value_size)
        if max_value_size < 0:
            raise ValueError(f"max_value_size must not be negative, but is {max_value_size}")
        self._session = session
        self._compressed = compressed
        self._guard = Guard("another task is receiving from this channel already")
        self._parts: list[bytes] = []
        self._size = 0
        self.max_value_size = max_value_size
        """Octets of the largest value that may be sent or received."""

    @property
    def session(self) -> FSPSession:
        """The session that carries the channel."""
        return self._session

    async def send(self, value: bytes) -> None:
        """Send one value: 0 to `max_value_size` octets.

        Waits while `Settings.send_buffer` octets or 256 values are unacknowledged, then queues the value whole:
        a cancelled `send` has sent nothing.  Several tasks may send at the same time.  ValueError if the value is
        too long; FSPBrokenError if the session broke or the peer released it; FSPClosedError after `aclose`.
        """
        session = self._session
        session._check_unclosed()
        if len(value) > self.max_value_size:
            raise ValueError(f"a value of {len(value)} octets exceeds max_value_size, {self.max_value_size}")
        data = bytes(value)
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = await session._wait_room(MAXIMUM_UNACKNOWLEDGED_VALUES)
        if self._compressed:
            session._compress()
        session._connection.send(data)
        session._commit()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> bytes:
        """The next value.

        trio.EndOfChannel when the peer has closed gracefully, or gone over to messages, and everything was received;
        FSPBrokenError if the session broke, after all whole values that had arrived.  A value longer than
        `max_value_size` resets the session: FSPBrokenError here, with reason MESSAGE_TOO_LONG, and at the peer.
        FSPClosedError after `aclose`, FSPBusyError while another task receives.  Cancelled, it loses nothing.
        """
        session = self._session
        with self._guard:
            session._check_unclosed()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while (value := self._take()) is None:
                await session._wait_arrival()
                waited = True
                session._check_unclosed()
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return value

    def _take(self) -> bytes | None:
        session = self._session
        connection = session._connection
        while self._size <= self.max_value_size and (data := connection.read(self.max_value_size - self._size + 1)):
            self._parts.append(data)
            self._size += len(data)
        if self._size > self.max_value_size:
            self._refuse()
        if connection.at_end:
            connection.next_transaction()
            session._after_reading()
            value = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            return value
        if connection.failure is not None:
            session._raise_broken()
        if connection.peer_released or connection.messages is not None:
            raise trio.EndOfChannel
        session._after_reading()
        return None

    def _refuse(self) -> NoReturn:
        self._session._break(ResetReason.MESSAGE_TOO_LONG)
        raise FSPBrokenError(
            f"the peer sent a value of more than {self.max_value_size} octets",
            kind=FailureKind.RESET_LOCALLY,
            reason=ResetReason.MESSAGE_TOO_LONG,
        )

    async def aclose(self) -> None:
        """Deliver what was sent and close the session as `FSPSession.aclose` does; idempotent.

        Errors, and what a cancellation loses, as there.
        """
        await self._session.aclose()
