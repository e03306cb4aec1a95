"""Attacks that must go on being withstood: each needs one check, and fails without it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Literal

import pytest
import trio
from trio.testing import MockClock

from fsp_trio.core.connection import Connection
from fsp_trio.core.keyring import LIMBO
from fsp_trio.core.paths import Address
from fsp_trio.integrity import AeadSchedule, Protection
from fsp_trio.keying import KeyAgreementError, agree_psk
from fsp_trio.session import FSPSession
from fsp_trio.testing import SimulatedNetwork
from fsp_trio.testing.nonces import NonceLedger
from fsp_trio.testing.streams import open_pair_maker
from fsp_trio.wire.packets import FLAG_EOT, Op, Snack
from fsp_trio.wire.serial import add, sub
from tests.core.pair import Flight, Pair, Side
from tests.core.talk import KEY, QUIET, RESPONSIVE, drain, established, op_of, sent_by, transfer
from tests.core.wiretap import CODEC, NUMBERS, OUT_OF_BAND, Wiretap

ELSEWHERE = "the attacker's address"
COUNTED = frozenset({"statistics", "spent", "_limbo", "_run", "_run_first", "_run_length", "_batches"})
"""What a packet that fails its check may change: counters, what is kept unopened (F2), and remembered derivations."""


def state(value: object, seen: frozenset[int] = frozenset()) -> object:
    """All that an object of the core holds, as far as it can be compared, without what may change."""
    if id(value) in seen:
        return "..."
    seen |= {id(value)}
    if isinstance(value, list | tuple):
        return [state(item, seen) for item in value]
    if isinstance(value, dict):
        return {key: state(item, seen) for key, item in value.items()}
    if not type(value).__module__.startswith("fsp_trio.core"):
        return value
    return {name: state(getattr(value, name), seen) for name in _slots(value) if name not in COUNTED}


def _slots(value: object) -> Iterator[str]:
    for ancestor in type(value).__mro__:
        names = vars(ancestor).get("__slots__", ())
        yield from (name for name in names if hasattr(value, name))


def keyed(mode: Literal["aead", "mac"]) -> Pair:
    pair = established(RESPONSIVE)
    for end in (pair.client, pair.server):
        end.install_key(KEY, mode=mode)
    pair.run_for(QUIET)
    pair.run_for(70.0)
    transfer(pair, Side.CLIENT, b"there")
    transfer(pair, Side.SERVER, b"back")
    pair.run_for(QUIET)
    return pair


def talk_of(pair: Pair) -> list[Flight]:
    """One packet of each kind that either end may send next, none of which arrives; both have something open."""
    mark = len(pair.record)
    undo = pair.drop(lambda flight: True)
    for end in (pair.client, pair.server):
        end.send(b"confidential")
        pair.flush()
        end.commit()
        end._ack_now = True
    pair.flush()
    pair.client.reset(1, pair.clock.now)
    pair.flush()
    undo()
    return pair.record[mark:]


@pytest.mark.parametrize("mode", ["aead", "mac"])
def test_every_single_bit_counts(mode: Literal["aead", "mac"]) -> None:
    """Altered in one bit, from anywhere: nothing changes but counters."""
    pair = keyed(mode)
    server = pair.server
    packets = [flight for flight in talk_of(pair) if flight.sender is Side.CLIENT]
    assert {Op.PERSIST, Op.RESET, Op.ACK_FLUSH} <= {op_of(flight) for flight in packets}
    before = state(server)
    for flight in packets:
        for bit in range(8 * len(flight.datagram)):
            altered = bytearray(flight.datagram)
            altered[bit // 8] ^= 0x80 >> bit % 8
            server.receive([bytes(altered)], ELSEWHERE, pair.clock.now + 1, True)
            assert state(server) == before, (op_of(flight), bit)
    assert server.statistics.failed_checks > 100


@pytest.mark.parametrize("mode", ["aead", "mac"])
def test_a_packet_reflected_to_its_sender_is_nobodys(mode: Literal["aead", "mac"]) -> None:
    """Both directions have one key; the ULTIDs in what is authenticated tell them apart."""
    pair = keyed(mode)
    packets = [flight.datagram for flight in talk_of(pair) if flight.sender is Side.SERVER]
    server = pair.server
    before = state(server)
    for datagram in packets:
        turned = datagram[4:8] + datagram[:4] + datagram[8:]
        for sn in (datagram[16:20], server.received.expected.to_bytes(4, "big")):
            server.receive([datagram, turned[:16] + sn + turned[20:]], Side.CLIENT, pair.clock.now)
    assert state(server) == before


def told(connection: Connection) -> dict[str, object]:
    """What the peer, and nobody else, may tell a connection."""
    sent, received = connection.sent, connection.received
    return {
        "state": connection.state,
        "address": connection.remote,
        "newest": connection._address_newest,
        "committed": connection.committed,
        "acknowledged": sent.una,
        "window": sent.right_edge,
        "received": (received.expected, list(received.ready), dict(received.early)),
        "serial": connection._last_serial,
        "round trip": (connection.rtt.srtt, connection.rtt.rttvar),
        "congestion": (connection.macroflow.cwnd, connection.macroflow.reductions),
        "key": state(connection.keyring),
    }


def test_a_session_played_again_from_elsewhere_says_nothing_new() -> None:
    """4.6, 10.3, M33: every packet of a session with two keys, in order, backwards and shuffled."""
    pair = established(RESPONSIVE)
    for key in (b"first", b"second"):
        for end in (pair.client, pair.server):
            end.install_key(key)
        pair.run_for(QUIET)
        transfer(pair, Side.CLIENT, bytes(20_000))
        transfer(pair, Side.SERVER, bytes(20_000))
        pair.run_for(QUIET)
    before = {side: told(pair.end(side)) for side in Side}
    shuffled = list(pair.record)
    random.Random(1).shuffle(shuffled)
    for flights in (list(pair.record), list(reversed(pair.record)), shuffled):
        for flight in flights:
            side = flight.sender.other
            pair.end(side).receive([flight.datagram], ELSEWHERE, pair.clock.now)
            assert told(pair.end(side)) == before[side], op_of(flight)
    transfer(pair, Side.CLIENT, b"and on it goes")


def talk_both_ways(pair: Pair, chance: random.Random) -> None:
    """A transaction each way at the same time, read by fits and starts, so that windows change while repeats wait."""
    said = {side: chance.randbytes(8000) for side in Side}
    heard = {side: bytearray() for side in Side}
    for side in Side:
        pair.end(side).send(said[side])
        pair.end(side).commit()
    for _ in range(2000):
        pair.run_for(chance.random() * 0.05)
        for side in Side:
            heard[side] += pair.end(side.other).read(chance.randrange(1, 2000))
        if heard == said:
            break
    assert heard == said
    for end in (pair.client, pair.server):
        end.next_transaction()


@pytest.mark.parametrize("seed", range(4))
def test_copying_delaying_and_losing_makes_no_nonce_twice(seed: int) -> None:
    """N1 to N5, 7.5: batches of 64 numbers, two keys, and somebody who sends copies of everything whenever he likes."""
    chance = random.Random(seed)
    with NonceLedger() as ledger:
        pair = established(dataclasses.replace(RESPONSIVE, max_payload=100, rekey_after=64, receive_window=32))
        pair.drop(lambda flight: chance.random() < 0.15)

        def copies(flight: Flight) -> bool:
            for _ in range(chance.randrange(3)):
                copy = chance.choice(pair.record[-200:])
                pair.end(copy.sender.other).receive([copy.datagram], ELSEWHERE, pair.clock.now, chance.random() < 0.1)
            return False

        pair.drop(copies)
        for key in (b"first", b"second"):
            pair.run_until(
                lambda: all(not end.outstanding and end.peer_committed for end in (pair.client, pair.server)), 60.0
            )
            for end in (pair.client, pair.server):
                end.install_key(key)
            for _ in range(3):
                talk_both_ways(pair, chance)
        assert ledger.sealed > 800
        assert pair.client.statistics.retransmissions > 10


def test_garbage_in_the_place_of_the_first_packets_under_a_key() -> None:
    """F2: eight places, all taken by forgeries; what is really under the key comes all the same, once."""
    pair = established(RESPONSIVE)
    wiretap = Wiretap(pair)
    wiretap.follow()
    speaker = wiretap.speakers[Side.CLIENT]
    chance = random.Random(1)
    for number in range(100):
        head = CODEC.head(NUMBERS[Op.PERSIST], 24, FLAG_EOT, 64, add(speaker.next_sn, number % 20), speaker.expected)
        forged = pair.client.local_ultid + pair.server.local_ultid + head + chance.randbytes(1000)
        pair.server.receive([forged], ELSEWHERE, pair.clock.now)
    assert len(pair.server._limbo) == LIMBO
    pair.client.install_key(KEY)
    transfer_begins = pair.client.unacknowledged
    pair.client.send(b"under the key")
    pair.client.commit()
    pair.run_for(0.05)
    assert pair.client.unacknowledged > transfer_begins
    pair.server.install_key(KEY)
    assert pair.server.remote is Side.CLIENT
    pair.run_for(5.0)
    assert drain(pair.server) == [b"under the key"]


def test_an_acknowledgement_kept_back_over_a_change_of_keys() -> None:
    """M5, M33: what was sealed under the key before, and comes when that key is forgotten, is of no use."""
    pair = established(RESPONSIVE, key=b"first")
    kept = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) in OUT_OF_BAND)
    pair.client.send(b"one")
    pair.client.commit()
    pair.run_for(0.05)
    (flight,) = sent_by(pair, Side.SERVER, Op.ACK_FLUSH)[-1:]
    kept()
    pair.run_until(lambda: pair.client.committed == 1)
    drain(pair.server)
    for end in (pair.client, pair.server):
        end.install_key(b"second")
    pair.run_for(QUIET)
    pair.client.send(b"two")
    pair.client.commit()
    pair.flush()
    pair.drop_under_way()
    before = told(pair.client)
    pair.client.receive([flight.datagram], Side.SERVER, pair.clock.now)
    assert told(pair.client) == before
    assert AeadSchedule(b"first", 256).batch(1).open(flight.datagram, True) is not None


class Meddler:
    """On the path between two sessions: delivers the greeting in two packets, and hides that until there is a key.

    Afterwards the numbers of the initiator's packets are one behind what the responder expects.
    """

    def __init__(self, initiator: FSPSession, responder: FSPSession) -> None:
        self.ends = {"initiator": initiator._connection, "responder": responder._connection}
        self.sealers = {name: end.keyring.sending.eras[0].secret.fixed for name, end in self.ends.items()}
        self.shift = 0
        self.tampered = 0

    def to_responder(self, datagram: bytes) -> list[bytes]:
        sealer = self.sealers["initiator"]
        assert sealer is not None
        op = CODEC.ops[datagram[8]]
        body = self._opened("initiator", datagram, op)
        if body is None:
            return [datagram]
        self.tampered += 1
        if op in OUT_OF_BAND:
            return [self._again(sealer, datagram, body, op, self.shift)]
        if op is Op.PERSIST and not self.shift:
            self.shift = 1
            flags = datagram[12]
            first = datagram[8:12] + bytes([flags & ~FLAG_EOT]) + datagram[13:24]
            second = bytes([NUMBERS[Op.PURE_DATA]]) + datagram[9:16]
            number = add(int.from_bytes(datagram[16:20], "big"), 1).to_bytes(4, "big")
            return [
                sealer.seal(datagram[:8], first, body[:10]),
                sealer.seal(datagram[:8], second + number + datagram[20:24], body[10:]),
            ]
        return [self._again(sealer, datagram, body, op, self.shift)]

    def to_initiator(self, datagram: bytes) -> list[bytes]:
        sealer = self.sealers["responder"]
        assert sealer is not None
        op = CODEC.ops[datagram[8]]
        body = self._opened("responder", datagram, op)
        if body is None or not self.shift:
            return [datagram]
        if op in OUT_OF_BAND:
            (*others, snack) = CODEC.extensions(body)
            assert isinstance(snack, Snack)
            moved = dataclasses.replace(snack, expected_sn=add(snack.expected_sn, -1))
            chain = b"".join(CODEC._extensions.encode(each) for each in (*others, moved))
            return [sealer.seal(datagram[:8], datagram[8:24], chain, True)]
        expected = add(int.from_bytes(datagram[20:24], "big"), -1).to_bytes(4, "big")
        return [sealer.seal(datagram[:8], datagram[8:20] + expected, body)]

    def _opened(self, sender: str, datagram: bytes, op: Op) -> bytes | None:
        """The body, if the packet is under CRC64."""
        receiver = self.ends["responder" if sender == "initiator" else "initiator"]
        weak = receiver.keyring.receiving.eras[0].secret
        if op is Op.RESET or weak.mode != "crc64" or weak.fixed is None:
            return None
        return weak.fixed.open(datagram, op in OUT_OF_BAND)

    @staticmethod
    def _again(sealer: Protection, datagram: bytes, body: bytes, op: Op, shift: int) -> bytes:
        number = add(int.from_bytes(datagram[16:20], "big"), shift).to_bytes(4, "big")
        return sealer.seal(datagram[:8], datagram[8:16] + number + datagram[20:24], body, op in OUT_OF_BAND)


async def test_the_key_agreement_notices_that_numbers_were_shifted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first packet under the key is lost for ever then: `agree_psk` has put its own word into it."""
    outcomes: list[BaseException | None] = []
    async with SimulatedNetwork(1) as network, open_pair_maker(network) as maker:
        a, b = await maker.sessions()
        await trio.sleep(1)
        meddler = Meddler(a, b)
        original = Connection.receive

        def receive(
            self: Connection,
            datagrams: list[bytes],
            source: Address,
            now: float,
            congested: bool = False,
            local: Address | None = None,
        ) -> None:
            change = meddler.to_responder if self is b._connection else meddler.to_initiator
            for datagram in datagrams:
                original(self, change(datagram), source, now, congested, local)

        monkeypatch.setattr(Connection, "receive", receive)

        async def agree(session: FSPSession, initiator: bool) -> None:
            try:
                await agree_psk(session, bytes(16), initiator=initiator)
            except KeyAgreementError as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(agree, a, True)
            nursery.start_soon(agree, b, False)
        assert meddler.tampered > 1
        assert sub(b._connection.keyring.receiving.newest.first, a._connection.keyring.sending.newest.first) == 1
    assert None not in outcomes, outcomes
