"""Minimal delay at both ends: of what waits to leave, or to be read, the oldest makes room (gao-07 4.6, 8.9)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from fsp_trio.core.send_window import MASK, REORDERING_THRESHOLD, Piece, SendQueue
from fsp_trio.wire.serial import sub

MESSAGES_KEPT = 16
"""Messages that wait to leave, or to be read, unless the application chooses another number."""


class MessageQueue(SendQueue):
    """Messages not yet numbered; each becomes one packet, which is sent once."""

    __slots__ = ("capacity", "dropped")

    repeats: ClassVar[bool] = False

    def __init__(self, capacity: int, flag: int) -> None:
        super().__init__(0)
        self.flags = flag
        self.capacity = capacity
        self.dropped = 0
        """Messages that made room."""

    def append(self, data: bytes) -> None:
        if len(self.pieces) >= self.capacity:
            self.octets -= len(self.pieces.pop(0).data)
            self.dropped += 1
        self.octets += len(data)
        self.pieces.append(Piece(data, self.flags))

    def cut_full(self, limit: int, count: int) -> list[bytes]:
        """Take up to `count` messages, whatever their sizes."""
        messages = [piece.data for piece in self.pieces[:count]]
        del self.pieces[:count]
        self.octets -= sum(map(len, messages))
        return messages

    def cut(self, limit: int) -> tuple[bytes, None]:
        (message,) = self.cut_full(limit, 1)
        return message, None


class Message(NamedTuple):
    """One packet's payload that waits to be read."""

    sn: int
    payload: bytes
    arrived: float


class MessageBuffer:
    """Messages that have arrived, in the order of their numbers; the earliest is dropped where there is no room."""

    __slots__ = ("_missing", "_past", "capacity", "dropped", "lost", "messages")

    def __init__(self, first_sn: int, capacity: int = MESSAGES_KEPT) -> None:
        self.messages: list[Message] = []
        self.capacity = capacity
        self.dropped = 0
        """Messages that made room, or were too old for the reader."""
        self.lost = 0
        """Packets that have not arrived though others did that were sent well after them."""
        self._past = first_sn
        """Whatever comes with an earlier number comes too late, or was there before."""
        self._missing: list[int] = []
        """Numbers that were skipped a moment ago: they may only have been overtaken."""

    def __bool__(self) -> bool:
        return bool(self.messages)

    def skip(self, first: int, sn: int) -> bool:
        """A packet has come while that of `first` was expected; whether it shows that others are lost."""
        missing = self._missing
        if first == sn and not missing:
            return False
        missing += [first + i & MASK for i in range(sub(sn, first))]
        before = len(missing)
        self._missing = [number for number in missing if sub(sn, number) < REORDERING_THRESHOLD]
        self.lost += before - len(self._missing)
        return before > len(self._missing)

    def put(self, message: Message) -> bool:
        """Take a message in; False if it comes too late, or again."""
        sn = message.sn
        messages = self.messages
        place = len(messages)
        while place and (later := sub(messages[place - 1].sn, sn)) >= 0:
            if later == 0:
                return False
            place -= 1
        if sub(sn, self._past) < 0:
            return False
        if sn in self._missing:
            self._missing.remove(sn)
        messages.insert(place, message)
        self.drop_beyond(self.capacity)
        return True

    def drop_beyond(self, number: int) -> None:
        """Drop the earliest messages until only `number` are left."""
        excess = len(self.messages) - number
        if excess > 0:
            self._pass(excess)
            self.dropped += excess

    def drop_before(self, moment: float) -> None:
        """Drop the earliest messages as long as they arrived before `moment`."""
        while self.messages and self.messages[0].arrived < moment:
            self._pass(1)
            self.dropped += 1

    def take(self) -> bytes:
        """The earliest message; there must be one."""
        payload = self.messages[0].payload
        self._pass(1)
        return payload

    def _pass(self, number: int) -> None:
        self._past = self.messages[number - 1].sn + 1 & MASK
        del self.messages[:number]
