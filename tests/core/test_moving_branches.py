"""Branches of connections whose ends move (gao-07 10.2, 11; M25)."""

from __future__ import annotations

import math

from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import Op

from .family import Family, keyed_pair
from .pair import Side


def test_m25_an_acceptor_that_moves_answers_before_it_tells_so() -> None:
    """Notices are out of band, and the initiator takes none of these before the answer."""
    family = Family(keyed_pair())
    branch = family.multiply(b"?")
    family.run_until(lambda: bool(family.branches()))
    (accepted,) = family.branches()
    assert not accepted.statistics.in_band_sent
    accepted.moved("elsewhere", family.now)
    ops = []
    for moment in (family.now, family.now + 0.005, family.now + 0.1):
        assert accepted.next_heartbeat() < math.inf
        notices = [datagram for _, datagram in accepted.notices_to_send(moment)]
        sent = (*notices, *accepted.datagrams_to_send(moment))
        ops += [accepted.codec.ops[accepted.codec.unpack_head(datagram, 8)[0]] for datagram in sent]
    assert ops == [Op.NULCOMMIT, Op.KEEP_ALIVE]
    assert branch.state is State.CLONING


def test_a_multiply_from_elsewhere_moves_the_parent() -> None:
    """10.3: it is a later packet of the peer's."""
    family = Family(keyed_pair())
    family.lost = lambda flight: True
    branch = family.multiply(b"?")
    datagram = family.multiply_of(branch).datagram
    family.server.receive([datagram], "elsewhere", family.now)
    assert family.server.remote == "elsewhere"
    family.flush()
    assert {end.remote for end in family.branches()} == {"elsewhere"}


def test_an_answer_from_elsewhere_moves_the_branch() -> None:
    family = Family(keyed_pair())
    branch = family.multiply(b"?")
    family.run_until(lambda: bool(family.branches()))
    family.lost = lambda flight: True
    family.run_for(1.0)
    answer = family.sent(Side.SERVER, Op.NULCOMMIT)[-1].datagram
    branch.receive([answer], "elsewhere", family.now)
    assert branch.is_established
    assert branch.remote == "elsewhere"
