"""Eleventh layer of a connection: messages with minimal delay in place of transactions (gao-07 4.6, 8.9).

A direction goes over to them where a transaction would begin, and for good.  The draft calls such payload milk-like:
the newer, the better.  docs/design/minimal-delay.md says how the two ends of such a flow keep in step.
"""

from __future__ import annotations

import math

from fsp_trio.core.compressing import Compressing
from fsp_trio.core.failure import ConnectionMisuse, FailureKind, ResetReason
from fsp_trio.core.messages import MESSAGES_KEPT, Message, MessageBuffer, MessageQueue
from fsp_trio.core.send_window import Acknowledgement
from fsp_trio.revisions.states import CONFIRMING, OVER, OWN_OPEN, Event
from fsp_trio.wire.packets import Op
from fsp_trio.wire.serial import sub

QUEUEING = 0.025
"""Seconds that packets may wait on the path, or half a round trip if that is longer, until less is sent (F63)."""
REPORT_PAUSE = 0.05
"""Seconds between two reports on a flow, or a round trip if that is longer (F61)."""


class MinimalDelay(Compressing):
    """Sends each message once, and lets the reader have the newest."""

    __slots__ = ()

    # sending

    @property
    def sends_messages(self) -> bool:
        """This end has gone over to messages."""
        return not self.queue.repeats

    def begin_messages(self, capacity: int = MESSAGES_KEPT) -> None:
        """From now on this end sends messages, up to `capacity` of which wait to leave; there is no way back.

        ConnectionMisuse where the revision has none, a transaction is open or waits to leave, or the connection ends.
        """
        flag = self.revision.minimal_delay_flag
        if not flag:
            raise ConnectionMisuse(f"revision {self.revision.name} has no minimal delay")
        self._check_open()
        if self._own_open or self.queue or self._compressor is not None or self.sends_messages:
            raise ConnectionMisuse("a transaction is open, or waits to leave")
        if self._answer_at < math.inf:
            self._answer()  # what is sent once cannot answer MULTIPLY
        self.queue = MessageQueue(capacity, flag)
        self._join_path(self._path_key(self.remote, self.local))  # another traffic class (8.7)

    def send_message(self, message: bytes) -> None:
        """Queue one message of 1 to `payload_limit` octets; if too many wait the oldest makes room."""
        self._check_open()
        queue = self.queue
        assert isinstance(queue, MessageQueue)
        queue.append(message)
        self.statistics.messages_unsent = queue.dropped

    def _acknowledged(self, result: Acknowledgement, now: float) -> None:
        super()._acknowledged(result, now)
        rtt = self.rtt
        if self.sends_messages and rtt.latest - rtt.least > max(QUEUEING, rtt.least / 2):
            self.macroflow.congested(now - rtt.latest, now)

    def _expire(self, now: float) -> None:
        super()._expire(now)
        if self.sends_messages and self.state in OWN_OPEN:  # else it waits for what came before, or for RELEASE
            self.sent.forget_lost()

    # receiving

    def keep_messages(self, capacity: int) -> None:
        """Let up to `capacity` messages wait for the reader."""
        self._messages_kept = capacity
        if self.messages is not None:
            self.messages.capacity = capacity
            self.messages.drop_beyond(capacity)

    def read_message(self, max_age: float, now: float) -> bytes | None:
        """The earliest message that has waited for `max_age` seconds at the most; None if there is none."""
        messages = self.messages
        if messages is None:
            return None
        messages.drop_before(now - max_age)
        self._count_messages(messages)
        return messages.take() if messages else None

    def _count_messages(self, messages: MessageBuffer) -> None:
        self.statistics.messages_unread = messages.dropped
        self.statistics.messages_lost = messages.lost

    def _begin_receiving_messages(self, first_sn: int) -> None:
        self.messages = MessageBuffer(first_sn, self._messages_kept)
        self._snack_pause = REPORT_PAUSE
        self._snack_first = self._snack_most = max(self.settings.receive_window // 2, 1)  # M43

    def _take_first_message(self, sn: int, payload: bytes, now: float) -> None:
        self._begin_receiving_messages(sn)
        self._put_message(Message(sn, payload, now))

    def _take_message(
        self, op: Op, flags: int, payload: bytes, sn: int, expected: int, window: int, now: float
    ) -> None:
        received = self.received
        ahead = sub(sn, received.expected)
        if flags & self.revision.minimal_delay_flag and flags & self.revision.compressed_flag:
            return self.statistics.drop("flags")  # 4.6: never both
        if self.messages is None:
            if self.state in CONFIRMING:
                if op is not Op.PERSIST or ahead:
                    return self.statistics.drop("state")  # 6.5: anything else says too little
            elif self._peer_open:  # a transaction has begun without it (F60)
                return self._fail(Event.RESET, FailureKind.UNSUPPORTED, ResetReason.UNSUPPORTED, now)
            if ahead < 0:
                return self.statistics.drop("state")
            received.clear_early()
            self._begin_receiving_messages(received.expected)
        assert self.messages is not None
        if ahead < 0:
            self._take_acknowledgement(expected, window, now)
        else:
            if self.messages.skip(received.expected, sn):
                self._ce_seen = self.revision.tells_congestion  # F62: nothing else tells the sender
                self._count_messages(self.messages)
            received.expected = sn  # what lies between is not awaited any more (8.9, M43)
            op = Op.PURE_DATA if op is Op.NULCOMMIT else op  # ends nothing (4.6)
            self._take_in_order(op, 0, b"", expected, window, now)
        if payload and self.state not in OVER:
            self._put_message(Message(sn, payload, now))
        return None

    def _put_message(self, message: Message) -> None:
        assert self.messages is not None
        if self.messages.put(message):
            self.statistics.payload_received += len(message.payload)
            self._count_messages(self.messages)
        else:
            self.statistics.drop("late")
