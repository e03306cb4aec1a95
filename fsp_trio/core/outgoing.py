"""Third layer of a connection: what leaves, and when (gao-07 8.2 to 8.6, 9.1, 10.1)."""

from __future__ import annotations

import math
from abc import abstractmethod

from fsp_trio.core.failure import ConnectionMisuse, FailureKind, ResetReason
from fsp_trio.core.keyring import Secret
from fsp_trio.core.link import LAST_SERIAL, MASK
from fsp_trio.core.sealing import Sealing
from fsp_trio.core.send_window import Block
from fsp_trio.integrity import Protection
from fsp_trio.revisions.states import (
    CONNECTED,
    OVER,
    OWN_COMMITTED,
    OWN_COMMITTING,
    OWN_OPEN,
    Event,
    Reply,
    State,
)
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.packets import FLAG_EOT, NO_PREFIXES, Op, SinkParameter
from fsp_trio.wire.serial import sub

MAY_SEND = OWN_OPEN | OWN_COMMITTED
BATCH = 122
"""Most new packets in one batch: twice what one call with segmentation offload takes."""
MAXIMUM_REPEATS = 64
"""Most repeats in one batch."""
UNMEASURED_SNACK = 0.1
"""Seconds to the next SNACK while the round trip is unknown."""
FIRST_SNACK_AFTER = 8
"""Packets after which the first SNACK of a run leaves at once (F1)."""
NO_SINK = SinkParameter(bytes(4), NO_PREFIXES)


class Outgoing(Sealing):
    """Packets in order, their repeats, acknowledgements, and the timers of all these."""

    __slots__ = (
        "_ack_now",
        "_announce_key",
        "_blocked_until",
        "_close_at",
        "_committing",
        "_committing_since",
        "_farewell",
        "_heartbeat_at",
        "_interval_start",
        "_last_acknowledged_at",
        "_last_asked_at",
        "_old_key_answer",
        "_ordinal",
        "_own_open",
        "_peer_open",
        "_pending_secret",
        "_probe_at",
        "_repeat_quota",
        "_repeats",
        "_repeats_allowed",
        "_shutdown_requested",
        "_sink",
        "_snack_at",
        "_snack_every",
        "_snack_first",
        "_snack_most",
        "_snack_pause",
        "_snack_sent_at",
        "_switch_after",
        "_to_log",
        "_unflushed",
        "committed",
        "more_to_send",
    )

    def _start_outgoing(self, now: float) -> None:
        self._start_sealing()
        self._ack_now = False
        self._announce_key = False
        self._blocked_until = math.inf
        self._close_at = math.inf
        self._committing = 0
        """Ordinal of the application's transaction whose EoT awaits ACK_FLUSH; 0 for one of the protocol's own."""
        self._committing_since = -math.inf
        """When the packet left whose ACK_FLUSH is awaited (12.3)."""
        farewell = self.revision.states.find(State.CLOSED, Event.RCV_RELEASE)
        self._farewell = b"" if farewell is not None and farewell.reply is Reply.RELEASE else None
        """The RELEASE that answered the peer's, if one did; None where ACK_FLUSH answers (jason-00 8.2, A36)."""
        self._heartbeat_at = math.inf
        self._last_acknowledged_at = now
        self._last_asked_at = -math.inf
        """When the retransmission timer last expired without a sign of the peer."""
        self._old_key_answer = False
        self._ordinal = 0
        self._own_open = False
        """The application has a transaction open: octets given, commit() not yet called."""
        self._peer_open = False
        self._pending_secret: Secret | None = None
        self._switch_after = 0
        self._to_log: tuple[int, str, int, bytes] | None = None
        """What the key log shall have of the pending key."""
        self._probe_at = math.inf
        self._repeats: list[Block] = []
        self._interval_start = now
        self._repeat_quota = 1
        self._repeats_allowed = 1
        self._shutdown_requested = False
        self._sink = NO_SINK
        """What acknowledgements tell of our addresses."""
        self._snack_at = math.inf
        self._snack_most = max(self.settings.receive_window // 4, 1)
        """Packets after which there is a SNACK at once, however fast they come (F1)."""
        self._snack_every = self._snack_first = min(FIRST_SNACK_AFTER, self._snack_most)
        self._snack_pause = 0.001
        """Seconds to the next SNACK at the least, unless so many packets come."""
        self._snack_sent_at = -math.inf
        self._unflushed: Block | None = None
        """The EoT or RELEASE packet that no ACK_FLUSH has covered yet (B10)."""
        self.more_to_send = False
        """The batch was full: `datagrams_to_send` has more right now."""
        self.committed = 0
        """Ordinal of the newest transaction of ours that the peer has received whole."""

    # the batch

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """The next datagrams for `remote`, a bounded batch; ask again at once while `more_to_send`."""
        self.more_to_send = False
        self._blocked_until = math.inf
        if self._idle(now):
            if self._probe_at <= now:
                self._probe_at = math.inf  # nothing wants to be sent any more
            return []
        batch = self._urgent
        self._urgent = []
        self._turn_interval(now)
        if self.has_windows and (self.state not in OVER or (self._ack_now and self.state is State.CLOSED)):
            if self._ack_now or now >= self._snack_at:
                if not self._ack_now:
                    self._snack_every = self._snack_first  # packets come slowly
                self._acknowledge_now(batch, now)
            if self._repeats:
                self._repeat(batch, now)
            self._send_new(batch, now)
            if self._probe_at <= now:
                self._probe_at = math.inf  # nothing wants to be sent any more
            if self._urgent:  # the connection ended on the way, and nobody asks again
                batch += self._urgent
                self._urgent = []
        else:
            self._ack_now = False
        if batch:
            self._count_datagrams(batch)
        return batch

    def _idle(self, now: float) -> bool:
        """Nothing is there that could leave now."""
        return not (
            self.queue.pieces
            or self._ack_now
            or self._urgent
            or self._repeats
            or self._announce_key
            or self._shutdown_requested
            or now >= self._snack_at
        )

    @property
    def has_output(self) -> bool:
        """Something waits to leave now; cheap, and only a hint."""
        return bool(self._urgent) or self._ack_now

    # in-band packets

    def _send_new(self, batch: list[bytes], now: float) -> None:
        pieces = self.queue.pieces
        while self.state in MAY_SEND:
            if self._announce_key and self.state in OWN_COMMITTED:
                if not (pieces and pieces[0].data and self.queue.repeats):  # else data comes first under the new key
                    if self._send_announcement(batch, now):
                        self._announce_key = False
                    return
                self._announce_key = False
            if not self.queue.ready and not self._lets_end_go():
                if self._shutdown_requested and not pieces:
                    self._send_release(batch, now)
                return
            if not self._fill(batch, now):
                return

    @abstractmethod
    def _lets_end_go(self) -> bool:
        """An end that the queue held back may leave now; the layer of multiplication knows."""

    def _bare_end(self) -> Op:
        """What ends a transaction when no octets are left for its last packet (8.4.1, M16)."""
        return self.revision.bare_commit

    def _admitted(self, now: float) -> int:
        """How many new packets the peer's window, the congestion window and the pacer admit."""
        sent = self.sent
        room = sub(sent.right_edge, sent.next_sn)
        if room <= 0:
            return self._admitted_to_shut_window(now)
        self._probe_at = math.inf
        room = min(room, self.keyring.unheard(sent.una, sent.next_sn))
        size = self.payload_limit + NORMAL_HEADER + ULTID_PAIR
        allowance = self.macroflow.allowance(now, size, self.queue.octets + size) // size
        if allowance == 0:
            if not sent.blocks:  # what others on the path have under way must not shut this one out
                return 1
            self._wait_until(now + self.macroflow.wait(size))
            return 0
        return min(room, allowance, self.revision.most_outstanding - len(sent.blocks))

    def _admitted_to_shut_window(self, now: float) -> int:
        """One packet in a retransmission time-out, if nothing is in flight (8.6, M8)."""
        if self.sent.blocks or self._unflushed is not None:
            return 0
        if self._probe_at == math.inf:
            self._probe_at = now + self.rtt.timeout
        if now < self._probe_at:
            return 0
        self._probe_at = math.inf
        return 1

    def _wait_until(self, moment: float) -> None:
        """More could leave at `moment` at the latest."""
        self._blocked_until = min(self._blocked_until, moment)

    def _fill(self, batch: list[bytes], now: float) -> bool:
        """Send queued octets of one transaction; False when nothing more can leave now."""
        admitted = min(self._admitted(now), BATCH - len(batch))
        if admitted <= 0:
            if len(batch) >= BATCH:
                self.more_to_send = True
                self._wait_until(now)
            return False
        protection, run = self.keyring.sending.run(self.sent.next_sn)
        limit = self.payload_limit
        starts = self.state in OWN_COMMITTED
        if starts:
            self._transaction_flags = self.queue.pieces[0].flags
        payloads = self.queue.cut_full(limit, min(admitted, run)) if self.queue.octets > limit else []
        if payloads:
            ended = None
            self._emit_run(batch, Op.PERSIST if starts else Op.PURE_DATA, payloads, protection, now)
        else:
            payload, ended = self.queue.cut(limit)
            op = Op.PERSIST if starts else Op.PURE_DATA
            if ended is not None and not payload:
                op = self._bare_end()
            self._emit(batch, op, 0 if ended is None else FLAG_EOT, payload, now)
        if ended is not None:
            self._happen(Event.FLUSH)
            self._end_sent(self.sent.blocks[-1], ended.ordinal)
        elif starts:
            self._happen(Event.SEND)
        last = (self.sent.next_sn - 1) & MASK
        return not self._life_over(last, len(payloads) or 1, now)

    def _end_sent(self, block: Block, ordinal: int) -> None:
        """The packet that ends a transaction has left: nothing follows before its ACK_FLUSH (2, 5.7)."""
        self._unflushed = block
        self._committing = ordinal
        self._committing_since = block.sent_at
        secret = self._pending_secret
        if secret is not None and ordinal == self._switch_after:
            received = self.received
            if self.keyring.too_near(secret, self.sent.next_sn, self.keyring.receiving.newest.first, received.capacity):
                # the transaction grew by hundreds of millions of packets since the key was installed (N2b)
                self._fail(Event.RESET, FailureKind.KEY_EXHAUSTED, ResetReason.KEY_EXHAUSTED, block.sent_at)
            else:
                self._switch_sending(secret)

    def _switch_sending(self, secret: Secret) -> None:
        self.keyring.begin(self.keyring.sending, self.sent.next_sn, secret)
        self._pending_secret = None
        if self._to_log is not None and self.key_log is not None:
            self.key_log(self.sent.next_sn, *self._to_log)
            self._to_log = None
        self._announce_key = self.revision.announces_keys

    def _send_announcement(self, batch: list[bytes], now: float) -> bool:
        """Send a bare commit of the protocol's own (M30); False if the window does not admit it now."""
        if self._admitted(now) <= 0:
            return False
        self._transaction_flags = 0
        self._emit(batch, self.revision.bare_commit, FLAG_EOT, b"", now)
        self._happen(Event.FLUSH)
        self._end_sent(self.sent.blocks[-1], 0)
        return True

    def _send_release(self, batch: list[bytes], now: float) -> None:
        """RELEASE once the peer's transaction is complete and nothing of ours is outstanding (9.1, M38)."""
        if self._peer_open or self.received.early:
            return
        if self.revision.states.find(self.state, Event.SHUTDOWN) is None:
            return
        if self.sent.blocks or self._unflushed is not None or self._admitted(now) <= 0:
            return
        self._happen(Event.SHUTDOWN)
        self._transaction_flags = 0
        self._emit(batch, Op.RELEASE, self.revision.release_flags, b"", now)
        self._unflushed = self.sent.blocks[-1]
        self._close_at = now + self.revision.shutdown_timeout

    # repeats

    def _due(self, now: float) -> list[Block]:
        """Packets whose retransmission time-out is over, or will be within a tick of the clock (8.5.4)."""
        now += self.settings.timers.granularity
        timeout = self.rtt.timeout
        due = [block for block in self.sent.blocks if block.sent_at + timeout <= now and not self._settled(block)]
        last = self._unflushed
        if last is not None and sub(last.sn, self.sent.una) < 0 and last.sent_at + timeout <= now:
            due.append(last)
        return due

    def _settled(self, block: Block) -> bool:
        """The packet needs no repeat, even if it is late.

        The first one does although a SNACK that came late may have told that it arrived: only its repeat draws
        a new acknowledgement if the last one was lost.
        """
        if sub(block.sn, self.sent.una) < 0:
            return block is not self._unflushed
        return block.acknowledged and block is not self.sent.blocks[0]

    def _retransmission_deadline(self) -> float:
        if self._repeats or self.state is State.CHALLENGING:  # B4: ACK_CONNECT_REQ is repeated on request only
            return math.inf
        blocks = self.sent.blocks
        head = blocks[0] if blocks else self._unflushed
        return math.inf if head is None else head.sent_at + self.rtt.timeout

    def _expire(self, now: float) -> None:
        """The retransmission timer expired."""
        due = self._due(now)
        first = due[0]
        for block in due:
            self._leaves_path(block)
        if first.sent_at >= self._last_asked_at:  # else it waited for the answer to what was asked before
            self.rtt.back_off()
        if self.last_heard <= first.sent_at:
            fresh = self.last_heard >= self._last_asked_at  # else it is the same silence (RFC 5681, 3.1)
            if fresh and first.sent_at >= self._path_since:  # else it was another path that lost it (F57)
                self.macroflow.timed_out(first.sent_at, now)
            self._last_asked_at = now
            del due[1:]  # one packet asks for all whether somebody is there (RFC 5681, 5)
        elif self.revision.careless_flush and self._op_of(first) is Op.PERSIST:
            del due[1:]
        self._repeats = due

    def _leaves_path(self, block: Block) -> None:
        """The packet is taken for lost, or will be sent again."""
        if block.in_flight:
            block.in_flight = False
            self.macroflow.forgotten(len(block.datagram))

    def _op_of(self, block: Block) -> Op:
        return self.codec.ops[self.codec.unpack_head(block.datagram, ULTID_PAIR)[0]]

    def _repeat(self, batch: list[bytes], now: float) -> None:
        """Send packets again, at most half as many in an interval as were sent in the last one (8.5.4, B9)."""
        sent = self.sent
        limit = min(self._repeats_allowed, MAXIMUM_REPEATS)
        exempt = self._repeats_allowed == self._repeat_quota  # one in an interval, whatever the congestion window
        repeated = 0
        waiting = self._repeats
        later: list[Block] = []
        for position, block in enumerate(waiting):
            if self._settled(block):
                continue
            early = block.sent_at + self.rtt.rto - 1e-9 - now
            if early > 0:
                if early <= self.settings.timers.granularity:  # else the time-out has grown meanwhile
                    later.append(block)
                    self._wait_until(now + early)
                continue
            size = len(block.datagram)
            if repeated >= limit or (not exempt and self.macroflow.allowance(now, size) < size):
                self._repeats = later + waiting[position:]
                self._wait_until(now + self.settings.timers.granularity)
                break
            batch.append(self._refreshed(block, now))
            block.sent_at = now
            block.times += 1
            block.in_flight = sub(block.sn, sent.una) >= 0
            if block.in_flight:
                self.macroflow.sent(len(block.datagram))
            exempt = False
            repeated += 1
        else:
            self._repeats = later
        self._repeats_allowed -= repeated
        self.statistics.retransmissions += repeated

    def _turn_interval(self, now: float) -> None:
        """Half of the packets first sent in the newest interval with any is what may be repeated in one (8.5.4)."""
        if now - self._interval_start >= self.settings.timers.granularity:
            self._interval_start = now
            if self._first_sends:
                self._repeat_quota = max(1, self._first_sends // 2)
                self._first_sends = 0
            self._repeats_allowed = self._repeat_quota

    def _refreshed(self, block: Block, now: float) -> bytes:
        """The packet with the present acknowledgement, or octet for octet as before if that is the same (N1)."""
        expected = self.received.expected
        if block.expected != expected:
            op_code, _, _, flags, _, _ = self.codec.unpack_head(block.datagram, ULTID_PAIR)  # M45: flags stay
            head = self.codec.head(op_code, NORMAL_HEADER, flags >> 24, self.received.window, block.sn, expected)
            protection = self.keyring.sending.protection(block.sn)
            block.datagram = protection.seal(self._ids, head, block.payload)
            self._life_over(block.sn, 1, now)
            block.expected = expected
        return block.datagram

    # acknowledgements and heartbeats

    def _acknowledge_now(self, batch: list[bytes], now: float) -> None:
        """ACK_FLUSH if the peer's transaction is complete, else KEEP_ALIVE; both carry a SNACK (8.5.2, M4, M11)."""
        self._ack_now = False
        self._snack_at = math.inf
        self._snack_sent_at = now
        self._heartbeat_at = now + self.heartbeat_interval
        if self.state is State.CLOSED and self._farewell is not None:
            if self._farewell:
                batch.append(self._farewell)
                self.statistics.retransmissions += 1
            return
        received = self.received
        missing = self.revision.careless_flush and received.early and self.state is not State.PRE_CLOSED
        gaps = self._peer_open or bool(missing)
        if gaps and self.revision.heartbeat_repeats_head and self._repeat_head(batch, now):
            return
        op = Op.KEEP_ALIVE if gaps else Op.ACK_FLUSH
        sink = self._sink if gaps and self.revision.keep_alive_names_sink else None  # 10.1
        if acknowledgement := self._acknowledgement(op, sink, now):
            batch.append(acknowledgement)
            self.keyring.retire(self.sent.una, received.expected, now)

    def _acknowledgement(self, op: Op, sink: SinkParameter | None, now: float) -> bytes:
        """KEEP_ALIVE or ACK_FLUSH with a SNACK (M4); b"" where the serials are used up, which ends the connection."""
        if self._serial >= LAST_SERIAL:
            self._fail(Event.RESET, FailureKind.KEY_EXHAUSTED, ResetReason.KEY_EXHAUSTED, now)
            return b""
        received = self.received
        sn, protection = self._out_of_band_number()
        window = received.window
        snack = received.snack(now, gaps=op is Op.KEEP_ALIVE)
        head, body = self.codec.acknowledgement(op, self._header_flags(), window, sn, snack, self._next_serial(), sink)
        datagram = protection.seal(self._ids, head, body, True)
        self._life_over(sn, 1, now)
        self._told(received.expected, window)
        self.statistics.out_of_band_sent += 1
        self.statistics.count_sent(op)
        return datagram

    def _repeat_head(self, batch: list[bytes], now: float) -> bool:
        """Repeat the first packet with a heartbeat if its time is over; whether it goes in place of that."""
        head = next(iter(self.sent.blocks), None)
        if head is None or head.acknowledged or now - head.sent_at < self.rtt.rto - 1e-9:
            return False
        if head is not self._unflushed and self._op_of(head) is not Op.PERSIST:
            return False
        before = head.sent_at
        self._leaves_path(head)
        self._repeats = [head, *(block for block in self._repeats if block is not head)]
        self._repeat(batch, now)
        return head.sent_at > before and head is not self._unflushed and self.state is State.ACTIVE

    def _out_of_band_number(self) -> tuple[int, Protection]:
        """The last in-band number sent (B11); under a key that the peer has, if it may lack the newest (M29)."""
        sending = self.keyring.sending
        sn = (self.sent.next_sn - 1) & MASK
        if self._old_key_answer and len(sending.eras) > 1 and sub(sn, sending.newest.first) >= 0:
            sn = (sending.newest.first - 1) & MASK
        return sn, sending.protection(sn)

    @property
    def heartbeat_interval(self) -> float:
        return self.settings.heartbeat_interval or self.revision.heartbeat_interval

    def handle_heartbeat(self, now: float) -> None:
        """Send a heartbeat if it is due (10.1)."""
        if now < self._heartbeat_at or self.state not in CONNECTED:
            return
        if self.state in self.revision.heartbeats_in:
            self._ack_now = True
        else:
            self._heartbeat_at = now + self.heartbeat_interval

    def _shift_snack(self, now: float) -> None:
        """Bring the next SNACK forward to one round trip from now (8.5.2), unless one has just left (F9)."""
        if self.state not in self.revision.acknowledging:
            return
        due = now + (max(self.rtt.srtt, self._snack_pause) if self.rtt.measured else UNMEASURED_SNACK)
        if not self.received.early:
            due = max(due, self._snack_sent_at + self.settings.timers.granularity)
        if due < self._snack_at:
            self._snack_at = due

    def _acknowledge_often(self, expected: int) -> None:
        """Where many packets come the next SNACK cannot wait (F1): after 8, then 16, up to a quarter of the window."""
        if sub(expected, self.told_expected) >= self._snack_every:
            self._ack_now = True
            self._snack_every = min(2 * self._snack_every, self._snack_most)

    # what the upper layers ask

    def _check_open(self) -> None:
        if self._shutdown_requested or self.state in OVER or self.state is State.SHUT_REQUESTED:
            raise ConnectionMisuse("the connection is shut down or ended")

    @property
    def outstanding(self) -> bool:
        """Something of ours is queued, unacknowledged or uncommitted."""
        return bool(self.queue) or bool(self.sent.blocks) or self._unflushed is not None

    @property
    def is_committing(self) -> bool:
        return self.state in OWN_COMMITTING
