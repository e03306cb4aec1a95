"""Following connections of jason-00, which has nobody's captures: the check code in the middle, headers in clear."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions import JASON_00
from fsp_trio.wire.packets import Op
from tests.core.pair import Pair, Side
from tests.core.talk import drain, transfer

from .following import HANDSHAKE, entry, follow, modes, of, said
from .test_follow import keyed
from .writing import recorded

KEY = bytes(range(32))
DATA = bytes(range(256)) * 20
ANSWER = b"an answer " * 300


@pytest.mark.parametrize("mode", ["crc64", "mac", "gcm"])
def test_a_connection_from_its_first_packet_to_its_last(mode: str) -> None:
    pair = Pair.connecting(revision=JASON_00, settings=Settings(timers=Timers.responsive()), welcome=b"welcome")
    pair.run_until(lambda: pair.has_server and pair.server.is_established)
    pair.run_for(1.0)
    assert drain(pair.client) == [b"welcome"]
    logged = []
    if mode != "crc64":
        for end in (pair.client, pair.server):
            end.install_key(KEY, mode="mac" if mode == "mac" else "aead")
        logged = [replace(entry(pair, KEY, mode=mode), revision="jason-00")]
    transfer(pair, Side.CLIENT, DATA)
    transfer(pair, Side.SERVER, ANSWER)
    pair.client.shutdown(pair.clock.now)
    pair.run_for(2.0)
    told = follow(recorded(pair), logged)
    unsealed = HANDSHAKE | {"ACK_CONNECT_REQ"}  # which has the time in place of a code (A7)
    assert all(packet.icc_ok is (None if packet.opcode in unsealed else True) for packet in told)
    assert mode in modes(told)
    assert said(told, of(pair, Side.CLIENT)) == DATA
    assert said(told, of(pair, Side.SERVER)) == b"welcome" + ANSWER
    assert [packet.opcode for packet in told].count("RELEASE") >= 2


def test_a_damaged_stack_of_headers_ends_nothing() -> None:
    """The place of the nonce's serial cannot be found in such a packet: it is told as damaged, and the rest is read."""
    pair = Pair.connecting(revision=JASON_00, settings=Settings(timers=Timers.responsive()))
    pair.run_until(lambda: pair.has_server and pair.server.is_established)
    for end in (pair.client, pair.server):
        end.install_key(KEY)
    logged = [replace(entry(pair, KEY, mode="gcm"), revision="jason-00")]
    transfer(pair, Side.CLIENT, DATA)
    transfer(pair, Side.SERVER, ANSWER)
    packets = recorded(pair)
    sound = follow(packets, logged)
    number = next(place for place, packet in enumerate(sound) if packet.out_of_band and packet.mode == "gcm")
    damaged = bytearray(packets[number].payload)
    damaged[8 + 20 : 8 + 22] = (28).to_bytes(2, "big")  # the stack ends in the middle of a signature
    packets[number] = replace(packets[number], payload=bytes(damaged))
    told = follow(packets, logged)
    assert len(told) == len(packets)
    assert told[number].icc_ok is not True
    assert sum(packet.icc_ok is True for packet in told) == sum(packet.icc_ok is True for packet in sound) - 1


def test_a_key_log_of_another_revision_ends_nothing() -> None:
    """Ciphertext of gao-07 stands where jason-00 has the length of its stack of headers, and may have any value."""
    captured, logged = keyed()
    packets = list(captured)
    number = next(place for place, packet in enumerate(packets) if packet.payload[8] not in (1, 2, 3))
    ends, rest = packets[number].payload[:28], packets[number].payload[32:]
    looks_like = ends + bytes([0, 28, 0, Op.KEEP_ALIVE.value]) + rest
    packets[number] = replace(packets[number], payload=looks_like)
    told = follow(packets, [replace(logged, revision="jason-00")])
    assert len(told) == len(packets)
    assert told[number].icc_ok is not True
