"""What a case waits for: conditions on packets that can say in words what they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spec_conformance.wire.packet import OUT_OF_BAND, Op, Packet, later


@dataclass(frozen=True, slots=True)
class Want:
    """A condition, and its words: "an ACK_FLUSH that acknowledges 7"."""

    words: str
    holds: Callable[[Packet], bool]

    def __call__(self, packet: Packet) -> bool:
        return self.holds(packet)

    def __or__(self, other: Want) -> Want:
        return Want(f"{self.words}, or {other.words}", lambda packet: self(packet) or other(packet))

    def __and__(self, other: Want) -> Want:
        return Want(f"{self.words}, {other.words}", lambda packet: self(packet) and other(packet))


def an(*ops: Op) -> Want:
    """A packet of one of these kinds."""
    return Want(" or ".join(ops), lambda packet: packet.op in ops)


def acknowledging(sn: int) -> Want:
    """It tells that everything before `sn` has arrived."""

    def holds(packet: Packet) -> bool:
        number = packet.acknowledged
        return number is not None and later(number, sn) >= 0

    return Want(f"acknowledging up to {sn}", holds)


def ending(ends: bool = True) -> Want:
    return Want("with EoT" if ends else "without EoT", lambda packet: packet.ends is ends)


def carrying(payload: bytes) -> Want:
    return Want(f"with payload {payload[:16]!r}", lambda packet: packet.payload == payload)


def numbered(sn: int) -> Want:
    return Want(f"numbered {sn}", lambda packet: packet.sn == sn and not packet.out_of_band)


ANYTHING = Want("any packet", lambda packet: True)
AN_ACKNOWLEDGEMENT = Want("an acknowledgement", lambda packet: packet.op in OUT_OF_BAND)
DATA = Want("data", lambda packet: packet.op in (Op.PERSIST, Op.PURE_DATA) and bool(packet.payload))
A_RESET = an(Op.RESET)
