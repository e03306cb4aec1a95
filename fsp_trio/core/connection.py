"""Twelfth layer of a connection: the application's side, and time."""

from __future__ import annotations

import math
from typing import Literal

from fsp_trio.core.failure import ConnectionMisuse, FailureKind, KeyInstallationRefused, ResetReason
from fsp_trio.core.keyring import NEVER, Secret
from fsp_trio.core.minimal_delay import MinimalDelay
from fsp_trio.revisions.states import AWAITING, CONNECTED, OVER, OWN_OPEN, Event, State
from fsp_trio.wire.packets import Op
from fsp_trio.wire.serial import sub

PACKET_COST = 128
"""Octets for which a packet counts in the send buffer, beside its payload, until it is acknowledged."""


class Connection(MinimalDelay):
    """One end of an FSP connection, without sockets, clock or tasks.

    Feed it datagrams (`receive`) and the time (`handle_timer`, `handle_heartbeat`); after each call that may have
    changed something send what `datagrams_to_send` gives until it gives nothing.
    """

    __slots__ = ()

    # the application's side

    def send(self, data: bytes) -> None:
        """Queue octets of the open outgoing transaction, opening one if there is none.

        Raises ConnectionMisuse after shutdown() or the end of the connection.
        """
        self._check_open()
        if data:
            self._own_open = True
            if self._compressor is not None:
                data = self._compressed(data)
            if data:
                self.queue.append(data)

    def seal_alone(self, data: bytes, now: float) -> bytes:
        """The datagram for octets that make one packet where nothing else waits or is under way; else b"".

        In that case `send` and `datagrams_to_send` come down to this and `sealed_alone`: there is nothing but a new
        packet to send, which begins and ends nothing, and since none is in flight no congestion window and no pacer
        holds it up.  `sealed_alone` must follow whatever happens, and may once the datagram is on its way.
        """
        sent = self.sent
        if (
            self.state not in OWN_OPEN
            or sent.blocks
            or not 0 < len(data) <= self.payload_limit
            or len(data) > self.settings.send_buffer
            or self._compressor is not None
            or not self._idle(now)
            or self.queue.whole_blocks
            or sub(sent.right_edge, sent.next_sn) <= 0
        ):
            return b""
        return self._seal(Op.PURE_DATA, 0, data)

    def sealed_alone(self, data: bytes, datagram: bytes, now: float) -> None:
        """The other half of `seal_alone`: remember the packet."""
        self._own_open = True
        self.more_to_send = False
        self._probe_at = self._blocked_until = math.inf
        self._turn_interval(now)
        self._remember(Op.PURE_DATA, data, datagram, now)
        self._count_datagrams([datagram])
        self._life_over(self.sent.blocks[0].sn, 1, now)

    def commit(self) -> int:
        """End the open transaction, or make an empty one (8.4.1); its ordinal, which `committed` will reach."""
        self._check_open()
        if self._answer_at < math.inf and not self.queue:
            self._answer()  # an empty transaction would be taken for nothing but that
        if rest := self._end_compression():
            self.queue.append(rest)
        self._ordinal += 1
        self._own_open = False
        self.queue.end(self._ordinal)
        self.queue.flags = 0
        return self._ordinal

    @property
    def ordinal(self) -> int:
        """Of the newest transaction that was ended."""
        return self._ordinal

    @property
    def transaction_open(self) -> bool:
        """Octets were given and commit() was not yet called."""
        return self._own_open

    @property
    def unacknowledged(self) -> int:
        """Octets of payload queued or in flight."""
        return self._uncompressed + self.queue.octets + (self.sent.payload if self.has_windows else 0)

    @property
    def buffered(self) -> int:
        """As `unacknowledged`, and what it costs to remember each packet; not what waits for a block to be filled."""
        queued = self.queue.octets if self.queue.ready else 0  # what waits for its block to be filled cannot leave
        if not self.has_windows:
            return queued
        sent = self.sent
        return queued + sent.payload + PACKET_COST * len(sent.blocks)

    @property
    def committing_since_ack(self) -> float:
        """When something of ours was last acknowledged; commit() gives up `commit_timeout` later (8.4.4, B7)."""
        return self._last_acknowledged_at

    @property
    def commit_timeout(self) -> float:
        return self.settings.commit_timeout or self.revision.commit_timeout

    @property
    def readable(self) -> bool:
        """There are octets to read, or the end of a transaction is next."""
        if self._compressed_in:
            return self._may_read_inflated
        return self.has_windows and bool(self.received.ready)

    @property
    def has_unread(self) -> bool:
        """Something waits for a reader: `readable`, or messages."""
        return self.readable or bool(self.messages)

    @property
    def at_end(self) -> bool:
        return self.has_windows and self.received.at_end and not self._inflated

    def read(self, max_octets: int) -> bytes:
        """At most `max_octets` octets of the current incoming transaction; b"" when there are none (now)."""
        if not self.has_windows:
            return b""
        if self._compressed_in:
            return self._read_inflated(max_octets)
        data = self.received.read(max_octets)
        if data:
            self._reading_made_room()
        return data

    def next_transaction(self) -> None:
        """Step over the end of a transaction; raises ConnectionMisuse if there is none here."""
        if not self.at_end:
            raise ConnectionMisuse("the incoming transaction has not ended here")
        if self._compressed_in:
            self._next_inflated()
        self.received.next_transaction()
        self._reading_made_room()
        if self._compressed_in:
            self._inflate()

    def discard_unread(self) -> None:
        """Nobody will read what has arrived."""
        if self.has_windows:
            self.received.clear_ready()
            self._decompressor = None
        if self.messages is not None:
            self.messages.drop_beyond(0)

    @property
    def unread_without_key(self) -> bool:
        """Octets wait for the reader that came before any key was installed: anybody may have sent them."""
        return self.has_windows and not self.keyring.keyed and self.readable_octets > 0

    @property
    def readable_octets(self) -> int:
        """Octets in order that wait for the reader, as they are now: compressed or not."""
        return self.received.ready_octets + self._inflated if self.has_windows else 0

    @property
    def peer_released(self) -> bool:
        """The peer has released the connection, or it is over: no further transaction will come."""
        return self.state in OVER or self.state is State.SHUT_REQUESTED

    @property
    def peer_committed(self) -> bool:
        """The peer's newest transaction has arrived whole; not so if packets behind the first of another are here."""
        return self.has_windows and not self._peer_open and not self.received.early

    def install_key(self, ikm: bytes, *, mode: Literal["aead", "mac"] = "aead", key_bits: int = 256) -> None:
        """Install the key that both applications agreed upon (7.1 to 7.4, B13).

        `ikm` is key material of any length, `key_bits` 128 or 256 (AEAD only).  The key applies to what is sent
        after the transaction that is open now, or after the newest one committed, and to what is received after
        the peer's newest transaction.  Raises KeyInstallationRefused, changing nothing, if the peer's newest
        packet does not end a transaction (7.2), if the key before has not taken effect both ways, or if nonces
        could repeat (N2b); ValueError for a bad argument.
        """
        if not ikm:
            raise ValueError("the key material is empty")
        if self.state not in CONNECTED:
            raise KeyInstallationRefused(f"a key cannot be installed in state {self.state.name}")
        integrity = self.revision.integrity
        if mode == "aead":
            schedule = integrity.aead(ikm, key_bits)
            rekey_after = self.revision.rekey_after
            if rekey_after is None:
                secret = Secret.chain(schedule, NEVER, reach=self.keyring.key_life)
            else:
                secret = Secret.chain(schedule, self.settings.rekey_after or rekey_after)
            if self.revision.repeats_nonces:
                secret.reach = 0  # no numbers could make it better, and its peers do not choose theirs with care
        elif mode == "mac":
            secret = Secret.constant(integrity.mac(ikm))
        else:
            raise ValueError(f"mode must be 'aead' or 'mac', not {mode!r}")
        if self.sends_messages:
            raise KeyInstallationRefused("messages with minimal delay have no end at which a key could take effect")
        received, sent, keyring = self.received, self.sent, self.keyring
        if self._peer_open or received.early:
            raise KeyInstallationRefused("the peer has not committed its newest transaction (7.2)")
        effective = keyring.sending.begun(sent.next_sn) and keyring.receiving.begun(received.expected)
        if self._pending_secret is not None or not effective or self._unanswered:
            raise KeyInstallationRefused("the key before has not yet taken effect in both directions")
        margin = received.capacity + len(self.queue.pieces) + self.queue.octets // self.payload_limit
        if keyring.too_near(secret, sent.next_sn, received.expected, margin):
            raise KeyInstallationRefused("the sequence numbers of both directions are so near that nonces could repeat")
        keyring.begin(keyring.receiving, received.expected, secret)
        if self.key_log is not None:
            self._to_log = (received.expected, mode, key_bits, ikm)
        self._new_key_heard = False
        self._switch_after = self._ordinal + 1 if self._own_open else self._ordinal
        if self._own_open or any(piece.ordinal for piece in self.queue.pieces):
            self._pending_secret = secret
        else:
            self._switch_sending(secret)
        self._retry_limbo()

    def _retry_limbo(self) -> None:
        """Open what came under the new key before it was installed."""
        limbo, self._limbo = self._limbo, []
        for datagram, source, self._arrived_at, arrived in limbo:
            self._receive_one_untrusted(datagram, source, arrived)

    def shutdown(self, now: float) -> None:
        """Graceful end (9): commit, wait for the peer's commit and acknowledgement, RELEASE.  Idempotent."""
        if self.state in OVER or self._shutdown_requested:
            return None
        if self.state is State.SHUT_REQUESTED:
            self._happen(Event.SHUTDOWN)
            self.closed_confirmed = self.undelivered == 0
            return self._closed(now)
        if self._own_open:
            self.commit()
        if self._answer_at < math.inf:
            self._answer()  # RELEASE is no answer
        self._shutdown_requested = True
        return None

    def reset(self, reason: int, now: float) -> None:
        """Abrupt end (12.7) with a RESET where the state allows one.  Idempotent."""
        self._fail(Event.RESET, FailureKind.RESET_LOCALLY, reason, now)

    def end_with_parent(self, now: float) -> None:
        """The connection of which this one is a branch has ended."""
        self._fail(Event.RESET, FailureKind.PARENT_ENDED, ResetReason.PARENT_ENDED, now)

    # time

    def next_deadline(self) -> float:
        """When handle_timer wants to be called; infinity if never."""
        state = self.state
        if state in OVER:
            return math.inf
        if state in AWAITING:
            return min(self._handshake_deadline, self._handshake_sent_at + self.settings.timers.handshake_interval)
        deadline = min(
            self._snack_at,
            self._blocked_until,
            self._probe_at,
            self._close_at,
            self._answer_at,
            self._retransmission_deadline(),
        )
        if state in OWN_OPEN and not self._repeats:  # as below
            return min(deadline, self.last_heard + self.idle_timeout)
        if self._repeats and self._blocked_until == math.inf:
            return 0.0
        if state is State.CHALLENGING:
            return min(deadline, self._handshake_deadline)
        if state is State.PRE_CLOSED:
            return deadline
        if self.is_committing:
            deadline = min(deadline, self._commit_deadline)
        return min(deadline, self.last_heard + self.idle_timeout)

    @property
    def _commit_deadline(self) -> float:
        """So long may nothing arrive while an acknowledgement is due; silence before that does not count."""
        return max(self.last_heard, self._committing_since) + self.revision.commit_abort

    @property
    def idle_timeout(self) -> float:
        return self.settings.idle_timeout or self.revision.idle_timeout

    def handle_timer(self, now: float) -> None:
        """Do what is due; then ask for datagrams_to_send."""
        if self.state in OVER:
            return None
        if self.state in AWAITING or self.state is State.CHALLENGING:
            return self._handle_handshake_timer(now)
        if now >= self._close_at:  # 12.4, B8
            self._happen(Event.TRANSIENT_TIMEOUT)
            return self._closed(now)
        if now >= self.last_heard + self.idle_timeout and self.state is not State.PRE_CLOSED:  # 12.5, M42
            return self._fail(Event.IDLE_TIMEOUT, FailureKind.IDLE_TIMEOUT, ResetReason.TIMED_OUT, now)
        if self.is_committing and now >= self._commit_deadline:  # 12.3, B7
            return self._fail(Event.COMMIT_TIMEOUT, FailureKind.COMMIT_TIMEOUT, ResetReason.TIMED_OUT, now)
        if now >= self._answer_at:
            self._answer()
        if now >= self._retransmission_deadline():
            self._expire(now)
        return None
