"""One short move between real network namespaces, where they can be made; and the parts of the harness."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.states import OVER
from fsp_trio.wire.packets import Op
from tests import netns
from tests.core.pair import Pair, Side
from tests.core.talk import KEY, QUIET, RESPONSIVE, established, transfer

from .__main__ import HEAD, Row
from .attacker import IP_HEADER, packet_of, parse
from .attacks import CHANCES, ELSEWHERE, Attacker, Seen
from .play import Outcome, play
from .scenarios import SCENARIOS
from .world import CLIENT, PREFIX, SERVER, UDP_PORT, Way, missing, since, sweep

THERE = {Side.CLIENT: (CLIENT, UDP_PORT), Side.SERVER: (SERVER, UDP_PORT)}


@pytest.fixture
def namespaces() -> Iterator[None]:
    if why := missing():
        pytest.skip(why)
    sweep()
    yield
    assert not [name for name in os.listdir("/run/netns") if name.startswith(f"{PREFIX}-{os.getpid()}-")]


@pytest.mark.realnet
async def test_a_transfer_goes_on_at_another_address(namespaces: None) -> None:
    scenario = replace(SCENARIOS["the client's address changes"], lasting=3.5, takes=5.0)
    outcome = await play(scenario, look=0.3)
    assert outcome.lost == 0


def test_namespaces_of_dead_processes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{PREFIX}-{os.getpid()}-1-client", f"{PREFIX}-{2**30}-1-client", f"{PREFIX}-x-client"]
    monkeypatch.setattr(Path, "glob", lambda path, pattern: [path / name for name in names])
    assert netns.left_behind(PREFIX) == names[1:2]


def test_rows_say_how_many_runs_were_good() -> None:
    row = Row("it rains", "gao-07")
    for gap in (0.1, 0.3, 0.2):
        row.outcomes.append(Outcome(octets=1000, lost=0, gap=gap, took=1.0, drawn=0.0, ends=({}, {})))
    assert str(row) == "| it rains | gao-07 | 3 | 3,000 | 0 | 0.20 | 0.30 |"
    assert str(row).count("|") == HEAD.splitlines()[0].count("|")
    row.failures.append("nothing arrived")
    assert str(row).startswith("| it rains | gao-07 | 3 of 4 |")


def test_what_arrived_between_two_looks() -> None:
    one, other = Way("a", 1, "b", 2), Way("c", 1, "b", 2)
    assert since({one: 5}, {one: 5, other: 3}) == {other: 3}
    assert since({one: 5}, {one: 7}) == {one: 2}


def test_packets_are_read_as_they_are_made() -> None:
    seen = Seen((CLIENT, 1), (SERVER, 2), b"a datagram", mark=2)
    octets = packet_of(seen)
    assert parse(octets) == seen
    assert IP_HEADER.unpack_from(octets)[2] == len(octets)
    assert parse(octets[:27]) is None
    assert parse(octets[:9] + b"\x06" + octets[10:]) is None, "that is TCP"


def watched(pair: Pair) -> Attacker:
    attacker = Attacker(GAO_07, random.Random(1), THERE[Side.CLIENT], THERE[Side.SERVER])
    for flight in pair.record:
        attacker.look(Seen(THERE[flight.sender], THERE[flight.sender.other], flight.datagram))
    return attacker


def forge(attacker: Attacker, pair: Pair, number: int) -> None:
    """Send forged packets to the server until it has enough."""
    newest = [flight for flight in pair.record if flight.sender is Side.CLIENT][-1]
    seen = Seen(THERE[Side.CLIENT], THERE[Side.SERVER], newest.datagram)
    client, server = (attacker._sides[THERE[side]] for side in (Side.CLIENT, Side.SERVER))
    for _ in range(number):
        if pair.server.state in OVER:
            return
        forged = attacker.readdressed(attacker.forged(seen, client, server))
        pair.server.receive([forged.datagram], forged.source, pair.clock.now)


def test_what_is_forged_would_do_without_a_key() -> None:
    """Else the attack in the namespaces would be none."""
    pair = established(RESPONSIVE)
    transfer(pair, Side.CLIENT, b"hello")
    attacker = watched(pair)
    forge(attacker, pair, 1000)
    assert pair.server.state in OVER
    assert attacker.done["forged RESET"] + attacker.done["forged RELEASE"] > 0


def test_what_is_forged_does_nothing_with_a_key() -> None:
    pair = established(RESPONSIVE, key=KEY)
    for text in (b"hello", b"and more"):
        transfer(pair, Side.CLIENT, text)
        transfer(pair, Side.SERVER, text)
    attacker = watched(pair)
    remote = pair.server.remote
    forge(attacker, pair, 1000)
    assert pair.server.remote == remote
    transfer(pair, Side.CLIENT, b"as if nothing had happened")
    pair.run_for(QUIET)
    assert {f"forged {op.name}" for op in (Op.RESET, Op.KEEP_ALIVE, Op.RELEASE, Op.PERSIST)} <= attacker.done.keys()


def test_everything_is_tried() -> None:
    pair = established(RESPONSIVE, key=KEY)
    transfer(pair, Side.CLIENT, bytes(100_000))
    attacker = watched(pair)
    leaves = []
    for _ in range(20):
        for flight in pair.record[-50:]:
            leaves += attacker.attack(Seen(THERE[flight.sender], THERE[flight.sender.other], flight.datagram))
    assert attacker.done.keys() >= CHANCES.keys()
    assert ELSEWHERE in {seen.source for _, seen in leaves}
    assert len(leaves) > 1500
