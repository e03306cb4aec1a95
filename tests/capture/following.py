"""Helpers: what a Follower tells of simulated connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fsp_trio.capture import DIALECTS, Datagram, DecodedPacket, Follower
from fsp_trio.keylog import KeyLogEntry
from fsp_trio.wire.serial import sub
from tests.core.pair import Pair, Side

from .writing import Sent

IN_BAND = frozenset({"ACK_CONNECT_REQ", "NULCOMMIT", "PERSIST", "PURE_DATA", "RELEASE"})


def datagrams(packets: Iterable[Sent], cut: bool = False) -> Iterator[Datagram]:
    for n, packet in enumerate(packets, 1):
        places = [f"{host}:{port}" for host, port in (packet.source, packet.destination)]
        ports = (packet.source[1], packet.destination[1])
        yield Datagram(n, packet.time, places[0], places[1], ports, packet.payload, cut)


def follower(key_log: Iterable[KeyLogEntry] = (), *, rekey_threshold: int = 2**29) -> Follower:
    return Follower(list(DIALECTS.values()), key_log, rekey_threshold=rekey_threshold)


def follow(
    packets: Sequence[Sent],
    key_log: Sequence[KeyLogEntry] = (),
    *,
    rekey_threshold: int = 2**29,
    surveying: bool = False,
) -> list[DecodedPacket]:
    """What is told of all packets; `surveying` reads them twice."""
    dialects = list(DIALECTS.values())

    def survey() -> Mapping[tuple[bytes, bytes], int]:
        ahead = Follower(dialects, key_log, rekey_threshold=rekey_threshold)
        for datagram in datagrams(packets):
            ahead.take(datagram)
        return ahead.evidence

    one = Follower(dialects, key_log, rekey_threshold=rekey_threshold, survey=survey if surveying else None)
    return [packet for datagram in datagrams(packets) for packet in one.take(datagram)]


def entry(pair: Pair, ikm: bytes, *, mode: str = "gcm", bits: int = 256, reverse: bool = False) -> KeyLogEntry:
    """The key that both ends installed last, as one of them would log it."""
    end = pair.server if reverse else pair.client
    first_sent, first_received = end.keyring.sending.newest.first, end.keyring.receiving.newest.first
    assert mode in ("gcm", "mac")
    return KeyLogEntry(
        "gao-07",
        end.local_ultid,
        end.remote_ultid,
        first_sent,
        first_received,
        "gcm" if mode == "gcm" else "mac",
        bits,
        ikm,
    )


def said(packets: Iterable[DecodedPacket], ultid: bytes) -> bytes:
    """The octets that an end sent in all its transactions, in order and once."""
    pieces: dict[int, bytes] = {}
    for packet in packets:
        if packet.src_ultid == ultid and packet.opcode in IN_BAND:
            assert packet.sn is not None
            assert packet.payload is not None
            assert pieces.setdefault(packet.sn, packet.payload) == packet.payload
    first = next(iter(pieces))
    return b"".join(pieces[sn] for sn in sorted(pieces, key=lambda sn: sub(sn, first)))


def all_good(packets: Iterable[DecodedPacket]) -> bool:
    """Every code is good, and only the packets of the handshake have none."""
    return all(
        packet.icc_ok is True if packet.mode != "none" else packet.opcode in HANDSHAKE and packet.icc_ok is None
        for packet in packets
    )


HANDSHAKE = frozenset({"INIT_CONNECT", "ACK_INIT_CONNECT", "CONNECT_REQUEST"})


def modes(packets: Iterable[DecodedPacket]) -> list[str | None]:
    """The modes in the order of their first appearance."""
    return list(dict.fromkeys(packet.mode for packet in packets))


def of(pair: Pair, side: Side) -> bytes:
    return pair.end(side).local_ultid
