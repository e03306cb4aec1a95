"""The stateless half of a listener: cookies instead of memory (gao-07 6.2 to 6.4; B1 to B3, M51)."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Container
from dataclasses import dataclass

from fsp_trio.core.paths import Address
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import Revision
from fsp_trio.wire.codec import ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import AckInitConnect, ConnectRequest, InitConnect, Op, Reset

COOKIE_LIFE = 90.0
"""Seconds for which a cookie is valid at least; twice as long at most (M51)."""
LARGEST_WELL_KNOWN_ULTID = 65535
ULTID_ATTEMPTS = 8
"""How many ULTIDs are computed for one request before it is left unanswered because all are in use."""


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """A CONNECT_REQUEST whose cookie is good: the first thing worth remembering."""

    initiator_ultid: bytes
    local_ultid: bytes
    listener_ultid: bytes
    source: Address
    packet: ConnectRequest
    rtt: float
    """Seconds between our ACK_INIT_CONNECT and this packet (8.5.1, M14)."""
    arrived: int
    """Microseconds since 1970 by our clock."""


class Responder:
    """Answers INIT_CONNECT and checks CONNECT_REQUEST for one listening ULTID, keeping nothing.

    `random` gives octets for the secret; tests may pass a deterministic one.
    """

    __slots__ = ("_revision", "_secret", "listener_ultid")

    def __init__(
        self,
        revision: Revision,
        settings: Settings,
        listener_ultid: bytes,
        *,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        del settings
        self._revision = revision
        self._secret = random(32)
        self.listener_ultid = listener_ultid

    def receive_untrusted(
        self,
        datagram: bytes,
        source: Address,
        now: float,
        unix_microseconds: int,
        in_use: Container[bytes],
    ) -> bytes | ConnectionRequest | None:
        """The datagram that answers an INIT_CONNECT, or a request whose cookie is good, or None for silence.

        Raises MalformedPacket for octets that are neither packet, and nothing else.
        """
        packet = self._revision.codec.decode(datagram[ULTID_PAIR:])
        source_ultid, destination_ultid = datagram[:4], datagram[4:8]
        if isinstance(packet, InitConnect):
            if destination_ultid != self.listener_ultid:
                return None
            return self._challenge(packet, source_ultid, now, unix_microseconds, in_use)
        if isinstance(packet, ConnectRequest):
            return self._check(packet, source_ultid, destination_ultid, source, now, unix_microseconds)
        raise MalformedPacket("op-code")

    def _challenge(
        self,
        packet: InitConnect,
        initiator_ultid: bytes,
        now: float,
        unix_microseconds: int,
        in_use: Container[bytes],
    ) -> bytes | None:
        offered = self._offer(packet, initiator_ultid, now, in_use)
        if offered is None:
            return None
        elapsed = unix_microseconds - int.from_bytes(packet.timestamp, "big")
        if self._revision.bounded_time_delta and not -(2**31) <= elapsed < 2**31:
            return None
        time_delta = (elapsed & 0xFFFFFFFF).to_bytes(4, "big")
        answer = AckInitConnect(
            time_delta=time_delta,
            cookie=self._cookie(
                self._generation(now),
                packet.timestamp,
                time_delta,
                packet.init_check_code,
                packet.salt,
                initiator_ultid,
                offered,
            ),
            init_check_code=packet.init_check_code,
            sink=self._revision.codec.challenge_sink(self.listener_ultid),
        )
        return offered + initiator_ultid + self._revision.codec.encode(answer)

    def _offer(self, packet: InitConnect, initiator_ultid: bytes, now: float, in_use: Container[bytes]) -> bytes | None:
        """The ULTID offered to this request: computed, not reserved (B1)."""
        for attempt in range(ULTID_ATTEMPTS):
            ultid = self._hash(
                b"offer",
                self._generation(now).to_bytes(8, "big"),
                bytes([attempt]),
                packet.timestamp,
                packet.init_check_code,
                packet.salt,
                initiator_ultid,
                size=4,
            )
            if int.from_bytes(ultid, "big") > LARGEST_WELL_KNOWN_ULTID and ultid not in in_use:
                return ultid
        return None

    def _check(
        self,
        packet: ConnectRequest,
        initiator_ultid: bytes,
        local_ultid: bytes,
        source: Address,
        now: float,
        unix_microseconds: int,
    ) -> ConnectionRequest | None:
        if self._revision.codec.listener_of(packet.sink) != self.listener_ultid:
            return None
        newest = self._generation(now)
        for generation in (newest, newest - 1):
            cookie = self._cookie(
                generation,
                packet.timestamp,
                packet.time_delta,
                packet.init_check_code,
                packet.salt,
                initiator_ultid,
                local_ultid,
            )
            if hmac.compare_digest(cookie, packet.cookie):
                break
        else:
            return None  # 6.4: an invalid cookie is discarded in silence (B3)
        challenged_at = int.from_bytes(packet.timestamp, "big") + int.from_bytes(packet.time_delta, "big")
        rtt = (unix_microseconds - challenged_at & 0xFFFFFFFF) / 1e6
        return ConnectionRequest(
            initiator_ultid, local_ultid, self.listener_ultid, source, packet, rtt, unix_microseconds
        )

    def refuse(self, request: ConnectionRequest, reason: int) -> bytes:
        """The RESET that answers a request which the application or a lack of resources rejects (6.4, B2)."""
        packet = Reset(reason, request.packet.timestamp, request.packet.cookie)
        return request.local_ultid + request.initiator_ultid + self._revision.codec.encode(packet)

    def _generation(self, now: float) -> int:
        return int(now // COOKIE_LIFE)

    def _cookie(
        self,
        generation: int,
        timestamp: bytes,
        time_delta: bytes,
        init_check_code: bytes,
        salt: bytes,
        initiator_ultid: bytes,
        offered: bytes,
    ) -> bytes:
        """All that 4.5.2 lists, with the offered and the listening ULTID (M51)."""
        return self._hash(
            b"cookie",
            (generation & 2**64 - 1).to_bytes(8, "big"),
            timestamp,
            time_delta,
            init_check_code,
            salt,
            initiator_ultid,
            offered,
            size=8,
        )

    def _hash(self, *parts: bytes, size: int) -> bytes:
        return hashlib.blake2b(b"".join(parts), digest_size=size, key=self._secret, salt=self.listener_ultid).digest()


def listener_of_untrusted(revision: Revision, datagram: bytes) -> bytes | None:
    """The listening ULTID that a datagram of at least 32 octets is meant for, if it opens a connection.

    INIT_CONNECT names it as its destination, CONNECT_REQUEST in its Sink Parameter (6.2, 6.3).  MalformedPacket for
    a CONNECT_REQUEST that cannot be read.
    """
    codec = revision.codec
    op = codec.ops.get(codec.unpack_head(datagram, ULTID_PAIR)[0])
    if op is Op.INIT_CONNECT:
        return datagram[4:8]
    if op is Op.CONNECT_REQUEST:
        packet = codec.decode(datagram[ULTID_PAIR:])
        return codec.listener_of(packet.sink) if isinstance(packet, ConnectRequest) else None
    return None
