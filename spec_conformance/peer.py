"""One scripted end of one connection: it keeps numbers and keys as a right end would, and answers nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import trio

from spec_conformance.expect import AN_ACKNOWLEDGEMENT, DATA, Want, acknowledging, an, ending
from spec_conformance.link import Link
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.dialect import Wire
from spec_conformance.wire.jason import FLAG_HMAC
from spec_conformance.wire.keys import Aead, Crc64, Mac, Protection
from spec_conformance.wire.packet import (
    FLAG_EOT,
    IN_BAND,
    MASK,
    OUT_OF_BAND,
    Op,
    Packet,
    Sink,
    Snack,
    Unreadable,
    later,
)

if TYPE_CHECKING:
    from spec_conformance.bench import Bench

_CHECKED: Final = IN_BAND | OUT_OF_BAND | {Op.RESET}
"""Kinds that have a check code."""
WINDOW: Final = 512
"""Blocks that a peer advertises unless a case says otherwise."""


@dataclass(slots=True)
class Era:
    """From number `first` on `protection` holds."""

    first: int
    protection: Protection


class Peer:
    """A scripted end.  `sn`, `expected`, `serial` are the next numbers; a case may set them to anything."""

    def __init__(self, bench: Bench, link: Link, number: int) -> None:
        self.bench = bench
        self.link = link
        self.number = number
        self.wire: Wire = bench.wire
        octets = bench.random.randbytes
        self.local = b"\x7f" + octets(3)
        """ULTID of this end."""
        self.listener = b""
        """ULTID of the service that this end waits for a client with; empty if it is the initiator itself."""
        self.remote = b""
        """ULTID of the target's end; empty before the target has offered one."""
        self.salt = octets(4)
        self.check_code = octets(8)
        self.timestamp = bench.unix_microseconds()
        self.time_delta = bytes(4)
        self.cookie = bytes(8)
        self.initial_sn = bench.random.getrandbits(32)
        self.sn = self.initial_sn
        self.expected = 0
        self.window = WINDOW
        self.serial = 1
        self.target_initial_sn = 0
        self.acknowledged = self.initial_sn
        """Everything before it has arrived at the target, as that says."""
        self.right_edge = self.initial_sn
        """First number that the windows advertised by the target do not admit."""
        self.received: list[Packet] = []
        """Every packet that this end has received, in the order of arrival."""
        self._unread: list[Packet] = []
        self._early: dict[int, Packet] = {}
        self._stream: list[Packet] = []
        """In-band packets in order."""
        self._own_complete = True
        self._answer_from = 0
        """Where in `_stream` the target's answer to our newest transaction begins."""
        self.sending: list[Era] = []
        self.receiving: list[Era] = []
        self.sent: list[bytes] = []
        """Datagrams, in order."""
        self.established = False

    # making packets

    def packet(self, op: Op | int, payload: bytes = b"", **fields: Any) -> Packet:
        """A packet with all fields right but those that are given.  Takes no number."""
        values: dict[str, Any] = {
            "op": op,
            "source": self.local,
            "destination": self.remote,
            "payload": payload,
            "window": self.window,
            "timestamp": self.timestamp,
            "check_code": self.check_code,
            "salt": self.salt,
            "cookie": self.cookie,
            "time_delta": self.time_delta,
            "initial_sn": self.initial_sn,
        }
        if op in OUT_OF_BAND:
            serial = fields.pop("serial", self.serial)
            values["sn"] = (self.sn - 1) & MASK
            if self.wire.draft == "gao-07":
                values["expected"] = serial
                if op in (Op.KEEP_ALIVE, Op.ACK_FLUSH):
                    sample = (self.expected - 1) & MASK
                    snack = Snack(expected=self.expected, delay_sample=sample, delay=1000)
                    values["extensions"] = (snack,)
                    if op is Op.KEEP_ALIVE:
                        values["extensions"] = (Sink(), snack)
            else:
                values["expected"] = serial if op is Op.MULTIPLY else self.expected
                if op is not Op.MULTIPLY:
                    values["extensions"] = (Snack(serial=serial),)
        else:
            values["sn"] = self.sn
            values["expected"] = self.expected
        if op in (Op.NULCOMMIT, Op.RELEASE) and self.wire.draft == "gao-07":
            values["flags"] = FLAG_EOT
        values.update(fields)
        protection = self.protection(values["sn"])
        if self.wire.draft == "jason-00" and protection is not None and protection.mode == "mac":
            values["flags"] = values.get("flags", 0) | FLAG_HMAC
            values["reason"] = values.get("reason", 0) | FLAG_HMAC << 24  # A50
        return Packet(**values)

    def protection(self, sn: int) -> Protection | None:
        return _protection(self.sending, sn)

    def encode(self, packet: Packet) -> bytes:
        return self.wire.encode(packet, self.protection(packet.sn))

    # sending

    async def send(self, what: Op | int | Packet, payload: bytes = b"", **fields: Any) -> Packet:
        """Send a packet, or make one as `packet` does.  Made in band it takes the next number, unless `sn` is given."""
        if isinstance(what, Packet):
            packet = what
        else:
            packet = self.packet(what, payload, **fields)
            if what in IN_BAND and "sn" not in fields:
                self.sn = (self.sn + 1) & MASK
            if what in OUT_OF_BAND and "serial" not in fields:
                self.serial += 1
        if packet.in_band and self.complete and self._own_complete:
            self._answer_from = len(self._stream)
        if packet.in_band:
            self._own_complete = packet.ends
        await self.send_octets(self.encode(packet), packet)
        return packet

    async def send_octets(self, datagram: bytes, packet: Packet | None = None) -> None:
        """Send octets as they are."""
        self.sent.append(datagram)
        self.bench.note(self, datagram, sent=True, packet=packet)
        await self.link.send(datagram)

    async def acknowledge(self, **fields: Any) -> Packet:
        """ACK_FLUSH if the target's transaction is complete here, else KEEP_ALIVE with what is missing."""
        if self.complete:
            return await self.send(Op.ACK_FLUSH, **fields)
        return await self.send(Op.KEEP_ALIVE, **fields)

    async def transaction(self, data: bytes, size: int | None = None) -> list[Packet]:
        """Send octets as one transaction, in packets of `size` octets."""
        size = size or self.wire.full_block
        pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        sent = []
        for turn, piece in enumerate(pieces):
            op = Op.PURE_DATA if turn else Op.PERSIST
            if not piece:
                op = self.wire.nothing_to_send
            flags = FLAG_EOT if turn == len(pieces) - 1 else 0
            sent.append(await self.send(op, piece, flags=flags))
        return sent

    async def commit(self, **fields: Any) -> Packet:
        """End a transaction, or confirm the connection, without octets."""
        return await self.send(self.wire.nothing_to_send, **{"flags": FLAG_EOT, **fields})

    # receiving

    async def next(self, within: float | None = None) -> Packet | None:
        """The next packet of the target, None if none comes in time (`bench.patience`, unless told otherwise)."""
        if self._unread:
            return self._unread.pop(0)
        with trio.move_on_after(self.bench.patience if within is None else within):
            while True:
                datagram = await self.link.receive()
                self.bench.note(self, datagram, sent=False)
                packet = self._read(datagram)
                if packet is not None:
                    return packet
        return None

    def _read(self, datagram: bytes) -> Packet | None:
        if len(datagram) < 8 or datagram[4:8] not in (self.local, self.listener):
            return None  # of a connection that this case had before, perhaps
        try:
            op, sn = self.wire.peek(datagram)
            checked = op in _CHECKED and not self._stamped(op)
            packet = self.wire.decode(datagram, _protection(self.receiving, sn) if checked else None)
        except Unreadable as reason:
            raise Violation(f"the target sent what cannot be read: {reason}") from None
        self.received.append(packet)
        self.bench.read_as(packet)
        if packet.authentic or self._stamped(packet.op):
            self._take(packet)
        return packet

    def _stamped(self, op: Op | int) -> bool:
        """ACK_CONNECT_REQ of jason-00 has the time in place of a check code (A7)."""
        return op is Op.ACK_CONNECT_REQ and self.wire.draft == "jason-00"

    def _take(self, packet: Packet) -> None:
        number = packet.acknowledged
        if number is not None:
            if later(number, self.acknowledged) > 0:
                self.acknowledged = number
            edge = (number + packet.window) & MASK
            if packet.op is not Op.RESET and later(edge, self.right_edge) > 0:
                self.right_edge = edge
        if packet.in_band and later(packet.sn, self.expected) >= 0:
            self._early[packet.sn] = packet
            while self.expected in self._early:
                self._stream.append(self._early.pop(self.expected))
                self.expected = (self.expected + 1) & MASK

    async def expect(self, want: Want | Op, within: float | None = None, *, otherwise: str = "") -> Packet:
        """Wait for a packet that is wanted, passing others over; Violation if none comes in time.

        Packets whose check code is wrong are nobody's, so they are never what is wanted.
        """
        if isinstance(want, Op):
            want = an(want)
        deadline = trio.current_time() + (self.bench.patience if within is None else within)
        seen: list[str] = []
        while True:
            packet = await self.next(max(deadline - trio.current_time(), 0.0))
            if packet is None:
                came = ", ".join(seen[-5:]) or "nothing"
                raise Violation(otherwise or f"no {want.words}: {came} came", expected=want.words, seen=came)
            if packet.authentic is not False and want(packet):
                return packet
            seen.append(self.describe(packet))

    async def reach(self, want: Want | Op, within: float | None = None) -> Packet:
        """As `expect`, on the way to the case's question: what does not come makes it inconclusive."""
        try:
            return await self.expect(want, within)
        except Violation as missed:
            raise Inconclusive(f"on the way: {missed.detail}", missed.packet) from None

    async def quiet(
        self, seconds: float | None = None, *, but: Want | None = None, otherwise: str = ""
    ) -> list[Packet]:
        """Nothing may come for a while (`bench.silence`) but what `but` allows; what was allowed and came."""
        deadline = trio.current_time() + (self.bench.silence if seconds is None else seconds)
        allowed: list[Packet] = []
        while (packet := await self.next(max(deadline - trio.current_time(), 0.0))) is not None:
            if but is None or not but(packet):
                words = "silence" if but is None else f"nothing but {but.words}"
                raise Violation(
                    otherwise or f"{self.describe(packet)} came where {words} was due",
                    packet,
                    expected=words,
                    seen=self.describe(packet),
                )
            allowed.append(packet)
        return allowed

    async def drain(self, seconds: float | None = None) -> list[Packet]:
        """Everything that comes for a while, whatever it is."""
        found = []
        deadline = trio.current_time() + (self.bench.silence if seconds is None else seconds)
        while (packet := await self.next(max(deadline - trio.current_time(), 0.0))) is not None:
            found.append(packet)
        return found

    def put_back(self, packets: list[Packet]) -> None:
        """Let `next` give these again."""
        self._unread = packets + self._unread

    def describe(self, packet: Packet) -> str:
        words = [packet.name]
        if packet.authentic is False:
            words.append("with a wrong check code")
        if packet.ends and packet.op is not Op.RESET:
            words.append("EoT")
        if packet.op in IN_BAND:
            words.append(f"sn {packet.sn}")
        return " ".join(words)

    # the stream

    @property
    def complete(self) -> bool:
        """The target's newest transaction has arrived whole."""
        return bool(self._stream) and self._stream[-1].ends and not self._early

    @property
    def stream(self) -> list[Packet]:
        """In-band packets of the target in order, from ACK_CONNECT_REQ on."""
        return list(self._stream)

    async def read_transaction(self, within: float | None = None) -> bytes:
        """Octets of the target's answer to our newest transaction, up to EoT; acknowledged when they are there."""
        start = self._answer_from
        while len(self._stream) <= start or not self.complete:
            await self.expect(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT), within)
        self._answer_from = len(self._stream)
        await self.send(Op.ACK_FLUSH)
        return b"".join(packet.payload for packet in self._stream[start:])

    # the handshake, as initiator

    async def greet(self, **fields: Any) -> Packet:
        """INIT_CONNECT; gives ACK_INIT_CONNECT.  The case is inconclusive without."""
        await self.send(Op.INIT_CONNECT, destination=self.bench.service, **fields)
        answer = await self.reach(Op.ACK_INIT_CONNECT)
        self.learn(answer)
        return answer

    def learn(self, answer: Packet) -> None:
        """What ACK_INIT_CONNECT offers."""
        self.remote = answer.source
        self.cookie = answer.cookie
        self.time_delta = answer.time_delta

    def request(self, **fields: Any) -> Packet:
        """A CONNECT_REQUEST that follows `greet`."""
        sink = Sink(self.bench.service, window=self.window, block_size=2)
        if self.wire.draft == "jason-00":
            sink = replace(sink, prefixes=(self.prefix(),) * 4)
        return self.packet(Op.CONNECT_REQUEST, **{"extensions": (sink,), **fields})

    def prefix(self) -> bytes:
        """The network prefix of this end on UDP/IPv4: 2002, address, port (gao-07 4.7, jason-00 3.7)."""
        host, port = self.link.local_address
        octets = bytes(int(part) for part in host.split(".")) if host.count(".") == 3 else bytes(4)
        return b"\x20\x02" + octets + port.to_bytes(2, "big")

    def start_checking(self) -> None:
        """CRC64 holds from here on, for what the handshake has settled."""
        whole = self.wire.draft == "gao-07"
        fields = self.check_code, self.cookie, self.salt, self.time_delta, self.timestamp
        code = Crc64(*fields, whole, self.wire.byte_order)
        self.sending = [Era(self.initial_sn, code)]
        self.receiving = [Era(0, code)]

    async def challenge(self, **fields: Any) -> Packet:
        """Greet and request; gives ACK_CONNECT_REQ: the target is in CHALLENGING then."""
        await self.greet()
        self.start_checking()
        await self.send(self.request(**fields))
        answer = await self.reach(Op.ACK_CONNECT_REQ)
        self.accepted(answer)
        return answer

    def accepted(self, answer: Packet) -> None:
        self.target_initial_sn = answer.sn
        self.expected = answer.sn
        self.receiving[0].first = answer.sn
        self.right_edge = (self.initial_sn + answer.window) & MASK
        self._take(answer)

    async def connect(self) -> None:
        """The whole handshake, confirmed with an empty commit: both ends are in CLOSABLE then.

        This is the sanity exchange of most cases; without it they are inconclusive.
        """
        await self.challenge()
        self.established = True
        await self.commit()
        await self.reach(an(Op.ACK_FLUSH) & acknowledging(self.sn))

    async def echo(self, data: bytes) -> bytes:
        """A transaction there and back; inconclusive if it does not come back as it was."""
        await self.transaction(data)
        try:
            answer = await self.read_transaction()
        except Violation as missed:
            raise Inconclusive(f"on the way: {missed.detail}", missed.packet) from None
        if answer != data:
            raise Inconclusive(f"on the way: the echo of {len(data)} octets is {len(answer)} octets, or others")
        await self.drain(self.bench.blink)
        return answer

    # the handshake, as responder to the target's client

    async def hear_greeting(self, within: float | None = None) -> Packet:
        """Wait for INIT_CONNECT of a client."""
        self.listener = self.bench.service
        greeting = await self.reach(Op.INIT_CONNECT, self.bench.client_patience if within is None else within)
        self.link.settle()
        self.remote = greeting.source
        self.timestamp, self.check_code, self.salt = greeting.timestamp, greeting.check_code, greeting.salt
        self.cookie = self.bench.random.randbytes(8)
        return greeting

    def offer(self, **fields: Any) -> Packet:
        """An ACK_INIT_CONNECT that follows `hear_greeting`."""
        extensions = (Sink(self.listener),) if self.wire.draft == "gao-07" else ()
        return self.packet(Op.ACK_INIT_CONNECT, **{"extensions": extensions, **fields})

    async def hear_request(self, **fields: Any) -> Packet:
        """Wait for a client and offer; gives its CONNECT_REQUEST."""
        await self.hear_greeting()
        await self.send(self.offer(**fields))
        return await self.hear_answer()

    async def hear_answer(self) -> Packet:
        """The CONNECT_REQUEST that answers our offer."""
        request = await self.reach(Op.CONNECT_REQUEST)
        self.target_initial_sn = self.expected = request.initial_sn
        self.start_checking()
        self.receiving[0].first = request.initial_sn
        return request

    def acceptance(self, payload: bytes = b"", **fields: Any) -> Packet:
        """An ACK_CONNECT_REQ that follows `hear_request`; its number is this end's first."""
        values: dict[str, Any] = {"sn": self.initial_sn, "flags": FLAG_EOT}
        if self.wire.draft == "jason-00":  # A7: the time in place of a check code
            values["icc"] = self.bench.unix_microseconds().to_bytes(8, "big")
            prefixes = (self.prefix(),) * 4
            values["extensions"] = (Sink(self.listener, prefixes, window=self.window, block_size=2),)
        return self.packet(Op.ACK_CONNECT_REQ, payload, **{**values, **fields})

    async def accept(self, payload: bytes = b"") -> Packet:
        """The whole handshake with a client; gives the packet that confirms it."""
        await self.hear_request()
        await self.send(self.acceptance(payload))
        self.sn = (self.initial_sn + 1) & MASK
        self.established = True
        return await self.reach(an(Op.NULCOMMIT, Op.PERSIST))

    # states of the target, reached from outside

    @property
    def opening(self) -> bytes:
        """What opens a transaction and does not end it."""
        return b"open".ljust(self.wire.least_block, b".")

    async def reach_closable(self) -> None:
        """Both transactions are complete and acknowledged."""
        await self.connect()

    async def reach_committed(self) -> None:
        """The target's transaction is acknowledged, ours is open; a shut window keeps the echo from starting."""
        await self.challenge()
        self.established = True
        self.window = 0
        await self.send(Op.PERSIST, self.opening)
        await self.reach(AN_ACKNOWLEDGEMENT & acknowledging(self.sn))

    async def reach_active(self) -> None:
        """Both transactions are open."""
        await self.connect()
        await self.send(Op.PERSIST, self.opening)
        await self.reach(DATA & ending(False))
        await self.send(Op.KEEP_ALIVE)
        await self.drain(self.bench.blink)

    async def reach_peer_commit(self) -> None:
        """Ours is complete, the target's is open: the window lets it send one packet of a longer echo."""
        self.window = 1  # from the beginning, for a right edge never moves back
        await self.connect()
        await self.transaction(bytes(3000))
        await self.reach(an(Op.ACK_FLUSH) & acknowledging(self.sn))
        await self.drain(self.bench.blink)
        if self.complete or self.expected == (self.target_initial_sn + 1) & MASK:
            raise Inconclusive("the echo did not begin, or was complete in one packet")

    async def reach_committing2(self) -> None:
        """Both are complete, the target's is not acknowledged with ACK_FLUSH."""
        await self.connect()
        await self.transaction(b"closed")
        await self.reach(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True))
        await self.drain(self.bench.blink)

    async def reach_committing(self) -> None:
        """The target's transaction is complete but not acknowledged, ours is open."""
        await self.reach_committing2()
        await self.send(Op.PERSIST, self.opening, expected=(self.expected - 1) & MASK)
        await self.reach(AN_ACKNOWLEDGEMENT & acknowledging(self.sn))

    # keys

    async def reach_keyed(self) -> None:
        """Connect to the service "keyed", agree, install the profile's key: everything is under it from then on."""
        await self.connect()
        await self.transaction(b"let us install the key")
        await self.reach(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True))
        self.install_agreed()
        await self.send(Op.ACK_FLUSH)
        await self.drain(self.bench.blink)
        await self.acknowledge()  # what announces the key ends a transaction, too (7.3, M30)
        await self.echo(b"under the key")

    def install_agreed(self) -> None:
        """Install the profile's key: after the newest packet sent, and after the target's newest transaction."""
        profile = self.bench.profile
        mode = "mac" if self.bench.service_name == "mac" else "aead"
        self.install(self.key(profile.key, mode, profile.key_bits))
        ends = (self.local.hex(), self.remote.hex(), self.sn, self.expected)
        line = ("FSP_KEY", profile.wire_name, *ends, "mac" if mode == "mac" else "gcm", profile.key_bits)
        self.bench.keys.append(" ".join(map(str, (*line, profile.key.hex()))))

    def install(self, protection: Protection) -> None:
        """From the next numbers on, in both directions."""
        self.sending.append(Era(self.sn, protection))
        self.receiving.append(Era(self.expected, protection))

    def key(self, material: bytes, mode: str = "aead", bits: int = 128) -> Protection:
        """What a key makes of the material that was agreed upon."""
        if self.wire.draft == "jason-00":
            material = material[: bits // 8]
            return Mac(material) if mode == "mac" else Aead.of_key(material)
        return Mac.of_material(material) if mode == "mac" else Aead.of_material(material, bits)

    async def close(self) -> None:
        """End the connection with RESET, or the attempt to make one."""
        if self.established:
            self.established = False
            await self.send(Op.RESET, reason=1)
        elif self.remote and (self.listener or self.sending):
            if self.sending and self.wire.draft == "gao-07":
                await self.send(Op.RESET, reason=1)  # for a target in CHALLENGING, which would wait for a minute (5.5)
            self.sending.clear()
            for proof in (self.check_code, self.cookie):  # 4.9, jason-00 3.10: in the words of the handshake
                await self.send(Op.RESET, reason=1, icc=proof)


def _protection(eras: list[Era], sn: int) -> Protection | None:
    for era in reversed(eras):
        if later(sn, era.first) >= 0:
            return era.protection
    return eras[0].protection if eras else None
