"""Attacks of somebody on the path who has no key: each is withstood, and none of them without its check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock

from fsp_trio.ports import Address
from fsp_trio.wire.packets import FLAG_EOT, NO_PREFIXES, Op, SinkParameter, Snack
from tests.core.wiretap import CODEC
from tests.mutation import changed

from .on_path import ATTACKER, CLIENT, DELAY, SERVER, Alteration, OnPath, Seen, play


class Check(NamedTuple):
    """A check in the code: where it is, its text, and what is left when it is taken out."""

    place: str
    text: str
    without: str


AUTHENTIC, INCOMING = "core.authentic:Authentic.", "core.incoming:Incoming."
IN_BAND, OUT_OF_BAND = INCOMING + "_receive_in_band_untrusted", AUTHENTIC + "_receive_out_of_band_untrusted"

ICC = Check(AUTHENTIC + "_open", "        self.statistics.failed_checks += 1\n", "        body = datagram[32:]\n")
"""8.1: what fails it is not the peer's."""
ICC_OF_RESET = Check(
    AUTHENTIC + "_receive_reset_untrusted", "if self._open(datagram, protection, False, now) is None:", "if False:"
)
ONCE = Check(IN_BAND, "if ahead < 0 or sn in received.early:", "if sn in received.early:")
"""4.6: a number counts once."""
NEW_ALONE_TELLS = Check(IN_BAND, "if ahead >= 0 and sn not in received.early:", "if True:")
LATER_ALONE_MOVES = Check(
    AUTHENTIC + "_authentic", "if later > 0 or (later == 0 and sub(serial, newest_serial) > 0):", "if True:"
)
"""10.3"""
FOLLOWS = Check(AUTHENTIC + "_authentic", "if follows:", "if follows and not self.statistics.address_changes:")
"""10.5: the newest packet says where the peer is, again and again."""
SERIAL = Check(OUT_OF_BAND, "serial <= self._last_serial and not first_of_key", "False")
"""M5"""
OP_CODE = Check(INCOMING + "_receive_one_untrusted", 'return drop("op-code")', "pass")
FRAGMENTS = (
    Check("endpoint:FSPEndpoint._sort_untrusted", " or len(datagram) < SMALLEST", ""),
    Check("endpoint:FSPEndpoint._sort_mixed_untrusted", "if len(datagram) < SMALLEST:", "if False:"),
)
REPEATS = Check(
    "core.multiplication:Multiplication._take_multiply", "known = secret.accepted.get(ultid)", "known = None"
)
"""M22"""

Attacking = Callable[[OnPath], Awaitable[None]]


def altered(datagram: bytes, at: int, octets: bytes) -> bytes:
    return datagram[:at] + octets + datagram[at + len(octets) :]


def unsealed(like: Seen, head: bytes, body: bytes = b"") -> bytes:
    """A packet with the ULTIDs of another one, and a check code of somebody who has no key."""
    return like.datagram[:8] + head + bytes(8) + body


def in_band(op: Op, flags: int, sn: int, expected: int) -> bytes:
    return CODEC.head(CODEC.op_codes[op], 24, flags, 512, sn, expected)


def acknowledging(op: Op, sn: int, expected: int, serial: int, sink: SinkParameter | None) -> tuple[bytes, bytes]:
    """Header and body of a packet out of band that acknowledges all before `expected`."""
    return CODEC.acknowledgement(op, 0, 512, sn, Snack(expected, expected - 1 & 0xFFFFFFFF, 0, ()), serial, sink)


def next_of(attacker: OnPath) -> tuple[Seen, int, int]:
    """The newest packet of the client's, the number that comes next, and the next one of the server's."""
    ours = [seen for seen in attacker.seen if seen.source == CLIENT and seen.op in (Op.PURE_DATA, Op.PERSIST)]
    return ours[-1], ours[-1].sn + 1 & 0xFFFFFFFF, int.from_bytes(ours[-1].datagram[20:24], "big")


# what is forged


def forges(parts: Callable[[int, int, int], tuple[bytes, bytes]], *, source: Address = CLIENT) -> Attacking:
    """It sends the server a packet with the right numbers whenever the client is silent.

    `parts` makes header and body of the client's next number, the server's next number, and how many were sent.
    """

    async def attack(attacker: OnPath) -> None:
        for count in range(10):
            await attacker.until_quiet()
            seen, sn, expected = next_of(attacker)
            attacker.to_server(unsealed(seen, *parts(sn, expected, count)), source=source)
            await trio.sleep(0.1)

    return attack


def notice(sn: int, expected: int, count: int) -> tuple[bytes, bytes]:
    """A KEEP_ALIVE that says that the client is where the packet comes from (10.2)."""
    sink = SinkParameter(bytes(4), NO_PREFIXES)
    return acknowledging(Op.KEEP_ALIVE, sn - 1 & 0xFFFFFFFF, expected, 50 + count, sink)


async def sends_nonsense(attacker: OnPath) -> None:
    """Operations that do not exist."""
    await attacker.until_quiet()
    seen, sn, expected = next_of(attacker)
    whole = unsealed(seen, in_band(Op.PURE_DATA, 0, sn, expected), b"x")
    for code in range(256):
        if code not in CODEC.ops:
            attacker.to_server(altered(whole, 8, bytes([code])))


async def sends_fragments(attacker: OnPath) -> None:
    """Of everything the first octets only."""
    await attacker.until_quiet()
    for seen in attacker.seen[:20]:
        for size in range(40):
            attacker.network.inject(seen.source, seen.destination, seen.datagram[:size])


# what becomes of packets on their way


def meddles(begin: Callable[[OnPath], Alteration]) -> Attacking:
    """As long as the sessions talk what `begin` gives decides what becomes of each packet."""

    async def attack(attacker: OnPath) -> None:
        attacker.passing = begin(attacker)
        await trio.sleep_forever()

    return attack


def swallows_and_forges(op: Op) -> Attacking:
    """It swallows a packet of the client's that ends a transaction, and says that it has arrived (8.4.3)."""

    def begin(attacker: OnPath) -> Alteration:
        swallowed = False

        def passing(seen: Seen) -> bytes | None:
            nonlocal swallowed
            ends = seen.source == CLIENT and seen.op is Op.PURE_DATA and seen.datagram[12] & FLAG_EOT
            if swallowed or not ends:
                return seen.datagram
            swallowed = True
            back = next(each for each in reversed(attacker.seen) if each.source == SERVER)
            forged = unsealed(back, *acknowledging(op, back.sn, seen.sn + 1 & 0xFFFFFFFF, 10_000, None))
            attacker.network.inject(SERVER, CLIENT, forged, delay=DELAY)
            return None

        return passing

    return meddles(begin)


def changes(change: Callable[[bytes, bytes], bytes], wanted: Callable[[Seen], bool], *, every: int = 5) -> Attacking:
    """It makes another packet of every so many that are wanted, with the help of the wanted one before."""

    def begin(attacker: OnPath) -> Alteration:
        count, before = 0, b""

        def passing(seen: Seen) -> bytes:
            nonlocal count, before
            if not wanted(seen):
                return seen.datagram
            count += 1
            last, before = before, seen.datagram
            return seen.datagram if count % every else change(seen.datagram, last)

        return passing

    return meddles(begin)


def alters(at: int, change: Callable[[int], int], *ops: Op, every: int = 5) -> Attacking:
    """It changes one octet of packets of these kinds."""
    return changes(
        lambda now, last: altered(now, at, bytes([change(now[at])])),
        lambda seen: seen.op in ops and len(seen.datagram) > at,
        every=every,
    )


def reshapes(change: Callable[[bytes, bytes], bytes]) -> Attacking:
    """It makes something else of full packets."""
    return changes(change, lambda seen: seen.op is Op.PURE_DATA and len(seen.datagram) >= 1000)


def replays(*ops: Op, elsewhere: bool = False) -> Attacking:
    """All packets of these kinds a second time, a moment later; the client's alone, and from elsewhere, if so."""

    def begin(attacker: OnPath) -> Alteration:
        def passing(seen: Seen) -> bytes:
            if seen.op in ops and (seen.source == CLIENT or not elsewhere):
                source = ATTACKER if elsewhere else seen.source
                attacker.network.inject(source, seen.destination, seen.datagram, delay=3 * DELAY)
            return seen.datagram

        return passing

    return meddles(begin)


def leads_astray() -> Attacking:
    """A packet comes from the attacker's address in place of its own, once; what goes there is lost (10.3)."""

    def begin(attacker: OnPath) -> Alteration:
        led = False

        def passing(seen: Seen) -> bytes | None:
            nonlocal led
            if led or seen.source != CLIENT or seen.op is not Op.PERSIST:
                return seen.datagram
            led = True
            attacker.network.inject(ATTACKER, SERVER, seen.datagram, delay=DELAY)
            return None

        return passing

    return meddles(begin)


# branches


async def multiplies(attacker: OnPath) -> Seen:
    """Lets the client make a branch, which the server takes; the MULTIPLY."""
    await attacker.until_quiet()
    branch = await attacker.client.multiply(b"a branch", ends=True)
    accepted = await attacker.server.accept_branch()
    for session in (branch, accepted):
        session.reset()
    return next(seen for seen in attacker.seen if seen.op is Op.MULTIPLY)


async def no_further_branch(attacker: OnPath) -> None:
    with trio.move_on_after(20 * DELAY):
        await attacker.server.accept_branch()
        raise AssertionError("a branch that nobody has made")


async def replays_multiply(attacker: OnPath) -> None:
    multiply = await multiplies(attacker)
    for source in (CLIENT, ATTACKER, CLIENT):
        attacker.to_server(multiply.datagram, source=source)
        await no_further_branch(attacker)


async def replays_multiply_as_another(attacker: OnPath) -> None:
    """With another ULTID, as if it were another branch (M23)."""
    multiply = await multiplies(attacker)
    for ultid in (b"evil", b"EVIL"):
        attacker.to_server(altered(multiply.datagram, 0, ultid))
        await no_further_branch(attacker)


@dataclass(frozen=True)
class Attack:
    act: Attacking
    section: str
    checks: tuple[Check, ...]
    """Without them it does harm."""
    drops: str = ""
    """For what reason its packets are dropped."""
    moves: int = 0
    """How often the server follows the client: there and back where it can be led astray for a moment."""


DATA = (Op.PURE_DATA, Op.PERSIST)
ATTACKS = {
    "forges RESET": Attack(
        forges(lambda sn, expected, _: (CODEC.reset_head(0, 512, sn, expected), b"")), "4.9", (ICC_OF_RESET,), "icc"
    ),
    "forges data": Attack(
        forges(lambda sn, expected, _: (in_band(Op.PERSIST, 0, sn, expected), b"believe me")), "8.1", (ICC,), "icc"
    ),
    "forges RELEASE": Attack(
        forges(lambda sn, expected, _: (in_band(Op.RELEASE, FLAG_EOT, sn, expected), b"")), "9.2", (ICC,), "icc"
    ),
    "forges a notice of a move": Attack(forges(notice, source=ATTACKER), "10.3", (ICC,), "icc"),
    "forges KEEP_ALIVE for what it has swallowed": Attack(swallows_and_forges(Op.KEEP_ALIVE), "8.5.3", (ICC,)),
    "forges ACK_FLUSH for what it has swallowed": Attack(swallows_and_forges(Op.ACK_FLUSH), "8.4.3", (ICC,)),
    "alters payload": Attack(alters(100, lambda octet: octet ^ 1, *DATA), "8.1", (ICC,), "icc"),
    "exchanges payload": Attack(reshapes(lambda now, last: now[:32] + last[32:]), "8.1", (ICC,), "icc"),
    "cuts packets": Attack(reshapes(lambda now, last: now[:-10]), "8.1", (ICC,), "icc"),
    "lengthens packets": Attack(reshapes(lambda now, last: now + last[-10:]), "8.1", (ICC,), "icc"),
    "sets EoT": Attack(alters(12, lambda flags: flags | 0x80, Op.PURE_DATA), "4.6", (ICC,), "icc"),
    "clears EoT": Attack(alters(12, lambda flags: flags & 0x7F, Op.PURE_DATA, every=3), "4.6", (ICC,), "icc"),
    "alters sequence numbers": Attack(alters(19, lambda octet: octet ^ 1, *DATA), "4.6", (ICC,)),
    "replays data": Attack(replays(*DATA), "4.6", (ONCE,)),
    "replays data from elsewhere": Attack(replays(*DATA, elsewhere=True), "10.3", (NEW_ALONE_TELLS, LATER_ALONE_MOVES)),
    "replays acknowledgements from elsewhere": Attack(
        replays(Op.KEEP_ALIVE, Op.ACK_FLUSH, elsewhere=True), "10.3", (SERIAL, LATER_ALONE_MOVES), "replay"
    ),
    "leads a session astray": Attack(leads_astray(), "10.5", (FOLLOWS,), moves=2),
    "replays MULTIPLY": Attack(replays_multiply, "11.3", (REPEATS,)),
    "replays MULTIPLY as another's": Attack(replays_multiply_as_another, "11.5", (ICC,), "icc"),
    "sends operations that do not exist": Attack(sends_nonsense, "4.4.1", (OP_CODE,), "op-code"),
    "sends fragments": Attack(sends_fragments, "4.6", FRAGMENTS),
}


async def withstand(attack: Attack) -> OnPath:
    """AssertionError, or whatever else goes wrong, if the sessions come to harm."""
    attacker = await play(attack.act)
    assert attacker.server.statistics().packets.address_changes == attack.moves
    assert attacker.client.statistics().packets.address_changes == 0
    return attacker


@pytest.fixture
def take_out() -> Iterator[Callable[[tuple[Check, ...]], None]]:
    """Takes checks out of the code until the test is over."""
    with ExitStack() as stack:

        def take_out(checks: tuple[Check, ...]) -> None:
            for check in checks:
                stack.enter_context(changed(*check))

        yield take_out


@pytest.mark.parametrize("name", ATTACKS)
async def test_withstood(name: str, autojump_clock: MockClock) -> None:
    attack = ATTACKS[name]
    attacker = await withstand(attack)
    if attack.drops:
        drops = attacker.server.statistics().packets.drops
        assert drops.get(attack.drops, 0) > 0, drops


@pytest.mark.parametrize("name", ATTACKS)
async def test_not_withstood_without_the_check(
    name: str, autojump_clock: MockClock, take_out: Callable[[tuple[Check, ...]], None]
) -> None:
    attack = ATTACKS[name]
    take_out(attack.checks)
    with pytest.raises((Exception, ExceptionGroup)):
        await withstand(attack)


@pytest.mark.parametrize(
    "checks", sorted({attack.checks for attack in ATTACKS.values()}, key=repr), ids=lambda checks: checks[0].place
)
async def test_nobody_misses_the_check_without_the_attack(
    checks: tuple[Check, ...], autojump_clock: MockClock, take_out: Callable[[tuple[Check, ...]], None]
) -> None:
    """So it was the attack that did the harm, and not the hole that the check has left."""
    take_out(checks)

    async def nothing(attacker: OnPath) -> None:
        await multiplies(attacker)

    await withstand(Attack(nothing, "", ()))
