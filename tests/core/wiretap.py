"""A third party who knows the keys: reads what a pair says, and says what one of them could have said."""

from __future__ import annotations

from dataclasses import dataclass

from fsp_trio.integrity.protection import Protection
from fsp_trio.revisions import GAO_07, Revision
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR, Codec
from fsp_trio.wire.gao import GaoCodec
from fsp_trio.wire.jason import JasonCodec
from fsp_trio.wire.packets import (
    AckInitConnect,
    ConnectRequest,
    ExtensionKind,
    InitConnect,
    Normal,
    Op,
    Packet,
    Reset,
    Snack,
)
from fsp_trio.wire.reference import ReferenceCodec
from fsp_trio.wire.serial import add, sub

from .pair import Flight, Pair, Side

# 4.4.1, written down a second time
NUMBERS = {op: number for number, op in enumerate(Op, start=1)}
CODEC = GaoCodec(NUMBERS, {ExtensionKind.PEER_SUBNETS: 17, ExtensionKind.SELECTIVE_NACK: 18})
# and those of the author's program
_ORDER = (*list(Op)[:6], Op.PURE_DATA, Op.PERSIST, Op.ACK_FLUSH, Op.RELEASE, Op.MULTIPLY, Op.KEEP_ALIVE)
REFERENCE_CODEC = ReferenceCodec(
    {op: number for number, op in enumerate(_ORDER, start=1)},
    {ExtensionKind.PEER_SUBNETS: 16, ExtensionKind.SELECTIVE_NACK: 17},
)
# jason-00 3.3
JASON_CODEC = JasonCodec(
    {op: number for op, number in NUMBERS.items() if op not in (Op.NULCOMMIT, Op.PERSIST)} | {Op.PERSIST: 6},
    {ExtensionKind.PEER_SUBNETS: 17, ExtensionKind.SELECTIVE_NACK: 18},
)
CODECS: dict[str, Codec] = {"gao-07": CODEC, "reference-2020": REFERENCE_CODEC, "jason-00": JASON_CODEC}
OUT_OF_BAND = frozenset({Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY})
WINDOW = 64
NO_PREFIXES = (bytes(8), bytes(8), bytes(8), bytes(8))


@dataclass(slots=True)
class Speaker:
    """What one side has said so far."""

    ultid: bytes
    next_sn: int = 0
    expected: int = 0
    """The largest expected sequence number that it has acknowledged with."""
    right_edge: int = 0
    serial: int = 0
    heard: bool = False


class Wiretap:
    """Follows the record of a pair; `key` is the key material that both ends install, if any."""

    def __init__(self, pair: Pair, key: bytes = b"", revision: Revision = GAO_07) -> None:
        self._pair = pair
        self._read = 0
        self.codec = CODECS[revision.name]
        self._integrity = revision.integrity
        self._sealed_acceptance = revision.acceptance_is_sealed
        self._keys: list[Protection] = [self._integrity.aead(key, 256).batch(1)] if key else []
        self.init_connect: InitConnect | None = None
        self.challenge: AckInitConnect | None = None
        self.request: ConnectRequest | None = None
        self.crc64: dict[Side, Protection] = {}
        """As each side has it."""
        self.encrypted = False
        """A packet under the installed key was seen."""
        self.speakers: dict[Side, Speaker] = {}
        self.resets: list[bytes] = []

    def follow(self) -> list[tuple[Side, Packet]]:
        """Read the record from where the last call ended."""
        new = self._pair.record[self._read :]
        self._read += len(new)
        return [(flight.sender, self._take(flight)) for flight in new]

    def _take(self, flight: Flight) -> Packet:
        packet = self.open(flight.sender, flight.datagram)
        match packet:
            case InitConnect():
                self.init_connect = packet
            case AckInitConnect():
                self.challenge = packet
            case ConnectRequest():
                self._prepare(packet, flight.datagram)
            case Reset():
                self.resets.append(flight.datagram)
            case Normal():
                self._note(flight.sender, packet)
        return packet

    def _prepare(self, request: ConnectRequest, datagram: bytes) -> None:
        client, server = datagram[:4], datagram[4:8]
        proof = (
            request.init_check_code,
            request.cookie,
            request.salt,
            request.time_delta,
            request.timestamp,
        )
        self.request = request
        self.crc64 = {
            Side.CLIENT: self._integrity.crc64(client, server, *proof),
            Side.SERVER: self._integrity.crc64(server, client, *proof),
        }
        self.speakers = {
            Side.CLIENT: Speaker(client, next_sn=request.initial_sn),
            Side.SERVER: Speaker(server),
        }

    def _note(self, side: Side, packet: Normal) -> None:
        speaker = self.speakers[side]
        if packet.op in OUT_OF_BAND:
            snack = self.codec.acknowledged_by(packet.extensions, packet.expected)
            serial = snack.serial or packet.expected
            if sub(serial, speaker.serial) > 0:
                speaker.serial = serial
            expected = snack.expected_sn
        else:
            expected = packet.expected
            if not speaker.heard or sub(packet.sn, speaker.next_sn) >= 0:
                speaker.next_sn = add(packet.sn, 1)
        edge = add(expected, packet.window)
        if not speaker.heard or sub(expected, speaker.expected) > 0:
            speaker.expected = expected
        if not speaker.heard or sub(edge, speaker.right_edge) > 0:
            speaker.right_edge = edge
        speaker.heard = True

    def open(self, sender: Side, datagram: bytes) -> Packet:
        """The packet in plaintext; AssertionError if no key fits."""
        packet = datagram[ULTID_PAIR:]
        op = self.codec.ops[self.codec.unpack_head(packet, 0)[0]]
        if op in (Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST, Op.RESET):
            return self.codec.decode(packet)
        if op is Op.ACK_CONNECT_REQ and not self._sealed_acceptance:
            return self.codec.decode(packet)
        for protection in (*self._keys, self.crc64[sender.other]):
            body = protection.open(datagram, op in OUT_OF_BAND)
            if body is not None:
                self.encrypted = self.encrypted or protection.mode != "crc64"
                return self.codec.decode(packet[:NORMAL_HEADER] + body)
        raise AssertionError(f"{op.name} of the {sender.value} opens with no key")

    def protection_of(self, sender: Side) -> Protection:
        """What the sender seals with now."""
        return self._keys[0] if self.encrypted else self.crc64[sender]

    def craft(
        self,
        sender: Side,
        op: Op,
        *,
        sn: int,
        expected: int,
        flags: int = 0,
        window: int = WINDOW,
        chain: bytes = b"",
        snack: Snack | None = None,
        payload: bytes = b"",
        protection: Protection | None = None,
        source: bytes | None = None,
    ) -> bytes:
        """The datagram of a normal packet, sealed; `expected` is the serial of one that is out of band."""
        head = self.codec.head(self.codec.op_codes[op], NORMAL_HEADER + len(chain), flags, window, sn, expected)
        if snack is not None:
            head, chain = self.codec.acknowledgement(op, flags, window, sn, snack, expected, None)
        ids = (source or self.speakers[sender].ultid) + self.speakers[sender.other].ultid
        seal = (protection or self.protection_of(sender)).seal
        return seal(ids, head, chain + payload, op in OUT_OF_BAND)

    def craft_reset(
        self, sender: Side, *, sn: int, expected: int, reason: int = 1, protection: Protection | None = None
    ) -> bytes:
        """RESET on an established connection: its ICC is one of an in-band packet (4.9, G15)."""
        head = self.codec.reset_head(reason, WINDOW, sn, expected)
        ids = self.speakers[sender].ultid + self.speakers[sender.other].ultid
        return (protection or self.protection_of(sender)).seal(ids, head, b"")
