"""FSPSession: one end of a session, and what an application can do with it.

The protocol is `core.Connection`, tasks and waiting are `_engine.SessionEngine`, branches
`_multiplying.MultiplyingEngine`; this is Trio's manners.
"""

from __future__ import annotations

import errno
import math
import operator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

import trio

from fsp_trio._multiplying import MultiplyingEngine
from fsp_trio.channel import FSPChannel
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ConnectionMisuse, KeyInstallationRefused, ResetReason
from fsp_trio.core.messages import MESSAGES_KEPT
from fsp_trio.core.paths import Address, Path
from fsp_trio.errors import FSPBusyError, KeyInstallationError, raise_broken
from fsp_trio.keylog import log_key
from fsp_trio.minimal_delay import MinimalDelayReceiver, MinimalDelaySender, checked_capacity
from fsp_trio.revisions.states import CONNECTED, State
from fsp_trio.statistics import SessionStatistics
from fsp_trio.streams import FSPStream
from fsp_trio.transactions import ReceiveTransaction, SendTransaction

if TYPE_CHECKING:
    from fsp_trio.endpoint import FSPEndpoint

__all__ = ["FSPSession"]

LINGER_LIMIT: Final = 60.0
"""Seconds that a closed session waits for the end of the peer's transaction before it is reset (gao-07 12.4)."""


class FSPSession(MultiplyingEngine):
    """One end of an established session with one peer.

    Sessions come from `FSPEndpoint.open_session`, `open_fsp_session`, `FSPListener.accept_session` and `serve_fsp`.
    What is sent travels in transmit transactions, octet streams with an end that the peer acknowledges as a
    whole (gao-07 3.4, 8.4).  A session is used in one of three ways at a time:

    * `send_transaction()` and `receive_transaction()`, or `async for transaction in session`;
    * `stream()`, one transaction each way;
    * `channel()`, one value per transaction.

    Each direction can go over, for good, to messages of which only the newest are wanted: `minimal_delay_sender()` and
    `minimal_delay_receiver()`.

    As an asynchronous context manager it is closed at the end of the block (`aclose`); if the block is left by an
    exception it is reset instead, so that the peer cannot mistake half of a transaction for a whole one.
    """

    __slots__ = ("_reader", "_receiver", "_receiving", "_user", "_writer", "welcome")

    def __init__(self, endpoint: FSPEndpoint, connection: Connection, welcome: bytes = b"") -> None:
        super().__init__(endpoint, connection)
        self.welcome = welcome
        """The octets that this end sent with ACK_CONNECT_REQ; b"" for a session opened from here."""
        self._user: FSPStream | FSPChannel | None = None
        self._reader: ReceiveTransaction | None = None
        self._writer: SendTransaction | None = None
        self._receiving = False
        self._receiver: MinimalDelayReceiver | None = None

    @property
    def _itself(self) -> FSPSession:
        return self

    # looking

    @property
    def endpoint(self) -> FSPEndpoint:
        """The endpoint whose port this session uses."""
        return self._endpoint

    @property
    def state(self) -> State:
        """The state of the protocol's finite state machine (gao-07 section 5)."""
        return self._connection.state

    @property
    def states_passed(self) -> list[State]:
        """The states entered so far, in order; the newest 256."""
        return list(self._connection.states_passed)

    @property
    def remote_address(self) -> Address:
        """Where packets are sent now: for UDP a pair of address and port; it follows the peer (10.3, 10.5)."""
        return self._connection.remote

    @property
    def paths(self) -> list[Path]:
        """The ways to the peer that are known, the one in use first (gao-07 10.5, 10.6); up to 16.

        There are others where the endpoint uses several addresses (`Settings.multihoming`), or where the peer has told
        further ones.
        """
        known = self._source[1] or self._endpoint.local_address
        return [path if path.local is not None else replace(path, local=known) for path in self._connection.paths()]

    @property
    def local_ultid(self) -> bytes:
        """This end's upper layer thread ID, 4 octets in network order (gao-07 3.2)."""
        return self._connection.local_ultid

    @property
    def remote_ultid(self) -> bytes:
        """The peer's upper layer thread ID, 4 octets in network order."""
        return self._connection.remote_ultid

    @property
    def protection(self) -> str:
        """What protects the packets of the newest key: "crc64" (nothing secret), "mac" or "aead"."""
        return self._connection.keyring.sending.newest.secret.mode

    @property
    def peer_released(self) -> bool:
        """The peer has released the session, or it is over: no transaction will come that has not come already."""
        return self._connection.peer_released

    @property
    def closed_confirmed(self) -> bool:
        """The peer confirmed the graceful end (gao-07 9.3, M39); known once `aclose` has returned."""
        return self._connection.closed_confirmed

    def statistics(self) -> SessionStatistics:
        """Counters and estimates as they stand now; see SessionStatistics."""
        return SessionStatistics.of(self)

    def __repr__(self) -> str:
        return f"<FSPSession {self.local_ultid.hex()} to {self.remote_address} {self.state.name}>"

    # using

    def send_transaction(self, *, compressed: bool = False) -> SendTransaction:
        """Begin an outgoing transmit transaction (gao-07 8.2).

        `compressed`: its octets travel as LZ4 blocks (8.8), which leave whenever 131,072 of them are there, and at the
        end.  The peer learns of it by a flag, its application need not know.  ValueError in revisions without it.

        Nothing is sent before its first octets are, or its end is.  FSPBusyError if the one before has not been
        ended, or while the session serves a stream or channel; FSPClosedError after `aclose` or `reset`.
        """
        self._check_unclosed()
        self._check_unused()
        self._check_unsending()
        if compressed:
            self._check_sendable()
            self._compress()
        self._writer = SendTransaction(self)
        return self._writer

    async def receive_transaction(self) -> ReceiveTransaction:
        """Wait for the peer's next transmit transaction to begin.

        If the one before was closed early, the rest of it is thrown away.  trio.EndOfChannel when the peer has
        released the session, or gone over to messages, and everything was read; FSPBrokenError if the session broke;
        FSPBusyError if the transaction before is still open; FSPClosedError after `aclose` or `reset`.  Cancelled, it
        loses nothing.
        """
        self._check_unclosed()
        self._check_unused()
        if self._connection.failure is not None and not self._connection.readable:
            self._raise_broken()
        if self._receiving or (self._reader is not None and not (self._reader.ended or self._reader.closed)):
            raise FSPBusyError("the incoming transaction has not been read to its end")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            while not self._next_began():
                await self._wait_arrival()
                waited = True
                self._check_unclosed()
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._receiving = False
        self._reader = ReceiveTransaction(self)
        return self._reader

    def _next_began(self) -> bool:
        """Something of the next incoming transaction is there; raises if none will come."""
        if self._reader is not None:
            if not self._reader._discard():
                return False
            self._reader = None
        connection = self._connection
        if connection.readable:
            return True
        if connection.failure is not None:
            self._raise_broken()
        if connection.peer_released or connection.messages is not None:
            raise trio.EndOfChannel
        return False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceiveTransaction:
        """The peer's next transaction; the loop ends where `receive_transaction` raises trio.EndOfChannel."""
        try:
            return await self.receive_transaction()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def stream(self, *, compressed: bool = False) -> FSPStream:
        """The session as a byte stream: the next transaction each way; `compressed` as for `send_transaction`.

        FSPBusyError if a transaction, stream or channel is open, or not all of one that was closed early has come;
        FSPClosedError after `aclose` or `reset`.  Closing the stream closes the session.
        """
        self._claim()
        if compressed:
            self._check_sendable()
            self._compress()
        self._user = stream = FSPStream(self)
        return stream

    def channel(self, *, max_value_size: int = 2**20, compressed: bool = False) -> FSPChannel:
        """The session as a channel of bytes values: one per transaction each way.

        `compressed`: each value that is sent travels as LZ4 (8.8); values that come may be compressed or not.

        `max_value_size` is in octets and binds both directions.  FSPBusyError if a transaction, stream or channel
        is open, or not all of one that was closed early has come; FSPClosedError after `aclose` or `reset`.
        Closing the channel closes the session.
        """
        self._claim()
        if compressed:
            self._check_feature(self._connection.revision.compressed_flag, "compression")
        self._user = channel = FSPChannel(self, max_value_size, compressed=compressed)
        return channel

    def minimal_delay_sender(self, *, capacity: int = MESSAGES_KEPT) -> MinimalDelaySender:
        """Go over to messages with minimal delay in this direction, for good (gao-07 4.6, 8.9).

        Each message is a packet, sent once: it may be lost, and is not acknowledged.  Where the path admits less than
        is sent, up to `capacity` messages wait, the newest.  The other direction stays as it is.

        No further transactions, and no new key, in this direction.  FSPBusyError if a transaction is open or waits to
        leave, or while the session serves a stream or channel; ValueError in revisions without minimal delay (all but
        gao-07) and for a `capacity` below 1; FSPBrokenError if the session broke or the peer released it;
        FSPClosedError after `aclose` or `reset`.
        """
        capacity = checked_capacity(capacity)
        self._check_sendable()
        self._check_unused()
        self._check_unsending()
        self._check_feature(self._connection.revision.minimal_delay_flag, "minimal delay")
        try:
            self._connection.begin_messages(capacity)
        except ConnectionMisuse as misuse:
            raise FSPBusyError(str(misuse)) from None
        self._after(trio.current_time())
        return MinimalDelaySender(self)

    def minimal_delay_receiver(
        self, *, capacity: int = MESSAGES_KEPT, max_age: float = math.inf
    ) -> MinimalDelayReceiver:
        """Receive the messages that the peer sends with minimal delay, once it does (gao-07 4.6, 8.9).

        Up to `capacity` messages wait for the reader; the earliest makes room for the newest.  Those that have waited
        for more than `max_age` seconds are thrown away unread.  So a slow reader gets fewer messages, not older ones.

        FSPBusyError if there is another receiver that is not closed, or while the session serves a stream or channel;
        ValueError if `capacity` is below 1 or `max_age` not positive; FSPClosedError after `aclose` or `reset`.
        """
        capacity = checked_capacity(capacity)
        if not max_age > 0:
            raise ValueError(f"max_age must be a positive number of seconds, not {max_age}")
        self._check_unclosed()
        self._check_unused()
        if self._receiver is not None:
            raise FSPBusyError("another receiver of messages is open")
        self._connection.keep_messages(capacity)
        self._receiver = MinimalDelayReceiver(self, max_age)
        return self._receiver

    def install_key(
        self,
        ikm: bytes,
        *,
        mode: Literal["aead", "mac"] = "aead",
        key_bits: int = 256,
        accept_repeated_nonces: bool = False,
    ) -> None:
        """Install key material that both applications have agreed upon (gao-07 7.1 to 7.4).

        `ikm`: octets, any number; `mode`: "aead" for AES-GCM with a key of `key_bits` (128 or 256), "mac" for
        keyed BLAKE2b without encryption.  Call it when the peer's newest transaction has been read to its end, and
        do not await an acknowledgement of one's own between that and this call (M29).  It protects what is sent
        after the transaction that is open now, or after the newest one ended, and what the peer sends after its
        newest one.  KeyInstallationError if the time is not right (nothing has changed then), ValueError for bad
        arguments, FSPClosedError or FSPBrokenError if the session has ended.  The time is not right for a first
        key while octets wait unread: they would be taken for octets that came under it.

        A revision may bind `ikm` to a size: `key_bits` of them in jason-00, more than 16 octets for 256 bits, else
        128 in reference-2020.  The latter repeats nonces and so reveals what it encrypts; it refuses, with
        KeyInstallationError, unless `accept_repeated_nonces` is true.
        """
        self._check_unclosed()
        connection = self._connection
        if connection.peer_released:
            raise_broken(connection.failure)
        if connection.revision.repeats_nonces and not accept_repeated_nonces:
            raise KeyInstallationError(
                f"revision {connection.revision.name} repeats nonces, so a key protects nothing well;"
                " accept_repeated_nonces=True installs it nevertheless"
            )
        if connection.unread_without_key:
            raise KeyInstallationError("octets that came before the first key have not been read (F10)")
        connection.key_log = partial(log_key, connection.revision.name, self.local_ultid, self.remote_ultid)
        try:
            connection.install_key(ikm, mode=mode, key_bits=key_bits)
        except KeyInstallationRefused as refusal:
            raise KeyInstallationError(str(refusal)) from None
        self._after(trio.current_time())

    async def migrate(self, local_address: Address) -> None:
        """Go over to another address of this host: a string, or a pair with a port as `paths` has it (gao-07 10.2).

        The peer is asked for at the new address, again and again, while the session goes on at the present one.  It
        returns when something has come in there; from then on everything leaves from there, until that address
        vanishes, nothing comes in there any more, or this is called again.  OSError if the host does not have the
        address, or loses it meanwhile; FSPBusyError if another change of address comes in between; FSPBrokenError and
        FSPClosedError if the session ends.  Cancelled, the session stays where it was, unless the peer has answered.
        """
        self._check_unclosed()
        connection = self._connection
        if connection.peer_released:
            raise_broken(connection.failure)
        await trio.lowlevel.checkpoint_if_cancelled()
        gate = self._endpoint._roaming.gate_at(local_address)
        local = gate.local
        if connection.local == local:
            return await trio.lowlevel.cancel_shielded_checkpoint()
        now = trio.current_time()
        connection.try_local(local, now)
        self._probe(now)
        try:
            await self._until(lambda: not connection.tries_local(local) or connection.peer_released or self._closed)
        except BaseException:
            if connection.tries_local(local):
                connection.stop_trying()
            raise
        self._check_unclosed()
        if connection.local == local:
            return None
        if connection.peer_released:
            self._raise_broken()
        if gate.retired:
            raise OSError(errno.EADDRNOTAVAIL, "the host has lost the address", str(local_address))
        raise FSPBusyError("another change of address came in between")

    async def wait_acknowledged(self) -> None:
        """Wait until the peer has acknowledged all octets sent so far and all transactions ended so far.

        Errors and cancellation as for `SendTransaction.commit`.
        """
        self._check_unclosed()
        await self._wait_delivered(self._newest_commit, octets=True)

    async def commit(self) -> None:
        """End the open transaction of `send_transaction`, if there is one, and wait as `wait_acknowledged` does."""
        self._check_unclosed()
        if self._writer is not None and not self._writer.ended:
            await self._writer.commit()
        else:
            await self.wait_acknowledged()

    # ending

    async def aclose(self) -> None:
        """End the session gracefully (gao-07 9.1); idempotent.

        Everything given to the sending methods before is delivered, an open transaction is ended, and the peer is
        told that nothing more comes; its branches are closed before it, in the same way.  It returns when the peer's
        protocol engine has acknowledged all of it and, if the peer's own newest transaction is complete, confirmed
        the end of the session.  It does not wait for the peer's application: if the peer's transaction is still open
        the session lingers in the background, at most 60 seconds, and octets of it that still arrive, or wait unread,
        make it a RESET.  Whole transactions of the peer that nobody has read are thrown away, though the peer knows
        them as committed; and a peer that has not begun to answer can do so no more (9.2).

        Unlike `commit` it does not give up after 30 seconds without an acknowledgement, but waits until the session
        breaks, after 5 minutes (12.3): put it into `trio.move_on_after` to wait less.

        Tasks that are blocked in the session get FSPClosedError.  FSPBrokenError if the session breaks before all
        was acknowledged, unless an operation has said so already.  A cancelled `aclose` resets the session at once
        and does not block: what was not yet acknowledged may be lost, and the peer is told.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._mark_closed()
        connection = self._connection
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._branches is not None:
                await self._branches.aclose()
            unfinished = self._shut_down()
            if not await self._until(self._closing_done):
                await trio.lowlevel.cancel_shielded_checkpoint()
        except BaseException:
            self._abort(ResetReason.APPLICATION)
            raise
        if not connection.is_over:
            self._abandon()
        elif (unfinished or not self._delivered(self._newest_commit)) and not self._breakage_told:
            self._raise_broken()

    def reset(self, reason: int = ResetReason.APPLICATION) -> None:
        """End the session abruptly (gao-07 12.7); idempotent, does not block.

        The peer gets RESET with `reason` (0 to 2^32-1, see core.failure.ResetReason) and with it FSPBrokenError;
        what it had not yet received is lost.  Tasks blocked in this session get FSPClosedError.
        """
        reason = operator.index(reason)
        if not 0 <= reason < 2**32:
            raise ValueError(f"the reason must be between 0 and 2**32-1, not {reason}")
        self._mark_closed()
        self._abort(reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.reset()
        await self.aclose()

    def _shut_down(self) -> bool:
        """Commit what is open and ask for the graceful end; True if what is open can be committed no more."""
        connection = self._connection
        if connection.peer_released:
            unfinished = connection.transaction_open
        else:
            unfinished = False
            if connection.transaction_open or self._owes_an_end():
                self._newest_commit = connection.commit()
        now = trio.current_time()
        if not self._has_branches:  # else the last of those that linger does it
            connection.shutdown(now)
        self._after(now)
        return unfinished

    def _owes_an_end(self) -> bool:
        """A stream that carried nothing has an end too; the peer hears of it by RELEASE, or if that must wait, now."""
        user = self._user
        return isinstance(user, FSPStream) and not user.sending_ended and not self._connection.peer_committed

    def _closing_done(self) -> bool:
        connection = self._connection
        if connection.is_over:
            return True
        lingers = not connection.peer_committed or self._has_branches
        return connection.state in CONNECTED and not connection.outstanding and lingers

    def _abandon(self) -> None:
        """The application is gone, the peer's transaction is open: linger in the background (9.1, 12.4)."""
        now = trio.current_time()
        self._abandoned = True
        self._linger_deadline = now + LINGER_LIMIT
        self._tell_parent(now)
        self._after(now)

    def _claim(self) -> None:
        self._check_unclosed()
        self._check_unused()
        self._check_unsending()
        reader = self._reader
        if self._receiving or not (reader is None or reader.ended or (reader.closed and reader._discard())):
            raise FSPBusyError("the incoming transaction has not been read to its end")

    def _check_unsending(self) -> None:
        if self._connection.sends_messages:
            raise FSPBusyError("messages with minimal delay have taken the place of transactions")
        if self._writer is not None and not self._writer.ended:
            raise FSPBusyError("the outgoing transaction has not been ended")

    def _check_unused(self) -> None:
        if self._user is not None:
            raise FSPBusyError("the session serves a stream or a channel")
