"""Messages with minimal delay over sessions (gao-07 4.6, 8.9)."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fsp_trio import (
    FSPBrokenError,
    FSPBusyError,
    FSPClosedError,
    FSPSession,
    KeyInstallationError,
    ResetReason,
    Settings,
    Timers,
)
from fsp_trio.core.messages import MESSAGES_KEPT
from fsp_trio.testing import Impairment, SimulatedNetwork, session_pair

RESPONSIVE = Settings(timers=Timers.responsive())
DELAY = 0.02
NEAR = Impairment(delay=DELAY)
LOSSY = Impairment(delay=DELAY, loss=0.1, reorder=0.05, duplicate=0.05)
KEY = b"k" * 32
MEBIBYTE = random.Random(1).randbytes(2**20)


def stamped(number: int, size: int = 500) -> bytes:
    """A message that says which one it is and when it was made."""
    return f"{number} {trio.current_time():.6f} ".encode().ljust(size, b".")


def stamp_of(message: bytes) -> tuple[int, float]:
    number, made, _ = message.split(b" ", 2)
    return int(number), float(made)


async def play(session: FSPSession, *, rate: float, seconds: float, size: int = 500) -> int:
    """Send messages at a rate; how many they were."""
    sender = session.minimal_delay_sender()
    number = int(rate * seconds)
    start = trio.current_time()
    for i in range(number):
        await trio.sleep_until(start + i / rate)
        await sender.send(stamped(i, size))
    return number


@pytest.mark.parametrize("impairment", [NEAR, LOSSY], ids=["near", "lossy"])
async def test_a_slow_reader_gets_fewer_messages_not_older_ones(
    impairment: Impairment, autojump_clock: MockClock
) -> None:
    """8.9: while a transaction in the other direction, which is wine-like, is complete."""
    pause, capacity = 0.1, 4
    got: list[tuple[int, float]] = []
    async with SimulatedNetwork(3, impairment) as network, session_pair(network, settings=RESPONSIVE) as (a, b):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def back() -> None:
                async with b.send_transaction() as transaction:
                    await transaction.send_all(MEBIBYTE)

            @nursery.start_soon
            async def forth() -> None:
                await play(a, rate=200, seconds=10)

            @nursery.start_soon
            async def look() -> None:
                transaction = await a.receive_transaction()
                assert b"".join([piece async for piece in transaction]) == MEBIBYTE

            receiver = b.minimal_delay_receiver(capacity=capacity)
            with trio.move_on_after(11):
                async for message in receiver:
                    number, made = stamp_of(message)
                    got.append((number, trio.current_time() - made))
                    await trio.sleep(pause)
        counts = b.statistics().packets
    assert len(got) >= 80
    numbers = [number for number, _ in got]
    assert numbers == sorted(set(numbers)), "in order, none twice"
    assert max(age for _, age in got) <= (capacity + 1) * pause + DELAY + 0.05
    assert counts.messages_unread > 500


async def test_too_old_messages_are_not_read(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: play(a, rate=20, seconds=10))
        receiver = b.minimal_delay_receiver(capacity=1000, max_age=0.25)
        for _ in range(9):
            await trio.sleep(1)
            _, made = stamp_of(await receiver.receive())
            assert trio.current_time() - made <= 0.25 + DELAY + 1e-6


async def test_what_is_lost_is_not_sent_again_and_what_is_left_keeps_order(autojump_clock: MockClock) -> None:
    some = Impairment(delay=DELAY, loss=0.03, reorder=0.05, duplicate=0.05)
    async with SimulatedNetwork(5, some) as network, session_pair(network, settings=RESPONSIVE) as (a, b):
        got: list[int] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                async for message in b.minimal_delay_receiver():
                    got.append(stamp_of(message)[0])  # noqa: PERF401 - is cancelled

            before = a.statistics().packets.retransmissions
            number = await play(a, rate=50, seconds=40)  # less than these losses leave of the path
            await trio.sleep(1)
            counts = a.statistics().packets
            nursery.cancel_scope.cancel()
        assert counts.retransmissions == before
        assert number * 0.95 < len(got) < number
        assert got == sorted(set(got))
        assert b.statistics().packets.messages_lost > number * 0.02


async def test_no_single_acknowledgements(autojump_clock: MockClock) -> None:
    """8.9: at most one report in 50 ms, though each message comes alone (F61)."""
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        before = b.statistics().packets.packets_sent
        await play(a, rate=200, seconds=5)
        assert 0 < b.statistics().packets.packets_sent - before <= 101


async def test_a_slow_path_makes_fewer_messages_not_older_ones(autojump_clock: MockClock) -> None:
    """8.7, 8.9: four times what the path carries is offered; it could hold messages for two seconds."""
    narrow = Impairment(delay=DELAY, bandwidth=50_000, queue=100_000)
    ages: list[float] = []
    async with SimulatedNetwork(1, narrow) as network, session_pair(network, settings=RESPONSIVE) as (a, b):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                async for message in b.minimal_delay_receiver():
                    ages.append(trio.current_time() - stamp_of(message)[1])  # noqa: PERF401 - is cancelled

            await play(a, rate=400, seconds=30)
            nursery.cancel_scope.cancel()
        unsent = a.statistics().packets.messages_unsent
    settled = sorted(ages[len(ages) // 3 :])
    assert unsent > 5000
    assert len(ages) * 550 > 0.6 * 50_000 * 30, "and the path is used"
    assert settled[int(len(settled) * 0.95)] < 0.6, settled[-1]


async def test_both_directions_and_the_end(autojump_clock: MockClock) -> None:
    """Each end sends messages; who closes lets the other one read what has come."""
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        there, back = a.minimal_delay_sender(), b.minimal_delay_sender()
        here = a.minimal_delay_receiver()
        there.send_nowait(b"ping")
        assert await b.minimal_delay_receiver().receive() == b"ping"
        back.send_nowait(b"pong")
        assert await here.receive() == b"pong"


async def test_a_sender_closes(autojump_clock: MockClock) -> None:
    """RELEASE ends a flow gracefully where the other direction is complete (9.1)."""
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        sender = a.minimal_delay_sender()
        for i in range(10):
            sender.send_nowait(b"%d" % i)
        await a.aclose()
        assert a.closed_confirmed
        receiver = b.minimal_delay_receiver()
        assert [message async for message in receiver] == [b"%d" % i for i in range(10)]
        with pytest.raises(trio.EndOfChannel):
            await b.receive_transaction()


async def test_a_reader_closes(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        sender = a.minimal_delay_sender()
        sender.send_nowait(b"first")
        assert await b.minimal_delay_receiver().receive() == b"first"
        await b.aclose()
        await sender.send(b"nobody reads this")
        await trio.sleep(10 * DELAY)
        with pytest.raises(FSPBrokenError) as caught:
            await sender.send(b"nor this")
        assert caught.value.reason == ResetReason.UNREAD_DATA


async def test_after_transactions(autojump_clock: MockClock) -> None:
    """What was sent before is read as before; then no transaction comes any more."""
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        async with a.send_transaction() as transaction:
            await transaction.send_all(b"whole")
        a.minimal_delay_sender().send_nowait(b"newest")
        await trio.sleep(1)
        incoming = await b.receive_transaction()
        assert b"".join([piece async for piece in incoming]) == b"whole"
        with pytest.raises(trio.EndOfChannel):
            await b.receive_transaction()
        assert await b.minimal_delay_receiver().receive() == b"newest"


async def test_who_waits_for_something_else_is_told(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        channel = b.channel()
        a.minimal_delay_sender().send_nowait(b"newest")
        with pytest.raises(trio.EndOfChannel), trio.fail_after(1):
            await channel.receive()


async def test_in_a_branch(autojump_clock: MockClock) -> None:
    """Both ends of a branch, which has not been answered when its acceptor begins."""
    async with SimulatedNetwork(7, LOSSY) as network, session_pair(network, settings=RESPONSIVE) as (a, b):
        a.install_key(KEY)
        b.install_key(KEY)
        for _ in range(20):
            near = await a.multiply()
            far = await anext(aiter(b.branches()))
            outgoing, other = far.minimal_delay_sender(), near.minimal_delay_sender()
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:

                    @nursery.start_soon
                    async def repeat() -> None:
                        while True:
                            outgoing.send_nowait(b"from the acceptor")  # noqa: B023
                            other.send_nowait(b"from the initiator")  # noqa: B023
                            await trio.sleep(0.05)

                    assert await near.minimal_delay_receiver().receive() == b"from the acceptor"
                    assert await far.minimal_delay_receiver().receive() == b"from the initiator"
                    nursery.cancel_scope.cancel()
            near.reset()
            await trio.sleep(0.5)


async def test_misuse(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        for bad in (0, -1):
            with pytest.raises(ValueError, match="capacity"):
                a.minimal_delay_sender(capacity=bad)
            with pytest.raises(ValueError, match="capacity"):
                a.minimal_delay_receiver(capacity=bad)
        for age in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="max_age"):
                a.minimal_delay_receiver(max_age=age)
        transaction = a.send_transaction()
        with pytest.raises(FSPBusyError):
            a.minimal_delay_sender()
        await transaction.send_all(b"x")
        with pytest.raises(FSPBusyError):
            a.minimal_delay_sender()
        await transaction.commit()
        sender = a.minimal_delay_sender()
        for use in (a.minimal_delay_sender, a.send_transaction, a.stream, a.channel):
            with pytest.raises(FSPBusyError):
                use()
        for size in (0, sender.max_message_size + 1):
            with pytest.raises(ValueError, match="octets"):
                sender.send_nowait(bytes(size))
        with pytest.raises(TypeError):
            sender.send_nowait("text")  # type: ignore[arg-type]
        with pytest.raises(KeyInstallationError):
            a.install_key(b"k" * 32)
        sender.send_nowait(bytes(sender.max_message_size))
        await sender.aclose()
        with pytest.raises(FSPClosedError):
            sender.send_nowait(b"x")
        receiver = b.minimal_delay_receiver()
        with pytest.raises(FSPBusyError):
            b.minimal_delay_receiver()
        assert await receiver.receive() == bytes(sender.max_message_size)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait() -> None:
                with pytest.raises(FSPClosedError):
                    await receiver.receive()

            await wait_all_tasks_blocked()
            with pytest.raises(FSPBusyError):
                await receiver.receive()
            await receiver.aclose()
        await receiver.aclose()
        assert b.minimal_delay_receiver().session is b


@pytest.mark.parametrize("revision", ["jason-00", "reference-2020"])
async def test_revisions_without_it(revision: str, autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network, revision=revision) as (a, _):
        with pytest.raises(ValueError, match="minimal delay"):
            a.minimal_delay_sender()


async def test_messages_that_nobody_asks_for_are_limited(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        number = await play(a, rate=500, seconds=2)
        await trio.sleep(1)
        unsent = a.statistics().packets.messages_unsent
        assert b.statistics().packets.messages_unread == number - unsent - MESSAGES_KEPT
        receiver = b.minimal_delay_receiver()
        assert stamp_of(await receiver.receive())[0] == number - MESSAGES_KEPT


async def test_sending_never_waits(autojump_clock: MockClock) -> None:
    """The path is gone: of what is sent the newest messages are kept."""
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network, settings=RESPONSIVE) as (a, b):
        sender = a.minimal_delay_sender(capacity=3)
        network.partition(b.remote_address)
        began = trio.current_time()
        for i in range(5000):
            await sender.send(b"%d" % i)
        assert trio.current_time() == began
        assert a.statistics().packets.messages_unsent > 4900
        await trio.sleep(30)
        network.heal()
        receiver = b.minimal_delay_receiver()
        with trio.fail_after(120):
            assert int(await receiver.receive()) >= 4990
