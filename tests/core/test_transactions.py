"""Transmit transactions end to end (gao-07 8.2 to 8.4; M16, M17, M37, S1 to S3, F4, F5, B7)."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.core.failure import ConnectionMisuse, FailureKind, ResetReason
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_EOT, FLAG_MIND, Op
from fsp_trio.wire.serial import add

from .pair import Side
from .situations import situation_in
from .talk import KEY, RESPONSIVE, drain, established, flags_of, op_of, ops_since, sent_by, state_of, transfer
from .wiretap import Wiretap


@given(
    st.lists(st.tuples(st.sampled_from(Side), st.lists(st.binary(min_size=1, max_size=700), max_size=4)), max_size=6),
    st.sampled_from([1, 7, 100, 1024]),
    st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_what_goes_in_comes_out(plan: list[tuple[Side, list[bytes]]], max_payload: int, keyed: bool) -> None:
    """All transactions, undivided and in order, whatever the writes were."""
    pair = established(dataclasses.replace(RESPONSIVE, max_payload=max_payload), key=KEY if keyed else b"")
    sent: dict[Side, list[bytes]] = {side: [] for side in Side}
    for side, writes in plan:
        for data in writes:
            pair.end(side).send(data)
        sent[side].append(b"".join(writes))
        assert pair.end(side).commit() == len(sent[side])
    got: dict[Side, list[bytes]] = {side: [] for side in Side}
    open_: dict[Side, bytes] = dict.fromkeys(Side, b"")

    def done() -> bool:
        for side in Side:
            end = pair.end(side.other)
            while end.readable:
                if end.at_end:
                    end.next_transaction()
                    got[side].append(open_[side])
                    open_[side] = b""
                else:
                    open_[side] += end.read(100)
        return got == sent and all(pair.end(side).committed == len(sent[side]) for side in Side)

    pair.run_until(done, 60.0)


def test_kinds_of_packets_of_a_transaction() -> None:
    """8.2 to 8.4: PERSIST begins, PURE_DATA goes on, the last one has EoT."""
    pair = established()
    mark = len(pair.record)
    transfer(pair, Side.CLIENT, bytes(3000))
    flights = sent_by(pair, Side.CLIENT, since=mark)
    assert [op_of(flight) for flight in flights] == [Op.PERSIST, Op.PURE_DATA, Op.PURE_DATA]
    assert [flags_of(flight) for flight in flights] == [0, 0, FLAG_EOT]
    transfer(pair, Side.CLIENT, b"one packet begins and ends it")
    flight = sent_by(pair, Side.CLIENT)[-1]
    assert (op_of(flight), flags_of(flight)) == (Op.PERSIST, FLAG_EOT)


def test_m16_an_end_without_data_is_nulcommit() -> None:
    """M16, F4: the octets have left already, or there never were any."""
    pair = established()
    pair.client.send(b"sent")
    pair.run_for(0.5)
    pair.client.commit()
    pair.run_for(0.5)
    assert op_of(sent_by(pair, Side.CLIENT)[-1]) is Op.NULCOMMIT
    assert drain(pair.server) == [b"sent"]
    pair.client.commit()
    pair.run_for(0.5)
    assert drain(pair.server) == [b""]
    assert pair.client.committed == 2


def test_nothing_follows_before_the_acknowledgement() -> None:
    """2, 5.7: the next transaction waits for ACK_FLUSH."""
    pair = established()
    undo = pair.drop_from(Side.SERVER)
    pair.client.send(b"first")
    pair.client.commit()
    pair.client.send(b"second")
    pair.client.commit()
    pair.run_for(0.9)
    assert drain(pair.server) == [b"first"]
    undo()
    pair.run_for(2.0)
    assert drain(pair.server) == [b"second"]
    assert pair.client.committed == 2


def test_m17_transactions_may_cross() -> None:
    """M17: the state is a pair; PERSIST in COMMITTING begins a transaction of the peer."""
    pair = established()
    for end in (pair.client, pair.server):
        end.send(bytes(2000))
        end.commit()
    pair.run_for(0.5)
    assert drain(pair.client) == drain(pair.server) == [bytes(2000)]
    assert pair.client.state is pair.server.state is State.CLOSABLE


def test_m17_persist_in_committing() -> None:
    situation = situation_in("COMMITTING2", Side.CLIENT, "crc64")
    wiretap = situation.wiretap
    peer, subject = wiretap.speakers[Side.SERVER], situation.subject
    datagram = wiretap.craft(Side.SERVER, Op.PERSIST, sn=peer.next_sn, expected=subject.sent.una, payload=b"new")
    subject.receive([datagram], Side.SERVER, situation.pair.clock.now)
    assert subject.state is State.COMMITTING
    assert subject.read(10) == b"new"


def test_m37_eot_counts_when_everything_before_it_is_there() -> None:
    """S1, M37"""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, client, now = wiretap.speakers[Side.SERVER].next_sn, pair.client, pair.clock.now

    def data(offset: int, op: Op, payload: bytes, flags: int = 0) -> bytes:
        return wiretap.craft(
            Side.SERVER, op, sn=add(sn, offset), expected=client.sent.next_sn, flags=flags, payload=payload
        )

    client.receive([data(2, Op.PURE_DATA, b"c", FLAG_EOT)], Side.SERVER, now)
    assert state_of(client) is State.CLOSABLE
    client.receive([data(0, Op.PERSIST, b"a")], Side.SERVER, now)
    assert state_of(client) is State.COMMITTED
    assert client.read(10) == b"a"
    client.receive([data(1, Op.PURE_DATA, b"b")], Side.SERVER, now)
    assert state_of(client) is State.CLOSABLE
    assert client.peer_committed
    assert drain(client) == [b"bc"]


@pytest.mark.parametrize("op", [Op.PERSIST, Op.PURE_DATA])
def test_f5_features_that_are_not_there(op: Op) -> None:
    """F5: RESET with reason UNSUPPORTED; the peer hears why."""
    pair = established(key=KEY)
    pair.client.revision = dataclasses.replace(GAO_07, minimal_delay_flag=0, unsupported_flags=FLAG_MIND)
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    datagram = wiretap.craft(
        Side.SERVER,
        op,
        sn=wiretap.speakers[Side.SERVER].next_sn,
        expected=pair.client.sent.next_sn,
        flags=FLAG_MIND,
        payload=b"x",
    )
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.failure is not None
    assert pair.client.failure.kind is FailureKind.UNSUPPORTED
    assert not pair.client.readable
    pair.run_for(0.1)
    assert pair.server.failure is not None
    assert pair.server.failure.reason == ResetReason.UNSUPPORTED


def test_committing_since_ack() -> None:
    """B7: 30 seconds without an acknowledgement end the waiting of commit(), not the connection."""
    pair = established()
    assert pair.client.commit_timeout == 30.0
    assert established(dataclasses.replace(Settings(), commit_timeout=3.0)).client.commit_timeout == 3.0
    pair.drop_from(Side.SERVER)
    pair.client.send(b"x")
    pair.client.commit()
    began = pair.clock.now
    pair.run_for(100.0)
    assert pair.client.committing_since_ack <= began
    assert state_of(pair.client) is State.COMMITTING2


def test_misuse() -> None:
    """After shutdown() nothing may be sent; nothing has changed."""
    pair = established()
    with pytest.raises(ConnectionMisuse):
        pair.client.next_transaction()
    pair.client.shutdown(pair.clock.now)
    for action in (lambda: pair.client.send(b"x"), pair.client.commit):
        with pytest.raises(ConnectionMisuse):
            action()
    pair.run_for(0.5)
    with pytest.raises(ConnectionMisuse):
        pair.server.send(b"x")
    pair.server.shutdown(pair.clock.now)
    with pytest.raises(ConnectionMisuse):
        pair.server.commit()


def test_reading_before_there_is_a_connection() -> None:
    from .situations import connecting_client

    client = connecting_client().subject
    assert client.read(10) == b""
    assert not client.readable
    assert not client.at_end
    assert not client.peer_committed
    assert client.unacknowledged == 0


def test_order_on_the_wire_of_a_request_and_its_answer() -> None:
    pair = established()
    mark = len(pair.record)
    transfer(pair, Side.CLIENT, b"question")
    transfer(pair, Side.SERVER, b"answer")
    assert ops_since(pair, mark) == [
        ("client", "PERSIST"),
        ("server", "ACK_FLUSH"),
        ("server", "PERSIST"),
        ("client", "ACK_FLUSH"),
    ]


def test_large_batches_say_that_there_is_more() -> None:
    """A batch is bounded, and the rest leaves at once when asked for."""
    pair = established(dataclasses.replace(RESPONSIVE, max_payload=64))
    pair.client.macroflow.cwnd = 1e9
    pair.client.macroflow.srtt = 0.0
    pair.client.send(bytes(64 * 300))
    sizes = []
    while batch := pair.client.datagrams_to_send(pair.clock.now):
        sizes.append(len(batch))
        assert pair.client.more_to_send == (len(sizes) < 3)
        assert (pair.client.next_deadline() <= pair.clock.now) == (len(sizes) < 3)
    assert sizes == [122, 122, 56]


def test_output_waits() -> None:
    pair = established()
    assert not pair.client.has_output
    assert not pair.client.outstanding
    pair.client.reset(1, pair.clock.now)
    assert pair.client.has_output
