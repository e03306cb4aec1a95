"""Attacks of somebody on the path who has no key: each is withstood, and none of them without its check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from fsp_trio.core.authentic import Authentic
from fsp_trio.core.incoming import Incoming
from fsp_trio.core.multiplication import Multiplication
from fsp_trio.endpoint import FSPEndpoint
from fsp_trio.wire.packets import FLAG_EOT, NO_PREFIXES, Op, SinkParameter, Snack
from tests.core.wiretap import CODEC

from .on_path import ATTACKER, CLIENT, DELAY, SERVER, Check, OnPath, Seen, play

ICC = Check(Authentic, "_open", "        self.statistics.failed_checks += 1\n", "        body = datagram[32:]\n")
"""8.1: what fails it is not the peer's."""
ICC_OF_RESET = Check(
    Authentic,
    "_receive_reset_untrusted",
    "if self._open(datagram, protection, False, now) is None:",
    "if False:",
)
ONCE = Check(
    Incoming, "_receive_in_band_untrusted", "if ahead < 0 or sn in received.early:", "if sn in received.early:"
)
"""4.6: a number counts once."""
NEW_ALONE_TELLS = Check(
    Incoming, "_receive_in_band_untrusted", "if ahead >= 0 and sn not in received.early:", "if True:"
)
LATER_ALONE_MOVES = Check(
    Authentic, "_authentic", "if later > 0 or (later == 0 and sub(serial, newest_serial) > 0):", "if True:"
)
"""10.3"""
FOLLOWS = Check(Authentic, "_authentic", "if follows:", "if follows and not self.statistics.address_changes:")
"""10.5: the newest packet says where the peer is, again and again."""
SERIAL = Check(
    Authentic,
    "_receive_out_of_band_untrusted",
    "serial <= self._last_serial and not first_of_key",
    "False",
)
"""M5"""
OP_CODE = Check(Incoming, "_receive_one_untrusted", 'return drop("op-code")', "pass")
FRAGMENTS = (
    Check(FSPEndpoint, "_sort_untrusted", " or len(datagram) < SMALLEST", ""),
    Check(FSPEndpoint, "_sort_mixed_untrusted", "if len(datagram) < SMALLEST:", "if False:"),
)
REPEATS = Check(Multiplication, "_take_multiply", "known = secret.accepted.get(ultid)", "known = None")
"""M22"""


def altered(datagram: bytes, at: int, octets: bytes) -> bytes:
    return datagram[:at] + octets + datagram[at + len(octets) :]


def sealed_like(seen: Seen, op: Op, *, flags: int = 0, sn: int, expected: int, body: bytes = b"") -> bytes:
    """A packet with the right ULTIDs and numbers, and a check code of somebody who has no key."""
    head = CODEC.head(CODEC.op_codes[op], 24, flags, 512, sn, expected)
    return seen.datagram[:8] + head + bytes(8) + body


def next_of(attacker: OnPath) -> tuple[Seen, int, int]:
    """The newest packet of the client's, the number that comes next, and the next one of the server's."""
    ours = [seen for seen in attacker.seen if seen.source == CLIENT and seen.op in (Op.PURE_DATA, Op.PERSIST)]
    numbers = [int.from_bytes(seen.datagram[20:24], "big") for seen in ours]
    return ours[-1], ours[-1].sn + 1 & 0xFFFFFFFF, numbers[-1]


async def until_quiet(attacker: OnPath) -> None:
    await attacker.wait_for(Op.PURE_DATA)
    count = -1
    while count != len(attacker.seen):
        count = len(attacker.seen)
        await trio.sleep(DELAY * 2.5)


async def forges_reset(attacker: OnPath) -> None:
    for _ in range(8):
        await until_quiet(attacker)
        seen, sn, expected = next_of(attacker)
        head = CODEC.reset_head(0, 512, sn, expected)
        attacker.to_server(seen.datagram[:8] + head + bytes(8))
        await trio.sleep(0.1)


async def forges_data(attacker: OnPath) -> None:
    for _ in range(8):
        await until_quiet(attacker)
        seen, sn, expected = next_of(attacker)
        attacker.to_server(sealed_like(seen, Op.PERSIST, sn=sn, expected=expected, body=b"believe me"))
        await trio.sleep(0.1)


async def forges_release(attacker: OnPath) -> None:
    for _ in range(8):
        await until_quiet(attacker)
        seen, sn, expected = next_of(attacker)
        attacker.to_server(sealed_like(seen, Op.RELEASE, flags=FLAG_EOT, sn=sn, expected=expected))
        await trio.sleep(0.1)


async def forges_notice(attacker: OnPath) -> None:
    """A KEEP_ALIVE that says that the client is where the attacker is (10.2)."""
    for serial in range(50, 60):
        await until_quiet(attacker)
        seen, sn, expected = next_of(attacker)
        sink = SinkParameter(bytes(4), NO_PREFIXES)
        head, body = CODEC.acknowledgement(
            Op.KEEP_ALIVE, 0, 512, sn - 1 & 0xFFFFFFFF, Snack(expected, sn, 0, ()), serial, sink
        )
        attacker.to_server(seen.datagram[:8] + head + bytes(8) + body, source=ATTACKER)
        await trio.sleep(0.1)


def forges_acknowledgements(op: Op) -> Callable[[OnPath], Awaitable[None]]:
    """It swallows a packet of the client's that ends a transaction, and says that it has arrived (8.4.3)."""

    async def attack(attacker: OnPath) -> None:
        swallowed: set[int] = set()

        def passing(seen: Seen) -> bytes | None:
            ends = seen.source == CLIENT and seen.op is Op.PURE_DATA and seen.datagram[12] & FLAG_EOT
            if not ends or (swallowed and seen.sn not in swallowed):
                return seen.datagram
            if swallowed:  # the client has not believed it
                swallowed.add(seen.sn)
                return seen.datagram
            swallowed.add(seen.sn)
            back = next(each for each in reversed(attacker.seen) if each.source == SERVER)
            snack = Snack(seen.sn + 1 & 0xFFFFFFFF, seen.sn, 0, ())
            head, body = CODEC.acknowledgement(op, 0, 512, back.sn, snack, 10_000, None)
            attacker.network.inject(SERVER, CLIENT, back.datagram[:8] + head + bytes(8) + body, delay=DELAY)
            return None

        attacker.passing = passing
        await trio.sleep_forever()

    return attack


def alters(at: int, change: Callable[[int], int], *ops: Op, every: int = 5) -> Callable[[OnPath], Awaitable[None]]:
    """It changes one octet of every so many packets of these kinds, both ways."""

    async def attack(attacker: OnPath) -> None:
        count = 0

        def passing(seen: Seen) -> bytes:
            nonlocal count
            if seen.op not in ops or len(seen.datagram) <= at:
                return seen.datagram
            count += 1
            if count % every:
                return seen.datagram
            return altered(seen.datagram, at, bytes([change(seen.datagram[at]) & 0xFF]))

        attacker.passing = passing
        await trio.sleep_forever()

    return attack


def reshapes(change: Callable[[bytes, bytes], bytes]) -> Callable[[OnPath], Awaitable[None]]:
    """It makes another packet of every fifth, with the help of the one before."""

    async def attack(attacker: OnPath) -> None:
        count = 0
        before = b""

        def passing(seen: Seen) -> bytes:
            nonlocal count, before
            if seen.op is not Op.PURE_DATA or len(seen.datagram) < 1000:
                return seen.datagram
            count += 1
            last, before = before, seen.datagram
            return change(seen.datagram, last) if count % 5 == 0 else seen.datagram

        attacker.passing = passing
        await trio.sleep_forever()

    return attack


async def replays_data(attacker: OnPath) -> None:
    """Everything that carries octets a second time, a moment later."""

    def passing(seen: Seen) -> bytes:
        if seen.op in (Op.PURE_DATA, Op.PERSIST):
            attacker.network.inject(seen.source, seen.destination, seen.datagram, delay=3 * DELAY)
        return seen.datagram

    attacker.passing = passing
    await trio.sleep_forever()


async def replays_data_from_elsewhere(attacker: OnPath) -> None:
    def passing(seen: Seen) -> bytes:
        if seen.op in (Op.PURE_DATA, Op.PERSIST) and seen.source == CLIENT:
            attacker.network.inject(ATTACKER, seen.destination, seen.datagram, delay=3 * DELAY)
        return seen.datagram

    attacker.passing = passing
    await trio.sleep_forever()


async def replays_acknowledgements_from_elsewhere(attacker: OnPath) -> None:
    def passing(seen: Seen) -> bytes:
        if seen.op in (Op.KEEP_ALIVE, Op.ACK_FLUSH) and seen.source == CLIENT:
            attacker.network.inject(ATTACKER, seen.destination, seen.datagram, delay=3 * DELAY)
        return seen.datagram

    attacker.passing = passing
    await trio.sleep_forever()


async def leads_astray(attacker: OnPath) -> None:
    """A packet comes from the attacker's address in place of its own, once; what goes there is lost (10.3)."""
    led = False

    def passing(seen: Seen) -> bytes | None:
        nonlocal led
        if led or seen.source != CLIENT or seen.op is not Op.PERSIST:
            return seen.datagram
        led = True
        attacker.network.inject(ATTACKER, SERVER, seen.datagram, delay=DELAY)
        return None

    attacker.passing = passing
    await trio.sleep_forever()


async def sends_nonsense(attacker: OnPath) -> None:
    """Operations that do not exist."""
    await until_quiet(attacker)
    seen, sn, expected = next_of(attacker)
    whole = sealed_like(seen, Op.PURE_DATA, sn=sn, expected=expected, body=b"x")
    for code in range(256):
        if code not in CODEC.ops:
            attacker.to_server(altered(whole, 8, bytes([code])))


async def sends_fragments(attacker: OnPath) -> None:
    """Of everything the first octets only."""
    await until_quiet(attacker)
    for seen in attacker.seen[:20]:
        for size in range(40):
            attacker.network.inject(seen.source, seen.destination, seen.datagram[:size])


async def multiplies(attacker: OnPath) -> Seen:
    """Lets the client make a branch, which the server takes; the MULTIPLY."""
    await until_quiet(attacker)
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
    act: Callable[[OnPath], Awaitable[None]]
    section: str
    checks: tuple[Check, ...]
    """Without them it does harm."""
    drops: str = ""
    """For what reason its packets are dropped."""
    moves: int = 0
    """How often the server follows the client: there and back where it can be led astray for a moment."""


ATTACKS = {
    "forges RESET": Attack(forges_reset, "4.9", (ICC_OF_RESET,), "icc"),
    "forges data": Attack(forges_data, "8.1", (ICC,), "icc"),
    "forges RELEASE": Attack(forges_release, "9.2", (ICC,), "icc"),
    "forges a notice of a move": Attack(forges_notice, "10.3", (ICC,), "icc"),
    "forges KEEP_ALIVE for what it has swallowed": Attack(forges_acknowledgements(Op.KEEP_ALIVE), "8.5.3", (ICC,)),
    "forges ACK_FLUSH for what it has swallowed": Attack(forges_acknowledgements(Op.ACK_FLUSH), "8.4.3", (ICC,)),
    "alters payload": Attack(alters(100, lambda octet: octet ^ 1, Op.PURE_DATA, Op.PERSIST), "8.1", (ICC,), "icc"),
    "exchanges payload": Attack(reshapes(lambda now, last: now[:32] + last[32:]), "8.1", (ICC,), "icc"),
    "cuts packets": Attack(reshapes(lambda now, last: now[:-10]), "8.1", (ICC,), "icc"),
    "lengthens packets": Attack(reshapes(lambda now, last: now + last[-10:]), "8.1", (ICC,), "icc"),
    "sets EoT": Attack(alters(12, lambda flags: flags | 0x80, Op.PURE_DATA), "4.6", (ICC,), "icc"),
    "clears EoT": Attack(alters(12, lambda flags: flags & 0x7F, Op.PURE_DATA, every=3), "4.6", (ICC,), "icc"),
    "alters sequence numbers": Attack(alters(19, lambda octet: octet ^ 1, Op.PURE_DATA, Op.PERSIST), "4.6", (ICC,)),
    "replays data": Attack(replays_data, "4.6", (ONCE,)),
    "replays data from elsewhere": Attack(replays_data_from_elsewhere, "10.3", (NEW_ALONE_TELLS, LATER_ALONE_MOVES)),
    "replays acknowledgements from elsewhere": Attack(
        replays_acknowledgements_from_elsewhere, "10.3", (SERIAL, LATER_ALONE_MOVES), "replay"
    ),
    "leads a session astray": Attack(leads_astray, "10.5", (FOLLOWS,), moves=2),
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


@pytest.mark.parametrize("name", ATTACKS)
async def test_withstood(name: str, autojump_clock: MockClock) -> None:
    attack = ATTACKS[name]
    attacker = await withstand(attack)
    if attack.drops:
        drops = attacker.server.statistics().packets.drops
        assert drops.get(attack.drops, 0) > 0, drops


@pytest.mark.parametrize("name", ATTACKS)
async def test_not_withstood_without_the_check(
    name: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = ATTACKS[name]
    for check in attack.checks:
        check.take_out(monkeypatch)
    with pytest.raises((Exception, ExceptionGroup)):
        await withstand(attack)


@pytest.mark.parametrize(
    "checks", sorted({attack.checks for attack in ATTACKS.values()}, key=repr), ids=lambda checks: checks[0].name
)
async def test_nobody_misses_the_check_without_the_attack(
    checks: tuple[Check, ...], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it was the attack that did the harm, and not the hole that the check has left."""
    for check in checks:
        check.take_out(monkeypatch)

    async def nothing(attacker: OnPath) -> None:
        await multiplies(attacker)

    await withstand(Attack(nothing, "", ()))
